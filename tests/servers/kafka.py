"""A real Apache Kafka on loopback: broker and controller (KRaft) in a Java process, or in two, from Maven's jars."""

import atexit
import contextlib
import fcntl
import functools
import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.servers import LOOPBACK, Server, ServerError, UnavailableError, free_ports, skip_or_fail

KAFKA_VERSION = "4.4.0"
OLDEST_JAVA = 17
FETCH_LIMIT = 600.0
POM = Path(__file__).with_name("pom.xml")

# Sixteen bytes in URL-safe base64. A random id may start with a dash, which the formatter takes for an option.
CLUSTER_ID = "YXRhdC1icm9rZXItdGVzdA"

# One replica of everything, and sizes for a laptop. Start-up and memory are what these are chosen for.
SMALL_SERVER = {
    "auto.create.topics.enable": "false",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "1",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "log.cleaner.dedupe.buffer.size": str(4 * 2**20),  # 128 MiB of heap by default
    # Tests crash clients and wait for the consequences, so those come quickly.
    "group.initial.rebalance.delay.ms": "0",
    # Every five minutes by default: a test that dates its messages too far back would lose them only now and then.
    "log.initial.task.delay.ms": "500",
    "log.retention.check.interval.ms": "500",
    "group.min.session.timeout.ms": "1000",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
    # After a crash the controller refuses the broker until the dead one's session is over: 9 s by default.
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "250",
}

JAVA_OPTIONS = (
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",  # the optimising compiler costs more than it returns in a process this short-lived
    "-XX:-UsePerfData",
    "-Djava.net.preferIPv4Stack=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    # Which says where Kafka leaves the end of a transaction out.
    "-Dorg.slf4j.simpleLogger.log.kafka.coordinator.transaction.TransactionMarkerChannelManager=info",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
)


class _Node(Server):
    """One Java process of Kafka, formatted on its first start."""

    name = f"Kafka {KAFKA_VERSION}"

    def __init__(
        self,
        directory: Path,
        properties: Mapping[str, str],
        *,
        heap_mib: int,
        start_limit: float,
        classes: str | None = None,
    ) -> None:
        super().__init__(directory, start_limit=start_limit)
        self._classes = classes
        self._data = directory / "data"
        self._configuration = directory / "server.properties"
        self._properties = {**SMALL_SERVER, "log.dirs": str(self._data), **properties}
        self._heap_mib = heap_mib

    def start(self) -> None:
        """Format the data directory where that was not done yet, start, and return once the server answers."""
        self.directory.mkdir(parents=True, exist_ok=True)
        lines = (f"{key}={_escaped(value)}\n" for key, value in self._properties.items())
        self._configuration.write_text("".join(lines))
        if not (self._data / "meta.properties").exists():
            self._format()
        super().start()

    def _format(self) -> None:
        arguments = ["format", "--cluster-id", CLUSTER_ID, "--config", str(self._configuration)]
        formatter = subprocess.run(
            self._java("kafka.tools.StorageTool", *arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=self._start_limit,
            check=False,
        )
        if formatter.returncode != 0:
            raise ServerError(f"{self.name} could not format its data directory:\n{formatter.stdout}")

    def _command(self) -> list[str]:
        return self._java("kafka.Kafka", str(self._configuration))

    def _java(self, main_class: str, *arguments: str) -> list[str]:
        class_path = str(kafka_jars() / "*")
        options = (
            *JAVA_OPTIONS,
            self._classes or f"-XX:SharedArchiveFile={_class_archive()}",
            f"-Xmx{self._heap_mib}m",
        )
        return [find_java(), *options, "-cp", class_path, main_class, *arguments]


class _Controller(_Node):
    """A controller in a process of its own."""

    def __init__(self, directory: Path, properties: Mapping[str, str], *, port: int, start_limit: float) -> None:
        self._port = port
        own = {"process.roles": "controller", "node.id": "2", "listeners": f"CONTROLLER://{LOOPBACK}:{port}"}
        super().__init__(directory, {**properties, **own}, heap_mib=256, start_limit=start_limit)

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((LOOPBACK, self._port)) == 0


class KafkaServer(_Node):
    """A Kafka of one broker.

    ``properties`` add to the server's configuration or override it; ``client_protocol`` is the security protocol of
    ``bootstrap_servers`` (SASL_PLAINTEXT, SSL, ...), whose own settings go under ``listener.name.client.``.
    ``classes`` is the option of Java by which classes are read (by default from the archive of an earlier start).
    ``controller_apart`` has the controller in a process of its own, which ``kill`` leaves alone: a broker's crash.
    Where both die at once, Kafka may leave a transaction half ended (see "What is not promised" in deploy/PROMISES.md).
    """

    def __init__(
        self,
        directory: Path,
        *,
        properties: Mapping[str, str] | None = None,
        client_protocol: str = "PLAINTEXT",
        controller_apart: bool = False,
        heap_mib: int = 512,
        start_limit: float = 90.0,
        classes: str | None = None,
    ) -> None:
        client_port, broker_port, controller_port = free_ports(3)
        self.bootstrap_servers = f"{LOOPBACK}:{client_port}"
        # Never secured: for the server itself, and to create the users of a secured ``bootstrap_servers``.
        self.plaintext_servers = f"{LOOPBACK}:{broker_port}"
        cluster = {
            "listener.security.protocol.map": f"CLIENT:{client_protocol},BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.voters": f"{2 if controller_apart else 1}@{LOOPBACK}:{controller_port}",
            **(properties or {}),
        }
        advertised = f"CLIENT://{self.bootstrap_servers},BROKER://{self.plaintext_servers}"
        own = {
            "process.roles": "broker" if controller_apart else "broker,controller",
            "node.id": "1",
            "listeners": advertised if controller_apart else f"{advertised},CONTROLLER://{LOOPBACK}:{controller_port}",
            "advertised.listeners": advertised,
            "inter.broker.listener.name": "BROKER",
        }
        super().__init__(directory, {**own, **cluster}, heap_mib=heap_mib, start_limit=start_limit, classes=classes)
        self._controller = (
            _Controller(directory / "controller", cluster, port=controller_port, start_limit=start_limit)
            if controller_apart
            else None
        )

    def start(self) -> None:
        """Start, the controller first, and return once the broker answers."""
        if self._controller is not None and not self._controller.is_running:
            self._controller.start()
        try:
            super().start()
        except BaseException:
            self.stop()
            raise

    def stop(self, *, limit: float = 20.0) -> None:
        """Stop, the controller last."""
        super().stop(limit=limit)
        if self._controller is not None:
            self._controller.stop(limit=limit)

    def _answers(self) -> bool:
        """Whether the broker is registered and leads every partition it holds."""
        client = AdminClient({"bootstrap.servers": self.plaintext_servers, "log_level": 0})
        try:
            metadata = client.list_topics(timeout=1.0)
        except KafkaException:
            return False
        partitions = (partition for topic in metadata.topics.values() for partition in topic.partitions.values())
        return bool(metadata.brokers) and all(partition.leader >= 0 for partition in partitions)


def kafka_or_skip() -> str:
    """Bootstrap servers of one Kafka for the whole test run: ``KAFKA_BOOTSTRAP_SERVERS``, or one started here.

    Tests share it, so each takes topic, group and transactional ids of its own.
    """
    given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if given:
        return given
    skip_without_kafka()
    return _shared_server().bootstrap_servers


def skip_without_kafka() -> None:
    """For a test that starts a ``KafkaServer`` of its own, to kill it or to configure it."""
    reason = _why_unavailable()
    if reason:
        skip_or_fail(reason)


@functools.cache
def _shared_server() -> KafkaServer:
    directory = Path(tempfile.mkdtemp(prefix="kafka-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    server = KafkaServer(directory)
    server.start()
    atexit.register(server.stop)
    return server


@functools.cache
def _why_unavailable() -> str:
    """What is missing, asked once: without a network Maven takes its time to say so."""
    try:
        find_java()
        kafka_jars()
    except UnavailableError as missing:
        return str(missing)
    return ""


@functools.cache
def find_java() -> str:
    """The ``java`` of JAVA_HOME or PATH, new enough for the server."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home) / "bin")) if home else shutil.which("java")
    if java is None:
        raise UnavailableError(f"Kafka needs Java {OLDEST_JAVA}, and there is no java in JAVA_HOME or PATH")
    # Java 8 does not know --version, and says nothing on stdout.
    version = subprocess.run([java, "--version"], capture_output=True, text=True, timeout=60, check=False).stdout
    major = re.search(r"\d+", version)
    if major is None or int(major[0]) < OLDEST_JAVA:
        raise UnavailableError(f"Kafka needs Java {OLDEST_JAVA}, not {version.partition(chr(10))[0] or 'Java 8'}")
    return java


def kafka_jars() -> Path:
    """The directory of the server's jars in the user's cache, complete whenever it exists."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    jars = caches / "atat-broker" / f"kafka-{KAFKA_VERSION}"
    if jars.is_dir():
        return jars
    jars.parent.mkdir(parents=True, exist_ok=True)
    # One at a time: two Maven processes may spoil each other's local repository.
    with _alone(jars):
        if not jars.is_dir():
            _fetch(jars)
    return jars


@functools.cache
def _class_archive() -> Path:
    """Kafka's classes as Java keeps them once loaded, beside the jars: a start from them takes half the arithmetic.

    Made by a start. Java passes over an archive that it cannot use, as that of another Java.
    """
    jars = kafka_jars()
    archive = jars.with_name(f"{jars.name}.classes")
    with _alone(jars):
        if not archive.exists():
            with tempfile.TemporaryDirectory(dir=jars.parent, prefix=f"{jars.name}.partial-") as directory:
                partial = Path(directory) / archive.name
                partial.touch()  # a Java that keeps none is not asked again
                with KafkaServer(Path(directory) / "kafka", classes=f"-XX:ArchiveClassesAtExit={partial}"):
                    pass
                partial.rename(archive)
    return archive


@contextlib.contextmanager
def _alone(jars: Path) -> Iterator[None]:
    """Of all processes that want these jars."""
    with jars.with_name(f"{jars.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(jars: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise UnavailableError(f"Kafka {KAFKA_VERSION} is not in the cache, and there is no mvn in PATH to fetch it")
    with tempfile.TemporaryDirectory(dir=jars.parent, prefix=f"{jars.name}.partial-") as directory:
        partial = Path(directory) / "jars"
        command = [maven, "-q", "-B", "-f", str(POM), "dependency:copy-dependencies", "-DincludeScope=runtime"]
        fetch = subprocess.run(
            [*command, f"-Dkafka.version={KAFKA_VERSION}", f"-DoutputDirectory={partial}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=FETCH_LIMIT,
            check=False,
        )
        if fetch.returncode != 0:
            raise UnavailableError(f"Maven could not fetch Kafka {KAFKA_VERSION}:\n{fetch.stdout[-2000:]}")
        partial.rename(jars)


def _escaped(value: str) -> str:
    """The value as Java's properties files write it, so that a PEM key of many lines fits."""
    return value.replace("\\", "\\\\").replace("\n", "\\n")

"""The whole service on this machine: a real Kafka, a Valkey, workers, the load and a reader, and what each costs."""

import contextlib
import os
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from confluent_kafka import Consumer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from models.arrays import FloatArray
from models.inputs import avro
from models.inputs.alert import alert_batch
from models.inputs.alert_batch import AlertBatch
from tests.benchmarks import real
from tests.benchmarks.memory import cuda_mebibytes, peak_mebibytes
from tests.chaos.feed import Feed
from tests.chaos.ground import Worker, until
from tests.servers import LOOPBACK, free_ports
from tests.servers.kafka import KafkaServer
from tests.servers.valkey import ValkeyServer
from tests.service.stream import Topics

PARTITIONS = 4
_KEPT_BYTES = str(500 * 10**6)
"""Of each partition, so that a long run does not fill the disk."""
_LIMIT = 3600.0


@dataclass(frozen=True)
class Alerts:
    """Real alerts as they are published, and as they are decoded."""

    values: list[bytes]
    keys: list[str]
    batch: AlertBatch

    @classmethod
    def read(cls, pattern: str = "*.avro") -> Self:
        """Those of the files with such a name, in an order of chance."""
        values = np.random.default_rng(0).permutation(np.array(real.messages(pattern), dtype=object)).tolist()
        decoded = alert_batch([avro.unread(value) for value in values])
        if decoded.invalid:
            raise SystemExit(f"{len(decoded.invalid)} of the real alerts are refused")
        return cls(values, [str(name) for name in decoded.alerts.dia_object_id.tolist()], decoded.alerts)


@dataclass(frozen=True)
class Moment:
    """How far it is, and what it has cost since the start."""

    at: float
    """Seconds."""
    visible: int
    """Answers that a read_committed reader has seen."""
    cpu: Mapping[str, float]
    """CPU seconds by process: service (all workers), kafka, redis, load (which publishes and reads)."""
    stages: Mapping[str, float]
    """Seconds that the workers' batches spent in each stage."""


class Reader(threading.Thread):
    """Reads classifications and dead letters as they become visible, one by one."""

    def __init__(self, topics: Topics) -> None:
        super().__init__(name="reader", daemon=True)
        options = {"bootstrap.servers": topics.servers, "group.id": "benchmark", "enable.auto.commit": False}
        self._consumer = Consumer({**options, "isolation.level": "read_committed", "log_level": 0})
        outputs = (topics.classifications, topics.dead_letters)
        self._consumer.assign([TopicPartition(topic, n, 0) for topic in outputs for n in range(topics.partitions)])
        self._refused = topics.dead_letters
        self._ending = threading.Event()
        self.count = 0
        self.refused = 0
        self.latencies: list[float] | None = None
        """Seconds from each alert's Kafka timestamp until its answer was here, while it is a list."""

    def run(self) -> None:
        """Read until told to stop."""
        while not self._ending.is_set():
            raw = self._consumer.poll(0.1)
            if raw is None or raw.error() is not None:
                continue
            self.count += 1
            self.refused += raw.topic() == self._refused
            if self.latencies is not None:
                headers: dict[str, bytes] = dict(raw.headers() or ())  # type: ignore[arg-type]
                self.latencies.append(time.time() - int(headers["origin-timestamp"]) / 1000)
        self._consumer.close()

    def stop(self) -> None:
        """End."""
        self._ending.set()
        self.join()


class Whole:
    """Workers that are at work, with everything about them. ``feed.rate`` is 0 at first: nothing is published."""

    def __init__(self, servers: "Servers", alerts: Alerts, workers: list[Worker], ports: list[int]) -> None:
        self._servers = servers
        self._workers = workers
        self._ports = ports
        self.reader = Reader(servers.topics)
        self.feed = Feed(servers.topics, alerts.values, alerts.keys, answered=lambda: self.reader.count)
        self.feed.rate = 0.0

    def now(self) -> Moment:
        """A look at everything."""
        pids = {"kafka": [self._servers.kafka.pid], "redis": [self._servers.valkey.pid]}
        pids |= {"service": [worker.pid for worker in self._workers], "load": [os.getpid()]}
        stages: dict[str, float] = {}
        for port in self._ports:
            for stage, seconds in _stages(port).items():
                stages[stage] = stages.get(stage, 0.0) + seconds
        cpu = {name: sum(map(_cpu_seconds, of)) for name, of in pids.items()}
        return Moment(time.monotonic(), self.reader.count, cpu, stages)

    def publish_and_wait(self, count: int) -> float:
        """Publish so many at once; seconds from the first until the last is answered."""
        began, before = time.monotonic(), self.reader.count
        self.feed.publish(count)
        self.wait_for(before + count)
        return time.monotonic() - began

    def wait_for(self, count: int) -> None:
        """Until so many answers are visible. Raises SystemExit if a worker ends or an alert is refused."""

        def there() -> bool:
            ended = [worker.log.read_text()[-2000:] for worker in self._workers if not worker.is_running]
            if ended or self.reader.refused:
                raise SystemExit(f"{self.reader.refused} alerts refused, workers ended: {ended}")
            return self.reader.count >= count

        until(there, what=f"{count} answers", seconds=_LIMIT)

    def drain(self) -> None:
        """Until everything published is answered."""
        self.feed.rate = 0.0
        time.sleep(0.1)  # whatever it was about to publish
        self.wait_for(self.feed.published)

    def latencies(self, *, rate: float, seconds: float) -> FloatArray:
        """Seconds from Kafka timestamp to visible answer, at this rate for so long."""
        found: list[float] = []
        self.reader.latencies = found
        self.feed.rate = rate
        time.sleep(seconds)
        self.drain()
        self.reader.latencies = None
        return np.array(found)

    def peak_mebibytes(self) -> float:
        """Of resident memory since the start, the worker that had most."""
        return max(peak_mebibytes(worker.pid) for worker in self._workers)

    def cuda_mebibytes(self) -> float:
        """Of it, pages of CUDA's files."""
        return max(cuda_mebibytes(worker.pid) for worker in self._workers)


class Servers:
    """A Kafka and a Valkey with topics that nothing was published to yet."""

    def __init__(self, kafka: KafkaServer, valkey: ValkeyServer, directory: Path) -> None:
        self.kafka = kafka
        self.valkey = valkey
        self.directory = directory
        self.topics = Topics(kafka.bootstrap_servers, PARTITIONS, config={"in": {"retention.bytes": _KEPT_BYTES}})

    @classmethod
    @contextlib.contextmanager
    def started(cls, directory: Path) -> Iterator[Self]:
        """Started, and stopped in the end."""
        kafka = KafkaServer(directory / "kafka", heap_mib=768, start_limit=180)
        with kafka, ValkeyServer(directory / "valkey") as valkey:
            yield cls(kafka, valkey, directory)

    @contextlib.contextmanager
    def serving(self, alerts: Alerts, model: Path, *, workers: int = 1, **values: str) -> Iterator[Whole]:
        """The service with this model, at work on topics of its own; further settings are ``values``."""
        with contextlib.ExitStack() as stack:
            ports = free_ports(workers)
            started = []
            for number, port in enumerate(ports):
                own = {"KAFKA_TRANSACTIONAL_ID": f"{self.topics.name}-{number}", "HTTP_PORT": str(port)}
                environment = self.topics.environment(
                    **own,
                    REDIS_URL=self.valkey.url,
                    MODEL_DIR=str(model),
                    OMP_NUM_THREADS=str(_threads(workers)),
                    **values,
                )
                worker = Worker(self.directory / f"worker-{number}", environment, kind="plain")
                started.append(stack.enter_context(worker))
            whole = Whole(self, alerts, started, ports)
            for thread in (whole.feed, whole.reader):
                thread.start()
                stack.callback(thread.stop)
            whole.publish_and_wait(len(alerts.values) // 10)
            yield whole


def _threads(workers: int) -> int:
    """Of PyTorch's, in each worker: the machine's cores among them."""
    return max((os.cpu_count() or 1) // workers, 1)


def _stages(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/metrics", timeout=30) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        samples = [sample for family in families for sample in family.samples]
    return {one.labels["stage"]: one.value for one in samples if one.name == "classifier_stage_seconds_sum"}


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

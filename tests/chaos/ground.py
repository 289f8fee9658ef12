"""Where it happens: a Kafka and a Valkey of its own, and workers as processes, started again when they end."""

import contextlib
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from tests.chaos.check import Ended, Loss
from tests.chaos.load import REPOSITORY, Publisher
from tests.chaos.reader import Reader
from tests.chaos.worker import EVENTS, REFUSED
from tests.servers import Server
from tests.servers.kafka import KafkaServer
from tests.servers.valkey import ValkeyServer
from tests.service.stream import Topics

LIMIT = 180.0
"""Nothing here takes this long [s], on however slow a machine; if it does, the run has failed."""
_LOOK_SECONDS = 0.05


class Failed(Exception):
    """The run did not go as it must."""


class Worker(Server):
    """One process of the service, in a directory of its own. ``kind`` is one of ``worker.STREAMS``, or plain."""

    name = "worker"

    def __init__(self, directory: Path, environment: dict[str, str], *, kind: str) -> None:
        super().__init__(directory, start_limit=LIMIT)
        self._variables = environment
        self._kind = kind

    def _command(self) -> list[str]:
        if self._kind == "plain":
            return [sys.executable, "-m", "service", "serve"]
        return [sys.executable, "-m", "tests.chaos.worker", str(self.directory), self._kind]

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "OMP_NUM_THREADS": "1", **self._variables, "PYTHONPATH": str(REPOSITORY)}

    def _answers(self) -> bool:
        return True  # it takes part when it is ready to: nobody waits for it

    def order(self, point: str, what: signal.Signals) -> None:
        """Have it send itself a signal when it comes by this point."""
        unfinished = self.directory / f"{point}.unfinished"
        unfinished.write_text(what.name)
        unfinished.rename(self.directory / point)

    def events(self) -> list[str]:
        """What it told of itself."""
        path = self.directory / EVENTS
        return path.read_text().splitlines() if path.exists() else []

    def wait_for(self, event: str) -> None:
        """Until it has told this."""
        until(lambda: event in self.events(), what=f"{self.directory.name}: {event}")

    def send(self, what: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, what)

    def wait(self, seconds: float = LIMIT) -> int:
        """Its exit code, once it has ended."""
        process = self._running()
        code = process.wait(seconds)
        self.kill()  # the guardian goes too
        return code


class Ground:
    """Servers, workers, readers and what befell them. Faults may strike from several threads."""

    def __init__(self, directory: Path, *, partitions: int, environment: dict[str, str]) -> None:
        self._directory = directory
        self.kafka = KafkaServer(directory / "kafka", controller_apart=True, heap_mib=768, start_limit=LIMIT)
        self.valkey = ValkeyServer(directory / "valkey")
        self._partitions = partitions
        self._values = environment
        self._incarnations = 0
        self._lock = threading.Lock()
        self._watched: dict[str, Worker] = {}
        self._everyone: list[Worker] = []
        self._taken: set[str] = set()
        self._ending = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, name="supervisor", daemon=True)
        self.kafka_lock = threading.Lock()
        self.killed: set[int] = set()
        """Process ids that were killed with SIGKILL."""
        self.losses: list[Loss] = []
        self.fenced: list[str] = []
        """Zombies that were refused."""
        self.ended: list[Ended] = []
        """Workers that ended by themselves, and were started again."""

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.kafka)
            stack.enter_context(self.valkey)
            self.topics = Topics(self.kafka.bootstrap_servers, self._partitions)
            self.committed = Reader(self.topics, committed=True)
            self.uncommitted = Reader(self.topics, committed=False)
            for reader in (self.committed, self.uncommitted):
                reader.start()
                stack.callback(reader.stop)
            stack.callback(self._end_workers)
            self._supervisor.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # --- workers --------------------------------------------------------------------------------------------------

    def start(self, name: str, *, kind: str = "service") -> Worker:
        """A worker of this name, watched from now on in place of any earlier one of the name."""
        worker = self.made(name, kind=kind, REDIS_URL=self.valkey.url)
        worker.start()
        with self._lock:
            self._watched[name] = worker
        return worker

    def made(self, name: str, *, kind: str, **values: str) -> Worker:
        """A worker, not started and not watched."""
        with self._lock:
            self._incarnations += 1
            directory = self._directory / f"{name}.{self._incarnations}"
        given = {"KAFKA_TRANSACTIONAL_ID": f"{self.topics.name}-{name}", **self._values, **values}
        worker = Worker(directory, self.topics.environment(**given), kind=kind)
        directory.mkdir(parents=True)
        self._everyone.append(worker)
        return worker

    @contextlib.contextmanager
    def victim(self, rng: random.Random) -> Iterator[str]:
        """A worker that nothing else happens to meanwhile, by name. What comes of it is not supervised."""
        taken: list[str] = []

        def take() -> bool:
            with self._lock:
                free = sorted(self._watched.keys() - self._taken)
                taken.extend(rng.choices(free) if free else ())
                self._taken |= set(taken)
            return bool(taken)

        until(take, what="a worker to strike")
        try:
            yield taken[0]
        finally:
            with self._lock:
                self._taken -= set(taken)

    def worker(self, name: str) -> Worker:
        """The one of this name."""
        with self._lock:
            return self._watched[name]

    def kill(self, worker: Worker) -> None:
        """SIGKILL."""
        self.killed.add(worker.pid)
        worker.kill()

    def release(self, name: str) -> Worker:
        """Watch a worker no longer."""
        with self._lock:
            return self._watched.pop(name)

    def note_ended(self, worker: Worker, code: int) -> None:
        """It ended by itself."""
        refused, log = REFUSED in worker.events(), worker.log.read_text(errors="replace")
        self.ended.append(Ended(worker.directory.name, code, refused, self.kafka_lock.locked(), log))

    def names(self) -> list[str]:
        """Of the workers that are watched."""
        with self._lock:
            return sorted(self._watched)

    def drain(self) -> list[int]:
        """SIGTERM to every worker; their exit codes."""
        self._ending.set()
        self._supervisor.join()
        workers = [self.release(name) for name in self.names()]
        for worker in workers:
            worker.send(signal.SIGTERM)
        return [worker.wait() for worker in workers]

    def _supervise(self) -> None:
        """Start again what has ended by itself, as an orchestrator does."""
        while not self._ending.wait(0.3):
            for name in self.names():
                with self._lock:
                    worker = self._watched.get(name)
                    if worker is None or name in self._taken or worker.is_running:
                        continue
                    self._taken.add(name)
                self.note_ended(worker, worker.wait())
                self.start(name)
                with self._lock:
                    self._taken.discard(name)

    def _end_workers(self) -> None:
        self._ending.set()
        self._supervisor.join()
        for worker in self._everyone:
            worker.kill()

    # --- what is seen ---------------------------------------------------------------------------------------------

    def recovered(self, since_ms: int, publisher: Publisher, *, history: str | None = None) -> None:
        """Until something published after ``since_ms`` has been answered from every partition, perhaps like this."""

        def answered() -> bool:
            if not publisher.left:
                raise Failed("the load came to its end before the faults did")
            latest = (self.committed.latest(n, history=history) for n in range(self._partitions))
            return min(latest) > since_ms

        until(answered, what="answers from every partition after a fault")

    def logs(self) -> str:
        """The last lines of every worker's log."""
        return "\n".join(
            f"--- {worker.directory.name}\n{''.join(worker.log.read_text().splitlines(keepends=True)[-8:])}"
            for worker in self._everyone
            if worker.log.exists()
        )


def until(true: Callable[[], bool], *, what: str, seconds: float = LIMIT) -> None:
    """Wait. Raises Failed if it takes longer than ``seconds``."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise Failed(f"not within {seconds:.0f} s: {what}")
        time.sleep(_LOOK_SECONDS)


def now_ms() -> int:
    """The clock that Kafka's timestamps are of."""
    return int(time.time() * 1000)

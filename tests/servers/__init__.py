"""Real servers for tests: each a child process on loopback, started, killed and restarted by its own process id."""

import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

import pytest

LOOPBACK = "127.0.0.1"
PORTS = range(20_000, 32_000)
POLL_SECONDS = 0.05
LOG_TAIL_LINES = 80


class ServerError(RuntimeError):
    """A server that did not start or stop as asked; the message ends with the tail of its log."""


class UnavailableError(RuntimeError):
    """What this machine lacks to run a server at all."""


class Server(ABC):
    """One server process, which keeps its ports and its directory over restarts.

    The directory holds its data and ``server.log``, and belongs to the caller. Any thread may start the server.
    """

    name: str

    def __init__(self, directory: Path, *, start_limit: float) -> None:
        self.directory = directory
        self.log = directory / "server.log"
        self._start_limit = start_limit
        self._process: subprocess.Popen[bytes] | None = None
        self._guardian: _Guardian | None = None

    @abstractmethod
    def _command(self) -> list[str]:
        """The command line that runs the server in the foreground."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether the server does its work, asked over its own protocol."""

    def _environment(self) -> dict[str, str] | None:
        """The process's environment; None for this one's own."""
        return None

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id."""
        return self._running().pid

    def start(self) -> None:
        """Start the process and return once it answers."""
        if self._process is not None:
            raise ServerError(f"{self.name} was started before and not stopped")
        self.directory.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                env=self._environment(),
                start_new_session=True,  # a Ctrl-C is for the tests: they stop their servers in their own order
            )
        self._guardian = _Guardian(self._process.pid)
        try:
            self._wait_until_it_answers(self._process)
        except BaseException:
            self.kill()
            raise

    def stop(self, *, limit: float = 20.0) -> None:
        """Ask the process to end, wait, and kill it where ``limit`` seconds were not enough."""
        self._end(signal.SIGTERM, limit)

    def kill(self) -> None:
        """End the process at once, as a crash would."""
        self._end(signal.SIGKILL, limit=20.0)

    def restart(self) -> None:
        """Stop the process, if it lives, and start it on the same ports and directory."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ServerError(f"{self.name} is not running")
        return self._process

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + self._start_limit
        while process.poll() is None:
            if self._answers():
                return
            if time.monotonic() > deadline:
                raise ServerError(f"{self.name} did not answer in {self._start_limit:g} s:\n{self._log_tail()}")
            time.sleep(POLL_SECONDS)
        raise ServerError(f"{self.name} ended with status {process.returncode}:\n{self._log_tail()}")

    def _end(self, signal_number: signal.Signals, limit: float) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal_number)
        try:
            self._process.wait(limit)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
        if self._guardian is not None:
            self._guardian.dismiss()
            self._guardian = None

    def _log_tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])


class _Guardian:
    """A small child that kills one process once this one is gone, by whatever end: SIGKILL leaves no time for atexit.

    It waits on a pipe that the kernel closes with this process. PR_SET_PDEATHSIG would not do: it fires when the
    *thread* that started the child ends, and tests restart servers from threads.
    """

    def __init__(self, pid: int) -> None:
        shell = shutil.which("sh") or "/bin/sh"
        self._process = subprocess.Popen(
            [shell, "-c", 'read -r dismissed || kill -KILL "$1"', "guardian", str(pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def dismiss(self) -> None:
        self._process.communicate(b"dismissed\n")


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listens on, below the range that the kernel hands to outgoing connections.

    A client that reconnects to a killed server may be given the server's own port as its source, and then talks to
    itself and keeps the server from coming back. That happens only to ports inside that range.
    """
    # Shuffled without the tests' seed: runs side by side should not all try the same port first.
    candidates = random.SystemRandom().sample(PORTS, k=len(PORTS))
    return list(itertools.islice((port for port in candidates if _is_free(port)), count))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def skip_or_fail(reason: str) -> NoReturn:
    """Skip the calling test on a developer's machine; fail it in CI, where nobody would miss a skipped guarantee."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)

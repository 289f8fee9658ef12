"""A schema registry on loopback that answers as it is told to."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SCHEMA = {"type": "record", "name": "alert", "fields": [{"name": "alertId", "type": "long"}]}
NO_SUCH_ID = b'{"error_code": 40403, "message": "Schema not found"}'


def answer(schema: Any) -> bytes:
    """How a registry tells of a schema, which may have fastavro's marks."""
    return json.dumps({"schema": json.dumps(without_marks(schema))}).encode()


def without_marks(schema: Any) -> dict[str, Any]:
    """The schema as it was before fastavro parsed it."""
    return {name: value for name, value in schema.items() if not name.startswith("__")}


GOOD = answer(SCHEMA)


class Confluent(ThreadingHTTPServer):
    """Answers every id in the way it was told to, and notes what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status, self.body = 200, GOOD
        self.cut = 0
        self.silent = threading.Event()
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Confluent

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["Authorization"]))
        self.server.silent.wait(10)
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        with contextlib.suppress(BrokenPipeError):  # who no longer waits for a silent one
            self.wfile.write(self.server.body[: len(self.server.body) - self.server.cut])

    def log_message(self, format: str, *_: object) -> None:  # noqa: A002 - the base class's name
        pass

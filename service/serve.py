"""``python -m service serve``: the worker and the HTTP API in one process, until a signal."""

import argparse
import asyncio
import faulthandler
import logging
import os
import signal
import socket
import sys
import threading
from contextlib import nullcontext
from typing import Self

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from models.classifier import Classifier
from models.inputs import alert
from service import auth, model
from service.api import Api, create_app
from service.errors import Fatal, Misconfigured
from service.health import Health
from service.history import CHECK_SECONDS, History
from service.inference import Inference
from service.kafka.stream import KafkaStream
from service.metrics import Metrics
from service.redis_client import connect
from service.registry import Registry
from service.settings import Settings
from service.worker import Worker

log = logging.getLogger(__name__)

_STDERR = 2

_ANSWERING_SECONDS = 5.0
"""So long the end waits for requests that are being answered."""

_HEAD_SECONDS = 20.0
"""A connection that has not sent the head of a request by then is closed: it costs a descriptor."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It has none: everything is a setting, which its help tells of."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    defaults = Settings.defaults()
    told = [
        f"  {name:<24} {purpose}" + (f" ({defaults[name]})" if name in defaults else "")
        for name, purpose in Settings.variables().items()
    ]
    told.append(f"  {'KAFKA_CONFIG_*':<24} any option of librdkafka: KAFKA_CONFIG_SASL_USERNAME is sasl.username")
    parser.epilog = "\n".join(
        [
            "environment variables, or lines of a file .env (NAME_FILE reads NAME from a file), and their defaults:",
            *told,
        ]
    )


def run(_: argparse.Namespace, settings: Settings) -> int:
    """The subcommand. Exit code 0 after a drain, 1 after a fatal fault, 2 if it cannot start like this."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    faulthandler.register(signal.SIGUSR1, file=_STDERR)  # where each thread is, for whoever asks
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as a container's first process it would go unheard
    try:
        with nullcontext() if settings.http_port is None else HttpServer(settings, settings.http_port) as http:
            _serve(settings, http)
    except Misconfigured as error:
        log.error("%s", error)
        return 2
    except Fatal as error:
        log.error("fatal, with no batch committed in part: %s", error)
        return 1
    except KeyboardInterrupt:
        log.info("told to end before it had begun")
        return 0
    log.info("drained")
    return 0


def _serve(settings: Settings, http: "HttpServer | None") -> None:
    """Until a signal. Raises Misconfigured and Fatal."""
    metrics, health = Metrics(), Health()
    stream = KafkaStream(settings)
    registry = Registry(settings.schema_registry_url)
    classifier = model.load(
        settings.model_dir,
        device=settings.device,
        precision=settings.model_precision,
        prior=settings.model_prior,
    )
    history = _history(settings, classifier)
    metrics.model.labels(classifier.name, classifier.version).set(1)
    inference = Inference(classifier, metrics, max_waiting=settings.http_queue)
    worker = Worker(
        settings,
        stream=stream,
        inference=inference,
        history=history,
        registry=registry,
        metrics=metrics,
        health=health,
    )
    _stop_on_signals(worker, settings.drain_seconds)
    if http is not None:
        http.serve(Api(settings, inference=inference, history=history, metrics=metrics, health=health))
    alert.warm_up()
    inference.warm_up()
    health.warm = True
    worker.run()
    if http is not None:
        http.stop()  # while there is a model to answer with
    inference.close()


def _history(settings: Settings, classifier: Classifier) -> History | None:
    if settings.redis_url is None:
        log.warning("REDIS_URL is not set: every alert is classified by itself alone")
        return None

    def address() -> str | None:
        return settings.renewed().redis_url

    history = History(
        connect(settings.redis_url, renewed=address),
        prober=connect(settings.redis_url, seconds=CHECK_SECONDS, renewed=address),
        ttl=settings.history_ttl,
        max_points=settings.history_points,
        window_days=classifier.model.window_days,
    )
    if history.check() is not None:
        log.warning("starting without history: %s", history.fault)
    return history


def _signals() -> socket.socket:
    """A byte can be read from it for each SIGTERM and SIGINT."""
    received, sent = socket.socketpair()
    sent.setblocking(False)
    signal.set_wakeup_fd(sent.detach())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # what is to be done is not for the main thread
    return received


def _stop_on_signals(worker: Worker, drain_seconds: float) -> None:
    """The first SIGTERM or SIGINT drains, within a bound; the second ends at once. Transactions make both safe.

    A thread waits for them: Python runs handlers in the main thread only, and not before a call into Kafka's client
    comes back.
    """
    signals = _signals()

    def end() -> None:
        log.warning("not drained in time, or told twice: ending at once; the open batch will be done again")
        os._exit(1)

    def wait() -> None:
        signals.recv(1)
        worker.stop()
        timer = threading.Timer(drain_seconds, end)
        timer.daemon = True
        timer.start()
        signals.recv(1)
        end()

    threading.Thread(target=wait, name="signals", daemon=True).start()


class HttpServer:
    """The API in a thread of its own.

    It has its address before there is a model, which takes its time: a mistake is told at once.
    """

    _server: uvicorn.Server | None = None

    def __init__(self, settings: Settings, port: int) -> None:
        """Raises Misconfigured."""
        self._tokens = auth.tokens(settings)
        self._sockets = _listening(settings.http_host, port)

    def serve(self, api: Api) -> None:
        """Answer requests, those that wait already first."""
        app = create_app(api, tokens=self._tokens)
        self._server = uvicorn.Server(uvicorn.Config(app, http=_Impatient, log_level="warning", timeout_keep_alive=30))
        self._thread = threading.Thread(target=self._server.run, args=(self._sockets,), name="http", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Take no more requests, and answer those that are here."""
        server, self._server = self._server, None
        if server is None:
            for one in self._sockets:
                one.close()
            return
        server.should_exit = True
        self._thread.join(_ANSWERING_SECONDS)


class _Impatient(H11Protocol):
    """HTTP that does not wait for ever for the head of a request, as uvicorn's own does once some of it has come."""

    _head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:  # a whole head has come
            self._stop_waiting()
        elif self._head is None and self._is_idle():
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_waiting()

    def _is_idle(self) -> bool:
        """Whether no request is being answered, so that what comes begins the next one."""
        return self.cycle is None or self.cycle.response_complete

    def _await_head(self) -> None:
        self._head = self.loop.call_later(_HEAD_SECONDS, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None


def _listening(host: str, port: int) -> list[socket.socket]:
    """A socket for each of the host's addresses. In uvicorn's thread, a port that is taken would stop nothing."""
    sockets: list[socket.socket] = []
    try:
        for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            sockets.append(socket.create_server(address, family=family))
    except OSError as error:
        for one in sockets:
            one.close()
        raise Misconfigured(f"HTTP cannot listen on {host}, port {port}: {error.strerror}") from error
    return sockets

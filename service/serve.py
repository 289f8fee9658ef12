"""``python -m service serve``: the worker and the HTTP API in one process, until a signal."""

import argparse
import logging
import os
import signal
import sys
import threading

import torch
import uvicorn

from models.classifier import Classifier, InvalidArtifact
from service.api import Api, create_app
from service.errors import Fatal, Misconfigured
from service.health import Health
from service.history import History, connect
from service.inference import Inference
from service.kafka import KafkaStream
from service.metrics import Metrics
from service.registry import Registry
from service.settings import Settings
from service.worker import Worker

log = logging.getLogger(__name__)

_SIGNALS = {signal.SIGTERM, signal.SIGINT}


def add_arguments(_: argparse.ArgumentParser) -> None:
    """It has none: everything is a setting."""


def run(_: argparse.Namespace, settings: Settings) -> int:
    """The subcommand. Exit code 0 after a drain, 1 after a fatal fault, 2 if it cannot start like this."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    # Before any thread is started, so that none takes a signal but the one that waits for them.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    metrics, health = Metrics(), Health()
    try:
        classifier = _classifier(settings)
        stream = KafkaStream(settings)
        history = _history(settings, classifier)
        registry = Registry(settings.schema_registry_url)
    except (Misconfigured, InvalidArtifact) as error:
        log.error("%s", error)
        return 2
    metrics.model.labels(classifier.name, classifier.version).set(1)
    inference = Inference(classifier, metrics, max_waiting=settings.http_queue)
    inference.warm_up()
    health.warm = True
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
    server = _serve_http(settings, Api(settings, inference=inference, history=history, metrics=metrics, health=health))
    try:
        worker.run()
    except Misconfigured as error:
        log.error("%s", error)
        return 2
    except Fatal as error:
        log.error("fatal, nothing of the last batch is committed: %s", error)
        return 1
    finally:
        if server is not None:
            server.should_exit = True
    inference.close()
    log.info("drained")
    return 0


def _classifier(settings: Settings) -> Classifier:
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise Misconfigured("DEVICE is cuda, and PyTorch sees no GPU")
    return Classifier.load(settings.model_dir, device=settings.device)


def _history(settings: Settings, classifier: Classifier) -> History | None:
    if settings.redis_url is None:
        log.warning("REDIS_URL is not set: every alert is classified by itself alone")
        return None
    history = History(
        connect(settings.redis_url),
        ttl=settings.history_ttl,
        max_points=settings.history_points,
        window_days=classifier.model.window_days,
    )
    if history.check() is not None:
        log.warning("starting without history: %s", history.fault)
    return history


def _stop_on_signals(worker: Worker, drain_seconds: float) -> None:
    """The first SIGTERM or SIGINT drains, within a bound; the second ends at once. Transactions make both safe.

    A thread waits for them: Python would run a handler in the main thread only, and not before a call into Kafka's
    client comes back.
    """

    def end() -> None:
        log.warning("not drained in time, or told twice: ending at once; the open batch will be done again")
        os._exit(1)

    def wait() -> None:
        signal.sigwait(_SIGNALS)
        worker.stop()
        timer = threading.Timer(drain_seconds, end)
        timer.daemon = True
        timer.start()
        signal.sigwait(_SIGNALS)
        end()

    threading.Thread(target=wait, name="signals", daemon=True).start()


def _serve_http(settings: Settings, api: Api) -> uvicorn.Server | None:
    if settings.http_port is None:
        return None
    config = uvicorn.Config(
        create_app(api), host=settings.http_host, port=settings.http_port, log_level="warning", timeout_keep_alive=30
    )
    server = uvicorn.Server(config)
    threading.Thread(target=server.run, name="http", daemon=True).start()
    return server

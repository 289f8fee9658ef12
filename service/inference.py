"""One model, two kinds of callers: the stream goes first, HTTP waits in a bounded queue."""

import itertools
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from enum import IntEnum
from time import perf_counter

import numpy as np

from models.classifier import Classifications, Classifier
from models.inputs.alert import AlertBatch, object_batch
from service.errors import Overloaded
from service.metrics import Metrics

_WARM_UP_SIZES = (1, 30, 200)


class Priority(IntEnum):
    """Smaller goes first; the end comes after everything that waits."""

    STREAM = 0
    HTTP = 1
    END = 2


class Inference:
    """Runs a Classifier in a thread of its own, one batch at a time, in order of priority and then of arrival."""

    def __init__(self, classifier: Classifier, metrics: Metrics, *, max_waiting: int) -> None:
        self.classifier = classifier
        self._metrics = metrics
        self._room = threading.BoundedSemaphore(max_waiting)
        self._arrival = itertools.count()
        self._waiting: queue.PriorityQueue[tuple[Priority, int, Callable[[], None]]] = queue.PriorityQueue()
        self._thread = threading.Thread(target=self._work, name="inference", daemon=True)
        self._thread.start()

    def classify(
        self, alerts: AlertBatch, priority: Priority = Priority.STREAM, *, embed: bool = False
    ) -> "Future[Classifications]":
        """Queue a batch. Raises Overloaded if too many HTTP requests wait already; the stream always gets in."""
        if priority is Priority.HTTP and not self._room.acquire(blocking=False):
            raise Overloaded("too many requests are waiting for the model")
        answer: Future[Classifications] = Future()
        queued = perf_counter()

        def job() -> None:
            if priority is Priority.HTTP:
                self._room.release()
            if not answer.set_running_or_notify_cancel():  # the stream's partitions went meanwhile
                return
            self._metrics.stage.labels("queue").observe(perf_counter() - queued)
            try:
                with self._metrics.time("inference"):
                    result = self.classifier.embed(alerts) if embed else self.classifier.classify(alerts)
            except Exception as error:  # the caller decides what a model's failure means
                answer.set_exception(error)
            else:
                answer.set_result(result)

        self._waiting.put((priority, next(self._arrival), job))
        return answer

    def warm_up(self) -> None:
        """Classify made-up objects of several sizes: the first alert must not pay for what is done once.

        Raises whatever the model raises.
        """
        for size in _WARM_UP_SIZES:
            body = {
                "diaObjectId": None,
                "mjd": (60_000 + np.arange(size, dtype=np.float64)).tolist(),
                "band": ["r"] * size,
                "psfFlux": [1000.0] * size,
                "psfFluxErr": [50.0] * size,
                "detected": [True] * size,
                "metadata": {"mwebv": 0.05},
            }
            self.classify(object_batch([body]).alerts).result()

    def close(self) -> None:
        """Finish what waits, and end."""
        self._waiting.put((Priority.END, next(self._arrival), lambda: None))
        self._thread.join()

    def _work(self) -> None:
        while True:
            priority, _, job = self._waiting.get()
            if priority is Priority.END:
                return
            job()

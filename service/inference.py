"""One model, two kinds of callers: the stream goes first, HTTP waits in a bounded queue."""

import itertools
import queue
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import IntEnum
from time import perf_counter

import numpy as np

from models.arrays import IntArray
from models.classifier import Classifications, Classifier, Predictions
from models.inputs.alert import object_batch
from models.inputs.alert_batch import AlertBatch
from service.errors import Misconfigured, Overloaded
from service.metrics import Metrics

_WARM_UP_SIZES = (1, 30, 200)

_PART_POINTS = 16_384
"""A stream's batch waits for no more of HTTP's than these: half a second of a network of the thesis's size."""


class Priority(IntEnum):
    """Smaller goes first; the end comes after everything that waits."""

    STREAM = 0
    HTTP = 1
    END = 2


@dataclass
class _Job:
    """A batch that waits, or is in the model in part."""

    alerts: AlertBatch
    embed: bool
    answer: "Future[Classifications]"
    parts: deque[IntArray]
    """Rows that are still to be classified, together with others of their part."""
    queued: float
    predicted: list[Predictions] = field(default_factory=list)


class Inference:
    """Runs a Classifier in a thread of its own, in order of priority and then of arrival.

    The stream's batches go through whole; those of HTTP in parts, between which the stream gets its turn.
    """

    def __init__(self, classifier: Classifier, metrics: Metrics, *, max_waiting: int) -> None:
        self.classifier = classifier
        self._metrics = metrics
        self._room = threading.BoundedSemaphore(max_waiting)
        self._arrival = itertools.count()
        self._waiting: queue.PriorityQueue[tuple[Priority, int, _Job | None]] = queue.PriorityQueue()
        self._thread = threading.Thread(target=self._work, name="inference", daemon=True)
        self._thread.start()

    def classify(
        self, alerts: AlertBatch, priority: Priority = Priority.STREAM, *, embed: bool = False
    ) -> "Future[Classifications]":
        """Queue a batch. Raises Overloaded if too many HTTP requests wait already; the stream always gets in."""
        if priority is Priority.HTTP and not self._room.acquire(blocking=False):
            raise Overloaded("too many requests are waiting for the model")
        parts = _parts(alerts) if priority is Priority.HTTP else [np.arange(len(alerts))]
        job = _Job(alerts, embed, Future(), deque(parts), perf_counter())
        self._waiting.put((priority, next(self._arrival), job))
        return job.answer

    def warm_up(self, *, wait: "Callable[[Future[Classifications]], Classifications]" = Future.result) -> None:
        """Classify made-up objects of several sizes: the first alert must not pay for what is done once.

        ``wait`` waits for each answer. Raises Misconfigured for a model whose probabilities are no numbers, and
        whatever the model raises.
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
            answer = wait(self.classify(object_batch([body]).alerts))
            if not answer.predictions.is_finite.all():
                raise Misconfigured("the model's probabilities are not finite: its weights are broken, or its device")

    def close(self) -> None:
        """Finish what waits, and end."""
        self._waiting.put((Priority.END, next(self._arrival), None))
        self._thread.join()

    def _work(self) -> None:
        while True:
            priority, arrival, job = self._waiting.get()
            if job is None:
                return
            if self._start(job, priority) and not self._classify_part(job):
                self._waiting.put((priority, arrival, job))

    def _start(self, job: _Job, priority: Priority) -> bool:
        """Whether there is something to do for a job; at its first turn, its wait is over."""
        if job.answer.running():
            return True
        if priority is Priority.HTTP:
            self._room.release()
        if not job.answer.set_running_or_notify_cancel():  # the stream's partitions went meanwhile
            return False
        self._metrics.stage.labels("queue").observe(perf_counter() - job.queued)
        return True

    def _classify_part(self, job: _Job) -> bool:
        """Whether that was the last of it."""
        rows = job.parts.popleft()
        alerts = job.alerts if len(rows) == len(job.alerts) else job.alerts.take(rows)
        try:
            with self._metrics.time("inference"):
                part = self.classifier.embed(alerts) if job.embed else self.classifier.classify(alerts)
        except Exception as error:  # the caller decides what a model's failure means
            job.answer.set_exception(error)
            return True
        job.predicted.append(part.predictions)
        if job.parts:
            return False
        predictions = Predictions.joined(job.predicted, n_classes=len(self.classifier.taxonomy))
        job.answer.set_result(Classifications(job.alerts, predictions))
        return True


def _parts(alerts: AlertBatch) -> list[IntArray]:
    """Consecutive rows that have _PART_POINTS points together, or one with more."""
    part = alerts.offsets[:-1] // _PART_POINTS
    return np.split(np.arange(len(alerts)), np.flatnonzero(np.diff(part)) + 1)

"""What the metrics say of every batch, and of how far behind a worker is."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from models.inputs.alert_batch import NO_OBJECT
from models.inputs.errors import NothingLeft
from service.gathered import Gathered
from service.kafka.messages import Message, Partition
from service.metrics import Metrics
from service.outputs import history_of
from service.pipeline import Answers
from service.reasons import kind_of

_NO_OBJECT_KIND = "no_object"


class Tally:
    """Keeps the metrics of one worker's batches and partitions."""

    def __init__(self, metrics: Metrics, class_names: Sequence[str]) -> None:
        """``class_names`` (C,) in the order of the model's outputs."""
        self._metrics = metrics
        self._class_names = class_names
        self._shown: set[Partition] = set()
        """Partitions that the lag metrics show."""
        self._current_at: dict[Partition, float] = {}
        """Up to when the messages of each partition are answered: the Kafka timestamp of the last one, or of the first
        that is not; or when no lag was seen."""
        # What Prometheus has not seen at 0 it cannot see grow.
        for instrument, values in (
            (metrics.predicted, class_names),
            (metrics.transactions, ("committed", "aborted", "fenced")),
            (metrics.history, (history_of(True), history_of(False), _NO_OBJECT_KIND)),
        ):
            for value in values:
                instrument.labels(value)

    def read(self, messages: Sequence[Message]) -> None:
        """These come next: what of their partitions is before them is answered, or was read with them."""
        for message in messages:
            if message.timestamp_ms > 0:
                partition, at = (message.topic, message.partition), message.timestamp_ms / 1000
                self._current_at[partition] = min(self._current_at.get(partition, at), at)

    def behind(self, lags: Mapping[Partition, int]) -> None:
        """So many messages of each partition that this worker has are not answered yet."""
        now = time.time()
        for partition, lag in lags.items():
            current_at = self._current_at.setdefault(partition, now) if lag else now
            self._current_at[partition] = current_at
            self._metrics.lag_messages.labels(*partition).set(lag)
            self._metrics.lag_seconds.labels(*partition).set(max(now - current_at, 0.0))
        for gone in self._shown - lags.keys():  # another worker shows it now
            self._metrics.lag_messages.remove(*map(str, gone))
            self._metrics.lag_seconds.remove(*map(str, gone))
            self._current_at.pop(gone, None)
        self._shown = set(lags)

    def committed(self, gathered: Gathered, answers: Answers) -> None:
        """A batch was, with these answers."""
        now = time.time()
        self._metrics.transactions.labels("committed").inc()
        self._metrics.last_commit.set(now)
        self._metrics.batch_alerts.observe(len(gathered.messages))
        self._metrics.batch_tokens.observe(gathered.tokens)
        for part in gathered.parts:
            for left_out, count in part.left_out.items():
                self._metrics.points_left_out.labels(left_out).inc(count)
        self._count_ages(gathered, now)
        self._count_refused(gathered, answers)
        self._count_classified(gathered, answers)

    def _count_ages(self, gathered: Gathered, now: float) -> None:
        for message in gathered.messages:
            if message.timestamp_ms <= 0:  # none
                continue
            age = now - message.timestamp_ms / 1000
            self._current_at[message.topic, message.partition] = message.timestamp_ms / 1000
            if age < 0:
                self._metrics.clock_skew.inc()
            self._metrics.latency.observe(max(age, 0.0))

    def _count_refused(self, gathered: Gathered, answers: Answers) -> None:
        for place, reason in answers.invalid.items():
            declined = isinstance(reason, NothingLeft)
            self._metrics.alerts.labels("declined" if declined else "dead_letter", gathered.schemas[place]).inc()
            if not declined:
                self._metrics.dead_letters.labels(kind_of(str(reason))).inc()

    def _count_classified(self, gathered: Gathered, answers: Answers) -> None:
        for schema, count in Counter(gathered.schemas[place] for place in answers.messages.tolist()).items():
            self._metrics.alerts.labels("classified", schema).inc(count)
        counts = np.bincount(answers.classified.predictions.best, minlength=len(self._class_names))
        for name, count in zip(self._class_names, counts.tolist(), strict=True):
            self._metrics.predicted.labels(name).inc(count)
        without_object = answers.classified.alerts.dia_object_id == NO_OBJECT
        for kind, rows in (
            (history_of(True), answers.full_history),
            (history_of(False), ~answers.full_history & ~without_object),
            (_NO_OBJECT_KIND, without_object),
        ):
            if rows.any():
                self._metrics.history.labels(kind).inc(int(np.count_nonzero(rows)))

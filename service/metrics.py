"""Every Prometheus instrument. Base units, and no ids as labels."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_SIZES = tuple(float(2**power) for power in range(18))


class Metrics:
    """The instruments of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.alerts = self._counter("classifier_alerts", "alerts by what became of them", "outcome", "schema")
        self.dead_letters = self._counter("classifier_dead_letters", "dead letters by reason", "reason")
        self.points_left_out = self._counter(
            "classifier_points_left_out", "points of classified alerts that were not used, by reason", "reason"
        )
        self.predicted = self._counter("classifier_predicted", "alerts by their most probable class", "class")
        self.history = self._counter("classifier_history", "classifications by history used", "kind")
        self.transactions = self._counter("classifier_transactions", "transactions by outcome", "outcome")
        self.http_requests = self._counter("classifier_http_requests", "HTTP requests by status", "path", "status")
        self.clock_skew = self._counter("classifier_clock_skew", "alerts that Kafka dated after their classification")
        self.stage = self._histogram("classifier_stage_seconds", "time a batch spends in a stage", _SECONDS, "stage")
        self.batch_alerts = self._histogram("classifier_batch_alerts", "alerts a batch", _SIZES)
        self.batch_tokens = self._histogram("classifier_batch_tokens", "observations a batch", _SIZES)
        self.latency = self._histogram(
            "classifier_alert_latency_seconds",
            "from an alert's Kafka timestamp to its committed classification",
            _SECONDS,
        )
        self.lag_messages = self._gauge("classifier_lag_messages", "messages not classified yet", "topic", "partition")
        self.lag_seconds = self._gauge(
            "classifier_lag_seconds", "how long ago everything published was classified", "topic", "partition"
        )
        self.stopped = self._gauge("classifier_partitions_stopped", "partitions that wait for an operator")
        self.held = self._gauge("classifier_partitions_held", "partitions that wait for the schema registry")
        self.unread = self._gauge("classifier_partitions_unread", "partitions that Kafka does not answer for")
        self.partitions = self._gauge("classifier_partitions", "partitions that this worker has")
        self.rebalances = self._counter("classifier_rebalances", "times that partitions came or went")
        self.ready = self._gauge("classifier_ready", "1 if ready")
        self.history_up = self._gauge("classifier_history_up", "1 if the history can be used")
        self.last_commit = self._gauge(
            "classifier_last_commit_timestamp_seconds",
            "when the last transaction committed; the start, while none has",
        )
        self.transaction_since = self._gauge(
            "classifier_transaction_open_since_timestamp_seconds", "when the open transaction began; 0 if none is open"
        )
        self.model = self._gauge("classifier_model_info", "1 for the model that answers", "name", "version")

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Observe how long the body takes as this stage."""
        started = perf_counter()
        try:
            yield
        finally:
            self.stage.labels(stage).observe(perf_counter() - started)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, text, labels, registry=self.registry, buckets=buckets)

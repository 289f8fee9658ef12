"""The loop: poll, decode, classify, publish in one transaction, and again."""

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager

import numpy as np

from models.arrays import FloatArray
from models.classifier import Classifications
from models.inputs import avro
from models.inputs.alert import alert_batch
from models.inputs.alert_batch import NO_OBJECT, AlertBatch, Decoded, joined
from service import memory, pipeline
from service.errors import (
    Fatal,
    Fenced,
    KafkaUnavailable,
    PartitionsRevoked,
    RegistryUnavailable,
    ServiceError,
    TransactionAborted,
)
from service.gathered import Gathered
from service.health import Health
from service.history import Completed, History
from service.inference import Inference
from service.kafka.messages import Message, Output, Partition, named
from service.kafka.stream import POLL_BYTES, KafkaStream
from service.metrics import Metrics
from service.pipeline import Answers
from service.publishing import Outputs
from service.registry import Registry
from service.settings import Settings
from service.tally import Tally

log = logging.getLogger(__name__)

_CHUNK_MESSAGES = 256
_IDLE_SECONDS = 0.2
_RETRY_SECONDS = 5.0
_REPORT_SECONDS = 1.0
_PROBE_SECONDS = 5.0
_AWAY_SECONDS = 30.0
_CHECK_SECONDS = 60.0
"""So often a Redis that answers is asked whether it still may not forget."""
_TRIM_SECONDS = 5.0
_LONGEST_PAUSE_SECONDS = 30.0
_SETTLED_SECONDS = 60.0
"""What ends after so long had begun well: the next pause is short again."""
_LONGEST_ABORT_PAUSE_SECONDS = 5.0
"""Between attempts of a batch; the group waits for this worker meanwhile if it has something to say."""
_PATIENCE_SECONDS = 2.0
"""A batch that is longer in the model than this pauses the partitions, and the consumer polls on without reading."""
_MODEL_SECONDS = 600.0
"""A model that has not answered for so long never will."""

BATCH_BYTES = POLL_BYTES
"""A transaction closes at this many bytes of messages, or at twice as many by what the last poll brings."""

_MS_PER_DAY, _MJD_OF_1970 = 86_400_000, 40_587


class Worker:
    """One consumer of the group. ``run`` returns when ``stop`` was called and the last batch is committed."""

    def __init__(
        self,
        settings: Settings,
        *,
        stream: KafkaStream,
        inference: Inference,
        history: History | None,
        registry: Registry,
        metrics: Metrics,
        health: Health,
    ) -> None:
        self._settings = settings
        self._stream = stream
        self._inference = inference
        self._history = history
        self._outputs = Outputs(settings, inference.classifier)
        self._tally = Tally(metrics, inference.classifier.taxonomy.names)
        self._registry = registry
        self._metrics = metrics
        self._health = health
        self._stopping = threading.Event()
        self._held: set[Partition] = set()
        self._tried: set[Partition] = set()
        """Resumed, but nothing of them has been read since."""
        self._untold: list[tuple[int, float, bytes]] = []
        """Latest classifications that are committed, for the history: (dia_object_id, epoch, datum)."""
        self._ask_again = 0.0
        self._report_again = 0.0
        self._check_again = 0.0
        self._probe_again = 0.0
        self._trim_again = 0.0
        self._away: str | None = None
        """What the last probe of Kafka said."""
        self._away_since = time.monotonic()
        self._aborted: str | None = None
        """Why the last transaction was aborted, while none has been committed since."""
        self._abort_pause = _IDLE_SECONDS
        self._rebalances = 0
        """As they were last told."""
        stream.waiting = self._waiting
        metrics.last_commit.set_to_current_time()  # that is when waiting for one begins
        self._tell_of_history()

    def stop(self) -> None:
        """End after the batch that is under way. May be called from anywhere."""
        self._health.draining = True
        self._stopping.set()

    def run(self) -> None:
        """Raises Misconfigured or Fatal, with no batch committed in part."""
        pause = _IDLE_SECONDS
        try:
            while not self._stopping.is_set():
                began = time.monotonic()
                try:
                    self._stream.open()
                    self._metrics.transaction_since.set(0)  # whatever was left open is aborted now
                    self._turns()
                except KafkaUnavailable as error:
                    log.warning("Kafka cannot be used, beginning anew: %s", error)
                    if time.monotonic() - began > _SETTLED_SECONDS:
                        pause = _IDLE_SECONDS
                    self._begin_anew(error, pause)
                    pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        finally:
            self._tell_history()
            self._stream.close()

    def _turns(self) -> None:
        while not self._stopping.is_set():
            self._health.turned = time.monotonic()
            self._turn()

    def _turn(self) -> None:
        self._look_around()
        gathered = self._gather()
        if not gathered.messages:
            return
        try:
            self._classify_and_publish(gathered, joined(gathered.parts))
            self._health.kafka = None
            self._forget_abort()
        except PartitionsRevoked as revoked:
            log.info("%s", revoked)
            self._forget_abort()
        except Fenced:
            self._metrics.transactions.labels("fenced").inc()
            raise
        except KafkaUnavailable:
            self._metrics.transactions.labels("aborted").inc()
            raise
        except TransactionAborted as aborted:
            self._metrics.transactions.labels("aborted").inc()
            self._back_off(str(aborted))

    def _back_off(self, aborted: str) -> None:
        """Wait before the batch is done again, longer each time; until it is committed this worker is not ready."""
        if aborted != self._aborted:
            log.warning("transaction aborted, the batch is done again: %s", aborted)
        self._aborted = self._health.kafka = aborted
        self._probe_again = time.monotonic() + self._abort_pause
        self._wait(self._abort_pause)
        self._abort_pause = min(2 * self._abort_pause, _LONGEST_ABORT_PAUSE_SECONDS)

    def _forget_abort(self) -> None:
        self._aborted = None
        self._abort_pause = _IDLE_SECONDS

    def _wait(self, seconds: float) -> None:
        """Alive all the while, and no longer than until it is stopped."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._stopping.wait(min(left, _IDLE_SECONDS)):
            self._health.turned = time.monotonic()

    def _begin_anew(self, error: KafkaUnavailable, pause: float) -> None:
        """Leave everything that was had of Kafka, and wait; what was polled and not answered comes again."""
        self._waiting(str(error))
        self._health.joined = False
        self._away = None
        self._away_since = time.monotonic()
        self._held.clear()
        self._tried.clear()
        self._forget_abort()
        self._stream.close()
        self._wait(pause)

    def _waiting(self, reason: str) -> None:
        """The loop is alive, and Kafka is what it waits for."""
        self._health.kafka = reason
        self._health.turned = time.monotonic()

    # --- reading --------------------------------------------------------------------------------------------------

    def _gather(self) -> Gathered:
        """Messages until the token budget, the number or the deadline is reached; the clock starts with the first."""
        settings = self._settings
        gathered = Gathered()
        deadline = time.monotonic() + _IDLE_SECONDS
        while (left := deadline - time.monotonic()) > 0 and not self._is_full(gathered):
            room = settings.batch_alerts - len(gathered.messages)
            if room <= 0 or (gathered.messages and self._stopping.is_set()):
                break
            # Kafka's client waits until it has as many as it was asked for: the first must not wait for company.
            wanted = min(room, _CHUNK_MESSAGES) if gathered.messages else 1
            at_once = bool(self._untold) and not gathered.messages
            messages, revoked = self._stream.poll(wanted, 0.0 if at_once else min(left, _IDLE_SECONDS))
            self._health.turned = time.monotonic()
            if revoked:  # what another worker will do must not be done here: begin the batch anew
                self._held -= revoked  # those that stay are paused still, and wait to be resumed
                self._forget_abort()
                return Gathered()
            if not messages:
                self._tell_history()
            if messages and not gathered.messages:
                deadline = time.monotonic() + settings.batch_seconds
            if messages:
                with self._metrics.time("decode"):
                    self._decode(messages, gathered)
        return gathered

    def _is_full(self, gathered: Gathered) -> bool:
        return gathered.tokens >= self._settings.batch_tokens or gathered.size >= BATCH_BYTES

    def _decode(self, messages: Sequence[Message], gathered: Gathered) -> None:
        self._tally.read(messages)
        good, unread = self._unread(messages)
        if good:
            gathered.size += sum(len(message.value) for message in good)
            decoded = alert_batch(unread, not_after=self._not_after(good))
            gathered.messages += good
            gathered.schemas += decoded.schemas
            gathered.parts.append(decoded)

    def _not_after(self, messages: Sequence[Message]) -> FloatArray:
        """The latest time that each message's alert may have [mjd], by its Kafka timestamp, which may be none."""
        milliseconds = np.array([message.timestamp_ms for message in messages], dtype=np.float64)
        milliseconds[milliseconds <= 0] = np.nan
        return milliseconds / _MS_PER_DAY + _MJD_OF_1970 + self._settings.alert_days_ahead

    def _unread(self, messages: Sequence[Message]) -> tuple[list[Message], list[avro.Framed]]:
        """Messages and their schemas; a partition whose schema cannot be had now is held, and its messages left out."""
        good: list[Message] = []
        unread: list[avro.Framed] = []
        for message in messages:
            partition = (message.topic, message.partition)
            if partition in self._held:
                continue
            try:
                unread.append(avro.unread(message.value, schema_by_id=self._registry.schema))
                good.append(message)
                self._tried.discard(partition)
            except RegistryUnavailable as error:
                log.warning("partition %s/%d waits: %s", *partition, error)
                self._stream.hold(message)
                self._held.add(partition)
                self._health.registry = str(error)
                self._ask_again = time.monotonic() + _RETRY_SECONDS
        return good, unread

    def _look_around(self) -> None:
        """What does not belong to a batch: held partitions, the history's state, Kafka's, lag, memory."""
        now = time.monotonic()
        if now >= self._trim_again:
            self._trim_again = now + _TRIM_SECONDS
            memory.give_back()
        if self._held and now >= self._ask_again:
            self._tried |= self._held
            self._held.clear()
            self._stream.resume()
        self._tried &= self._stream.assignment.next.keys()
        if not self._held | self._tried:
            self._health.registry = None
        if now >= self._probe_again:
            self._probe_again = now + _PROBE_SECONDS
            was_away, self._away = self._away, self._stream.probe()
            self._health.kafka = self._away or self._aborted
            if was_away and not self._away:  # librdkafka's transactions do not survive it: see ``bounded``
                raise KafkaUnavailable("it was away")
            if not self._away:
                self._away_since = now
            elif now > self._away_since + _AWAY_SECONDS and not self._stream.assignment.next:
                raise KafkaUnavailable(self._away)  # a worker with nothing to lose would wait with an old password
        if now >= self._report_again:
            self._report_again = now + _REPORT_SECONDS
            if self._history is not None and (self._history.fault is not None or now >= self._check_again):
                self._check_again = now + _CHECK_SECONDS
                self._history.check()
            self._report()

    def _report(self) -> None:
        assignment = self._stream.assignment
        self._health.joined = assignment.joined
        self._tally.behind(self._stream.lags())
        self._health.stopped, self._health.unread = _by_name(assignment.stopped), _by_name(self._stream.unread)
        self._tell_of_history()
        self._metrics.partitions.set(len(assignment.next))
        self._metrics.rebalances.inc(self._stream.rebalances - self._rebalances)
        self._rebalances = self._stream.rebalances
        self._metrics.stopped.set(len(assignment.stopped))
        held = self._held | self._tried
        waiting = held | assignment.stopped.keys() | self._stream.unread.keys()
        self._health.idle = bool(assignment.next) and assignment.next.keys() <= waiting
        self._metrics.held.set(len(held))
        self._metrics.unread.set(len(self._stream.unread))

    def _tell_of_history(self) -> None:
        self._health.history = "REDIS_URL is not set" if self._history is None else self._history.trouble
        self._metrics.history_up.set(self._health.history is None)

    # --- answering ------------------------------------------------------------------------------------------------

    def _classify_and_publish(self, gathered: Gathered, decoded: Decoded) -> None:
        ingested_ms = int(time.time() * 1000)
        messages = gathered.messages
        answers = pipeline.answer(self._inference.classifier, decoded, complete=self._completed, infer=self._infer)
        with self._metrics.time("encode"):
            outputs = self._outputs.of(
                messages, answers, ingested_ms, max_dead_letter_bytes=self._stream.max_dead_letter_bytes
            )
        with self._open_transaction(), self._stream.transaction(messages) as send:
            with self._metrics.time("produce"):
                for output in outputs:
                    send(output)
            committing = time.perf_counter()
        self._metrics.stage.labels("commit").observe(time.perf_counter() - committing)
        self._tally.committed(gathered, answers)
        self._remember(answers, outputs)

    @contextmanager
    def _open_transaction(self) -> Iterator[None]:
        """Shows since when a transaction is open, which may be longer than its batch is done: see ``run``."""
        self._metrics.transaction_since.set_to_current_time()
        try:
            yield
        except KafkaUnavailable:
            raise
        except BaseException:
            self._metrics.transaction_since.set(0)
            raise
        self._metrics.transaction_since.set(0)

    def _infer(self, alerts: AlertBatch) -> Classifications:
        """Raises Fatal if the model fails on anything at all: then it is not the alerts' fault."""
        try:
            answer = self._inference.classify(alerts)
            self._tell_history()  # of the batch before: the model has its own thread
            classified = self._awaited(answer)
        except ServiceError:
            raise
        except Exception:
            if len(alerts) == 1:
                self._must_be_the_alert()
            raise
        if len(alerts) and not classified.predictions.is_finite.any():
            self._must_be_the_alert()
        return classified

    def _awaited(self, answer: "Future[Classifications]") -> Classifications:
        """What the model answers. Until then the partitions pause and the consumer polls on, within its group.

        Raises PartitionsRevoked if partitions went meanwhile, and Fatal for a model that hangs.
        """
        until = time.monotonic() + _MODEL_SECONDS
        paused = False
        try:
            while True:
                try:
                    return answer.result(_PATIENCE_SECONDS)
                except TimeoutError:
                    if answer.done():  # at this very moment; or the time-out is the model's own
                        return answer.result()
                if time.monotonic() > until:
                    raise Fatal(f"the model has not answered in {_MODEL_SECONDS:.0f} s")
                self._health.turned = time.monotonic()
                paused = True
                self._stay(answer)
        finally:
            if paused:
                self._stream.resume(held=self._held)

    def _stay(self, answer: "Future[Classifications]") -> None:
        """Stay in the group, and tell how far behind this worker is. Raises PartitionsRevoked."""
        revoked = self._stream.idle()
        self._report()
        if revoked:
            answer.cancel()
            self._held -= revoked
            raise PartitionsRevoked(f"{named(*revoked)} went to another worker before the model had answered")

    def _must_be_the_alert(self) -> None:
        try:
            self._inference.warm_up(wait=self._awaited)
        except (Fatal, KafkaUnavailable, PartitionsRevoked):
            raise
        except Exception as error:
            raise Fatal(f"the model fails on everything: {type(error).__name__}: {error}") from error

    def _completed(self, alerts: AlertBatch) -> Completed:
        if self._history is None:
            return pipeline.alone(alerts)
        with self._metrics.time("history"):
            return self._history.complete(alerts)

    # --- afterwards -----------------------------------------------------------------------------------------------

    def _remember(self, answers: Answers, outputs: Sequence[Output]) -> None:
        """The latest classification of each object, for HTTP. Only now: an aborted batch must leave no trace.

        The history is told when there is nothing else to do, or the next batch is in the model.
        """
        if self._history is None:
            return
        alerts = answers.classified.alerts
        order = np.lexsort((alerts.epoch, alerts.dia_object_id))
        ids = alerts.dia_object_id[order]
        is_latest = np.append(ids[1:] != ids[:-1], True) if len(ids) else np.empty(0, dtype=np.bool_)
        latest = order[is_latest & (ids != NO_OBJECT)]
        columns = (alerts.dia_object_id, alerts.epoch, answers.messages)
        rows = zip(*(column[latest].tolist() for column in columns), strict=True)
        self._untold += [(name, epoch, outputs[place].value) for name, epoch, place in rows]

    def _tell_history(self) -> None:
        if self._untold and self._history is not None:
            untold, self._untold = self._untold, []
            self._history.remember(untold)


def _by_name(partitions: Mapping[Partition, str]) -> dict[str, str]:
    """As people write them."""
    return {named(partition): why for partition, why in partitions.items()}

"""The check: every message answered once, in order, and as if nothing had happened. It counts; it does not trust."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from models.classifier import Classifier
from models.inputs import avro
from models.inputs.alert import alert_batch
from models.inputs.errors import InvalidAlert
from service import pipeline
from service.outputs import read_broker_classification
from tests.chaos.reader import Answer, Input, Origin

CLOSE = 1e-4
"""Probabilities are equal within this: the sums of a batch are rounded as its size has it."""
_LOSS_MARGIN_MS = 10_000
_CHUNK = 500
_SHOWN = 5
_FATAL = re.compile("fatal, with no batch committed in part: (?!the model)")
"""So the service tells in its log that Kafka has ended it."""


@dataclass(frozen=True)
class Loss:
    """When Redis lost everything: from when on it was empty, ms."""

    begin_ms: int
    end_ms: int


@dataclass(frozen=True)
class Ended:
    """A worker that ended by itself."""

    name: str
    code: int
    refused: bool
    """Kafka refused it for another of its name."""
    without_kafka: bool
    """Kafka was being restarted."""
    log: str

    def __str__(self) -> str:
        return f"{self.name} with exit code {self.code}"


# --- once, and in order -------------------------------------------------------------------------------------------


def wrong_counts(inputs: Sequence[Input], answers: Sequence[Answer]) -> list[str]:
    """What is missing, what was answered twice, and what nobody asked."""
    asked = {one.origin for one in inputs}
    answered = {one.origin for one in answers}
    return [
        *_told("missing", asked - answered),
        *_told("answered twice", _doubles(answers)),
        *_told("answered and never asked", answered - asked),
    ]


def told_of_doubles(answers: Sequence[Answer], uncommitted: Sequence[Answer]) -> list[str]:
    """Where the answers are of which there are too many: as read when committed, and as they are in the log."""
    return [
        f"{origin} as {seen}: "
        + "; ".join(
            f"{one.topic}/{one.partition}@{one.offset} of {one.transaction}" for one in which if one.origin == origin
        )
        for origin in sorted(_doubles(answers))[:_SHOWN]
        for seen, which in (("committed", answers), ("in the log", uncommitted))
    ]


def _doubles(answers: Iterable[Answer]) -> list[Origin]:
    """What was answered more than once."""
    return [origin for origin, count in Counter(one.origin for one in answers).items() if count > 1]


def out_of_order(answers: Iterable[Answer]) -> list[str]:
    """Classifications that come after a later one of their object's, in one partition from one partition."""
    last: dict[tuple[Any, ...], int] = {}
    wrong = []
    for answer in answers:
        place = (answer.topic, answer.partition, answer.key, answer.origin[:2])
        if answer.key is not None and answer.origin[2] < last.get(place, -1):
            wrong.append(answer.origin)
        last[place] = answer.origin[2]
    return _told("out of order", wrong)


def torn(committed: Mapping[str, int], uncommitted: Mapping[str, int]) -> list[str]:
    """Transactions of which a reader of committed messages sees a part only."""
    return _told(
        "half visible",
        (
            f"{name} ({count} of {uncommitted.get(name, 0)})"
            for name, count in committed.items()
            if count != uncommitted.get(name)
        ),
    )


def ends_left_out(kafka_log: str) -> list[str]:
    """Transactions that Kafka itself forgot to end: it takes a partition that has no leader for a deleted one."""
    return _told(
        "ends of transactions that Kafka left out", re.findall(r"transaction markers for (\S+), these", kafka_log)
    )


def crashed(ended: Iterable[Ended]) -> list[str]:
    """Workers that ended by themselves, unless they were refused, or a restart of Kafka was fatal to them."""
    return _told(
        "ended by themselves",
        (
            str(one)
            for one in ended
            if not (one.refused or (one.without_kafka and one.code == 1 and _FATAL.search(one.log)))
        ),
    )


def wrong_outcomes(inputs: Sequence[Input], answers: Sequence[Answer], *, poison: frozenset[bytes]) -> list[str]:
    """Poison that was neither declined nor a dead letter, and alerts that were."""
    bad = {one.origin for one in inputs if one.value in poison}
    refused = {one.origin for one in answers if one.history is None or _read(one).n_observations == 0}
    return [*_told("poison that was classified", bad - refused), *_told("alerts that were refused", refused - bad)]


# --- as if nothing had happened -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Classified:
    """One classification, read."""

    probabilities: tuple[float, ...]
    n_observations: int
    ingested_ms: int

    def differs(self, other: "_Classified") -> float:
        return max(abs(a - b) for a, b in zip(self.probabilities, other.probabilities, strict=True))


@dataclass
class Comparison:
    """How classifications compare with those of an undisturbed run, and of each alert alone."""

    full: int = 0
    """Had their full history, and were compared with the undisturbed run."""
    alone: int = 0
    """Had none, said so, and were compared with what the model says of the alert alone."""
    excused: int = 0
    """Say full, of a history that a fault of Redis had taken from: that is not promised."""
    largest: float = 0.0
    """The largest difference of two probabilities."""
    wrong: list[str] | None = None


def compared(
    inputs: Sequence[Input],
    answers: Sequence[Answer],
    undisturbed: Sequence[Answer],
    *,
    classifier: Classifier,
    losses: Sequence[Loss],
) -> Comparison:
    """Each classification against what it should be.

    A history may lack what an alert told while Redis was full or away, and everything from before Redis was emptied.
    An answer that came after such a gap, of its own object, and with fewer observations than in the undisturbed run is
    excused; with as many, it must be the same.
    """
    values = {one.origin: one.value for one in inputs}
    expected = {one.origin: _read(one) for one in undisturbed if one.history is not None}
    by_object: dict[tuple[bytes | None, int], list[Answer]] = defaultdict(list)
    for answer in answers:
        if answer.history is not None:
            by_object[answer.key, answer.origin[1]].append(answer)
    comparison, differing, alone = Comparison(), [], {}
    for of_object in by_object.values():
        gap, first_ms = False, None
        for answer in sorted(of_object, key=lambda one: one.origin):
            got = _read(answer)
            first_ms = got.ingested_ms if first_ms is None else first_ms
            if answer.history != "full":
                gap |= got.n_observations > 0  # else declined: there was nothing to complete
                alone[answer.origin] = got
                continue
            lost = any(
                first_ms <= loss.end_ms and got.ingested_ms >= loss.begin_ms - _LOSS_MARGIN_MS for loss in losses
            )
            want = expected.get(answer.origin)
            if want is None:
                differing.append(answer.origin)
            elif (gap or lost) and got.n_observations < want.n_observations:
                comparison.excused += 1
            else:
                comparison.full += 1
                comparison.largest = max(comparison.largest, got.differs(want))
                if got.differs(want) > CLOSE or got.n_observations != want.n_observations:
                    differing.append(answer.origin)
    differing_alone = []
    for origin, want in _alone({origin: values[origin] for origin in alone}, classifier).items():
        comparison.alone += 1
        comparison.largest = max(comparison.largest, alone[origin].differs(want))
        if alone[origin].differs(want) > CLOSE:
            differing_alone.append(origin)
    comparison.wrong = [
        *_told("not as in an undisturbed run", differing),
        *_told("not as the alert alone", differing_alone),
    ]
    return comparison


def _read(answer: Answer) -> _Classified:
    record = read_broker_classification(answer.value)
    ingested: datetime = record["brokerIngestTimestamp"]
    return _Classified(
        probabilities=tuple(entry["probability"] for entry in record["classifications"]),
        n_observations=json.loads(record["classifierParams"]).get("nObservations", 0),
        ingested_ms=int(ingested.timestamp() * 1000),
    )


def _alone(values: Mapping[Origin, bytes], classifier: Classifier) -> dict[Origin, _Classified]:
    """What the model says of each alert without any history."""
    found = {}
    origins = list(values)
    for begin in range(0, len(origins), _CHUNK):
        chunk = origins[begin : begin + _CHUNK]
        decoded = alert_batch([avro.unread(values[origin]) for origin in chunk])
        for origin, result in zip(chunk, pipeline.answer(classifier, decoded).results, strict=True):
            if not isinstance(result, InvalidAlert):
                probabilities = tuple(result["probabilities"].values())
                found[origin] = _Classified(probabilities, result["nObservations"], 0)
    return found


def _told(what: str, which: Iterable[Any]) -> list[str]:
    """One line, if there is any: how many, and the first of them."""
    found = sorted(which)
    return [f"{len(found)} {what}: {', '.join(map(str, found[:_SHOWN]))}"] if found else []

"""Messages -> results: the road that files, HTTP and Kafka share from decoded bytes on."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from models.arrays import BoolArray, IntArray
from models.classifier import Classifications, Classifier, Predictions
from models.inputs.alert_batch import AlertBatch, Decoded
from models.inputs.errors import InvalidAlert, NothingLeft
from service.errors import ServiceError
from service.history import Completed
from service.outputs import Result, results

log = logging.getLogger(__name__)

Complete = Callable[[AlertBatch], Completed]
Infer = Callable[[AlertBatch], Classifications]


@dataclass(frozen=True)
class Answers:
    """What became of N messages: M of them are classified, and each of the others has a reason why not."""

    classifier: Classifier
    classified: Classifications
    """M alerts, in the messages' order."""
    messages: IntArray
    """(M,), the message that each of them came in."""
    full_history: BoolArray
    """(M,), True where the history cache was used."""
    invalid: Mapping[int, InvalidAlert]
    """N - M reasons, by message."""

    @cached_property
    def results(self) -> list[Result | InvalidAlert]:
        """One entry a message, in order, a classification as JSON has it."""
        classified = results(self.classified, self.classifier)
        found = {**self.invalid, **dict(zip(self.messages.tolist(), classified, strict=True))}
        return [found[position] for position in range(len(found))]


def alone(alerts: AlertBatch) -> Completed:
    """Alerts as they came, where no history is asked for."""
    return Completed(alerts, np.zeros(len(alerts), dtype=np.bool_))


def answer(
    classifier: Classifier, decoded: Decoded, *, complete: Complete = alone, infer: Infer | None = None
) -> Answers:
    """One answer a message; an InvalidAlert where there can be none. A bad alert costs itself only."""
    completed = complete(decoded.alerts) if len(decoded.alerts) else alone(decoded.alerts)
    parts, failed = _predicted(completed.alerts, np.arange(len(completed.alerts)), infer or classifier.classify)
    rows = np.concatenate([np.empty(0, dtype=np.int64), *(own for own, _ in parts)])
    alerts = completed.alerts.take(rows) if failed else completed.alerts
    predictions = Predictions.joined([part for _, part in parts], n_classes=len(classifier.taxonomy))
    classified = Classifications(alerts, predictions)
    unusable = _unusable(classified)
    failed |= {int(rows[place]): reason for place, reason in unusable.items()}
    answered = np.delete(np.arange(len(rows)), list(unusable))
    rows = rows[answered]
    positions = decoded.messages.tolist()
    return Answers(
        classifier=classifier,
        classified=classified.take(answered) if unusable else classified,
        messages=decoded.messages[rows],
        full_history=completed.full[rows],
        invalid={**decoded.invalid, **{positions[row]: reason for row, reason in failed.items()}},
    )


def _predicted(
    alerts: AlertBatch, rows: IntArray, infer: Infer
) -> tuple[list[tuple[IntArray, Predictions]], dict[int, InvalidAlert]]:
    """Predictions of ``rows``, in parts, and why there are none of the others.

    A batch that fails in the model is halved until the alert that it fails on stands alone.
    """
    if not len(alerts):
        return [], {}
    try:
        return [(rows, infer(alerts).predictions)], {}
    except ServiceError:  # such as a full queue: not the alerts' fault
        raise
    except Exception as error:  # whatever the model raises: the other alerts must not pay for it
        if len(alerts) == 1:
            log.exception("the model fails on alert %d", alerts.alert_id[0])
            return [], {int(rows[0]): InvalidAlert(f"the model failed on it: {type(error).__name__}")}
        halves = np.array_split(np.arange(len(alerts)), 2)
        (first, failed), (second, also_failed) = (_predicted(alerts.take(half), rows[half], infer) for half in halves)
        return first + second, failed | also_failed


def _unusable(classified: Classifications) -> dict[int, InvalidAlert]:
    """Why rows are no answer, by row."""
    alerts, predictions = classified.alerts, classified.predictions
    found: dict[int, InvalidAlert] = {
        row: InvalidAlert("the model failed on it: its probabilities are not finite")
        for row in np.flatnonzero(~predictions.is_finite).tolist()
    }
    for row in np.flatnonzero(predictions.n_observations == 0).tolist():
        found[row] = NothingLeft(
            "no usable observation within the model's window",
            alert_id=int(alerts.alert_id[row]),
            dia_source_id=int(alerts.dia_source_id[row]),
            dia_object_id=int(alerts.dia_object_id[row]),
        )
    return found

"""Messages -> results: the road that files, HTTP and Kafka share from decoded bytes on."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.classifier import Classifications, Classifier
from models.inputs.alert import AlertBatch, Decoded
from models.inputs.errors import InvalidAlert, NothingLeft
from service.errors import ServiceError
from service.history import Completed
from service.outputs import Result, results

log = logging.getLogger(__name__)

Complete = Callable[[AlertBatch], Completed]
Infer = Callable[[AlertBatch], Classifications]


@dataclass(frozen=True)
class Answers:
    """What became of N messages, one entry each, in order."""

    results: list[Result | InvalidAlert]
    full_history: NDArray[np.bool_]
    """(N,), True where the history cache was used."""
    epoch: NDArray[np.float64]
    """(N,), mjd of the alert; NaN where there is none."""


def alone(alerts: AlertBatch) -> Completed:
    """Alerts as they came, where no history is asked for."""
    return Completed(alerts, np.zeros(len(alerts), dtype=np.bool_))


def answer(
    classifier: Classifier, decoded: Decoded, *, complete: Complete = alone, infer: Infer | None = None
) -> Answers:
    """One answer a message; an InvalidAlert where there can be none. A bad alert costs itself only."""
    found: dict[int, Result | InvalidAlert] = dict(decoded.invalid)
    full_history = np.zeros(decoded.count, dtype=np.bool_)
    epoch = np.full(decoded.count, np.nan)
    if len(decoded.alerts):
        completed = complete(decoded.alerts)
        inferred = _inferred(classifier, completed.alerts, infer or classifier.classify)
        found |= dict(zip(decoded.messages.tolist(), inferred, strict=True))
        full_history[decoded.messages] = completed.full
        epoch[decoded.messages] = decoded.alerts.epoch
    return Answers([found[position] for position in range(decoded.count)], full_history, epoch)


def _inferred(classifier: Classifier, alerts: AlertBatch, infer: Infer) -> list[Result | InvalidAlert]:
    """A batch that fails in the model is halved until the alert that it fails on stands alone."""
    try:
        classified = results(infer(alerts), classifier)
    except ServiceError:  # such as a full queue: not the alerts' fault
        raise
    except Exception as error:  # whatever the model raises: the other alerts must not pay for it
        if len(alerts) == 1:
            log.exception("the model fails on alert %d", alerts.alert_id[0])
            return [InvalidAlert(f"the model failed on it: {type(error).__name__}")]
        half = np.array_split(np.arange(len(alerts)), 2)
        return [result for rows in half for result in _inferred(classifier, alerts.take(rows), infer)]
    return [_checked(result, alerts, row) for row, result in enumerate(classified)]


def _checked(result: Result, alerts: AlertBatch, row: int) -> Result | InvalidAlert:
    if not result["nObservations"]:
        return NothingLeft(
            "no usable observation within the model's window",
            alert_id=int(alerts.alert_id[row]),
            dia_source_id=int(alerts.dia_source_id[row]),
            dia_object_id=int(alerts.dia_object_id[row]),
        )
    if not all(map(math.isfinite, result["probabilities"].values())):
        return InvalidAlert("the model failed on it: its probabilities are not finite")
    return result

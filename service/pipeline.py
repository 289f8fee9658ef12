"""Messages -> results: the road that files, HTTP and Kafka share from decoded bytes on."""

from collections.abc import Sequence

from models.classifier import Classifier
from models.inputs.alert import alert_batch
from models.inputs.avro import Reading
from models.inputs.errors import InvalidAlert
from service.outputs import Result, results


def classify(classifier: Classifier, readings: Sequence[Reading | InvalidAlert]) -> list[Result | InvalidAlert]:
    """One result a reading, in order; an InvalidAlert where there can be none. A bad alert costs itself only."""
    decoded = alert_batch(readings)
    answers: dict[int, Result | InvalidAlert] = dict(decoded.invalid)
    if len(decoded.alerts):
        classified = results(classifier.classify(decoded.alerts), classifier)
        for message, result in zip(decoded.messages.tolist(), classified, strict=True):
            answers[message] = result if result["nObservations"] else InvalidAlert("no observation within the window")
    return [answers[position] for position in range(len(readings))]

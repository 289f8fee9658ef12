"""A classification as the world reads it."""

from typing import Any

from models.classifier import Classifications, Classifier
from models.inputs.alert import NO_OBJECT

Result = dict[str, Any]


def results(classifications: Classifications, classifier: Classifier) -> list[Result]:
    """One JSON object an alert, row for row. Ids are decimal strings: JSON clients round integers beyond 2^53."""
    alerts, predictions = classifications.alerts, classifications.predictions
    names = classifier.taxonomy.names
    best = predictions.probabilities.argmax(axis=1)
    return [
        {
            "alertId": str(alerts.alert_id[row]),
            "diaSourceId": str(alerts.dia_source_id[row]),
            "diaObjectId": None if alerts.dia_object_id[row] == NO_OBJECT else str(alerts.dia_object_id[row]),
            "probabilities": {
                name: round(float(p), 9) for name, p in zip(names, predictions.probabilities[row], strict=True)
            },
            "predicted": names[best[row]],
            "nObservations": int(predictions.n_observations[row]),
            "branches": str(predictions.branches[row]),
            "classifier": f"{classifier.name}/{classifier.version}",
        }
        for row in range(len(alerts))
    ]

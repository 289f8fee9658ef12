"""A classification as the world reads it: a JSON object, or ELAsTiCC's brokerClassification in Avro."""

import io
import json
from pathlib import Path
from typing import Any

import fastavro
import fastavro.schema
import numpy as np

from models.classifier import Classifications, Classifier, Predictions
from models.inputs.alert import NO_ALERT, NO_OBJECT
from models.inputs.errors import NothingLeft
from models.taxonomy import NOT_CLASSIFIED

Result = dict[str, Any]

SCHEMAS = Path(__file__).parent / "schemas"
_BROKER_CLASSIFICATION = fastavro.schema.load_schema(str(SCHEMAS / "elasticc.v0_9_1.brokerClassification.avsc"))


def results(classifications: Classifications, classifier: Classifier) -> list[Result]:
    """One JSON object an alert, row for row, with its ``embedding`` where there are any.

    Ids are decimal strings: JSON clients round integers beyond 2^53.
    """
    alerts, predictions = classifications.alerts, classifications.predictions
    names = classifier.taxonomy.names
    best = predictions.probabilities.argmax(axis=1)
    return [
        {
            "alertId": _id(alerts.alert_id[row], NO_ALERT),
            "diaSourceId": _id(alerts.dia_source_id[row], NO_ALERT),
            "diaObjectId": _id(alerts.dia_object_id[row], NO_OBJECT),
            "probabilities": {
                name: round(float(p), 9) for name, p in zip(names, predictions.probabilities[row], strict=True)
            },
            "predicted": names[best[row]],
            "nObservations": int(predictions.n_observations[row]),
            "branches": str(predictions.branches[row]),
            "classifier": f"{classifier.name}/{classifier.version}",
            **_embedding(predictions, row),
        }
        for row in range(len(alerts))
    ]


def _embedding(predictions: Predictions, row: int) -> dict[str, list[float]]:
    if predictions.embeddings is None:
        return {}
    return {"embedding": [round(value, 6) for value in predictions.embeddings[row].tolist()]}


def _id(value: np.int64, nothing: int) -> str | None:
    return None if value == nothing else str(value)


def broker_classification(
    result: Result,
    classifier: Classifier,
    *,
    broker: tuple[str, str],
    published_ms: int,
    ingested_ms: int,
    history: str,
) -> bytes:
    """One result as an ``elasticc.v0_9_1.brokerClassification`` datum, every class with its probability.

    ``broker`` is name and version; ``published_ms`` the Kafka timestamp of the alert. How it was classified (branches,
    observations, history) stands in ``classifierParams`` as JSON.
    """
    return _datum(
        {
            "alertId": int(result["alertId"]),
            "diaSourceId": int(result["diaSourceId"]),
            "elasticcPublishTimestamp": published_ms,
            "brokerIngestTimestamp": ingested_ms,
            "brokerName": broker[0],
            "brokerVersion": broker[1],
            "classifierName": result["classifier"],
            "classifierParams": json.dumps(
                {"branches": result["branches"], "nObservations": result["nObservations"], "history": history}
            ),
            "classifications": [
                {"classId": class_id, "probability": result["probabilities"][name]}
                for class_id, name in zip(classifier.taxonomy.class_ids, classifier.taxonomy.names, strict=True)
            ],
        }
    )


def declined_classification(
    reason: NothingLeft, classifier: Classifier, *, broker: tuple[str, str], published_ms: int, ingested_ms: int
) -> bytes:
    """As ``broker_classification`` for an alert with nothing to classify it by: class 300, and why in
    ``classifierParams``.
    """
    return _datum(
        {
            "alertId": reason.alert_id,
            "diaSourceId": reason.dia_source_id,
            "elasticcPublishTimestamp": published_ms,
            "brokerIngestTimestamp": ingested_ms,
            "brokerName": broker[0],
            "brokerVersion": broker[1],
            "classifierName": f"{classifier.name}/{classifier.version}",
            "classifierParams": json.dumps({"declined": str(reason)}),
            "classifications": [{"classId": NOT_CLASSIFIED, "probability": 1.0}],
        }
    )


def _datum(record: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, _BROKER_CLASSIFICATION, record)
    return stream.getvalue()


def read_broker_classification(value: bytes) -> dict[str, Any]:
    """The inverse of ``broker_classification``: the datum as a record."""
    record: Any = fastavro.schemaless_reader(io.BytesIO(value), _BROKER_CLASSIFICATION)
    return dict(record)

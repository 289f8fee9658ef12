"""A classification as the world reads it: a JSON object, or ELAsTiCC's brokerClassification in Avro."""

import io
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired

import fastavro
import fastavro.schema
import numpy as np
from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict  # pydantic takes typing's own from Python 3.12 on

from models.arrays import BoolArray, FloatArray, IntArray
from models.inputs.alert_batch import NO_ALERT, NO_OBJECT
from models.inputs.errors import NothingLeft
from models.taxonomy import CLASS_NAMES, NOT_CLASSIFIED

if TYPE_CHECKING:
    from models.classifier import Classifications, Classifier

SCHEMAS = Path(__file__).parent / "schemas"
_BROKER_CLASSIFICATION = fastavro.schema.load_schema(str(SCHEMAS / "elasticc.v0_9_1.brokerClassification.avsc"))

_LONG_BYTES, _FLOAT_BYTES = 10, 4
_IN_UNION = b"\x02"
"""Before a value that might be null, and is not."""
_END_OF_ARRAY = b"\x00"


DOCUMENTED = ConfigDict(use_attribute_docstrings=True)
"""Of what the API's document describes field by field."""


@with_config(DOCUMENTED)
class Result(TypedDict):
    """An alert's classification in JSON. Ids are decimal strings: JSON clients round integers beyond 2^53."""

    alertId: str | None
    diaSourceId: str | None
    diaObjectId: str | None
    probabilities: dict[str, float]
    """Of every class of the model by its name in the taxonomy; their sum is 1 within 1e-6."""
    predicted: str
    """The most probable class."""
    nObservations: int
    """Points as fed to the model, after merging and cleaning."""
    branches: str
    """What took part: ``lc``, ``lc+md``, ..."""
    classifier: str
    """Name and version, a slash between them."""
    embedding: NotRequired[list[float]]


def key_of(dia_object_id: int) -> bytes | None:
    """The key of an object's messages; none where it has no id."""
    return None if dia_object_id == NO_OBJECT else str(dia_object_id).encode()


def results(classifications: "Classifications", classifier: "Classifier") -> list[Result]:
    """One an alert, row for row, with its ``embedding`` where there are any."""
    alerts, predictions = classifications.alerts, classifications.predictions
    names = classifier.taxonomy.names
    found = [
        Result(
            alertId=_id(alerts.alert_id[row], NO_ALERT),
            diaSourceId=_id(alerts.dia_source_id[row], NO_ALERT),
            diaObjectId=_id(alerts.dia_object_id[row], NO_OBJECT),
            probabilities={
                name: round(float(p), 9) for name, p in zip(names, predictions.probabilities[row], strict=True)
            },
            predicted=names[best],
            nObservations=int(predictions.n_observations[row]),
            branches=str(predictions.branches[row]),
            classifier=classifier.identity,
        )
        for row, best in enumerate(predictions.best.tolist())
    ]
    if predictions.embeddings is not None:
        for result, embedding in zip(found, predictions.embeddings.tolist(), strict=True):
            result["embedding"] = [round(value, 6) for value in embedding]
    return found


def _id(value: np.int64, nothing: int) -> str | None:
    return None if value == nothing else str(value)


def broker_classifications(
    classified: "Classifications",
    classifier: "Classifier",
    *,
    broker: tuple[str, str],
    published_ms: Sequence[int],
    ingested_ms: int,
    full_history: BoolArray,
) -> list[bytes]:
    """Each row as an ``elasticc.v0_9_1.brokerClassification`` datum, every class with its probability.

    ``broker`` is name and version; ``published_ms`` the Kafka timestamps of the alerts. How each was classified
    (branches, observations, history) stands in ``classifierParams`` as JSON. Written field by field as the schema has
    them, many rows at once: record by record with fastavro, an output took 34 microseconds.
    """
    alerts, predictions = classified.alerts, classified.predictions
    same = b"".join([_IN_UNION, *_longs([ingested_ms]), *map(_string, (*broker, classifier.identity))])
    rows = zip(
        _longs(alerts.alert_id),
        _longs(alerts.dia_source_id),
        _longs(published_ms),
        map(_params, predictions.branches.tolist(), predictions.n_observations.tolist(), full_history.tolist()),
        _classes(classifier.taxonomy.class_ids, predictions.probabilities),
        strict=True,
    )
    return [
        b"".join((alert, source, published, same, params, classes))
        for alert, source, published, params, classes in rows
    ]


@lru_cache(maxsize=4096)
def _params(branches: str, n_observations: int, full_history: bool) -> bytes:
    history = history_of(full_history)
    return _string(json.dumps({"branches": branches, "nObservations": n_observations, "history": history}))


def history_of(full: bool) -> str:
    """How an output names whether the history was used."""
    return "full" if full else "alert_only"


def _classes(class_ids: Sequence[int], probabilities: FloatArray) -> list[bytes]:
    """An array of (class id, probability) for each row: bytes that are the same for all, with gaps for the numbers."""
    same = _longs([len(class_ids)])[0]
    gaps = []
    for class_id in _longs(class_ids):
        gaps.append(len(same) + len(class_id))
        same += class_id + bytes(_FLOAT_BYTES)
    same += _END_OF_ARRAY
    rows = np.tile(np.frombuffer(same, dtype=np.uint8), (len(probabilities), 1))
    numbers = np.ascontiguousarray(probabilities, dtype="<f4").view(np.uint8)
    rows[:, np.add.outer(gaps, np.arange(_FLOAT_BYTES)).ravel()] = numbers
    written = rows.tobytes()
    return [written[start : start + len(same)] for start in range(0, len(written), len(same))]


def _longs(values: Sequence[int] | IntArray) -> list[bytes]:
    """Avro's variable-length zigzag integers: seven bits a byte, and the eighth says that more follow."""
    signed = np.asarray(values, dtype=np.int64)
    zigzag = ((signed << 1) ^ (signed >> 63)).view(np.uint64)
    groups = zigzag[:, None] >> (7 * np.arange(_LONG_BYTES, dtype=np.uint64))
    more = groups >= 0x80
    written = ((groups & 0x7F) | more * np.uint64(0x80)).astype(np.uint8).tobytes()
    lengths = 1 + np.count_nonzero(more, axis=1)
    return [
        written[start : start + length]
        for start, length in zip(range(0, len(written), _LONG_BYTES), lengths.tolist(), strict=True)
    ]


def _string(text: str) -> bytes:
    encoded = text.encode()
    return _longs([len(encoded)])[0] + encoded


def declined_classification(
    reason: NothingLeft, classifier: "Classifier", *, broker: tuple[str, str], published_ms: int, ingested_ms: int
) -> bytes:
    """As ``broker_classifications`` for an alert with nothing to classify it by: class 300, and why in
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
            "classifierName": classifier.identity,
            "classifierParams": json.dumps({"declined": str(reason)}),
            "classifications": [{"classId": NOT_CLASSIFIED, "probability": 1.0}],
        }
    )


def _datum(record: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, _BROKER_CLASSIFICATION, record)
    return stream.getvalue()


def read_broker_classification(value: bytes) -> dict[str, Any]:
    """The inverse of ``broker_classifications``: a datum as a record."""
    record: Any = fastavro.schemaless_reader(io.BytesIO(value), _BROKER_CLASSIFICATION)
    return dict(record)


def read_result(value: bytes, dia_object_id: int) -> Result:
    """A datum as ``results`` has it, its probabilities as they were published."""
    record = read_broker_classification(value)
    params = json.loads(record["classifierParams"])
    probabilities = {CLASS_NAMES[one["classId"]]: round(one["probability"], 9) for one in record["classifications"]}
    return Result(
        alertId=str(record["alertId"]),
        diaSourceId=str(record["diaSourceId"]),
        diaObjectId=str(dia_object_id),
        probabilities=probabilities,
        predicted=max(probabilities, key=probabilities.__getitem__),
        nObservations=params["nObservations"],
        branches=params["branches"],
        classifier=record["classifierName"],
    )

"""Classifications as they are published: the bytes are what Avro's own writer makes, and nothing is lost on the way."""

import io
import json
from pathlib import Path
from typing import Any, cast

import fastavro
import numpy as np
import pytest

from models.calibration import UNCALIBRATED
from models.classifier import Classifications, Classifier, Predictions
from models.inputs import avro
from models.inputs.alert import alert_batch
from models.inputs.alert_batch import AlertBatch
from models.network import Network, build
from models.taxonomy import CLASS_NAMES, Taxonomy
from service.outputs import broker_classifications, read_broker_classification, read_result, results
from tests import alerts
from tests.service.stream import CLASSIFICATION

BROKER = ("a broker, \u00e9", "1.2.3")
INGESTED_MS = 1_790_000_000_123


@pytest.fixture
def twenty() -> Classifier:
    """A classifier of the thesis's classes; what it would say is made up here."""
    classes = Taxonomy(tuple(CLASS_NAMES)[:20])
    network = Network(build("atat", {"n_classes": 20, "d_lc": 16, "d_tab": 16, "harmonics": 4}))
    return Classifier(network, taxonomy=classes, calibration=UNCALIBRATED, name="caf\u00e9", version="2")


def _classified(batch: AlertBatch) -> Classifications:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.full(20, 0.1), len(batch))
    branches = rng.choice(["lc", "lc+md"], len(batch))
    return Classifications(batch, Predictions(probabilities, np.diff(batch.offsets), branches))


def _written(classified: Classifications, classifier: Classifier) -> list[bytes]:
    n = len(classified.alerts)
    return broker_classifications(
        classified,
        classifier,
        broker=BROKER,
        published_ms=list(range(1_700_000_000_000, 1_700_000_000_000 + n)),
        ingested_ms=INGESTED_MS,
        full_history=np.arange(n) % 3 > 0,
    )


def _plainly_written(classified: Classifications, classifier: Classifier) -> list[bytes]:
    """The same, record by record."""
    alerts_, predictions = classified.alerts, classified.predictions
    found = []
    for row in range(len(alerts_)):
        params = {
            "branches": str(predictions.branches[row]),
            "nObservations": int(predictions.n_observations[row]),
            "history": "full" if row % 3 else "alert_only",
        }
        record = {
            "alertId": int(alerts_.alert_id[row]),
            "diaSourceId": int(alerts_.dia_source_id[row]),
            "elasticcPublishTimestamp": 1_700_000_000_000 + row,
            "brokerIngestTimestamp": INGESTED_MS,
            "brokerName": BROKER[0],
            "brokerVersion": BROKER[1],
            "classifierName": f"{classifier.name}/{classifier.version}",
            "classifierParams": json.dumps(params),
            "classifications": [
                {"classId": class_id, "probability": float(probability)}
                for class_id, probability in zip(
                    classifier.taxonomy.class_ids, predictions.probabilities[row], strict=True
                )
            ],
        }
        stream = io.BytesIO()
        fastavro.schemaless_writer(stream, cast(Any, CLASSIFICATION), record)
        found.append(stream.getvalue())
    return found


def test_every_real_alert_is_published_in_the_bytes_that_avros_own_writer_makes(data: Path, twenty: Classifier) -> None:
    files = sorted((data / "elasticc" / "alerts").glob("*.avro"))
    unread = [avro.unread(cast(bytes, message)) for path in files for message in avro.messages(path.read_bytes())]
    classified = _classified(alert_batch(unread).alerts)
    assert len(classified.alerts) == 13_747
    assert _written(classified, twenty) == _plainly_written(classified, twenty)


@pytest.mark.parametrize("number", [0, 1, 63, 64, 8191, 8192, 2**31, 2**62, 2**63 - 1])
def test_ids_of_any_size_are_written_as_avros_own_writer_does(number: int, twenty: Classifier) -> None:
    record = alerts.elasticc(alerts.source(number, alerts.FIRST_MJD), alert_id=number)
    classified = _classified(alert_batch([{"test": record}]).alerts)
    assert _written(classified, twenty) == _plainly_written(classified, twenty)
    assert read_broker_classification(_written(classified, twenty)[0])["alertId"] == number


def test_a_published_classification_reads_as_the_result_that_it_was_made_of(twenty: Classifier) -> None:
    batch = alert_batch([{"test": alerts.elasticc(alert_id=number)} for number in range(1, 40)]).alerts
    classified = _classified(batch)
    for value, id_, result in zip(
        _written(classified, twenty), batch.dia_object_id.tolist(), results(classified, twenty), strict=True
    ):
        read = read_result(value, id_)
        assert read["probabilities"] == pytest.approx(result["probabilities"], rel=1e-6, abs=2e-9)
        assert sum(read["probabilities"].values()) == pytest.approx(1, abs=1e-6)
        assert read | {"probabilities": {}} == result | {"probabilities": {}}

"""No train/serve skew: an alert gives the same tensors by the service's road and by training's."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

from models.classifier import Classifier
from models.inputs import avro
from models.inputs.alert import alert_batch
from models.inputs.batch import Batch, pack
from models.inputs.light_curve import merged
from service import pipeline
from tests import alerts
from training import predictions
from training.__main__ import main
from training.data import layout

STORED = Path(__file__).parent / "stored" / "alert.avro"


def _service(path: Path) -> tuple[Batch, np.ndarray, np.ndarray]:
    """Bytes -> alert -> light curve -> tensors; and the alerts' objects and epochs."""
    batch = alert_batch(list(avro.readings(path.read_bytes()))).alerts
    order = np.argsort(batch.dia_object_id)
    batch = batch.take(order)
    curves = merged(batch).until(batch.epoch)
    return pack(curves, batch.metadata, batch.has_metadata), batch.dia_object_id, batch.epoch


def _training(path: Path, epoch: np.ndarray, directory: Path) -> tuple[Batch, np.ndarray]:
    """Bytes -> import -> Parquet -> light curve -> tensors; and the objects."""
    assert main(["import", "alerts", str(path), "--output", str(directory)]) == 0
    objects = layout.read(directory)
    curves = objects.light_curves.until(epoch)
    return pack(curves, objects.metadata, np.ones(len(objects), dtype=np.bool_)), objects.object_id


def _assert_equal(service: Batch, training: Batch) -> None:
    for field in fields(Batch):
        if field.name != "layout":
            assert torch.equal(getattr(service, field.name), getattr(training, field.name)), field.name
    assert torch.equal(service.layout.place, training.layout.place)


def test_the_stored_alert_takes_both_roads_to_the_same_tensors(tmp_path: Path) -> None:
    served, object_id, epoch = _service(STORED)
    trained, trained_id = _training(STORED, epoch, tmp_path / "set")
    assert object_id.tolist() == trained_id.tolist()
    _assert_equal(served, trained)


def test_generated_alerts_get_the_same_answer_from_the_service_and_from_training(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    made = [alerts.random_elasticc(rng, 2 + number, alert_id=number) for number in range(40)]
    for number, record in enumerate(made):
        record["diaObject"]["diaObjectId"] = number + 1
    (tmp_path / "one-each.avro").write_bytes(alerts.container(made))
    _assert_same_answers(tmp_path)


def test_real_alerts_get_the_same_answer_from_the_service_and_from_training(data: Path, tmp_path: Path) -> None:
    path = data / "elasticc" / "alerts" / "tallam.gentype51.avro"
    (tmp_path / "one-each.avro").write_bytes(_one_alert_an_object(path))
    _assert_same_answers(tmp_path)


def _assert_same_answers(tmp_path: Path) -> None:
    """Of the model that ships: by the service's pipeline, and imported and cut as what training measures."""
    shipped = Classifier.load()
    served = pipeline.answer(shipped, alert_batch(list(avro.readings((tmp_path / "one-each.avro").read_bytes()))))
    assert main(["import", "alerts", str(tmp_path / "one-each.avro"), "--output", str(tmp_path / "set")]) == 0
    objects = layout.read(tmp_path / "set")
    trained = predictions.of_alerts(shipped, objects)
    alerts_ = served.classified.alerts
    epochs = dict(zip(alerts_.dia_object_id.tolist(), alerts_.epoch.tolist(), strict=True))
    begun = dict(zip(objects.object_id.tolist(), objects.light_curves.first_alert_mjd.tolist(), strict=True))
    days = np.array([epochs[id_] - begun[id_] for id_ in trained.object_id.tolist()], dtype=np.float32)
    same = np.flatnonzero(trained.days == days)  # of those that are drawn, the ones that were sent
    assert len(same) > 10
    probabilities = shipped.calibration.of_rows(trained.logits, trained.head, trained.detections)[same]
    row = {id_: place for place, id_ in enumerate(alerts_.dia_object_id.tolist())}
    expected = served.classified.predictions.probabilities[[row[id_] for id_ in trained.object_id[same].tolist()]]
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)


def _one_alert_an_object(path: Path) -> bytes:
    """A container of the last alert of each, so that an object's light curve is its alert's."""
    readings = list(avro.readings(path.read_bytes()))
    records = {record["diaObject"]["diaObjectId"]: record for reading in readings for record in reading.values()}  # type: ignore[union-attr]
    return alerts.container(list(records.values()))


def test_the_stored_alert_has_the_tensors_it_always_had() -> None:
    batch, _, _ = _service(STORED)
    assert batch.lengths.tolist() == [5]
    assert batch.time.tolist() == pytest.approx([0.0, 2.0, 20.0, 20.0, 22.5], abs=1e-5)
    assert batch.band.tolist() == [2, 5, 1, 2, 3]
    assert batch.flux.tolist() == pytest.approx([0.0, -0.27542, 27.542, 30.2964, 55.0846], rel=1e-4)
    assert batch.flux_err.tolist() == pytest.approx([2.7542] * 5, rel=1e-4)
    assert batch.metadata[0, :4].tolist() == pytest.approx([0.05, 0.0, 0.3, 0.0])
    assert batch.missing[0, :4].tolist() == [False, True, False, True]


def test_real_alerts_take_both_roads_to_the_same_tensors(data: Path, tmp_path: Path) -> None:
    path = data / "elasticc" / "alerts" / "tallam.gentype51.avro"
    (tmp_path / "one-each.avro").write_bytes(_one_alert_an_object(path))
    served, object_id, epoch = _service(tmp_path / "one-each.avro")
    trained, trained_id = _training(tmp_path / "one-each.avro", epoch, tmp_path / "set")
    assert object_id.tolist() == trained_id.tolist()
    _assert_equal(served, trained)

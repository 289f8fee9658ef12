"""Classifier: probabilities that add up, and an artifact that is all there is to a model."""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from models.atat import ATAT, ATATConfig
from models.calibration import UNCALIBRATED, Calibration, fit_temperature
from models.classifier import Classifier, InvalidArtifact
from models.inputs import avro
from models.inputs.alert import alert_batch
from models.inputs.light_curve import merged
from models.network import Network, build
from models.taxonomy import CLASS_NAMES, Taxonomy
from tests import alerts

TAXONOMY = Taxonomy((2222, 2224, 2332))


def _classifier(calibration: Calibration = UNCALIBRATED, **options: Any) -> Classifier:
    torch.manual_seed(3)
    config = {"n_classes": 3, "d_lc": 16, "d_tab": 16, "harmonics": 4, "flux_encoding": "asinh"}
    model = ATAT(ATATConfig.from_dict(config | options))
    return Classifier(Network(model), taxonomy=TAXONOMY, calibration=calibration, name="toy", version="1")


def _alerts(n: int = 7) -> list[alerts.Record]:
    rng = np.random.default_rng(0)
    return [alerts.random_elasticc(rng, 3 * number, alert_id=number) for number in range(1, n + 1)]


def test_probabilities_sum_to_one_and_points_are_counted() -> None:
    batch = alerts.batch(*_alerts())
    predictions = _classifier().classify(batch).predictions
    np.testing.assert_allclose(predictions.probabilities.sum(axis=1), 1, atol=1e-12)
    assert predictions.n_observations.tolist() == merged(batch).lengths.tolist()


def test_an_alert_without_metadata_is_answered_by_the_light_curve_branch() -> None:
    record = _alerts(1)[0]
    with_object, without = (
        _classifier().classify(alerts.batch(record, record | {"diaObject": None})).predictions.branches
    )
    assert (with_object, without) == ("lc+md", "lc")
    only_lc = _classifier(metadata_columns=()).classify(alerts.batch(record))
    assert only_lc.predictions.branches.tolist() == ["lc"]


def test_points_after_the_alert_do_not_exist() -> None:
    record = _alerts(5)[4]
    later = record | {"prvDiaForcedSources": [*record["prvDiaForcedSources"], alerts.forced(1, alerts.FIRST_MJD + 90)]}
    both = _classifier().classify(alerts.batch(record, later)).predictions
    assert both.n_observations[0] == both.n_observations[1]
    np.testing.assert_allclose(both.probabilities[0], both.probabilities[1], atol=1e-6)


def test_points_older_than_a_models_window_do_not_exist() -> None:
    old, recent = alerts.source(1, alerts.FIRST_MJD - 60, flux=3e4), alerts.source(2, alerts.FIRST_MJD - 40)
    both = alerts.batch(alerts.elasticc(previous=[old, recent]), alerts.elasticc(previous=[recent]))
    near, far = (_classifier(window_days=days).classify(both).predictions for days in (50.0, 395.0))
    assert (near.n_observations.tolist(), far.n_observations.tolist()) == ([2, 2], [3, 2])
    np.testing.assert_allclose(near.probabilities[0], near.probabilities[1], atol=1e-6)
    assert abs(far.probabilities[0] - far.probabilities[1]).max() > 1e-3


@pytest.mark.parametrize(("options", "size"), [({}, 32), ({"metadata_columns": ()}, 16), ({"light_curve": False}, 16)])
def test_an_embedding_is_one_vector_an_alert_beside_the_same_probabilities(options: dict[str, Any], size: int) -> None:
    records = _alerts()
    batch = alerts.batch(*records, records[0] | {"diaObject": None})
    classifier = _classifier(**options)
    plain, embedded = classifier.classify(batch).predictions, classifier.embed(batch).predictions
    assert plain.embeddings is None
    assert embedded.embeddings is not None
    assert classifier.d_embedding == size
    assert embedded.embeddings.shape == (len(batch), size)
    np.testing.assert_array_equal(plain.probabilities, embedded.probabilities)
    assert len(np.unique(embedded.embeddings.round(4), axis=0)) >= 2


def test_the_head_reads_the_embedding() -> None:
    classifier = _classifier()
    batch = alerts.batch(*_alerts())
    network = classifier.model
    assert isinstance(network, Network)
    module = network.module
    assert isinstance(module, ATAT)
    assert module.mix_head is not None
    embeddings = classifier.embed(batch).predictions.embeddings
    with torch.inference_mode():
        expected = module.mix_head(torch.from_numpy(embeddings)).softmax(1)
    np.testing.assert_allclose(classifier.classify(batch).predictions.probabilities, expected, atol=1e-5)


def test_atat2_embeds_what_it_has_read_by_the_last_alert() -> None:
    torch.manual_seed(0)
    module = build("atat2", {"n_classes": 3, "d_model": 16, "d_metadata": 8, "harmonics": 4})
    classifier = Classifier(Network(module), taxonomy=TAXONOMY, calibration=UNCALIBRATED, name="toy", version="1")
    one, more = _alerts(2)
    alone = classifier.embed(alerts.batch(one)).predictions.embeddings
    together = classifier.embed(alerts.batch(more, one)).predictions.embeddings
    assert alone is not None
    assert together is not None
    assert together.shape == (2, 16)
    np.testing.assert_allclose(together[1], alone[0], atol=1e-5)


def test_alike_real_alerts_lie_near_each_other(data: Path) -> None:
    path = data / "elasticc" / "alerts"
    kinds = [sorted(path.glob(f"*gentype{number}*"))[:1] for number in (10, 36, 50)]
    batches = [alert_batch(list(itertools.islice(avro.readings(files[0].read_bytes()), 150))).alerts for files in kinds]
    embedded = [Classifier.load().embed(batch).predictions.embeddings for batch in batches]
    vectors = np.concatenate([each for each in embedded if each is not None])
    kind = np.repeat(np.arange(len(batches)), list(map(len, batches)))
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    objects = np.concatenate([batch.dia_object_id for batch in batches])
    likeness = vectors @ vectors.T
    likeness[objects[:, None] == objects] = -np.inf
    nearest = kind[likeness.argmax(axis=1)]
    by_chance = np.average(np.bincount(kind) / len(kind), weights=np.bincount(kind))
    assert (nearest == kind).mean() > 1.5 * by_chance


def test_the_batch_an_alert_is_in_does_not_change_its_probabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = alerts.batch(*_alerts())
    together = _classifier().classify(batch).predictions.probabilities
    monkeypatch.setattr("models.network.MAX_TOKENS", 10)
    apart = _classifier().classify(batch).predictions.probabilities
    np.testing.assert_allclose(apart, together, atol=1e-6)


def test_a_saved_model_answers_as_before(tmp_path: Path) -> None:
    calibrated = _classifier(Calibration(temperatures={"mix": 2.0, "lc": 1.5}, prior="uniform"))
    calibrated.provenance = {"sources": ["test"]}
    calibrated.save(tmp_path / "toy")
    loaded = Classifier.load(tmp_path / "toy")
    batch = alerts.batch(*_alerts())
    np.testing.assert_array_equal(
        loaded.classify(batch).predictions.probabilities, calibrated.classify(batch).predictions.probabilities
    )
    assert (loaded.name, loaded.version, loaded.taxonomy) == ("toy", "1", TAXONOMY)
    assert loaded.calibration == calibrated.calibration
    assert loaded.describe() == calibrated.describe()
    assert sorted(path.name for path in (tmp_path / "toy").iterdir()) == ["model.json", "weights.safetensors"]


def test_what_is_no_model_is_refused_in_one_line(tmp_path: Path) -> None:
    _classifier().save(tmp_path / "toy")
    description = json.loads((tmp_path / "toy" / "model.json").read_text())
    (tmp_path / "empty").mkdir()
    late = {"detections": [2], "scale": [[1.0]], "bias": [[0.0]]}
    narrow = {"detections": [0], "scale": [[1.0, 1.0]], "bias": [[0.0]]}
    calibration = description["calibration"]
    text = {"detections": [0], "scale": [["a"]], "bias": [[0.0]]}
    flat = {"detections": [0], "scale": [[0.0]], "bias": [[0.0]]}
    odd = {"detections": [0], "scale": [[1.0]], "bias": [[math.nan]]}
    shape = description["architecture"]
    broken: dict[str, dict[str, Any]] = {
        "is of format 99": {"format": 99},
        "of the bands": {"bands": ["u"]},
        "AttributeError": {"calibration": []},
        "ZeroDivisionError": {"architecture": shape | {"n_heads": 0}},
        "window_days is a number above 0": {"architecture": shape | {"window_days": math.nan}},
        "max_points is 1 or more": {"architecture": shape | {"max_points": 0}},
        "temperatures are numbers above 0": {"calibration": calibration | {"temperatures": {"mix": 0}}},
        "could not convert": {"calibration": calibration | {"scalings": {"mix": text}}},
        "scales above 0": {"calibration": calibration | {"scalings": {"mix": flat}}},
        "all of them numbers": {"calibration": calibration | {"scalings": {"mix": odd}}},
        "shifts are numbers": {"calibration": calibration | {"shift": [0.0, math.inf, 0.0]}},
        "'depth'": {"architecture": {"n_classes": 3, "depth": 8}},
        "not in the taxonomy": {"classes": [{"id": 1}]},
        "has 3 classes, the taxonomy 2": {"classes": description["classes"][:2]},
        "ascending detections from 0": {"calibration": calibration | {"scalings": {"mix": late}}},
        "of 3 classes, or the same for all": {"calibration": calibration | {"scalings": {"mix": narrow}}},
        "shares are of 3 classes": {"calibration": calibration | {"shift": [1.0, 2.0]}},
    }
    reasons = {"toy": "not a model", "empty": "not a model", "deep": "RecursionError"}
    for number, (reason, change) in enumerate(broken.items()):
        directory = tmp_path / f"broken-{number}"
        directory.mkdir()
        reasons[directory.name] = reason
        (directory / "model.json").write_text(json.dumps(description | change))
        (directory / "weights.safetensors").write_bytes((tmp_path / "toy" / "weights.safetensors").read_bytes())
    (tmp_path / "toy" / "weights.safetensors").write_bytes(b"no tensors")
    _without_digests(tmp_path / "toy")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "model.json").write_text("[" * 200_000)
    for directory in tmp_path.iterdir():
        with pytest.raises(InvalidArtifact, match=f"{directory.name}.*{reasons[directory.name]}") as error:
            Classifier.load(directory)
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 1000


def _without_digests(directory: Path) -> None:
    """As artifacts were before they had any."""
    description = json.loads((directory / "model.json").read_text())
    del description["files"]
    (directory / "model.json").write_text(json.dumps(description))


def test_weights_that_are_not_those_of_the_description_are_refused(tmp_path: Path) -> None:
    """As where saving over an older model was interrupted, or a copy was."""
    _classifier().save(tmp_path / "old")
    torch.manual_seed(99)
    newer = _classifier()
    with torch.no_grad():
        for weights in newer.model.module.parameters():  # type: ignore[attr-defined]
            weights.add_(1)
    newer.model.save(tmp_path / "old")
    with pytest.raises(
        InvalidArtifact, match=r"weights\.safetensors is not the file that model\.json was written with"
    ):
        Classifier.load(tmp_path / "old")
    _without_digests(tmp_path / "old")
    assert Classifier.load(tmp_path / "old").version == "1"


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    broken = _classifier()
    with torch.no_grad():
        next(iter(broken.model.module.parameters()))[0] = math.nan  # type: ignore[attr-defined]
    broken.save(tmp_path / "toy")
    with pytest.raises(InvalidArtifact, match="weights that are not finite"):
        Classifier.load(tmp_path / "toy")


def test_a_temperature_undoes_overconfidence() -> None:
    truth = torch.randn(20_000, 3)
    labels = torch.multinomial(truth.softmax(1), 1).squeeze(1)
    temperature = fit_temperature(truth * 2.5, labels, weights=torch.ones(len(labels)))
    assert temperature == pytest.approx(2.5, rel=0.05)
    probabilities = Calibration({"mix": temperature}, prior="").probabilities(
        truth * 2.5, "mix", np.ones(len(labels), dtype=np.int64)
    )
    torch.testing.assert_close(probabilities, F.softmax(truth.double(), 1), atol=0.02, rtol=0)


def test_taxonomies_hold_known_classes_once() -> None:
    assert len(CLASS_NAMES) == 21
    for wrong in ((2222, 2222), (1,)):
        with pytest.raises(ValueError, match=r"twice|not in the taxonomy"):
            Taxonomy(wrong)

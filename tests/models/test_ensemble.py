"""An ensemble: models of any kind as one, by the geometric mean of what they think probable."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from models.arrays import FloatArray
from models.atat2 import ATAT2
from models.calibration import UNCALIBRATED, UNIFORM, Calibration
from models.classifier import Classifier, InvalidArtifact
from models.ensemble import Ensemble
from models.inputs.alert_batch import AlertBatch
from models.network import Network
from models.random_forest import Forest, ForestConfig
from models.scoring import NoEmbedding
from models.taxonomy import Taxonomy
from tests import alerts

CLASSES = (2222, 2224, 2323, 2332)


def _forest(**options: object) -> Classifier:
    """Trees that read a feature and a column of metadata, and know nothing."""
    config = ForestConfig(algorithm="flat", columns=("amplitude_r", "hostgal_zphot"), trees=10, **options)  # type: ignore[arg-type]
    forest = Forest(config, Taxonomy(CLASSES))
    rng = np.random.default_rng(0)
    forest.fit(rng.normal(size=(80, 2)).astype(np.float32), np.arange(80) % len(CLASSES))
    return _named("trees", forest)


def _atat2(seed: int = 0, **options: object) -> Classifier:
    torch.manual_seed(seed)
    config = ATAT2.Config(n_classes=len(CLASSES), metadata_columns=("mwebv", "hostgal_zphot"), d_model=16, **options)  # type: ignore[arg-type]
    return _named("atat2", Network(ATAT2(config)))


def _named(name: str, model: Network | Forest) -> Classifier:
    calibration = Calibration(temperatures={"all": 0.5, "features": 2.0}, prior=UNIFORM)
    return Classifier(model, taxonomy=Taxonomy(CLASSES), calibration=calibration, name=name, version="1")


def _ensemble(*members: Classifier) -> Classifier:
    calibration = Calibration(temperatures={}, prior=UNIFORM)
    return Classifier(Ensemble(members), taxonomy=Taxonomy(CLASSES), calibration=calibration, name="both", version="1")


def _alerts() -> AlertBatch:
    rng = np.random.default_rng(0)
    records = [alerts.random_elasticc(rng, 3 * n + 1, alert_id=n + 1) for n in range(5)]
    records[2]["diaObject"] = None
    return alerts.batch(*records)


def _probabilities(classifier: Classifier, batch: AlertBatch) -> FloatArray:
    return classifier.classify(batch).predictions.probabilities


def test_it_answers_with_the_geometric_mean_of_its_members_as_calibrated() -> None:
    members, batch = (_forest(), _atat2(), _atat2(seed=1)), _alerts()
    product = np.prod([np.maximum(_probabilities(member, batch), 1e-6) for member in members], axis=0) ** (1 / 3)
    expected = product / product.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(_probabilities(_ensemble(*members), batch), expected, atol=1e-6)


def test_it_says_what_any_member_has_read() -> None:
    both = _ensemble(_forest(), _atat2(max_points=4)).classify(_alerts()).predictions
    assert both.branches.tolist() == ["lc+features+md", "lc+features+md", "lc+features", *["lc+features+md"] * 2]
    assert both.n_observations.tolist() == [1, 4, 7, 10, 13]


def test_it_says_where_its_members_run() -> None:
    elsewhere = _atat2()
    elsewhere.model.device = torch.device("cuda")  # type: ignore[attr-defined]
    assert _ensemble(_atat2(), _forest()).model.runs_on == {"cpu"}
    assert _ensemble(elsewhere, _forest()).model.runs_on == {"cpu", "cuda"}


def test_features_are_computed_once_for_all_that_read_them() -> None:
    model = Ensemble((_forest(), _atat2(), _forest()))
    assert model.columns == ("amplitude_r", "hostgal_zphot", "mwebv")


def test_a_saved_ensemble_answers_as_before_one_within_another_too(tmp_path: Path) -> None:
    nested = _ensemble(_ensemble(_atat2(), _atat2(seed=1)), _forest())
    nested.save(tmp_path / "both")
    loaded = Classifier.load(tmp_path / "both")
    np.testing.assert_array_equal(_probabilities(loaded, _alerts()), _probabilities(nested, _alerts()))
    assert loaded.d_embedding is None
    with pytest.raises(NoEmbedding, match="no ensemble has any"):
        loaded.embed(_alerts())


def test_an_artifact_that_lacks_a_member_is_named(tmp_path: Path) -> None:
    _ensemble(_forest(), _atat2()).save(tmp_path / "both")
    (tmp_path / "both" / "member-1" / "model.json").unlink()
    with pytest.raises(InvalidArtifact, match="member-1 is not a model"):
        Classifier.load(tmp_path / "both")


def test_classes_in_another_order_than_the_members_have_them_are_refused(tmp_path: Path) -> None:
    _ensemble(_forest(), _atat2()).save(tmp_path / "both")
    path = tmp_path / "both" / "model.json"
    description = json.loads(path.read_text())
    description["classes"].reverse()
    path.write_text(json.dumps(description))
    with pytest.raises(InvalidArtifact, match="in another order"):
        Classifier.load(tmp_path / "both")


def test_members_that_do_not_go_together_are_refused() -> None:
    one = _forest()
    with pytest.raises(ValueError, match="two members or more"):
        Ensemble([one])
    with pytest.raises(ValueError, match="different windows"):
        Ensemble([one, _atat2(window_days=100.0)])
    with pytest.raises(ValueError, match="numbers of points behind features: 64, None"):
        Ensemble([one, _forest(max_points=64)])
    other = _atat2()
    other.calibration = UNCALIBRATED
    with pytest.raises(ValueError, match="different priors"):
        Ensemble([one, other])
    few = _forest()
    few.taxonomy = Taxonomy(CLASSES[::-1])
    with pytest.raises(ValueError, match="different classes"):
        Ensemble([one, few])

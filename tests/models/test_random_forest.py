"""The forests: three kinds of trees behind one Classifier, stored so that loading cannot execute anything."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import skops.io
from numpy.typing import NDArray

from models.arrays import IntArray
from models.calibration import UNCALIBRATED
from models.classifier import Classifier, InvalidArtifact
from models.inputs import features
from models.inputs.light_curve import merged
from models.inputs.metadata import COLUMNS
from models.inputs.table import ALL_COLUMNS
from models.random_forest import Forest, ForestConfig, Hierarchical
from models.scoring import NoEmbedding
from models.taxonomy import CLASS_NAMES, GROUPS, Taxonomy
from tests import alerts

CLASSES = (2222, 2224, 2232, 2323, 2325, 2332)
"""Of all three groups; KN will be scarce."""

KINDS = ("hierarchical", "flat", "lightgbm")
COLUMNS_SEEN = ("amplitude_r", "weighted_mean_r", "mwebv", "hostgal_zphot")


def _table(rng: np.random.Generator, sizes: dict[int, int]) -> tuple[NDArray[np.float32], IntArray]:
    """Rows whose first columns tell their classes apart, some values missing."""
    labels = np.concatenate([np.full(size, CLASSES.index(class_id)) for class_id, size in sizes.items()])
    table = rng.normal(size=(len(labels), len(COLUMNS_SEEN))).astype(np.float32)
    table[:, 0] += 5 * (labels % 3)
    table[:, 1] += 5 * (labels // 3)
    table[rng.random(table.shape) < 0.05] = np.nan
    return table, labels


def _forest(algorithm: str, **options: object) -> Forest:
    columns = tuple(name for name in COLUMNS_SEEN if name in ALL_COLUMNS)
    trees = 200 if algorithm == "lightgbm" else 30  # which boosts: one tree alone says little
    small = {"trees": trees, "transient_trees": 30, "per_class": dict.fromkeys(("top", *GROUPS), 60), "leaf": 2}
    config = ForestConfig.from_dict({"algorithm": algorithm, "columns": columns, **small, **options})
    return Forest(config, Taxonomy(CLASSES))


def _grown(algorithm: str, *, scale: float = 1.0) -> Forest:
    forest = _forest(algorithm)
    table, labels = _table(np.random.default_rng(0), dict.fromkeys(CLASSES, 80) | {2232: 12})
    forest.fit(table * np.float32(scale), labels)
    return forest


def _classifier(algorithm: str, *, scale: float = 1.0) -> Classifier:
    """Of trees that have been grown."""
    forest = _grown(algorithm, scale=scale)
    return Classifier(forest, taxonomy=Taxonomy(CLASSES), calibration=UNCALIBRATED, name=algorithm, version="1")


def test_the_columns_of_these_tests_exist() -> None:
    assert set(COLUMNS_SEEN) <= set(ALL_COLUMNS)
    assert (*features.NAMES, *COLUMNS) == ALL_COLUMNS


@pytest.mark.parametrize("algorithm", KINDS)
def test_it_tells_classes_apart_and_its_probabilities_add_up(algorithm: str) -> None:
    table, labels = _table(np.random.default_rng(1), dict.fromkeys(CLASSES, 40))
    probabilities = _grown(algorithm).scores_of(table).exp().numpy()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-4)
    found = probabilities.argmax(axis=1)
    assert np.mean(found == labels) > 0.8
    assert np.mean(found[labels == CLASSES.index(2232)] == CLASSES.index(2232)) > 0.5  # scarce, and not forgotten


@pytest.mark.parametrize("class_power", [0.0, 0.5, 1.0])
def test_whatever_classes_weigh_boosted_trees_answer_under_a_uniform_prior(class_power: float) -> None:
    """Nothing tells the classes apart but their sizes, of which the prior says nothing."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(CLASSES)), [400, 400, 400, 400, 400, 100])
    table = rng.normal(size=(len(labels), len(COLUMNS_SEEN))).astype(np.float32)
    forest = _forest("lightgbm", class_power=class_power, trees=5)
    forest.fit(table, labels)
    mean = forest.scores_of(table).exp().numpy().mean(axis=0)
    np.testing.assert_allclose(mean, 1 / len(CLASSES), atol=0.03)


@pytest.mark.parametrize("algorithm", KINDS)
def test_a_saved_forest_answers_as_before(algorithm: str, tmp_path: Path) -> None:
    batch = alerts.batch(
        *(alerts.random_elasticc(np.random.default_rng(n), 4 * n + 1, alert_id=n + 1) for n in range(4))
    )
    saved = _classifier(algorithm)
    saved.save(tmp_path / "forest")
    assert not list(tmp_path.rglob("*.pkl"))
    loaded = Classifier.load(tmp_path / "forest")
    one, two = (model.classify(batch).predictions for model in (saved, loaded))
    np.testing.assert_array_equal(one.probabilities, two.probabilities)
    np.testing.assert_allclose(one.probabilities.sum(axis=1), 1, atol=1e-9)
    assert one.n_observations.tolist() == merged(batch).lengths.tolist()
    assert set(one.branches.tolist()) == {"features+md"}
    assert loaded.d_embedding is None
    with pytest.raises(NoEmbedding):
        loaded.embed(batch)


def test_a_hierarchy_multiplies_the_groups_with_what_is_within_them() -> None:
    forest = _grown("hierarchical")
    table, _ = _table(np.random.default_rng(2), dict.fromkeys(CLASSES, 10))
    estimator = forest._estimator
    assert isinstance(estimator, Hierarchical)
    top = estimator._forests["top"].predict_proba(table)
    probabilities = estimator.probabilities(table)
    for number, members in enumerate(estimator._groups.values()):
        np.testing.assert_allclose(probabilities[:, members].sum(axis=1), top[:, number], atol=1e-12)


def test_every_class_of_the_taxonomy_but_none_twice_has_a_group() -> None:
    grouped = [class_id for members in GROUPS.values() for class_id in members]
    assert sorted(grouped) == sorted(CLASS_NAMES)


def test_features_are_those_of_what_was_known_at_the_alert() -> None:
    record = alerts.random_elasticc(np.random.default_rng(0), 20)
    bright = alerts.forced(1, alerts.FIRST_MJD + 90, flux=1e5)
    batch = alerts.batch(record, record | {"prvDiaForcedSources": [*record["prvDiaForcedSources"], bright]})
    classifier = _classifier("flat", scale=200.0)  # whose trees split where fluxes of that size are
    uncut = classifier.predict(merged(batch), batch.metadata, batch.has_metadata).probabilities
    assert abs(uncut[0] - uncut[1]).max() > 0.1
    np.testing.assert_array_equal(*classifier.classify(batch).predictions.probabilities)


def test_trees_of_foreign_types_are_refused(tmp_path: Path) -> None:
    classifier = _classifier("flat")
    classifier.save(tmp_path / "forest")
    skops.io.dump({"trees": Path}, tmp_path / "forest" / "trees.skops")
    classifier.save_description(tmp_path / "forest")
    with pytest.raises(InvalidArtifact, match="types that no forest has: pathlib"):
        Classifier.load(tmp_path / "forest")


def test_trees_that_were_cut_short_are_refused_before_they_are_read(tmp_path: Path) -> None:
    """LightGBM ends the process on them."""
    _classifier("lightgbm").save(tmp_path / "forest")
    path = tmp_path / "forest" / "booster.txt"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InvalidArtifact, match=r"booster\.txt is not the file"):
        Classifier.load(tmp_path / "forest")


@pytest.mark.parametrize("algorithm", KINDS)
def test_trees_of_other_columns_or_classes_than_the_description_has_are_refused(tmp_path: Path, algorithm: str) -> None:
    _classifier(algorithm).save(tmp_path / "forest")
    path = tmp_path / "forest" / "model.json"
    description = json.loads(path.read_text())
    fewer = copy.deepcopy(description)
    fewer["architecture"]["columns"].pop()
    turned = copy.deepcopy(description)
    turned["classes"].reverse()
    for changed, reason in ((fewer, "trees of .* columns"), (turned, "in another order")):
        path.write_text(json.dumps(changed))
        with pytest.raises(InvalidArtifact, match=reason):
            Classifier.load(tmp_path / "forest")


def test_a_column_that_this_version_does_not_compute_is_named(tmp_path: Path) -> None:
    _classifier("flat").save(tmp_path / "forest")
    path = tmp_path / "forest" / "model.json"
    description = json.loads(path.read_text())
    description["architecture"]["columns"][0] = "horoscope"
    path.write_text(json.dumps(description))
    with pytest.raises(InvalidArtifact, match="no such feature or metadata column: horoscope"):
        Classifier.load(tmp_path / "forest")


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("window_days", 0.0, "a number above 0"),
        ("max_points", 0, "1 or more"),
        ("trees", 0, "1 or more"),
        ("transient_trees", -1, "1 or more"),
        ("leaf", 0, "1 or more"),
        ("transient_impurity", -1e-5, "0 or more"),
        ("class_power", -0.5, "0 or more"),
        ("leaves", 1, "2 or more"),
        ("learning_rate", 0.0, "above 0"),
        ("max_features", 1.5, "sqrt, or a share above 0"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(option: str, value: float, told: str) -> None:
    with pytest.raises(ValueError, match=f"{option} is {told}, not {value}"):
        ForestConfig.from_dict({option: value})

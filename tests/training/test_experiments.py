"""All variants and forests by one command: small ones here, each of which the service can classify with."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.atat import ATAT, ATATConfig
from models.classifier import Classifier
from models.inputs.features import NAMES
from models.inputs.table import ALL_COLUMNS, table_of
from models.network import Network
from models.random_forest import Forest, ForestConfig
from models.taxonomy import Taxonomy
from service.__main__ import main as service
from tests import alerts
from tests.training import objects
from training import features
from training.__main__ import main
from training.data import layout
from training.data.layout import Dataset
from training.data.selection import select
from training.errors import InvalidData
from training.experiment import CONFIGS, TIERS, Experiment, Tier, is_forest
from training.experiments import VARIANTS

POINTS = 12
TINY = Tier(
    name="tiny",
    objects=60,
    max_points=POINTS,
    d_lc=8,
    d_tab=8,
    training={"steps": 2, "evaluate_every": 2},
    features=5,
    forests=TIERS["small"].forests,
)


@pytest.fixture(autouse=True)
def _tiny_tier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TIERS, "tiny", TINY)


@pytest.fixture(scope="module")
def data_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory of 160 objects, no metadata column of which is empty."""
    made = objects.make(160)
    drawn = np.random.default_rng(0).uniform(0.01, 0.9, made.metadata.shape).astype(np.float32)
    directory = tmp_path_factory.mktemp("data") / "set"
    layout.write(directory, [replace(made, metadata=np.where(np.isnan(made.metadata), drawn, made.metadata))])
    return directory


@pytest.fixture(scope="module")
def table(data_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their features, thinned as the tier is, and beside them those of alerts as sent."""
    directory = tmp_path_factory.mktemp("features") / "table"
    command = ["features", "--data", str(data_set), "--points", str(POINTS), "--processes", "1", "--output"]
    assert main([*command, str(directory)]) == 0
    assert main([*command, str(directory.with_name("alerts")), "--alerts"]) == 0
    return directory


@pytest.fixture(scope="module")
def narrow(data_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features of their last hundred days, at the three lengths that forests learn from."""
    directory = tmp_path_factory.mktemp("features") / "narrow"
    options = ["--points", str(POINTS), "--window", "100", "--days", "8", "128", "2048", "--processes", "1"]
    assert main(["features", "--data", str(data_set), "--output", str(directory), *options]) == 0
    return directory


@pytest.fixture(scope="module")
def runs(data_set: Path, table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything, trained."""
    output = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TIERS, "tiny", TINY)
        assert main(_command(data_set, table, output)) == 0
    return output


def _command(data_set: Path, table: Path, output: Path, *more: str) -> list[str]:
    tables = ["--features", str(table), "--alert-features", str(table.with_name("alerts"))]
    places = ["--data", str(data_set), *tables, "--output", str(output)]
    return ["experiments", "--tier", "tiny", *places, *more]


@pytest.mark.parametrize("variant", [*VARIANTS, *TINY.forests])
def test_the_service_classifies_with_every_variant_and_forest(
    variant: str, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [alerts.random_elasticc(np.random.default_rng(0), n, alert_id=n) for n in (1, 30)]
    (tmp_path / "two.avro").write_bytes(alerts.container(records))
    artifact = runs / f"{variant}-0" / variant
    assert service(["classify", "--model", str(artifact), str(tmp_path / "two.avro")]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    version = json.loads((artifact / "model.json").read_text())["version"]
    assert [line["classifier"] for line in lines] == [f"{variant}/{version}"] * 2
    assert [line["nObservations"] for line in lines] == [1, POINTS]
    for line in lines:
        assert set(line["probabilities"]) == {"Ia", "RR Lyrae"}
        assert sum(line["probabilities"].values()) == pytest.approx(1, abs=1e-6)


def test_features_are_tabled_as_models_compute_them_of_thinned_light_curves(data_set: Path, table: Path) -> None:
    few = layout.read(data_set).take(np.arange(20))
    curves = few.light_curves
    known = curves.until(curves.last_detection_mjd())
    assert (known.lengths > POINTS).sum() > 5
    tabled = features.read(table, objects=few.object_id)
    tabled = tabled.where(tabled.days == 2048)
    np.testing.assert_array_equal(tabled.object_id, few.object_id)
    np.testing.assert_array_equal(tabled.columns, table_of(known.thinned(POINTS), few.metadata, ALL_COLUMNS))
    network = Network(ATAT(ATATConfig(n_classes=2, feature_columns=NAMES, max_points=POINTS, n_layers=1)))
    forest = Forest(ForestConfig(max_points=POINTS), Taxonomy((objects.TRANSIENT, objects.VARIABLE)))
    for model in (network, forest):
        assert model.columns == ALL_COLUMNS
        np.testing.assert_array_equal(model.table(known, few.metadata), tabled.columns)


def test_each_variant_says_what_it_sees(runs: Path) -> None:
    seen = {}
    for variant in VARIANTS:
        model = json.loads((runs / f"{variant}-0" / variant / "model.json").read_text())
        shape = model["architecture"]
        seen[variant] = (
            shape.get("light_curve", True),
            bool(shape["metadata_columns"]),
            len(shape["feature_columns"]),
            model["provenance"]["training"]["crops"] == "mta",
        )
        assert (shape["max_points"], model["provenance"]["tier"]) == (POINTS, "tiny")
    assert seen["lc"] == (True, False, 0, False)
    assert seen["lc-mta"] == (True, False, 0, True)
    assert seen["md"] == (False, True, 0, False)
    assert seen["features-mta"] == (False, False, TINY.features, True)
    assert seen["md-features"] == (False, True, TINY.features, False)
    assert seen["lc-md-features-mta"] == (True, True, TINY.features, True)
    assert seen["lc-md-mta-sinusoid"] == seen["lc-md-mta-no-quantiles"] == seen["lc-md-mta"] == (True, True, 0, True)


def test_a_run_leaves_a_log_and_no_checkpoint_and_is_not_done_again(
    runs: Path, data_set: Path, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = runs / "lc-md-mta-0"
    assert sorted(path.name for path in directory.iterdir()) == ["lc-md-mta", "log.csv"]
    with (directory / "log.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["step"], set(row)) == (
        "2",
        {"step", "minutes", "learning_rate", "loss", "F1 8 days", "F1 128 days", "F1 2048 days"},
    )
    written = (directory / "log.csv").stat().st_mtime_ns
    assert main(_command(data_set, table, runs)) == 0
    assert "19 of 19 runs are done" in capsys.readouterr().err
    assert (directory / "log.csv").stat().st_mtime_ns == written


def test_networks_and_forests_learn_from_the_same_objects(runs: Path) -> None:
    record = json.loads((runs / "objects.json").read_text())
    forest = Classifier.load(runs / "lightgbm-0" / "lightgbm").provenance
    of_alerts = Classifier.load(runs / "lightgbm-alerts-0" / "lightgbm-alerts").provenance
    network = Classifier.load(runs / "md-0" / "md").provenance
    assert forest["training_light_curves"] == 3 * network["training_objects"] == 3 * record["train"]["objects"]
    assert of_alerts["training_light_curves"] > forest["training_light_curves"]
    assert record["train"]["objects"] == TINY.objects
    assert record["validation"]["objects"] == network["validation_objects"] == TINY.objects // 5


def test_what_cannot_be_trained_is_named(
    data_set: Path, table: Path, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without = ["experiments", "--tier", "tiny", "--data", str(data_set), "--output", str(tmp_path / "out")]
    for command, reason in (
        (_command(data_set, table, tmp_path / "out", "--variants", "lc,md-lc"), "no variant md-lc"),
        ([*without, "--variants", "bhrf"], "--features names a table"),
        ([*without, "--variants", "features"], "--features names a table"),
        ([*without, "--features", str(table), "--variants", "lc,lightgbm-alerts"], "--alert-features names a table"),
        ([*without, "--variants", "lc,features"], "features sees features: --features names a table"),
        (_command(objects.write(tmp_path / "other", 90), table, runs), "runs of other objects"),
    ):
        assert main(command) == 1
        assert reason in capsys.readouterr().err


def test_a_table_that_does_not_fit_is_named(
    data_set: Path, table: Path, narrow: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few, part = tmp_path / "few", tmp_path / "part"
    layout.write(part, [layout.read(data_set).take(np.arange(100))])
    options = ["--days", "8", "--points", str(POINTS), "--processes", "1"]
    assert main(["features", "--data", str(part), "--output", str(few), *options]) == 0
    for source, given, variant, reason in (
        (data_set, narrow, "features", "of 100 days thinned to 12 points, features sees 395 days thinned to 12 points"),
        (data_set, narrow, "flat", "of 100 days thinned to 12 points, the tier sees 395 days thinned to 12 points"),
        (data_set, few, "flat", "of the objects to learn from, or to be judged by"),
        (part, few, "flat", "learns from light curves of 128, 2048 days, of which the table has none"),
        (data_set, table.with_name("alerts"), "flat", "a table of alerts, and wants one of lengths"),
    ):
        assert main(_command(source, given, tmp_path / f"of-{source.name}", "--variants", variant)) == 1
        assert reason in capsys.readouterr().err


def test_a_forest_looks_as_far_back_as_the_features_that_it_was_grown_on(
    data_set: Path, narrow: Path, tmp_path: Path
) -> None:
    assert main(["train", "forest-flat", "--data", str(narrow), "--output", str(tmp_path)]) == 0
    forest = Classifier.load(tmp_path / "forest-flat")
    assert forest.model.window_days == 100
    assert forest.provenance["data"] == Dataset.open(data_set).index().fingerprint


def test_a_run_that_diverges_is_told_and_tried_once_and_the_others_go_on(
    data_set: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(TIERS, "tiny", replace(TINY, training={**TINY.training, "learning_rate": 1e30}))
    command = _command(data_set, table, tmp_path, "--variants", "lc,flat")
    for began in (True, False):  # it would diverge again
        assert main(command) == 1
        told = capsys.readouterr().err
        assert ("lc, seed 0" in told) == began
        assert "left out, as training diverged: lc-0\n" in told
    assert "by step 2" in (tmp_path / "lc-0" / "diverged.txt").read_text()
    assert Classifier.load(tmp_path / "flat-0" / "flat").name == "flat"


def test_networks_of_fewer_steps_have_a_directory_of_their_own(
    data_set: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    variants = ["--variants", "atat2,atat2-no-ema"]
    assert main(_command(data_set, table, tmp_path, *variants, "--steps", "1")) == 0
    for variant in ("atat2", "atat2-no-ema"):
        assert Classifier.load(tmp_path / f"{variant}-0" / variant).provenance["training"]["steps"] == 1
    assert json.loads((tmp_path / "objects.json").read_text())["steps"] == 1
    capsys.readouterr()
    for steps in ([], ["--steps", "2"]):
        assert main(_command(data_set, table, tmp_path, *variants, *steps)) == 1
        assert "other objects, steps or minutes" in capsys.readouterr().err


def test_objects_are_chosen_by_class_and_a_smaller_choice_is_part_of_a_larger(data_set: Path) -> None:
    index = Dataset.open(data_set).index()
    everything = select(index)
    share = np.mean(index.class_id[everything.train] == objects.TRANSIENT)
    larger, smaller = select(index, objects=60), select(index, objects=20)
    assert larger.train.sum() == 60
    assert larger.validation.sum() == 12
    assert np.mean(index.class_id[larger.train] == objects.TRANSIENT) == pytest.approx(share, abs=0.02)
    assert not (smaller.train & ~larger.train).any()
    assert not (larger.train & ~everything.train).any()


def test_folds_share_out_everything_but_the_test_objects(data_set: Path) -> None:
    index = Dataset.open(data_set).index()
    folds = [select(index, fold=fold) for fold in range(5)]
    held_out = np.sum([each.validation for each in folds], axis=0)
    np.testing.assert_array_equal(held_out, (index.split != "test").astype(int))
    for each in folds:
        np.testing.assert_array_equal(each.train ^ each.validation, index.split != "test")


def test_a_fold_left_out_is_neither_learned_from_nor_validated_on(data_set: Path) -> None:
    index = Dataset.open(data_set).index()
    everything, kept = select(index), select(index, left_out=2)
    for part in ("train", "validation"):
        np.testing.assert_array_equal(getattr(kept, part), getattr(everything, part) & (index.fold != 2))
    assert (everything.train & (index.fold == 2)).any()


def test_a_file_changes_what_it_is_based_on(tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text(
        'name = "one"\nversion = "1"\n[model]\nd_lc = 8\nd_tab = 4\n[training]\nema = 0.5\n'
    )
    (tmp_path / "two.toml").write_text('base = "one"\nname = "two"\n[model]\nd_tab = 8\n')
    two = Experiment.read(tmp_path / "two.toml")
    assert (two.name, two.version, two.model, two.training.ema) == ("two", "1", {"d_lc": 8, "d_tab": 8}, 0.5)


@pytest.mark.parametrize(
    ("section", "option", "told"),
    [
        ("", "architecture = 'atat3'", "architecture is one of atat, atat2, not atat3"),
        ("training", "precision = 'bf16'", "precision is one of float32, bfloat16, not bf16"),
        ("training", "crops = 'mtaa'", "crops is one of alerts, mta, windows, none, not mtaa"),
        ("model", "flux_encoding = 'log'", "flux_encoding is one of raw, asinh, not log"),
        ("self_supervision", "kind = 'C'", "kind is one of B, M, not C"),
        ("training", "steps = 'many'", "steps is a whole number, not many"),
        ("training", "steps = true", "steps is a whole number, not True"),
        ("training", "batch_size = 0", "batch_size is 1 or more, not 0"),
        ("training", "learning_rate = -1", "learning_rate is above 0, not -1"),
        ("training", "labels = 1.5", "labels is above 0 and at most 1, not 1.5"),
        ("training", "fold = 'one'", "fold is a whole number, not one"),
        ("augmentation", "sparsity = 2", "flux and noise are 0 or more, and sparsity is a share"),
        ("augmentation", "flux = 'none'", "flux is a number, not none"),
    ],
)
def test_a_choice_that_does_not_exist_is_refused(tmp_path: Path, section: str, option: str, told: str) -> None:
    head = [f"[{section}]"] if section else []
    (tmp_path / "one.toml").write_text("\n".join(['name = "one"', 'version = "1"', *head, option]))
    with pytest.raises(InvalidData, match=f"one.toml: {told}"):
        Experiment.read(tmp_path / "one.toml")


@pytest.mark.parametrize("tier", TIERS)
def test_every_network_can_be_had_at_every_tier(tier: str) -> None:
    networks = [path for path in sorted(CONFIGS.glob("*.toml")) if not is_forest(path)]
    assert {*VARIANTS} <= {path.stem for path in networks}
    for path in networks:
        experiment = Experiment.read(path).at(TIERS[tier])
        assert experiment.training.objects == TIERS[tier].objects
        assert {name: getattr(experiment.training, name) for name in TIERS[tier].training} == TIERS[tier].training
        own = Experiment.read(path).model.get("max_points", TIERS[tier].max_points)
        assert experiment.model["max_points"] == own

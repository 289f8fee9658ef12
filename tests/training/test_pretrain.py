"""Pretraining: errors fall without labels, no test object is seen, and training starts from what was learned."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from models.classifier import Classifier
from models.inputs.metadata import COLUMNS
from models.network import Network, build
from tests.training import objects
from training.__main__ import main
from training.data import layout
from training.data.layout import UNKNOWN_CLASS, Dataset
from training.errors import InvalidData
from training.experiment import Experiment
from training.pretrain import Pretrainer
from training.pretrained import Pretrained
from training.trainer import Trainer

QUICK = ["--steps", "4", "--threads", "1"]


@pytest.fixture(scope="module")
def weights(data_set: Path, config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a short run of pretraining leaves."""
    output = tmp_path_factory.mktemp("pretrained")
    assert main(["pretrain", str(config), "--data", str(data_set), "--output", str(output), *QUICK]) == 0
    return output / "toy"


def test_several_processes_are_refused_where_each_would_do_the_same(
    data_set: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "as torchrun sets it")
    command = ["pretrain", str(config), "--data", str(data_set), "--output", str(tmp_path / "run"), *QUICK]
    assert main(command) == 1
    assert "only train shares its work" in capsys.readouterr().err


def _pretrainer(config: Path, data_set: Path, directory: Path, *, unlabelled: tuple[Path, ...] = ()) -> Pretrainer:
    directory.mkdir(exist_ok=True)
    others = [Dataset.open(each) for each in unlabelled]
    return Pretrainer(Experiment.read(config).pretrained(), Dataset.open(data_set), directory, unlabelled=others)


@pytest.mark.parametrize("kind", ["B", "M"])
def test_errors_fall_on_objects_that_it_does_not_learn_from(kind: str, config: Path, tmp_path: Path) -> None:
    mine = objects.make(160)  # with columns that tell of one another
    related = np.where(
        np.array(COLUMNS) == "hostgal_zphot", 3 * mine.metadata[:, [COLUMNS.index("mwebv")]], mine.metadata
    )
    layout.write(tmp_path / "data", [replace(mine, metadata=related)])
    command = ["pretrain", str(config), "--data", str(tmp_path / "data"), "--threads", "1", "--output"]
    command += [str(tmp_path / "run")]
    assert main([*command, "--ssl", kind, "--steps", "80"]) == 0
    with (tmp_path / "run" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["20", "40", "60", "80"]
    for name in ("light curve", "table"):
        assert float(rows[-1][name]) < float(rows[0][name]), name
    told = json.loads((tmp_path / "run" / "toy" / "pretrained.json").read_text())
    assert told["provenance"]["self_supervision"]["kind"] == kind
    assert told["provenance"]["training"]["learning_rate"] == 2e-3


def test_ssl_b_heeds_nothing_that_a_configuration_says_of_a_decoder(
    config: Path, data_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own.toml"
    own.write_text(config.read_text() + 'decoder_sees = "class token"\nof = "light curve"\n')
    command = ["pretrain", str(own), "--data", str(data_set), "--ssl", "B", *QUICK, "--output"]
    assert main([*command, str(tmp_path / "run"), "--of", "both", "--hidden-together", "groups"]) == 0
    told = json.loads((tmp_path / "run" / "toy" / "pretrained.json").read_text())["provenance"]["self_supervision"]
    assert (told["kind"], told["decoder_sees"], told["of"]) == ("B", "tokens", "both")
    assert told["hidden_together"] == "groups"
    assert main([*command, str(tmp_path / "other"), "--decoder-sees", "class token"]) == 1
    assert "SSL-B has no decoder" in capsys.readouterr().err


def test_no_test_object_is_learned_from_and_objects_of_no_class_are(
    data_set: Path, config: Path, tmp_path: Path
) -> None:
    mine = objects.make(160)
    nameless = np.full(160, UNKNOWN_CLASS, dtype=np.int32)
    # The same ids again, in a set that takes the data's test objects for training ones; and others.
    others = [
        replace(mine, class_id=nameless, split=np.full(160, "train")),
        replace(mine, object_id=mine.object_id + 10**6, source=np.full(160, "others")),
    ]
    for number, each in enumerate(others):
        layout.write(tmp_path / f"other-{number}", [each])
    paths = tuple(tmp_path / f"other-{number}" for number in range(2))
    pretrainer = _pretrainer(config, data_set, tmp_path / "run", unlabelled=paths)
    seen = set(pretrainer.train.object_id.tolist())
    tested = set(mine.object_id[mine.split == "test"].tolist())
    assert tested
    assert not seen & tested
    assert not seen & {id_ + 10**6 for id_ in tested}
    assert (pretrainer.train.class_id == UNKNOWN_CLASS).any()
    assert "others" in pretrainer.train.source
    assert not set(pretrainer.validation.object_id.tolist()) & (seen | tested)


@pytest.mark.parametrize("held_out", [{"fold": 1}, {"left_out": 2}, {"fold": 1, "left_out": 2}])
def test_no_fold_that_is_held_out_is_learned_from_in_another_set(
    data_set: Path, config: Path, tmp_path: Path, held_out: dict[str, int]
) -> None:
    mine = objects.make(160)
    layout.write(tmp_path / "same", [replace(mine, split=np.full(160, "train"))])
    (tmp_path / "run").mkdir()
    experiment = Experiment.read(config).trained(**held_out).pretrained()
    unlabelled = [Dataset.open(tmp_path / "same")]
    pretrainer = Pretrainer(experiment, Dataset.open(data_set), tmp_path / "run", unlabelled=unlabelled)
    seen = np.isin(mine.object_id, pretrainer.train.object_id)
    assert seen.any()
    assert not np.isin(mine.fold[seen], list(held_out.values())).any()
    assert not (mine.split[seen] == "test").any()


def test_scales_are_those_of_the_datas_own_training_objects(data_set: Path, config: Path, tmp_path: Path) -> None:
    mine = objects.make(160)
    layout.write(tmp_path / "far", [replace(mine, object_id=mine.object_id + 10**6, metadata=mine.metadata + 50)])
    alone = _pretrainer(config, data_set, tmp_path / "one")
    together = _pretrainer(config, data_set, tmp_path / "two", unlabelled=(tmp_path / "far",))
    quantiles = [each.model.state_dict()["network.tab.tokenizer.quantiles"] for each in (alone, together)]
    assert torch.equal(*quantiles)
    own = mine.metadata[mine.split == "train"]
    assert quantiles[0][0, -1] == pytest.approx(float(np.nanmax(own[:, 0])), abs=1e-6)


def test_other_sets_do_not_drown_the_datas_own(data_set: Path, config: Path, tmp_path: Path) -> None:
    many = [objects.make(800, seed=seed) for seed in (1, 2)]
    layout.write(
        tmp_path / "many",
        [replace(each, object_id=each.object_id + 10**6 * (place + 1)) for place, each in enumerate(many)],
    )
    pretrainer = _pretrainer(config, data_set, tmp_path / "run", unlabelled=(tmp_path / "many",))
    drawn = np.concatenate([pretrainer.draws.step(number).labels.numpy() for number in range(60)])
    assert np.mean(drawn == 0) == pytest.approx(0.7, abs=0.05)
    assert (pretrainer.train.object_id > 10**6).sum() > 900


def test_a_resumed_run_takes_the_same_steps(data_set: Path, config: Path, tmp_path: Path) -> None:
    whole, broken_off = (_pretrainer(config, data_set, tmp_path / name) for name in ("whole", "broken"))
    for _ in range(10):
        whole.take_step()
    for _ in range(5):
        broken_off.take_step()
    broken_off.save_checkpoint()
    resumed = _pretrainer(config, data_set, tmp_path / "broken")
    resumed.resume()
    for _ in range(5):
        resumed.take_step()
    for one, two in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, two)


# --- training starts from it ----------------------------------------------------------------------------------------


def _trainer(config: Path, data_set: Path, directory: Path, init: Pretrained | None) -> Trainer:
    directory.mkdir(exist_ok=True)
    return Trainer(Experiment.read(config), Dataset.open(data_set), directory, init=init)


def _taken(trainer: Trainer, stored: dict[str, torch.Tensor]) -> set[str]:
    mine = trainer.model.state_dict()
    return {name for name, tensor in stored.items() if torch.equal(mine[name], tensor)}


def test_weights_start_training_whole_or_in_part(data_set: Path, config: Path, weights: Path, tmp_path: Path) -> None:
    stored = load_file(weights / "weights.safetensors")
    assert not any("head" in name.split(".")[0] for name in stored)
    upper = {name for name in stored if "blocks.1" in name}
    assert upper
    whole = _trainer(config, data_set, tmp_path / "whole", Pretrained.read(weights))
    assert _taken(whole, stored) == set(stored)
    lower = _trainer(config, data_set, tmp_path / "lower", Pretrained.read(weights, blocks=1))
    assert _taken(lower, stored) >= set(stored) - upper
    fresh = _trainer(config, data_set, tmp_path / "fresh", None)
    random = {name for name in upper if name.endswith("project_in.weight")}
    assert random
    for name in random:
        assert torch.equal(lower.model.state_dict()[name], fresh.model.state_dict()[name])
        assert not torch.equal(lower.model.state_dict()[name], stored[name])


def test_frozen_weights_stay_and_the_others_learn(data_set: Path, config: Path, weights: Path, tmp_path: Path) -> None:
    stored = load_file(weights / "weights.safetensors")
    stayed = {}
    for name, frozen in (("whole", 2), ("lower", 1), ("inputs", 0), ("none", None)):
        trainer = _trainer(config, data_set, tmp_path / name, Pretrained.read(weights, frozen=frozen))
        head = trainer.model.state_dict()["lc_head.1.weight"].clone()
        trainer.take_step()
        trainer.take_step()
        stayed[name] = _taken(trainer, stored)
        assert not torch.equal(trainer.model.state_dict()["lc_head.1.weight"], head)
    assert stayed["whole"] == set(stored)
    blocks = {number: {name for name in stored if f"blocks.{number}." in name} for number in (0, 1)}
    assert blocks[0] <= stayed["lower"]
    assert not any(name.endswith("project_in.weight") for name in stayed["lower"] & blocks[1])
    assert "lc.time_modulation.coefficients" in stayed["inputs"]
    assert not any(name.endswith("project_in.weight") for name in stayed["inputs"] & blocks[0])
    assert "lc.time_modulation.coefficients" not in stayed["none"]


def test_a_branch_that_was_not_pretrained_is_never_frozen(
    data_set: Path, config: Path, weights: Path, tmp_path: Path
) -> None:
    stored = load_file(weights / "weights.safetensors")
    frozen = Pretrained.read(weights, frozen=2)
    for of, learned in (("light curve", "lc."), ("table", "tab.")):
        alone = replace(frozen, provenance={**frozen.provenance, "self_supervision": {"of": of}})
        trainer = _trainer(config, data_set, tmp_path / learned, alone)
        still = {name for name, weight in trainer.model.named_parameters() if not weight.requires_grad}
        assert still == {name for name, _ in trainer.model.named_parameters() if name in stored and learned in name[:4]}


def test_the_command_trains_from_weights_and_says_so(
    data_set: Path, config: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", str(config), "--data", str(data_set), "--threads", "1", "--minutes", "0.0001"]
    frozen = ["--init", str(weights), "--freeze-blocks", "2"]
    assert main([*command, "--output", str(tmp_path / "run"), *frozen]) == 0
    provenance = json.loads((tmp_path / "run" / "toy" / "model.json").read_text())["provenance"]
    assert (provenance["init"]["name"], provenance["init"]["frozen"]) == ("toy", 2)
    assert Classifier.load(tmp_path / "run" / "toy").name == "toy"
    assert main([*command, "--output", str(tmp_path / "run"), "--resume"]) == 1
    assert "its run has other options" in capsys.readouterr().err
    assert main([*command, "--output", str(tmp_path / "other"), "--freeze-blocks", "1"]) == 1
    assert "that --init names" in capsys.readouterr().err


def test_training_goes_on_from_a_trained_model_but_for_its_heads(
    data_set: Path, config: Path, weights: Path, tmp_path: Path
) -> None:
    first = _trainer(config, data_set, tmp_path / "first", Pretrained.read(weights))
    first.take_step()
    Network(first.model).save(tmp_path)
    description = {"name": "toy", "kind": "atat", "architecture": first.model.config.to_dict()}
    (tmp_path / "model.json").write_text(json.dumps(description))
    second = _trainer(config, data_set, tmp_path / "second", Pretrained.read(tmp_path))
    learned, taken = first.model.state_dict(), second.model.state_dict()
    heads = {name for name in learned if "head." in name}
    assert heads
    assert all(torch.equal(learned[name], taken[name]) for name in set(learned) - heads)
    assert any(not torch.equal(learned[name], taken[name]) for name in heads)


def test_a_column_that_the_data_lack_is_told_or_its_scale_is_that_of_the_weights(
    data_set: Path, config: Path, weights: Path, tmp_path: Path
) -> None:
    mine = objects.make(160)
    without = np.where(np.array(COLUMNS) == "hostgal_zphot", np.float32(np.nan), mine.metadata)
    layout.write(tmp_path / "less", [replace(mine, metadata=without)])
    with pytest.raises(InvalidData, match="toy: no training row has a value of hostgal_zphot"):
        _trainer(config, tmp_path / "less", tmp_path / "alone", None)
    with pytest.raises(InvalidData, match="toy: no training row has a value of hostgal_zphot"):
        _pretrainer(config, tmp_path / "less", tmp_path / "unlabelled")
    stored = load_file(weights / "weights.safetensors")
    started = _trainer(config, tmp_path / "less", tmp_path / "started", Pretrained.read(weights))
    assert "tab.tokenizer.quantiles" in _taken(started, stored)


def test_weights_that_may_have_seen_what_a_run_holds_out_are_refused(
    data_set: Path, config: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["pretrain", str(config), "--data", str(data_set), "--leave-out", "1", "--output", str(tmp_path), *QUICK]
    assert main(command) == 0
    train = ["train", str(config), "--data", str(data_set), "--minutes", "0.0001", "--output", str(tmp_path / "run")]
    assert main([*train, "--init", str(weights), "--leave-out", "1"]) == 1
    assert "learned from these data with --leave-out None, and this run has --leave-out 1" in capsys.readouterr().err
    assert main([*train, "--init", str(tmp_path / "toy"), "--leave-out", "1"]) == 0
    beside = tmp_path / "beside"
    command = ["pretrain", str(config), "--data", str(objects.write(tmp_path / "own", 140)), *QUICK]
    assert main([*command, "--unlabelled", str(data_set), "--output", str(beside)]) == 0
    train[-1] = str(tmp_path / "third")
    assert main([*train, "--init", str(beside / "toy"), "--leave-out", "1"]) == 1
    assert "learned from all folds of these data" in capsys.readouterr().err
    third = [*train[:3], str(objects.write(tmp_path / "between", 120)), *train[4:-1], str(tmp_path / "through")]
    assert main([*third, "--init", str(weights)]) == 0  # by way of a model of other data they are the same weights
    assert main([*train, "--init", str(tmp_path / "through" / "toy"), "--leave-out", "1"]) == 1
    assert "learned from these data with --leave-out None" in capsys.readouterr().err
    elsewhere = objects.write(tmp_path / "elsewhere", 150)
    train[3] = str(elsewhere)
    train[-1] = str(tmp_path / "other")
    assert main([*train, "--init", str(weights), "--leave-out", "1"]) == 0


def test_weights_of_another_network_are_refused(config: Path, weights: Path, tmp_path: Path) -> None:
    narrow = Experiment.read(config)
    wide = build("atat", {"n_classes": 2, **narrow.model, "d_lc": 32})
    with pytest.raises(InvalidData, match="d_lc 16 against 32"):
        Pretrained.read(weights).start(wide)
    with pytest.raises(InvalidData, match="no weights to start from"):
        Pretrained.read(tmp_path)
    with pytest.raises(InvalidData, match="2 blocks cannot stay"):
        Pretrained.read(weights, blocks=1, frozen=2)


def test_a_pretrained_network_is_as_good_a_model_as_any(config: Path, weights: Path) -> None:
    network = build("atat", {"n_classes": 2, **Experiment.read(config).model})
    Pretrained.read(weights).start(network)
    made = objects.make(5)
    embedding = Network(network).score(made.light_curves, made.metadata, np.ones(5, dtype=np.bool_)).embeddings
    assert embedding is not None
    assert embedding.shape == (5, 24)
    assert np.isfinite(embedding).all()

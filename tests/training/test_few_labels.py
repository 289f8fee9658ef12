"""``few-labels``: which runs are made, on what, and what the page makes of them."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from models.self_supervision import SelfSupervision
from tests.training import objects
from tests.training.answered import N, run_of
from training import answers
from training.__main__ import main
from training.data import layout
from training.data.layout import Dataset
from training.data.selection import select
from training.experiment import TIERS, Experiment, Tier
from training.few_labels import PAGE
from training.few_labels_choice import LEARNING_RATES, SCREENED, best, chapter, grid, screened
from training.few_labels_comparison import Comparison, measured
from training.few_labels_page import page
from training.few_labels_runs import OUTCOMES, Bench, Method, Outcome, Run
from training.pretrain import pretrain
from training.trainer import Trainer

PRETRAINED = "ssl-b-0.15-0.1-learned"
TINY = Tier("tiny", 100, 12, d_lc=8, d_tab=8, training={"steps": 2, "evaluate_every": 2}, features=None, forests={})


def test_a_share_of_the_labels_is_chosen_within_each_class_and_a_smaller_share_is_part_of_it() -> None:
    made = objects.make(2000)
    rare = np.where(np.arange(2000) % 50 == 0, 2232, made.class_id)
    index = layout.Index(made.object_id, rare, made.split, made.fold, made.light_curves.lengths)
    whole, tenth, few = (select(index, labels=labels) for labels in (1.0, 0.1, 0.01))
    assert tenth.train.sum() == pytest.approx(0.1 * whole.train.sum(), abs=2)
    for class_id in np.unique(rare):
        own = rare == class_id
        assert (tenth.train & own).sum() == pytest.approx(0.1 * (whole.train & own).sum(), abs=0.51)
        assert (few.train & own).any()
    assert not (few.train & ~tenth.train).any()
    assert not (tenth.train & ~whole.train).any()
    np.testing.assert_array_equal(tenth.validation, whole.validation)
    again, other = (select(index, labels=0.1, seed=seed) for seed in (0, 1))
    np.testing.assert_array_equal(again.train, tenth.train)
    assert (other.train & tenth.train).sum() < 0.5 * tenth.train.sum() == 0.5 * other.train.sum()


def test_a_run_learns_from_its_share_of_the_labels(data_set: Path, config: Path, tmp_path: Path) -> None:
    experiment = Experiment.read(config).trained(labels=0.2)
    (tmp_path / "run").mkdir()
    trainer = Trainer(experiment, Dataset.open(data_set), tmp_path / "run")
    whole = select(Dataset.open(data_set).index())
    assert len(trainer.train) == pytest.approx(0.2 * whole.train.sum(), abs=1)
    assert len(trainer.validation) == whole.validation.sum()


def test_scales_are_of_all_objects_to_train_on_however_few_have_labels(
    data_set: Path, config: Path, tmp_path: Path
) -> None:
    quantiles = []
    for name, labels in (("all", 1.0), ("few", 0.1)):
        (tmp_path / name).mkdir()
        trainer = Trainer(Experiment.read(config).trained(labels=labels), Dataset.open(data_set), tmp_path / name)
        quantiles.append(trainer.model.state_dict()["tab.tokenizer.quantiles"])
    assert torch.equal(*quantiles)


def test_the_screen_and_the_comparison_make_a_page_and_are_not_made_again(
    data_set: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TIERS, "tiny", TINY)
    monkeypatch.setattr("training.few_labels_choice.ETA_PRED", (0.5,))
    monkeypatch.setattr("training.few_labels_choice.ETA_ORIG", (0.1,))
    monkeypatch.setattr("training.few_labels_choice.LEARNING_RATES", LEARNING_RATES[:2])
    command = ["few-labels", "--config", str(config), "--tier", "tiny", "--data", str(data_set), "--threads", "1"]
    command += ["--output", str(tmp_path / "bench"), "--seeds", "2", "--labels", "0.1", "1", "--best", "1", "--longer"]
    assert main(command) == 0
    screened = {method.name for method in grid(Experiment.read(config))}
    tokens = ("learned", "noise")
    assert screened == {
        *(f"ssl-{kind}-0.5-0.1-{token}" for kind in "bm" for token in tokens),
        *(
            f"ssl-m-0.5-0.1-learned-{seen}"
            for seen in (
                "class-token",
                "class-token-light-curve-alone",
                "class-token-groups",
                "class-tokens-groups",
            )
        ),
    }
    page = (tmp_path / "bench" / PAGE).read_text()
    assert re.search(r"\| kind M \| B \| [+-]\d+\.\d \| [012] of 2 \|\n\| token learned \| noise \| [+-]\d", page)
    for name in (*screened, "scratch"):
        assert f"| {name} |" in page
    assert page.count("| 10% (10) |") == 3
    assert page.count("| 100% (99) |") == 2
    assert "The 20 validation objects have all of their labels" in page
    longer = next((tmp_path / "bench" / "runs").glob("scratch-for-longer-labels-0.1-*"))
    log = (longer / "log.csv").read_text().splitlines()
    assert log[-1].startswith("4,")  # two steps, and as many as pretraining has
    ahead = r"at 10%, [+-]\d+\.\d \([+-]\d+\.\d to [+-]\d+\.\d\) over scratch-for-longer"
    assert len(re.findall(ahead + r"; (pass|\*\*FAIL\*\*) \(\+3, interval above 0\)", page)) == 1
    assert "Pretraining: 2 steps on 99 objects of test, no label learned from." in page
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("weights.safetensors")}
    assert main(command) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("weights.safetensors")} == made
    assert (tmp_path / "bench" / PAGE).read_text() == page
    assert not list(tmp_path.rglob("checkpoint.pt"))
    assert main([*command, "--steps", "3"]) == 1
    assert main([*command, "--methods", "ssl-x"]) == 1
    elsewhere = [str(each).replace("bench", "elsewhere") for each in command]
    shutil.copytree(tmp_path / "bench", tmp_path / "elsewhere", ignore=shutil.ignore_patterns("runs", "pretrained"))
    (tmp_path / "elsewhere" / PAGE).unlink()
    assert main(elsewhere) == 0
    assert (tmp_path / "elsewhere" / PAGE).read_text() == page
    assert not (tmp_path / "elsewhere" / "runs").exists()  # nothing had to be made again
    config_of_another = tmp_path / "toy.toml"
    config_of_another.write_text(config.read_text().replace("noise = 0.2", "noise = 0.3"))
    assert main([*command[:2], str(config_of_another), *command[3:]]) == 1
    config_of_another.write_text(config.read_text() + "decoder_layers = 2\n")
    assert main([*command[:2], str(config_of_another), *command[3:]]) == 1
    config_of_another.write_text(config.read_text().replace("eta_pred = 0.5", "eta_pred = 0.6"))
    assert main([*command[:2], str(config_of_another), *command[3:]]) == 0  # which kind `pretrain` is of by itself


def test_methods_can_be_compared_without_a_screen(
    data_set: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TIERS, "tiny", TINY)
    monkeypatch.setattr("training.few_labels_choice.LEARNING_RATES", LEARNING_RATES[:1])
    command = ["few-labels", "--config", str(config), "--tier", "tiny", "--data", str(data_set), "--threads", "1"]
    command += ["--output", str(tmp_path / "bench"), "--seeds", "1", "--labels", "0.1"]
    assert main([*command, "--methods", "ssl-b-0.15-0.1-learned"]) == 0
    runs = {path.name for path in (tmp_path / "bench" / "runs").iterdir()}
    assert runs == {f"{name}-labels-0.1-rate-0.0003-0" for name in ("scratch", "ssl-b-0.15-0.1-learned")}
    assert "## Screen" not in (tmp_path / "bench" / PAGE).read_text()


@pytest.mark.parametrize(("number", "found"), [(1, ["b"]), (2, ["beyond", "b"]), (3, ["beyond", "beyond", "b"])])
def test_one_of_the_chapters_own_is_always_compared(
    data_set: Path, config: Path, tmp_path: Path, number: int, found: list[str]
) -> None:
    """Of a screen in which what is beyond the chapter is best, and SSL-B better than SSL-M."""
    experiment = Experiment.read(config)
    bench = Bench(tmp_path, experiment, Dataset.open(data_set), (), {}, 2, False, "cpu", Console())
    own = chapter(experiment)
    kinds = {each.name: "beyond" for each in grid(experiment)}
    kinds |= {each.name: each.self_supervision.kind.lower() for each in own if each.self_supervision is not None}
    score = {"beyond": 0.9, "b": 0.8}
    told = [Outcome(score.get(kinds.get(run.method.name, ""), 0.7)).told(run) for run in screened(experiment)]
    (tmp_path / OUTCOMES).write_text("".join(told))
    assert [kinds[method.name] for method in best(bench, number)] == found


def test_each_setting_is_judged_by_the_pairs_that_differ_in_it_alone(
    data_set: Path, config: Path, tmp_path: Path
) -> None:
    """Of a screen in which eta_orig is worth two points, noise one where eta_pred is not .5, and nothing else any."""
    experiment = Experiment.read(config)
    bench = Bench(tmp_path, experiment, Dataset.open(data_set), (), {}, 2, False, "cpu", Console())
    runs = screened(experiment)
    for run in runs:
        ssl = run.method.self_supervision or SelfSupervision()
        f1 = 0.5 + 0.02 * (ssl.eta_orig == 0.25) + 0.01 * (ssl.token == "noise" and ssl.eta_pred != 0.5)  # noqa: S105
        with (tmp_path / OUTCOMES).open("a") as file:
            file.write(Outcome(f1).told(run))
    told = page(bench, [], [], 1)
    for row in (
        "kind M | B | +0.0 | 0 of 12",
        "eta_pred 0.5 | 0.15 | -0.5 | 0 of 8",
        "eta_pred 1.0 | 0.15 | +0.0 | 0 of 8",
        "eta_pred 1.0 | 0.5 | +0.5 | 4 of 8",
        "eta_orig 0.25 | 0.1 | +2.0 | 12 of 12",
        "token learned | noise | -0.7 | 0 of 12",
    ):
        assert f"| {row} |" in told
    assert "BERT's (ssl-b-0.15-0.1-learned) 50.0, MAE's (ssl-m-1-0.25-learned) 52.0." in told


def test_learning_rates_are_tried_from_the_middle_towards_the_better_ones(
    data_set: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TIERS, "tiny", TINY)
    score = {3e-4: 9, 1e-3: 1, 3e-3: 2, 1e-2: 3}
    monkeypatch.setattr("training.few_labels_runs.Bench.score", lambda _, run: score[run.learning_rate])
    command = ["few-labels", "--config", str(config), "--tier", "tiny", "--data", str(data_set), "--threads", "1"]
    command += ["--output", str(tmp_path / "bench"), "--seeds", "1", "--labels", "0.1"]
    assert main([*command, "--methods", "ssl-b-0.15-0.1-learned"]) == 0
    tried = {path.name for path in (tmp_path / "bench" / "runs").glob("scratch-*")}
    assert tried == {f"scratch-labels-0.1-rate-{rate}-0" for rate in ("0.001", "0.003", "0.01")}
    assert "| scratch | 10% (10) | 0.01, at an end of those tried |" in (tmp_path / "bench" / PAGE).read_text()


def test_a_run_that_diverges_is_told_and_the_others_go_on(
    data_set: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(TIERS, "tiny", TINY)
    monkeypatch.setattr("training.few_labels_choice.LEARNING_RATES", (1e-3, 1e38))
    command = ["few-labels", "--config", str(config), "--tier", "tiny", "--data", str(data_set), "--threads", "1"]
    command += ["--output", str(tmp_path / "bench"), "--seeds", "1", "--labels", "0.1", "--steps", "3"]
    command += ["--methods", "ssl-b-0.15-0.1-learned"]
    assert main(command) == 0
    told = map(json.loads, (tmp_path / "bench" / OUTCOMES).read_text().splitlines())
    diverged = {each["run"]: each["diverged"] for each in told if each["diverged"]}
    assert "training has diverged" in diverged["scratch-labels-0.1-rate-1e+38-0"]
    assert "| scratch | 10% (10) | 0.001, at an end of those tried |" in (tmp_path / "bench" / PAGE).read_text()
    capsys.readouterr()
    assert main(command) == 0
    assert "learning rates" not in capsys.readouterr().err  # there is nothing left to try
    steps = json.loads(next(tmp_path.rglob("pretrained.json")).read_text())["provenance"]["training"]["steps"]
    assert steps == 2  # the tier's, whatever --steps


def test_pretraining_that_diverges_is_not_tried_again_for_the_next_run(
    data_set: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TIERS, "tiny", TINY)
    monkeypatch.setattr("training.few_labels_choice.LEARNING_RATES", (1e-3, 3e-3))
    broken = tmp_path / "toy.toml"
    broken.write_text(
        config.read_text().replace("[pretraining]\nlearning_rate = 2e-3", "[pretraining]\nlearning_rate = 1e38")
    )
    tried = []

    def counted(*arguments: Any, **options: Any) -> None:
        tried.append(arguments)
        pretrain(*arguments, **options)

    monkeypatch.setattr("training.few_labels_runs.pretrain", counted)
    command = ["few-labels", "--config", str(broken), "--tier", "tiny", "--data", str(data_set), "--threads", "1"]
    command += ["--output", str(tmp_path / "bench"), "--seeds", "1", "--labels", "0.1", "--pretraining-steps", "3"]
    assert main([*command, "--methods", PRETRAINED]) == 0
    assert len(tried) == 1
    told = map(json.loads, (tmp_path / "bench" / OUTCOMES).read_text().splitlines())
    lost = [each["diverged"] for each in told if each["run"].startswith(PRETRAINED)]
    assert len(lost) == 2
    assert all("diverged" in reason for reason in lost)
    assert "| scratch | 10%" in (tmp_path / "bench" / PAGE).read_text()


def test_runs_of_one_pretraining_are_one_processs_and_starts_from_scratch_are_anybodys() -> None:
    scratch, pretrained = Method(None), Method(SelfSupervision())
    runs = [
        Run(method, 0.1, rate, seed) for method in (scratch, pretrained) for rate in (1e-3, 3e-3) for seed in (0, 1)
    ]
    assert len({run.claim for run in runs if run.method is scratch}) == 4
    assert len({run.claim for run in runs if run.method is pretrained}) == 2


def test_methods_are_compared_on_folds_that_nothing_has_learned_from(
    data_set: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(TIERS, "tiny", TINY)
    monkeypatch.setattr("training.few_labels_choice.LEARNING_RATES", LEARNING_RATES[:1])
    command = ["few-labels", "--config", str(config), "--tier", "tiny", "--data", str(data_set), "--threads", "1"]
    command += ["--labels", "0.5", "--methods", "ssl-b-0.15-0.1-learned", "--output"]
    more = objects.make(40)
    layout.write(tmp_path / "more", [replace(more, object_id=more.object_id + 10**6)])
    unlabelled = ["--unlabelled", str(tmp_path / "more")]
    assert main([*command, str(tmp_path / "bench"), "--seeds", "2", "--folds", *unlabelled]) == 0
    index = Dataset.open(data_set).index()
    page = (tmp_path / "bench" / PAGE).read_text()
    assert f"Macro F1 on {np.sum(index.fold < 2)} test objects" in page
    assert "Student's t, made longer" in page
    described = [*tmp_path.rglob("pretrained.json"), *tmp_path.rglob("model.json")]
    assert len(described) == 6
    for path in described:
        provenance = json.loads(path.read_text())["provenance"]
        training = provenance["training"]
        assert training["left_out"] == training["seed"], path
        if path.name == "pretrained.json":
            own = select(index, left_out=training["seed"], labels=None).train
            assert provenance["objects"] == own.sum() + np.count_nonzero(more.split == "train")
    assert main([*command, str(tmp_path / "bench"), "--seeds", "6", "--folds", *unlabelled]) == 1
    assert "fewer than --seeds 6" in capsys.readouterr().err
    command += [str(tmp_path / "other"), "--seeds", "1"]
    assert main([*command, "--test", str(data_set)]) == 0
    mine = objects.make(160)
    layout.write(tmp_path / "turned", [replace(mine, split=np.where(mine.split == "train", "test", "train"))])
    layout.write(tmp_path / "tested", [replace(mine, object_id=mine.object_id + 10**6)])
    unlabelled = ["--unlabelled", str(tmp_path / "unlabelled")]
    layout.write(tmp_path / "unlabelled", [replace(mine, object_id=mine.object_id + 10**6)])
    for learned in (["--test", str(tmp_path / "turned")], ["--test", str(tmp_path / "tested"), *unlabelled]):
        assert main([*command, *learned]) == 1
        assert "objects to compare on are among those to learn from" in capsys.readouterr().err


# --- what the page makes of answers -------------------------------------------------------------------------------


def _bench(
    data_set: Path, config: Path, directory: Path, f1: dict[str, list[float | None]]
) -> tuple[Bench, list[Method]]:
    """Runs of both methods that were best at 0.001 and were right about so much, a seed each; None for a lost one."""
    experiment = Experiment.read(config)
    methods = [Method(None), *(each for each in grid(experiment) if each.name == PRETRAINED)]
    rates = {rate: Outcome(0.9 if rate == 1e-3 else 0.1) for rate in LEARNING_RATES[:3]}
    outcomes = [outcome.told(Run(method, SCREENED, rate, 0)) for method in methods for rate, outcome in rates.items()]
    for method in methods:
        for seed, share in enumerate(f1[method.name]):
            run = Run(method, SCREENED, 1e-3, seed)
            if share is None:
                outcomes.append(Outcome(-np.inf, diverged="it has").told(run))
            else:
                run_of(run.variant, seed, {"else": share}).write(directory / "answers")
    (directory / OUTCOMES).write_text("".join(outcomes))
    return Bench(directory, experiment, Dataset.open(data_set), (), {}, 2, False, "cpu", Console()), methods


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ((0.05, 0.075, 0.05), "pass"),
        ((0.025, 0.025, 0.025), "**FAIL**"),  # sure, and too little
        ((0.2, 0.025, 0.025), "**FAIL**"),  # enough, and not sure
        ((0.05, 0.05, None), "not judged: 2 of 3 seeds"),
        ((0.05,), "not judged: one seed"),
        ((0.05, None), "not judged: 1 of 2 seeds"),
    ],
)
def test_a_gain_passes_if_it_is_large_and_sure_and_of_all_seeds(
    data_set: Path, config: Path, tmp_path: Path, gains: tuple[float | None, ...], verdict: str
) -> None:
    scratch = [0.5 + 0.1 * seed for seed in range(len(gains))]
    pretrained = [None if gain is None else f1 + gain for f1, gain in zip(scratch, gains, strict=True)]
    bench, methods = _bench(data_set, config, tmp_path, {"scratch": [*scratch], PRETRAINED: pretrained})
    told = page(bench, methods, [SCREENED], len(gains))
    assert f"at 10%; {verdict} (+3, interval above 0)" in told
    assert ("Diverged, and left out" in told) == (None in gains)


def test_a_lost_seed_leaves_the_others_in_pairs(data_set: Path, config: Path, tmp_path: Path) -> None:
    """Seeds differ by far more than methods do: any other pairs would show it."""
    f1 = {"scratch": [0.5, None, 0.7, 0.9], PRETRAINED: [0.55, 0.3, 0.75, None]}
    bench, methods = _bench(data_set, config, tmp_path, f1)
    found = measured(bench, methods, [SCREENED], 4)
    assert found.rows
    (row,) = (row for row in found.rows if row.gain is not None)
    assert row.paired == 2
    assert row.gain is not None
    assert row.gain.value == pytest.approx(5)
    assert 2 < row.gain.low < row.gain.high < 8


def test_without_any_pair_the_page_says_that_nothing_is_judged(data_set: Path, config: Path, tmp_path: Path) -> None:
    f1: dict[str, list[float | None]] = {"scratch": [0.5, None], PRETRAINED: [0.6, 0.6]}
    bench, methods = _bench(data_set, config, tmp_path, f1)
    for answered in (tmp_path / "answers").glob("ssl-*-0.parquet"):
        answered.unlink()
    told = page(bench, methods, [SCREENED], 2)
    assert f"- {PRETRAINED}: nothing to compare at 10%; not judged: 0 of 2 seeds" in told


def test_what_scratch_gains_by_learning_for_longer_is_set_against_pretraining(
    data_set: Path, config: Path, tmp_path: Path
) -> None:
    f1: dict[str, list[float | None]] = {"scratch": [0.5, 0.6], PRETRAINED: [0.6, 0.7]}
    bench, methods = _bench(data_set, config, tmp_path, f1)
    longer = Method(None, longer=True)
    with (tmp_path / OUTCOMES).open("a") as file:
        file.writelines(
            Outcome(0.9 if rate == 1e-3 else 0.1).told(Run(longer, SCREENED, rate, 0)) for rate in LEARNING_RATES[:3]
        )
    for seed, share in enumerate((0.575, 0.675)):
        run_of(Run(longer, SCREENED, 1e-3, seed).variant, seed, {"else": share}).write(tmp_path / "answers")
    methods.append(longer)
    rows = {row.method.name: row for row in measured(bench, methods, [SCREENED], 2).rows}
    gains = {
        name: [None if gain is None else round(gain.value, 1) for gain in (row.gain, row.over_longer)]
        for name, row in rows.items()
    }
    assert gains == {"scratch": [None, None], PRETRAINED: [10.0, 2.5], longer.name: [7.5, None]}
    told = page(bench, methods, [SCREENED], 2)
    assert "more than scratch-for-longer" in told
    assert re.search(rf"- {PRETRAINED}: \+10.0 \(.*\) at 10%, \+2.5 \(.*\) over scratch-for-longer; pass", told)


def test_a_run_made_again_has_come_to_what_it_came_to_first(tmp_path: Path) -> None:
    run = Run(Method(None), SCREENED, 1e-3, 0)
    torn = Outcome(0.9).told(Run(Method(None), SCREENED, 3e-3, 0))[:20]
    lines = [Outcome(0.5).told(run), torn + Outcome(0.7).told(Run(Method(None), SCREENED, 1e-2, 0))]
    (tmp_path / OUTCOMES).write_text("".join([*lines, Outcome(0.6).told(run)]))
    assert {name: outcome.score for name, outcome in Outcome.read(tmp_path / OUTCOMES).items()} == {run.name: 0.5}


def _on_folds(bench: Bench, methods: list[Method]) -> Comparison:
    """Of these runs, had each been tried on objects of its own."""
    for path in (bench.directory / "answers").iterdir():
        own = answers.Run.read(path)
        apart = replace(own.by_age, object_id=own.by_age.object_id + N * (own.seed or 0))
        replace(own, by_age=apart).write(bench.directory / "answers")
    return measured(replace(bench, folds=True), methods, [SCREENED], 3)


def test_on_folds_a_gain_is_of_all_of_them_together(data_set: Path, config: Path, tmp_path: Path) -> None:
    f1: dict[str, list[float | None]] = {"scratch": [0.5, 0.6, 0.7], PRETRAINED: [0.55, 0.65, 0.8]}
    bench, methods = _bench(data_set, config, tmp_path, f1)
    found = _on_folds(bench, methods)
    assert found.n_objects == 3 * N
    gains = np.array([5.0, 5.0, 10.0])
    longer = np.sqrt(1 + 3 / 4)  # Nadeau and Bengio: three folds of a quarter of what is learned from
    reach = longer * 4.3027 * gains.std(ddof=1) / np.sqrt(3)
    (row,) = (row for row in found.rows if row.gain is not None)
    assert row.gain is not None
    pooled = {each.method.name: each.f1.value for each in found.rows}
    assert row.gain.value == pytest.approx(pooled[PRETRAINED] - pooled["scratch"])
    assert row.gain.value == pytest.approx(gains.mean(), abs=0.5)
    # How folds differ holds which objects were drawn: nothing is added to it.
    assert row.gain.high - row.gain.value == pytest.approx(reach, rel=0.15)
    assert row.gain.value - row.gain.low == pytest.approx(reach, rel=0.15)


def test_folds_that_agree_by_chance_leave_a_gain_the_interval_of_its_objects(
    data_set: Path, config: Path, tmp_path: Path
) -> None:
    bench, methods = _bench(data_set, config, tmp_path, {"scratch": [0.5] * 3, PRETRAINED: [0.55] * 3})
    (row,) = (row for row in _on_folds(bench, methods).rows if row.gain is not None)
    assert row.gain is not None
    assert 0 < row.gain.low < row.gain.value - 0.5 < row.gain.value + 0.5 < row.gain.high

"""RESULTS.md: checks pass, fail or are not run by what was predicted, and by nothing else."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.calibration import Calibration
from models.classifier import Description
from models.taxonomy import CLASS_NAMES
from tests.training import objects
from tests.training.answered import TAXONOMY, N, run_of, scored_of
from training import results
from training.__main__ import main
from training.answers import Run
from training.checks import (
    book_of,
    calibration_checks,
    change_rows,
    change_rows_of_atat,
    checks,
    further_checks,
    further_plasticc_checks,
    plasticc_checks,
)
from training.errors import InvalidData
from training.experiment import TIERS
from training.measure import ENOUGH, Panel, days_of, difference, few, view_of
from training.metrics import Estimate
from training.predictions import AGES, Predictions, Ready


def test_figures_are_as_made() -> None:
    """With a share s right of every class, and the rest taken for its neighbour, each class has F1 s."""
    runs = [run_of("one", seed, {"else": 0.8, "8 days": 0.6}, sure=0.9) for seed in (0, 1)]
    panel = Panel.of(runs, draws=200)
    measured = panel.measure(runs)
    assert len(panel) == N
    assert measured.macro("2048 days")[0] == pytest.approx(0.8)
    assert measured.macro("8 days")[0] == pytest.approx(0.6)
    assert measured.macro("alerts, 3-5", of="recall")[0] == pytest.approx(0.8)
    assert measured.ece["alerts"][0] == pytest.approx(0.1, abs=1e-6)
    assert measured.cross_entropy["alerts, 1"] == pytest.approx(-0.8 * np.log(0.9) - 0.2 * np.log(0.1 / 19), abs=1e-3)
    assert measured.macro("2048 days")[1:].std() == pytest.approx(np.sqrt(0.8 * 0.2 / N), rel=0.25)


def test_calibration_is_told_of_alerts_as_they_come_and_of_classes_alike() -> None:
    """One class of twenty sends nine times as many alerts as any other, and is always known."""
    run = run_of("one", 0, {"else": 0.8}, sure=0.9)
    often = run.by_alert.class_id == TAXONOMY.class_ids[0]
    answers = replace(
        run.by_alert,
        weight=np.where(often, 9, 1).astype(np.float32),
        predicted=np.where(often, run.by_alert.class_id, run.by_alert.predicted),
        confidence=np.where(often, 1.0, run.by_alert.confidence),
        surprise=np.where(often, 0.0, run.by_alert.surprise),
    )
    run = replace(run, by_alert=answers)
    measured = Panel.of([run], draws=5).measure([run])
    assert measured.ece["alerts"][0] == pytest.approx(0.1 * 19 / 28, abs=1e-3)
    assert measured.ece_alike["alerts"][0] == pytest.approx(0.1 * 19 / 20, abs=1e-3)
    of_others = -0.8 * np.log(0.9) - 0.2 * np.log(0.1 / 19)
    assert measured.cross_entropy["alerts, 1"] == pytest.approx(of_others * 19 / 28, abs=1e-3)
    assert measured.cross_entropy_alike["alerts, 1"] == pytest.approx(of_others * 19 / 20, abs=1e-3)


def test_differences_are_paired_by_object() -> None:
    runs = [run_of("a", 0, {"else": 0.8}), run_of("b", 0, {"else": 0.8}), run_of("c", 0, {"else": 0.75})]
    panel = Panel.of(runs, draws=200)
    a, b, c = (panel.measure([run]) for run in runs)
    assert difference(a, b, "8 days") == Estimate(0, 0, 0)
    apart = difference(a, c, "8 days")
    assert apart.value == pytest.approx(5)
    assert apart.low > 2.5  # unpaired it would reach below 2


def test_a_class_of_few_objects_in_a_view_takes_no_part_in_its_mean() -> None:
    run = run_of("atat2", 0, {"else": 1.0})
    scarce = TAXONOMY.class_ids[3]
    alerts, ages = run.by_alert, run.by_age
    number = np.arange(len(alerts)) // len(np.unique(alerts.carried))
    kept = (alerts.class_id != scarce) | (alerts.carried < 9) | (number % 40 < 5)
    wrong = np.where((alerts.class_id == scarce) & (alerts.carried >= 9), TAXONOMY.class_ids[0], alerts.predicted)
    alerts = replace(alerts, predicted=wrong.astype(np.int32)).take(np.flatnonzero(kept))
    panel = Panel.of([run], draws=200)
    measured = panel.measure([replace(run, by_age=ages, by_alert=alerts)])
    few_of = few(measured, measured.views)
    assert few_of == {view: [CLASS_NAMES[scarce]] for view in ("alerts, 6-20", "alerts, > 20")}
    for view in ("alerts, 6-20", "alerts, > 20"):
        place = measured.place(view)
        column = measured.classes.index(scarce)
        assert 0 < measured.objects[place, column] < ENOUGH
        assert measured.macro(view)[0] > 0.97  # but for what is taken for others
        assert np.isnan(measured.recall[1:, place, column]).mean() < 0.05
        assert np.nanmax(measured.recall[:, place, column]) == 0


def test_models_are_compared_on_the_objects_they_share() -> None:
    runs = [run_of("a", 0, {"else": 0.8}), run_of("b", 0, {"else": 0.8}, n=N // 2)]
    assert len(Panel.of(runs, draws=5)) == N // 2


def _verdicts(runs: list[Run]) -> dict[str, str]:
    book = book_of(runs, "small", draws=100)
    return {row.check: row.verdict for row in (*checks(book), *further_checks(book, book))}


def test_checks_pass_where_they_should() -> None:
    runs = [
        *(run_of("lc-md-mta", seed, {"else": 0.80, "8 days": 0.70, "alerts": 0.70}) for seed in (0, 1, 2)),
        run_of("bhrf", 0, {"else": 0.75, "8 days": 0.60}),
        run_of("flat", 0, {"else": 0.75}),
        run_of("lc-mta", 0, {"else": 0.60, "8 days": 0.50}),
        run_of("lc-md", 0, {"else": 0.80, "8 days": 0.60}),
        run_of("lc-md-features-mta", 0, {"else": 0.80}),
        run_of("lc-md-mta-no-quantiles", 0, {"else": 0.825}),
        run_of("lc-md-mta-sinusoid", 0, {"else": 0.70}),
        run_of("lc-mta-sinusoid", 0, {"else": 0.60, "8 days": 0.50}),
        run_of("md-features-mta", 0, {"else": 0.775}),
        run_of("atat2+lightgbm", 0, {"else": 0.85, "8 days": 0.75, "alerts": 0.80}),
        run_of("atat2", 0, {"else": 0.85, "8 days": 0.725, "alerts": 0.75}),
        run_of("lightgbm", 0, {"else": 0.80, "8 days": 0.70, "alerts": 0.75}),
    ]
    found = _verdicts(runs)
    expected = {
        "LC + MD + MTA minus BHRF, full": "pass",
        "BHRF minus the flat forest, full": "pass",
        "LC + MD + MTA minus BHRF, 8 days": "pass",
        "LC + MD minus LC, every length": "not run",
        "LC + MD + MTA minus LC + MTA, every length": "pass",
        "LC + MD minus MD + Features, full": "not run",
        "MTA's effect on LC + MD, 8 days": "pass, within noise",  # 10 of 8 points asked
        "MTA's effect on LC + MD, full": "pass",
        "features added to LC + MD + MTA, full": "FAIL",  # within 1.5, but the periodic classes are not up
        "LC + MD + MTA minus MD + Features + MTA, full": "pass",
        "time modulation v a fixed sinusoid, full": "pass",
        "time modulation v a fixed sinusoid, LC alone, full": "FAIL",  # alike is not above
        "QFT v none, full": "FAIL",
        "`atat2` minus ATAT, full": "pass, within noise",  # 5 of 4 points asked
        "`atat2` minus ATAT, 8 days": "FAIL",
        "`atat2` minus LightGBM, full": "pass",
        "`atat2` minus LightGBM, 8 days": "pass",
        "`atat2` minus LightGBM, per alert as sent": "FAIL",
        "`atat2` minus LightGBM on test objects drawn after all choices, 8 days": "pass",
        "`atat2` and LightGBM as one minus LightGBM, full": "pass",
        "`atat2` and LightGBM as one minus `atat2`, full": "FAIL",
        "`atat2` and LightGBM as one minus `atat2`, 8 days": "pass",
    }
    assert expected.items() <= found.items()
    rows = {row.check: row for row in checks(book_of(runs, "small", draws=100))}
    assert rows["LC + MD minus LC, every length"].found == "no lc"
    assert rows["LC + MD + MTA minus BHRF, full"].seeds == "3, 1"
    assert rows["LC + MD + MTA minus BHRF, full"].found.startswith("+5.0 (")


def test_the_least_length_decides_where_every_length_is_asked() -> None:
    everywhere = [run_of("lc-md", 0, {"else": 0.8}), run_of("lc", 0, {"else": 0.6})]
    (row,) = (
        each for each in checks(book_of(everywhere, "", draws=20)) if each.check == "LC + MD minus LC, every length"
    )
    assert row.verdict == "pass"
    but_once = [everywhere[0], run_of("lc", 0, {"else": 0.6, "32 days": 0.7})]
    (row,) = (
        each for each in checks(book_of(but_once, "", draws=20)) if each.check == "LC + MD minus LC, every length"
    )
    assert row.verdict == "FAIL"
    assert row.found.startswith("least +10.0 (")
    assert "at 32 days" in row.found


def test_a_change_is_worth_what_is_lost_without_it_or_gained_by_it() -> None:
    runs = [
        run_of("atat2-first", 0, {"else": 0.5, "alerts": 0.6}),
        run_of("atat2-no-ema", 0, {"else": 0.4, "8 days": 0.55, "alerts": 0.6}),
        run_of("atat2-statistics", 0, {"else": 0.7}),
        run_of("atat2", 0, {"else": 0.8}),
    ]
    without, with_statistics, with_both = change_rows(book_of(runs, "small", draws=20))
    assert without[0] == "a moving average of the weights"
    assert [float(cell.split()[0]) for cell in without[1:]] == pytest.approx([10, -5, 0], abs=0.06)
    assert "statistics" in with_statistics[0]
    assert [float(cell.split()[0]) for cell in with_statistics[1:]] == pytest.approx([20, 20, 10], abs=0.06)
    assert with_both[0] == "both: `atat2`"
    assert [float(cell.split()[0]) for cell in with_both[1:]] == pytest.approx([30, 30, 20], abs=0.06)
    assert not change_rows(book_of(runs[1:], "small", draws=20))
    of_atat = [run_of("lc-md-mta", 0, {"else": 0.5}), run_of("lc-md-mta-200", 0, {"else": 0.6, "alerts": 0.5})]
    ((told, *gained),) = change_rows_of_atat(book_of(of_atat, "small", draws=20))
    assert "200 points" in told
    assert [float(cell.split()[0]) for cell in gained] == pytest.approx([10, 10, 0], abs=0.06)


def test_folds_are_pooled_each_calibrated_as_its_own() -> None:
    runs = [run_of("atat2", 0, {"else": 0.9}, sure=0.6), run_of("atat2", 0, {"else": 0.5}, sure=0.8)]
    by_age = replace(runs[1].by_age, object_id=runs[1].by_age.object_id + N)
    by_alert = replace(runs[1].by_alert, object_id=runs[1].by_alert.object_id + N)
    runs[1] = replace(runs[1], by_age=by_age, by_alert=by_alert)
    pooled = Run.pooled(runs)
    book = book_of([pooled], "", draws=20)
    assert book.variants["atat2"].macro("2048 days")[0] == pytest.approx(0.7)
    assert pooled.by_alert.confidence.mean() == pytest.approx(0.7, abs=1e-3)
    assert [row.verdict for row in plasticc_checks(book)] == ["not run", "FAIL"]
    assert {row.verdict for row in further_plasticc_checks(book)} == {"not run"}


@pytest.mark.parametrize(("right", "verdict"), [(0.875, "pass"), (0.85, "pass, within noise"), (0.825, "FAIL")])
def test_a_score_passes_from_its_bound_on(right: float, verdict: str) -> None:
    _, score = plasticc_checks(book_of([run_of("atat2", 0, {"else": right})], "", draws=100))
    assert score.verdict == verdict
    assert score.found.startswith(f"{right:.3f} (")


@pytest.mark.parametrize(
    ("error", "verdicts"),
    [
        (0.01, ["pass", "pass"]),
        (0.0195, ["pass, within noise", "pass"]),
        (0.03, ["FAIL", "pass"]),
        (0.0395, ["FAIL", "pass, within noise"]),
        (0.05, ["FAIL", "FAIL"]),
    ],
)
def test_calibration_passes_up_to_its_bounds(error: float, verdicts: list[str]) -> None:
    book = book_of([run_of("atat2", 0, {"else": 0.8})], "shipped", draws=20)
    measured = book.variants["atat2"]
    spread = error + np.linspace(-0.001, 0.001, 21)
    uncertain = replace(measured, ece={view: np.append(error, spread) for view in measured.ece})
    rows = calibration_checks(replace(book, variants={"atat2": uncertain}))
    assert [row.verdict for row in rows] == verdicts


def test_what_the_simulation_knows_of_plasticc_is_told_apart() -> None:
    """A gain in the two classes whose simulation was fitted to it is no gain without them."""
    forest, network = run_of("lightgbm", 0, {"else": 0.5}), run_of("atat2", 0, {"else": 0.5})
    answers = network.by_age
    iax = answers.class_id == 2225  # the others of it were taken for 91bg
    network = replace(network, by_age=replace(answers, predicted=np.where(iax, answers.class_id, answers.predicted)))
    book = book_of([forest, network], "", draws=50)
    (all_classes, _), (without, *_) = plasticc_checks(book), further_plasticc_checks(book)
    assert (all_classes.verdict, without.verdict) == ("pass", "FAIL")
    assert "91bg, Iax" in without.check


def test_answers_are_kept_to_the_last_figure(tmp_path: Path) -> None:
    run = run_of("lc-md", 3, {"else": 0.8, "8 days": 0.6}, sure=0.87)
    run.write(tmp_path)
    again = Run.read(tmp_path / "lc-md-3.parquet")
    panel = Panel.of([run, again], draws=20)
    one, other = panel.measure([run]), panel.measure([again])
    np.testing.assert_array_equal(one.f1, other.f1)
    np.testing.assert_array_equal(one.ece["alerts"], other.ece["alerts"])
    assert (one.cross_entropy, one.seconds, one.prior) == (other.cross_entropy, other.seconds, other.prior)
    assert (tmp_path / "lc-md-3.parquet").stat().st_size < N * len(AGES)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    pq.write_table(pa.table({"carried": [1]}), tmp_path / "bare.parquet")
    pq.write_table(pa.table({"carried": [1]}, metadata={"run": "{}"}), tmp_path / "another.parquet")
    for name in ("broken", "bare", "another"):
        with pytest.raises(InvalidData, match=name):
            Run.read(tmp_path / f"{name}.parquet")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory, a network and what the command would be told of them."""
    directory = tmp_path_factory.mktemp("all")
    objects.write(directory / "data")
    (directory / "toy.toml").write_text(objects.CONFIG)
    command = ["train", str(directory / "toy.toml"), "--data", str(directory / "data")]
    assert main([*command, "--output", str(directory / "run")]) == 0
    return directory


def test_the_command_writes_every_row_from_what_is_there(trained: Path, tmp_path: Path) -> None:
    runs, model = tmp_path / "runs", trained / "run" / "toy"
    for name in ("lc-md-mta-0", "lc-md-mta-1", "lc-md-0"):
        shutil.copytree(model, runs / name / "anything")
    (runs / "objects.json").write_text(json.dumps({"tier": "small"}))
    for fold in range(5):
        _copied_fold(model, tmp_path / "plasticc" / f"atat2-fold{fold}", fold)
    data = str(trained / "data")
    command = [
        *("results", str(runs), "--data", data, "--shipped", str(model), "--output", str(tmp_path), "--draws", "20"),
        *("--plasticc", str(tmp_path / "plasticc"), "--plasticc-data", data),
        *("--elasticc", str(runs), "--elasticc-data", data, "--time", str(runs)),
        *("--afresh", str(tmp_path / "afresh"), "--afresh-data", data),
    ]
    for name in ("atat2-0", "lightgbm-0"):
        shutil.copytree(model, tmp_path / "afresh" / name / "anything")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / results.TRIED).write_text("## Tried\n\nEverything.\n")
    assert main(command) == 0
    text = (tmp_path / "RESULTS.md").read_text()
    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert any(
        "MTA's effect on LC + MD, full" in line and "+0.0" in line and "small | 2, 1 | pass" in line for line in table
    )
    assert any("`atat2` minus ATAT, full" in line and line.endswith("| not run |") for line in table)
    assert any("drawn after all choices, 8 days" in line and "+0.0 (+0.0 to +0.0)" in line for line in table)
    assert any("macro F1 of `atat2`" in line and line.endswith(("| pass |", "| **FAIL** |")) for line in table)
    assert "ECE of the shipped model (toy)" in text
    assert "## Real ELAsTiCC alerts as sent" in text
    assert text.endswith("Everything.\n")
    times = text.split("## Time a whole light curve")[1]
    timed = dict(re.findall(r"^\| (\S+) \| ([\d.]+) \|  \|$", times, flags=re.MULTILINE))
    assert timed.keys() == {"lc-md", "lc-md-mta", "toy"}
    assert min(map(float, timed.values())) > 0
    for name in ("f1_by_days", "confusion-lc-md-mta", "reliability-toy"):
        assert (tmp_path / "results" / f"{name}.png").stat().st_size < 200_000
        assert f"(results/{name}.png)" in text
    verdicts = {row["verdict"] for row in json.loads((tmp_path / "results" / "checks.json").read_text())}
    assert verdicts <= {"pass", "pass, within noise", "FAIL", "not run", "reported"}
    anew = ["results", "--output", str(tmp_path), "--draws", "20"]
    shutil.rmtree(runs)
    assert main(anew) == 0  # of what had been answered
    assert (tmp_path / "RESULTS.md").read_text() == text
    shutil.copytree(model, runs / "lc-0" / "anything")
    (runs / "objects.json").write_text(json.dumps({"tier": "small"}))
    other = tmp_path / "other"
    shutil.copytree(model, other)
    (other / "model.json").write_text((model / "model.json").read_text().replace('"toy"', '"other"'))
    assert main([*anew, str(runs), "--data", data, "--shipped", str(other)]) == 0
    text = (tmp_path / "RESULTS.md").read_text()
    assert "ECE of the shipped model (other)" in text  # in place of the one before
    assert any("LC + MD minus LC, every length" in line and "| 1, 1 |" in line for line in text.splitlines())


def test_what_is_kept_is_not_mixed_with_answers_about_other_objects(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, model = tmp_path / "runs", trained / "run" / "toy"
    shutil.copytree(model, runs / "lc-0" / "anything")
    (runs / "objects.json").write_text(json.dumps({"tier": "full"}))
    command = ["results", "--output", str(tmp_path), "--draws", "20", "--shipped", str(model)]

    def refused(*options: str) -> str:
        assert main([*command, *options]) == 1
        return capsys.readouterr().err

    assert "keeps no model's answers" in refused()
    assert "--data" in refused(str(runs))
    assert "--data" in refused("--prior", "uniform")
    assert main([*command, str(runs), "--data", str(trained / "data")]) == 0
    rows = json.loads((tmp_path / "results" / "checks.json").read_text())
    assert {row["tier"] for row in rows if row["check"].startswith("LC + MD minus LC")} == {"full"}
    objects.write(tmp_path / "others", 90)
    shutil.move(runs / "lc-0", runs / "lc-1")
    assert "about other objects" in refused(str(runs), "--data", str(tmp_path / "others"))
    (runs / "objects.json").write_text(json.dumps({"tier": "full", "train": "others"}))
    assert "learnt from other objects" in refused(str(runs), "--data", str(trained / "data"))


def test_changes_are_compared_apart_from_what_the_tier_has(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed, model = tmp_path / "changed", trained / "run" / "toy"
    for name in ("atat2-first-0", "atat2-no-smoothing-0"):
        shutil.copytree(model, changed / name / "anything")
    (changed / "objects.json").write_text(json.dumps({"tier": "small", "steps": 1000}))
    command = ["results", "--data", str(trained / "data"), "--output", str(tmp_path), "--draws", "20"]
    command += ["--shipped", str(model)]
    assert main([*command, str(changed)]) == 1
    assert "--changes compares them" in capsys.readouterr().err
    assert main([*command, "--changes", str(changed)]) == 0
    text = (tmp_path / "RESULTS.md").read_text()
    assert "(tier small, 1,000 steps)" in text
    assert "| label smoothing | +0.0 (+0.0 to +0.0) |" in text
    assert not any("`atat2` minus LightGBM" in line and "pass" in line for line in text.splitlines())
    assert main(["results", "--output", str(tmp_path), "--draws", "20"]) == 0  # of what had been answered
    assert (tmp_path / "RESULTS.md").read_text() == text


def test_a_model_may_be_told_which_classes_there_are() -> None:
    probabilities = np.tile([0.5, 0.3, 0.2, *17 * [0.0]], (2, 1)) + 1e-9
    scored = replace(
        scored_of(np.repeat(TAXONOMY.class_ids, 1).astype(np.int32), 1.0, share=1.0, sure=0.9),
        logits=np.log(np.tile(probabilities[0], (20, 1))).astype(np.float32),
        class_id=np.full(20, TAXONOMY.class_ids[2], dtype=np.int32),
    )
    description = Description(
        "atat", {}, TAXONOMY, Calibration({}, prior="uniform over the classes"), "one", "1", {}, {}
    )
    run = Run.by(
        description, Predictions(scored, scored, {}, ""), named=("one", None), among=list(TAXONOMY.class_ids[1:3])
    )
    assert set(run.by_age.predicted.tolist()) == {TAXONOMY.class_ids[1]}
    assert run.by_alert.confidence == pytest.approx(np.full(20, 0.6), abs=1e-3)
    assert run.by_alert.surprise == pytest.approx(np.full(20, -np.log(0.4)), abs=1e-3)


def _copied_fold(model: Path, directory: Path, left_out: int) -> None:
    shutil.copytree(model, directory)
    description = json.loads((directory / "model.json").read_text())
    description["provenance"]["training"]["left_out"] = left_out
    (directory / "model.json").write_text(json.dumps(description))


@pytest.mark.parametrize("name", ["plasticc", "elasticc", "afresh"])
def test_models_without_their_data_are_told(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["results", f"--{name}", str(tmp_path), "--output", str(tmp_path)]) == 1
    assert f"--{name} and --{name}-data go together" in capsys.readouterr().err


def test_a_fold_that_one_variant_lacks_is_told(trained: Path, tmp_path: Path) -> None:
    for name in ("atat2-fold0", "atat2-fold1", "lightgbm-fold0"):
        _copied_fold(trained / "run" / "toy", tmp_path / name, int(name[-1]))
    with pytest.raises(InvalidData, match="lightgbm lacks fold 1"):
        results.folds_of(tmp_path, trained / "data", Ready())
    _copied_fold(trained / "run" / "toy", tmp_path / "lightgbm-fold1", 0)
    with pytest.raises(InvalidData, match="without fold 0, not without 1"):
        results.folds_of(tmp_path, trained / "data", Ready())
    other = objects.write(tmp_path / "other", 100)
    shutil.rmtree(tmp_path / "lightgbm-fold1")
    with pytest.raises(InvalidData, match="was trained on other data than"):
        results.folds_of(tmp_path, other, Ready())


def test_a_run_of_two_models_is_told(trained: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        shutil.copytree(trained / "run" / "toy", tmp_path / "toy-0" / name)
    with pytest.raises(InvalidData, match="several models"):
        results.runs_of(tmp_path, trained / "data", Ready(), split="test")


@pytest.mark.parametrize("other", [{"prior": "root"}, {"model": "toy/2"}])
def test_folds_that_answer_under_different_priors_or_of_different_models_are_not_pooled(other: dict[str, Any]) -> None:
    run = run_of("toy", 0, {"else": 0.5})
    with pytest.raises(InvalidData, match=f"have no {next(iter(other))} in common"):
        Run.pooled([run, replace(run, **other)])


@pytest.mark.parametrize("days", [0.3, 0.5, 1, 1.25, 8, 2048])
def test_the_name_of_a_view_says_its_days(days: float) -> None:
    assert days_of(view_of(days)) == days


def test_the_page_in_the_repository_is_made_of_what_is_kept_there() -> None:
    """Its checks, F1 of every model, and what was tried: to draw all its intervals anew takes minutes."""
    place = Path(results.__file__).parent
    page = (place / "RESULTS.md").read_text()
    assert page.endswith((place / "results" / results.TRIED).read_text().strip() + "\n")
    checks = json.loads((place / "results" / "checks.json").read_text())
    assert len(checks) > 20
    for each in checks:
        told = " | ".join(each[name] for name in ("check", "thesis", "asked", "found", "tier", "seeds"))
        verdict = "**FAIL**" if each["verdict"] == "FAIL" else each["verdict"]
        assert f"| {told} | {verdict} |" in page
    for kind in (next(iter(TIERS)), results.SHIPPED, results.PLASTICC):
        book = book_of(results.kept(place / "results" / kind), kind, draws=1)
        assert book.variants
        for name, measured in book.variants.items():
            days = [view for view in measured.views if days_of(view) is not None]
            cells = " | ".join(f"{measured.macro(view)[0]:.3f}" for view in days)
            assert f"\n| {name} | {len(measured.seeds)} | {cells} |" in page, name

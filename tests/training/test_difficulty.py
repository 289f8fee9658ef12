"""The survey's difficulty against the thesis's forest: what passes, and what is named."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.taxonomy import CLASS_NAMES
from tests.training.answered import run_of
from training import evaluate
from training.measure import Panel
from training.survey import difficulty
from training.survey.difficulty import THESIS_F1, verdicts


def _views(**changed: float) -> dict[str, Any]:
    classes = {name: {"f1": score} for name, score in (THESIS_F1 | changed).items()}
    return {"8 days": {"macro_f1": 0.6, "classes": classes}, "2048 days": {"macro_f1": 0.77, "classes": classes}}


def test_the_thesis_itself_passes() -> None:
    assert set(THESIS_F1) == set(CLASS_NAMES.values()) - {"LPV/Mira"}
    assert sum(THESIS_F1.values()) / len(THESIS_F1) == pytest.approx(0.7724, abs=1e-3)
    assert all(passes for _, _, passes in verdicts(_views()))


def test_a_class_that_is_off_and_a_score_out_of_bounds_are_named() -> None:
    views = _views(AGN=0.5)
    views["8 days"]["macro_f1"] = 0.7
    (easy, _, is_within), *_, (_, off, is_near) = verdicts(views)[1:]
    assert "8 days" in easy
    assert not is_within
    assert off == "AGN -0.47"
    assert not is_near


def test_it_tells_of_what_evaluate_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A forest that is right about four of five of every class, but takes each Ia for a Ib/c."""
    run = run_of("forest-flat", 0, {"8 days": 0.6, "else": 0.8})
    predicted = np.where(run.by_age.class_id == 2222, 2223, run.by_age.predicted).astype(np.int32)
    run = replace(run, by_age=replace(run.by_age, predicted=predicted))
    views = evaluate.views_of(Panel.of([run], draws=5).measure([run]))
    (tmp_path / "metrics.json").write_text(json.dumps({"models": {"forest-flat": {"views": views}}}))
    monkeypatch.setenv("COLUMNS", "200")
    difficulty.main([str(tmp_path / "metrics.json")])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    whole, early, order, classes = ([cell.strip() for cell in line.split("│")[1:-1]] for line in lines)
    assert whole == ["macro F1 at 2048 days, 0.75 to 0.81", "0.749", "no"]
    assert early == ["macro F1 at 8 days, 0.56 to 0.66", "0.563", "yes"]
    assert order[0].startswith("rank correlation")
    assert classes == ["classes off by more than 0.25", "Iax +0.27, Ia -0.65, II +0.35, SN-like/Other +0.28", "no"]

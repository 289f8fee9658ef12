"""The survey's difficulty against the thesis's forest: what passes, and what is named."""

import json
from pathlib import Path
from typing import Any

import pytest

from models.taxonomy import CLASS_NAMES
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


def test_it_reads_what_evaluate_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "metrics.json").write_text(json.dumps({"models": {"forest-flat": {"views": _views()}}}))
    difficulty.main([str(tmp_path / "metrics.json")])
    assert "no" not in capsys.readouterr().out.replace("none", "").split()

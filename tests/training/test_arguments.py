"""What the jobs' command lines refuse, and how they end when something outside of them ends them."""

from pathlib import Path

import pytest
import torch

from training.__main__ import main


@pytest.mark.parametrize(
    ("command", "option", "value"),
    [
        ("train", "--minutes", "0"),
        ("train", "--threads", "-1"),
        ("pretrain", "--steps", "0"),
        ("experiments", "--seeds", "0"),
        ("evaluate", "--draws", "-1"),
        ("features", "--processes", "0"),
        ("represent", "--device", "tpu"),
        ("train", "--seed", "-1"),
        ("train", "--fold", "5"),
        ("train", "--labels", "nan"),
        ("few-labels", "--labels", "0"),
        ("calibrate", "--alerts-per-bin", "0"),
        ("features", "--days", "-1"),
        ("evaluate", "--days", "0"),
    ],
)
def test_a_number_or_a_device_that_makes_no_sense_is_wrong_usage(
    command: str, option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([command, option, value])
    assert exit_.value.code == 2
    assert f"argument {option}: " in capsys.readouterr().err


def test_so_is_a_negative_number_of_test_objects(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["import", "plasticc", "in", "--output", "out", "--test-per-class", "-5"])
    assert exit_.value.code == 2
    assert "argument --test-per-class: " in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--data", str(tmp_path), "--output", str(tmp_path / "run")]
    assert main(["train", "lc", *where, "--device", "cuda"]) == 1
    assert capsys.readouterr().err == "error: --device cuda: PyTorch sees no GPU\n"


def test_a_file_that_stands_where_a_directory_should_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["simulate", "--objects", "1", "--output", str(tmp_path / "file"), "--processes", "1"]) == 1
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert line.startswith("error: ")
    assert str(tmp_path / "file") in line


def test_a_configuration_that_is_not_there_is_told_from_those_that_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "atat3", "--data", str(tmp_path), "--output", str(tmp_path / "run")]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: no configuration atat3; there are: ")
    assert "atat2-elasticc" in told


def test_an_interrupt_ends_a_job_as_a_shell_expects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("training.features.run", interrupted)
    assert main(["features", "--data", str(tmp_path), "--output", str(tmp_path)]) == 130

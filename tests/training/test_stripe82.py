"""RR Lyrae of Stripe 82 into the layout, or one clear line."""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from models.inputs import period
from models.taxonomy import CLASS_NAMES
from training.__main__ import main
from training.data import layout

_BRIGHT, _FAINT = 17.5, 20.0
_NONE = "-99.99 0.0"


def _archive(path: Path, files: Mapping[str, str]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"table1/{name}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


def _line(mjd: float, g: str, others: str = f"{_FAINT} 0.02") -> str:
    columns = [f"{mjd} {others}", f"{mjd + 0.001} {g}", *(f"{mjd - 0.001 * band} {others}" for band in (1, 2, 3))]
    return " ".join(["23.2 1.03", *columns])


def _import(tmp_path: Path, files: Mapping[str, str]) -> layout.Objects:
    source = _archive(tmp_path / "table1.tar.gz", files)
    assert main(["import", "stripe82", str(source), "--output", str(tmp_path / "set")]) == 0
    return layout.read(tmp_path / "set")


def test_magnitudes_become_differences_from_the_median_of_their_band(tmp_path: Path) -> None:
    lines = [_line(51_000 + day, f"{magnitude} 0.01") for day, magnitude in enumerate((_FAINT, _FAINT, _BRIGHT))]
    stars = _import(tmp_path, {"42.dat": "\n".join(lines)})
    assert stars.object_id.tolist() == [42]
    assert CLASS_NAMES[int(stars.class_id[0])] == "RR Lyrae"
    curve = stars.light_curves[0]
    assert (np.diff(curve.mjd) >= 0).all()
    assert sorted(set(curve.band.tolist())) == [0, 1, 2, 3, 4]
    g = curve.band == 1
    assert curve.flux[g].tolist() == pytest.approx([0.0, 0.0, 10_000 - 1000])
    assert curve.flux_err[g].tolist() == pytest.approx([9.21, 9.21, 92.1], rel=1e-3)
    assert curve.detected[g].tolist() == [False, False, True]
    assert stars.light_curves.first_alert_mjd.tolist() == pytest.approx([51_002.001])


def test_a_visit_without_a_magnitude_is_left_out_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stars = _import(tmp_path, {"42.dat": "\n".join([_line(51_000, _NONE), _line(51_001, f"{_BRIGHT} 0.01")])})
    assert (stars.light_curves.band == 1).sum() == 1
    assert "1 points without a magnitude" in capsys.readouterr().err


@pytest.mark.parametrize("files", [{}, {"42.dat": "1 2 3"}, {"star.dat": _line(51_000, _NONE)}])
def test_anything_else_costs_one_line(
    files: Mapping[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = _archive(tmp_path / "table1.tar.gz", files)
    assert main(["import", "stripe82", str(source), "--output", str(tmp_path / "set")]) == 1
    assert f"error: {source}: no" in capsys.readouterr().err
    assert not list((tmp_path / "set").glob("*.parquet"))


def test_the_periods_of_real_stars_are_found_again(data: Path, tmp_path: Path) -> None:
    folder = data / "periodic" / "s82_rrlyrae_ugriz"
    main(["import", "stripe82", str(folder / "table1.tar.gz"), "--output", str(tmp_path / "set")])
    stars = layout.read(tmp_path / "set")
    table = np.loadtxt(folder / "table2.dat.gz", usecols=(0, 2))
    known = dict(zip(table[:, 0].astype(int).tolist(), table[:, 1].tolist(), strict=True))
    rows = [row for row, id_ in enumerate(stars.object_id.tolist()) if id_ in known][:20]
    some = stars.take(np.array(rows))
    found = np.array([np.nan if each is None else 1 / each.frequency for each in period.search(some.light_curves)])
    published = np.array([known[id_] for id_ in some.object_id.tolist()])
    assert (np.abs(found / published - 1) < 0.01).mean() >= 0.9

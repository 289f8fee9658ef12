"""The data layout: what is written is what is read, and a split is a property of the object."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.inputs.metadata import COLUMNS
from tests.training import objects
from training.data import layout
from training.data.layout import InvalidData, split_of


def test_what_is_written_is_read(tmp_path: Path) -> None:
    made = objects.make(50)
    assert layout.write(tmp_path / "set", [made.take(np.arange(20)), made.take(np.arange(20, 50))]) == 50
    read = layout.read(tmp_path / "set")
    for name in ("object_id", "class_id", "source", "split", "metadata"):
        np.testing.assert_array_equal(getattr(read, name), getattr(made, name), err_msg=name)
    for name in ("offsets", "first_alert_mjd", "mjd", "band", "flux", "flux_err", "detected"):
        np.testing.assert_array_equal(getattr(read.light_curves, name), getattr(made.light_curves, name), err_msg=name)


def test_shards_state_their_unit_and_hold_no_nan_metadata(tmp_path: Path) -> None:
    objects.write(tmp_path / "set", 10)
    table = pq.read_table(tmp_path / "set" / "part-00000.parquet")
    assert table.schema.metadata[b"flux_unit"] == b"FLUXCAL"
    assert table.schema.metadata[b"zero_point"] == b"27.5"
    assert set(COLUMNS) < set(table.column_names)
    assert table["z_final"].null_count == 10


def test_data_is_not_written_over_data(tmp_path: Path) -> None:
    objects.write(tmp_path / "set", 10)
    with pytest.raises(InvalidData, match="already holds data"):
        objects.write(tmp_path / "set", 10)


def test_what_is_no_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match="no Parquet files"):
        layout.read(tmp_path)
    (tmp_path / "part-00000.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(InvalidData, match=r"part-00000\.parquet: not of this layout"):
        layout.read(tmp_path)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=50, unique=True), st.randoms())
def test_a_split_depends_on_the_id_and_the_seed_alone(ids: list[int], random: object) -> None:
    splits = dict(zip(ids, split_of(ids), strict=True))
    assert splits == dict(zip(ids[::-1], split_of(ids[::-1]), strict=True))


def test_splits_have_the_shares_asked_for() -> None:
    splits = split_of(range(20_000), test=0.2, validation=0.1)
    for name, share in {"test": 0.2, "validation": 0.1, "train": 0.7}.items():
        assert splits.count(name) / 20_000 == pytest.approx(share, abs=0.01)
    assert split_of(range(100), seed=1) != split_of(range(100), seed=2)

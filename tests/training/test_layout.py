"""The data layout: what is written is what is read, and a split is a property of the object."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.inputs.metadata import COLUMNS
from tests.training import objects
from training.data import layout
from training.data.layout import Dataset, Objects
from training.data.splits import balanced_split, fold_of, split_of
from training.errors import InvalidData


def test_what_is_written_is_read(tmp_path: Path) -> None:
    made = objects.make(50)
    assert layout.write(tmp_path / "set", [made.take(np.arange(20)), made.take(np.arange(20, 50))]) == 50
    read = layout.read(tmp_path / "set")
    for name in ("object_id", "class_id", "source", "split", "fold", "metadata"):
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


def test_another_version_of_the_layout_is_named(tmp_path: Path) -> None:
    objects.write(tmp_path, 10)
    table = pq.read_table(tmp_path / "part-00000.parquet")
    older = table.drop_columns(["fold"]).replace_schema_metadata({**table.schema.metadata, b"layout": b"1"})
    pq.write_table(older, tmp_path / "part-00000.parquet")
    with pytest.raises(InvalidData, match="layout version 1, this is 2"):
        layout.read(tmp_path)


def test_a_directory_is_no_data_set_before_what_writes_it_has_finished(tmp_path: Path) -> None:
    def shards() -> Iterator[Objects]:
        yield objects.make(10)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        layout.write(tmp_path, shards())
    with pytest.raises(InvalidData, match="has not finished"):
        layout.read(tmp_path)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Shards of 1,500, none and 700 objects: four row groups."""
    made = objects.make(2200)
    directory = tmp_path_factory.mktemp("pieces")
    layout.write(directory, [made.take(np.arange(*ends)) for ends in ((0, 1500), (0, 0), (1500, 2200))])
    return Dataset.open(directory)


def test_a_data_set_is_known_without_its_light_curves(pieces: Dataset) -> None:
    everything = objects.make(2200)
    assert len(pieces) == 2200
    assert [len(shard) for shard in pieces.shards] == [1500, 0, 700]
    assert [piece.rows for piece in pieces.pieces() if piece.rows] == [1000, 500, 700]
    index = pieces.index()
    for name in ("object_id", "class_id", "split", "fold"):
        np.testing.assert_array_equal(getattr(index, name), getattr(everything, name), err_msg=name)
    np.testing.assert_array_equal(index.lengths, everything.light_curves.lengths)


@settings(max_examples=30, deadline=None)
@given(ends=st.lists(st.integers(0, 2200), min_size=2, max_size=2))
def test_a_range_of_rows_is_that_range_of_the_whole(pieces: Dataset, ends: list[int]) -> None:
    start, stop = sorted(ends)
    part = pieces.rows(start, stop)
    whole = objects.make(2200).take(np.arange(start, stop))
    np.testing.assert_array_equal(part.object_id, whole.object_id)
    np.testing.assert_array_equal(part.metadata, whole.metadata)
    np.testing.assert_array_equal(part.light_curves.offsets, whole.light_curves.offsets)
    np.testing.assert_array_equal(part.light_curves.flux, whole.light_curves.flux)


def test_rows_that_are_not_there_are_an_error(pieces: Dataset) -> None:
    with pytest.raises(IndexError, match="2199 to 2201 of 2200"):
        pieces.rows(2199, 2201)


def test_folds_are_alike_in_size_and_a_property_of_the_object() -> None:
    folds = fold_of(range(20_000))
    assert np.bincount(folds) / 20_000 == pytest.approx(np.full(5, 0.2), abs=0.01)
    assert fold_of(range(100)).tolist() == [fold_of([one]).item() for one in range(100)]
    assert fold_of(range(100), seed=1).tolist() != fold_of(range(100)).tolist()
    splits = np.array(split_of(range(20_000)))
    for fold in range(5):  # independent of the split
        assert (splits[folds == fold] == "test").mean() == pytest.approx(0.2, abs=0.02)


def test_a_balanced_test_set_has_as_many_of_each_class_but_half_at_most() -> None:
    sizes = {2222: 1000, 2223: 150, 2232: 21, 2243: 1, layout.UNKNOWN_CLASS: 300}
    class_id = np.repeat(list(sizes), list(sizes.values())).astype(np.int32)
    object_id = np.arange(len(class_id)) + 10
    split = balanced_split(object_id, class_id, test_per_class=100)
    tested = {class_: int((split[class_id == class_] == "test").sum()) for class_ in sizes}
    assert tested == {2222: 100, 2223: 75, 2232: 10, 2243: 0, layout.UNKNOWN_CLASS: 0}
    shuffled = np.random.default_rng(0).permutation(len(object_id))
    again = balanced_split(object_id[shuffled], class_id[shuffled], test_per_class=100)
    np.testing.assert_array_equal(again, split[shuffled])
    assert (balanced_split(object_id, class_id, test_per_class=100, seed=1) != split).any()


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=50, unique=True), st.integers(0, 9))
def test_a_split_depends_on_the_id_and_the_seed_alone(ids: list[int], seed: int) -> None:
    assert split_of(ids, seed=seed) == [split_of([one], seed=seed)[0] for one in ids]


def test_splits_have_the_shares_asked_for() -> None:
    splits = split_of(range(20_000), test=0.2, validation=0.1)
    for name, share in {"test": 0.2, "validation": 0.1, "train": 0.7}.items():
        assert splits.count(name) / 20_000 == pytest.approx(share, abs=0.01)
    assert split_of(range(100), seed=1) != split_of(range(100), seed=2)

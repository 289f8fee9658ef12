"""The data layout: a directory of Parquet shards, one row an object.

Columns: ``object_id``, ``class_id`` (-1 where unknown), ``source``, ``split``, ``fold`` (0 to 4, for cross-validation
among the objects that are not test objects); the 64 metadata columns by name, null where missing;
``first_detection_mjd``, ``first_alert_mjd``, ``last_detection_mjd``; and the light curve as lists, sorted by time:
``mjd`` [TAI days], ``band`` (code in BANDS), ``flux`` and ``flux_err`` [FLUXCAL, AB zero point 27.5], ``detected``.

``read`` holds everything in memory; a ``Dataset`` reads pieces of a set that does not fit.
"""

import contextlib
import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.arrays import BoolArray, IntArray
from models.inputs import ragged
from models.inputs.light_curve import LightCurves
from models.inputs.metadata import COLUMNS
from models.inputs.photometry import FLUXCAL_ZERO_POINT
from training.data.splits import balanced_split
from training.errors import InvalidData
from training.files import replacing

UNKNOWN_CLASS = -1

VERSION = "2"
"""Of the layout: 2 added ``fold``."""

ROW_GROUP = 1000
"""Objects that are read together: a piece of a shard."""

UNFINISHED = "import.unfinished"
"""A file in a directory whose import has not come to its end."""

_POINT_COLUMNS = {
    "mjd": pa.float64(),
    "band": pa.int8(),
    "flux": pa.float32(),
    "flux_err": pa.float32(),
    "detected": pa.bool_(),
}
_EPOCHS = ("first_detection_mjd", "first_alert_mjd", "last_detection_mjd")

SCHEMA = pa.schema(
    [
        pa.field("object_id", pa.int64(), nullable=False),
        pa.field("class_id", pa.int32(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("fold", pa.int8(), nullable=False),
        *(pa.field(name, pa.float32()) for name in COLUMNS),
        *(pa.field(name, pa.float64()) for name in _EPOCHS),
        *(pa.field(name, pa.list_(kind), nullable=False) for name, kind in _POINT_COLUMNS.items()),
    ],
    metadata={"flux_unit": "FLUXCAL", "zero_point": str(FLUXCAL_ZERO_POINT), "layout": VERSION},
)


@dataclass(frozen=True)
class Objects:
    """N labelled objects, row for row: ids, classes, splits, metadata and light curves travel together."""

    object_id: IntArray
    class_id: NDArray[np.int32]
    """(N,), UNKNOWN_CLASS where unknown."""
    source: NDArray[np.str_]
    split: NDArray[np.str_]
    fold: NDArray[np.int8]
    """(N,), 0 to 4."""
    metadata: NDArray[np.float32]
    """(N, 64) in the order of ``metadata.COLUMNS``, NaN where missing."""
    light_curves: LightCurves

    def __len__(self) -> int:
        return len(self.object_id)

    def take(self, rows: IntArray) -> Self:
        """These rows, in this order."""
        return type(self)(
            object_id=self.object_id[rows],
            class_id=self.class_id[rows],
            source=self.source[rows],
            split=self.split[rows],
            fold=self.fold[rows],
            metadata=self.metadata[rows],
            light_curves=self.light_curves.take(rows),
        )

    def where(self, selected: BoolArray) -> Self:
        """The rows where ``selected`` is True."""
        return self.take(np.flatnonzero(selected))


def write(directory: Path, shards: Iterable[Objects]) -> int:
    """Write each Objects as one shard into a new or empty directory; returns how many objects there were.

    Raises InvalidData if the directory holds shards already.
    """
    must_be_free(directory)
    directory.mkdir(parents=True, exist_ok=True)
    unfinished = directory / UNFINISHED
    unfinished.touch()
    total = 0
    for number, objects in enumerate(shards):
        write_shard(directory / f"part-{number:05d}.parquet", objects)
        total += len(objects)
    unfinished.unlink()
    return total


def must_be_free(directory: Path) -> None:
    """Raises InvalidData for a directory that holds shards already."""
    if any(directory.glob("*.parquet")):
        raise InvalidData(f"{directory} already holds data; name a new directory")


def write_shard(path: Path, objects: Objects, *, notes: Mapping[str, str] | None = None) -> None:
    """Write one shard, with notes about it; it appears under its name only when it is complete."""
    table = _table(objects)
    _replace(path, table.replace_schema_metadata({**table.schema.metadata, **(notes or {})}))


def notes_of(path: Path) -> dict[str, str]:
    """What a shard says about itself: unit, zero point, version, and the notes it was written with."""
    return {key.decode(): value.decode() for key, value in (_schema(path).metadata or {}).items()}


def resplit(directory: Path, *, test_per_class: int, seed: int) -> None:
    """Give a directory ``balanced_split``, rewriting the shards that it changes, one at a time."""
    dataset = Dataset.open(directory, unfinished=True)
    index = dataset.index()
    split = balanced_split(index.object_id, index.class_id, test_per_class=test_per_class, seed=seed)
    for shard in dataset.shards:
        rows = slice(shard.start, shard.start + len(shard))
        if not np.array_equal(split[rows], index.split[rows]):
            table = _read(shard.path)
            place = table.column_names.index("split")
            _replace(shard.path, table.set_column(place, SCHEMA.field("split"), pa.array(split[rows].tolist())))


def _replace(path: Path, table: pa.Table) -> None:
    with replacing(path) as unfinished:
        pq.write_table(table, unfinished, compression="zstd", row_group_size=ROW_GROUP)


@dataclass(frozen=True)
class Shard:
    """One file of a data set."""

    path: Path
    start: int
    """The number of its first row in the whole data set."""
    groups: tuple[int, ...]
    """Rows of each row group."""

    def __len__(self) -> int:
        return sum(self.groups)


@dataclass(frozen=True)
class Piece:
    """One row group: what is read at a time."""

    path: Path
    group: int
    start: int
    """The number of its first row in the whole data set."""
    rows: int

    def read(self) -> Objects:
        """Its objects."""
        return _objects(_read(self.path, groups=[self.group]))


@dataclass(frozen=True)
class Index:
    """What chooses among the rows of a data set, without their light curves. Arrays (N,)."""

    object_id: IntArray
    class_id: NDArray[np.int32]
    split: NDArray[np.str_]
    fold: NDArray[np.int8]
    lengths: IntArray
    """Points of each light curve."""

    def __len__(self) -> int:
        return len(self.object_id)

    @property
    def fingerprint(self) -> str:
        """Tells one set of objects, and what holds them out, from another."""
        parts = (self.object_id, self.class_id, self.fold, self.split == "test", self.split == "validation")
        return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()[:16]


@dataclass(frozen=True)
class Dataset:
    """A directory of shards, known by their footers; light curves are read by pieces, from mapped memory."""

    directory: Path
    shards: tuple[Shard, ...]

    @classmethod
    def open(cls, directory: Path, *, unfinished: bool = False) -> Self:
        """Raises InvalidData if there is none, a file is not of this layout, or what writes it has not finished."""
        if (directory / UNFINISHED).exists() and not unfinished:
            raise InvalidData(f"{directory} is not whole: what writes it has not finished")
        shards: list[Shard] = []
        start = 0
        for path in sorted(directory.glob("*.parquet")):
            shards.append(Shard(path=path, start=start, groups=_row_groups(path)))
            start += len(shards[-1])
        if not shards:
            raise InvalidData(f"no Parquet files in {directory}")
        return cls(directory, tuple(shards))

    def __len__(self) -> int:
        return sum(map(len, self.shards))

    def pieces(self) -> tuple[Piece, ...]:
        """Every row group, in order."""
        return tuple(
            Piece(path=shard.path, group=group, start=start, rows=rows)
            for shard in self.shards
            for group, (start, rows) in enumerate(
                zip(itertools.accumulate(shard.groups, initial=shard.start), shard.groups, strict=False)
            )
        )

    def read(self) -> Objects:
        """All objects, shard by shard in the order of their names."""
        return concatenated([_objects(_read(shard.path)) for shard in self.shards])

    @cached_property
    def contents(self) -> str:
        """Tells these light curves from any others, by the bytes of the shards."""
        digest = hashlib.sha256()
        for shard in self.shards:
            with shard.path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()

    def rows(self, start: int, stop: int) -> Objects:
        """The objects from row ``start`` to before row ``stop``; reads only the row groups that they lie in."""
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"rows {start} to {stop} of {len(self)}")
        touched = [piece for piece in self.pieces() if piece.start < stop and start < piece.start + piece.rows]
        if not touched:
            return _objects(_read(self.shards[0].path, groups=[]))
        return concatenated([piece.read() for piece in touched]).take(np.arange(start, stop) - touched[0].start)

    def index(self) -> Index:
        """Ids, classes, splits and lengths of all rows."""
        parts = [_index(_read(shard.path, columns=_INDEX_COLUMNS)) for shard in self.shards]

        def joined(name: str) -> NDArray[Any]:
            return np.concatenate([getattr(part, name) for part in parts])

        return Index(*(joined(name) for name in ("object_id", "class_id", "split", "fold", "lengths")))


def read(directory: Path) -> Objects:
    """All objects of a directory, shard by shard in the order of their names.

    Raises InvalidData if there are none, or if a file is not of this layout.
    """
    return Dataset.open(directory).read()


_INDEX_COLUMNS = ("object_id", "class_id", "split", "fold", "band")  # the band is the smallest list to get lengths from


def _index(table: pa.Table) -> Index:
    return Index(
        object_id=table["object_id"].to_numpy(),
        class_id=table["class_id"].to_numpy(),
        split=_strings(table["split"]),
        fold=table["fold"].to_numpy(),
        lengths=_lengths(table["band"]),
    )


def _read(path: Path, *, groups: Sequence[int] | None = None, columns: Sequence[str] | None = None) -> pa.Table:
    with _open(path) as file:
        wanted = range(file.num_row_groups) if groups is None else groups
        return file.read_row_groups(list(wanted), columns=columns, use_threads=False)


def _row_groups(path: Path) -> tuple[int, ...]:
    with _open(path) as file:
        return tuple(file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))


def _schema(path: Path) -> pa.Schema:
    with _open(path) as file:
        return file.schema_arrow


@contextlib.contextmanager
def _open(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            version = (file.schema_arrow.metadata or {}).get(b"layout", b"").decode()
            if version and version != VERSION:
                raise InvalidData(f"{path}: layout version {version}, this is {VERSION}; import or simulate it again")
            if not file.schema_arrow.equals(SCHEMA):
                absent = sorted(set(SCHEMA.names) - set(file.schema_arrow.names))
                raise InvalidData(f"{path}: not of this layout ({', '.join(absent) or 'types'} differ)")
            yield file
    except (pa.ArrowException, OSError) as error:
        raise InvalidData(f"{path}: not of this layout ({' '.join(str(error).split())[:200]})") from error


def _table(objects: Objects) -> pa.Table:
    curves = objects.light_curves
    offsets = pa.array(curves.offsets.astype(np.int32))
    columns: dict[str, Any] = {
        "object_id": objects.object_id,
        "class_id": objects.class_id,
        "source": objects.source.tolist(),
        "split": objects.split.tolist(),
        "fold": objects.fold,
        **{name: pa.array(objects.metadata[:, column], from_pandas=True) for column, name in enumerate(COLUMNS)},
        "first_detection_mjd": pa.array(curves.first_detection_mjd(), from_pandas=True),
        "first_alert_mjd": pa.array(curves.first_alert_mjd, from_pandas=True),
        "last_detection_mjd": pa.array(curves.last_detection_mjd(), from_pandas=True),
        **{
            name: pa.ListArray.from_arrays(offsets, pa.array(getattr(curves, name), type=kind))
            for name, kind in _POINT_COLUMNS.items()
        },
    }
    return pa.table(columns, schema=SCHEMA)


def _objects(table: pa.Table) -> Objects:
    table = table.combine_chunks()
    metadata = [table[name].to_numpy().astype(np.float32) for name in COLUMNS]
    return Objects(
        object_id=table["object_id"].to_numpy(),
        class_id=table["class_id"].to_numpy(),
        source=_strings(table["source"]),
        split=_strings(table["split"]),
        fold=table["fold"].to_numpy(),
        metadata=np.stack(metadata, axis=1),
        light_curves=_light_curves(table),
    )


def _strings(column: pa.ChunkedArray) -> NDArray[np.str_]:
    return np.array(column.to_pylist(), dtype=np.str_)


def _lengths(lists: pa.ChunkedArray) -> IntArray:
    return np.asarray(pa.compute.list_value_length(lists).to_numpy(), dtype=np.int64)


def _light_curves(table: pa.Table) -> LightCurves:
    def points(name: str) -> NDArray[Any]:
        values = pa.compute.list_flatten(table[name])
        flat: NDArray[Any] = values.cast(pa.int8()).to_numpy() if name == "detected" else values.to_numpy()
        return flat

    return LightCurves(
        offsets=ragged.offsets_of(_lengths(table["mjd"])),
        first_alert_mjd=table["first_alert_mjd"].to_numpy().astype(np.float64),
        mjd=points("mjd"),
        band=points("band"),
        flux=points("flux"),
        flux_err=points("flux_err"),
        detected=points("detected").astype(np.bool_),
    )


def concatenated(shards: Sequence[Objects]) -> Objects:
    """One after the other."""
    curves = [shard.light_curves for shard in shards]

    def joined(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(curve, name) for curve in curves])

    return Objects(
        object_id=np.concatenate([shard.object_id for shard in shards]),
        class_id=np.concatenate([shard.class_id for shard in shards]),
        source=np.concatenate([shard.source for shard in shards]),
        split=np.concatenate([shard.split for shard in shards]),
        fold=np.concatenate([shard.fold for shard in shards]),
        metadata=np.concatenate([shard.metadata for shard in shards]),
        light_curves=LightCurves(
            offsets=ragged.offsets_of(np.concatenate([curve.lengths for curve in curves])),
            first_alert_mjd=joined("first_alert_mjd"),
            mjd=joined("mjd"),
            band=joined("band"),
            flux=joined("flux"),
            flux_err=joined("flux_err"),
            detected=joined("detected"),
        ),
    )

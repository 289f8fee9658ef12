"""The data layout: a directory of Parquet shards, one row an object.

Columns: ``object_id``, ``class_id`` (-1 where unknown), ``source``, ``split``; the 64 metadata columns by name, null
where missing; ``first_detection_mjd``, ``first_alert_mjd``, ``last_detection_mjd``; and the light curve as lists,
sorted by time: ``mjd`` [TAI days], ``band`` (code in BANDS), ``flux`` and ``flux_err`` [FLUXCAL, AB zero point 27.5],
``detected``.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.inputs import ragged
from models.inputs.light_curve import LightCurves
from models.inputs.metadata import COLUMNS

UNKNOWN_CLASS = -1
SPLITS = ("train", "validation", "test")

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
        *(pa.field(name, pa.float32()) for name in COLUMNS),
        *(pa.field(name, pa.float64()) for name in _EPOCHS),
        *(pa.field(name, pa.list_(kind), nullable=False) for name, kind in _POINT_COLUMNS.items()),
    ],
    metadata={"flux_unit": "FLUXCAL", "zero_point": "27.5", "layout": "1"},
)


class InvalidData(ValueError):
    """A file or directory that is not what a job needs; its message says what is wrong, and where."""


@dataclass(frozen=True)
class Objects:
    """N labelled objects, row for row: ids, classes, splits, metadata and light curves travel together."""

    object_id: NDArray[np.int64]
    class_id: NDArray[np.int32]
    """(N,), UNKNOWN_CLASS where unknown."""
    source: NDArray[np.str_]
    split: NDArray[np.str_]
    metadata: NDArray[np.float32]
    """(N, 64) in the order of ``metadata.COLUMNS``, NaN where missing."""
    light_curves: LightCurves

    def __len__(self) -> int:
        return len(self.object_id)

    def take(self, rows: NDArray[np.int64]) -> Self:
        """These rows, in this order."""
        return type(self)(
            object_id=self.object_id[rows],
            class_id=self.class_id[rows],
            source=self.source[rows],
            split=self.split[rows],
            metadata=self.metadata[rows],
            light_curves=self.light_curves.take(rows),
        )

    def where(self, selected: NDArray[np.bool_]) -> Self:
        """The rows where ``selected`` is True."""
        return self.take(np.flatnonzero(selected))


def split_of(object_ids: Iterable[int], *, seed: int = 0, test: float = 0.2, validation: float = 0.1) -> list[str]:
    """Each object's split, from a hash of its id: the same on every machine, whatever else is in the set."""
    return [_split_at(_uniform(f"{seed}:{object_id}"), test=test, validation=validation) for object_id in object_ids]


def _split_at(position: float, *, test: float, validation: float) -> str:
    if position < test:
        return "test"
    return "validation" if position < test + validation else "train"


def _uniform(text: str) -> float:
    """A number in [0, 1) that looks random and is a function of the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def write(directory: Path, shards: Iterable[Objects]) -> int:
    """Write each Objects as one shard into a new or empty directory; returns how many objects there were.

    A shard appears under its name only when it is complete. Raises InvalidData if the directory holds shards already.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.glob("*.parquet")):
        raise InvalidData(f"{directory} already holds data; name a new directory")
    total = 0
    for number, objects in enumerate(shards):
        unfinished = directory / f"part-{number:05d}.unfinished"
        pq.write_table(_table(objects), unfinished, compression="zstd")
        unfinished.rename(unfinished.with_suffix(".parquet"))
        total += len(objects)
    return total


def read(directory: Path) -> Objects:
    """All objects of a directory, shard by shard in the order of their names.

    Raises InvalidData if there are none, or if a file is not of this layout.
    """
    shards = list(read_shards(directory))
    if not shards:
        raise InvalidData(f"no Parquet files in {directory}")
    return _concatenated(shards)


def read_shards(directory: Path) -> Iterator[Objects]:
    """One Objects a shard."""
    for path in sorted(directory.glob("*.parquet")):
        try:
            yield _objects(pq.read_table(path, schema=SCHEMA))
        except (pa.ArrowException, KeyError, OSError) as error:
            raise InvalidData(f"{path}: not of this layout ({' '.join(str(error).split())[:200]})") from error


def _table(objects: Objects) -> pa.Table:
    curves = objects.light_curves
    offsets = pa.array(curves.offsets.astype(np.int32))
    columns: dict[str, Any] = {
        "object_id": objects.object_id,
        "class_id": objects.class_id,
        "source": objects.source.tolist(),
        "split": objects.split.tolist(),
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
        source=np.array(table["source"].to_pylist(), dtype=np.str_),
        split=np.array(table["split"].to_pylist(), dtype=np.str_),
        metadata=np.stack(metadata, axis=1),
        light_curves=_light_curves(table),
    )


def _light_curves(table: pa.Table) -> LightCurves:
    def points(name: str) -> NDArray[Any]:
        values = pa.compute.list_flatten(table[name])
        flat: NDArray[Any] = values.cast(pa.int8()).to_numpy() if name == "detected" else values.to_numpy()
        return flat

    lengths = np.asarray(pa.compute.list_value_length(table["mjd"]).to_numpy(), dtype=np.int64)
    return LightCurves(
        offsets=ragged.offsets_of(lengths),
        first_alert_mjd=table["first_alert_mjd"].to_numpy().astype(np.float64),
        mjd=points("mjd"),
        band=points("band"),
        flux=points("flux"),
        flux_err=points("flux_err"),
        detected=points("detected").astype(np.bool_),
    )


def _concatenated(shards: list[Objects]) -> Objects:
    curves = [shard.light_curves for shard in shards]

    def joined(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(curve, name) for curve in curves])

    return Objects(
        object_id=np.concatenate([shard.object_id for shard in shards]),
        class_id=np.concatenate([shard.class_id for shard in shards]),
        source=np.concatenate([shard.source for shard in shards]),
        split=np.concatenate([shard.split for shard in shards]),
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

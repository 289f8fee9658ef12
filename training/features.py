"""``python -m training features``: the engineered features of a data directory, computed once for the forests.

Writes a Parquet file a thousand objects: a row an object and a length of its light curve, with every feature and
metadata column. With ``--alerts``, a row an alert as sent, for those that ``evaluate`` looks at.
"""

import argparse
import functools
import json
import multiprocessing
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from models.arrays import BoolArray, IntArray
from models.inputs import features
from models.inputs.light_curve import WINDOW_DAYS
from models.inputs.table import ALL_COLUMNS
from training.arguments import count, not_negative, positive, workers
from training.data import views
from training.data.alert_sample import AlertSample
from training.data.layout import Dataset, Piece
from training.data.selection import select
from training.errors import InvalidData
from training.experiment import TIERS, Tier
from training.files import replacing
from training.seen import Seen

_MARK = {b"layout": b"features-1"}
_POINTS, _WINDOW, _KIND, _DATA = b"max_points", b"window_days", b"kind", b"data"
LENGTHS, ALERTS = "lengths", "alerts"
"""Kinds of tables: objects at some lengths of light curve, and alerts as sent."""
_UNFINISHED = "unfinished.json"
"""The options of a table that is not whole yet."""


@dataclass(frozen=True)
class FeatureTable:
    """N light curves, each an object cut ``days`` after its first alert, row for row."""

    object_id: IntArray
    class_id: NDArray[np.int32]
    split: NDArray[np.str_]
    days: NDArray[np.float32]
    """After the first alert."""
    columns: NDArray[np.float32]
    """(N, K) in the order of ``ALL_COLUMNS``, NaN where missing."""
    max_points: int | None = None
    """To which the light curves were thinned."""
    window_days: float = WINDOW_DAYS
    """How far back they were looked at."""
    kind: str | None = None
    """Of every object at some lengths, or of alerts as sent; None for a table that was made before it said so."""
    data: str | None = None
    """Fingerprint of the data set that they are of, or None as above."""

    def __len__(self) -> int:
        return len(self.object_id)

    def where(self, selected: BoolArray) -> Self:
        """The rows where ``selected`` is True."""
        return replace(self, **{name: getattr(self, name)[selected] for name in _ROWS})

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """One below the other. Raises InvalidData for light curves cut or thinned in different ways."""
        cuts = {(part.max_points, part.window_days) for part in parts}
        if len(cuts) != 1:
            raise InvalidData(f"features of light curves cut or thinned in {len(cuts)} ways make no table")
        rows: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _ROWS}
        return replace(parts[0], **rows)

    def must_be_cut(self, directory: Path, *, window_days: float, max_points: int | None, told: str) -> None:
        """Raises InvalidData unless its light curves were cut and thinned as whoever is ``told`` sees them."""
        if (self.window_days, self.max_points) != (window_days, max_points):
            own, theirs = (
                f"{window:g} days" + ("" if points is None else f" thinned to {points} points")
                for window, points in ((self.window_days, self.max_points), (window_days, max_points))
            )
            how = "python -m training features --window --points"
            raise InvalidData(f"{directory} has features of {own}, {told} sees {theirs}: {how}")

    def must_be_of(self, kind: str, *, option: str) -> None:
        """Raises InvalidData for a table of the other kind."""
        if self.kind not in (None, kind):
            raise InvalidData(f"{option} names a table of {self.kind}, and wants one of {kind}")

    def find(self, object_id: IntArray, days: NDArray[np.float32]) -> IntArray:
        """The rows (M,) of these objects (M,) at these days (M,); -1 where there is none."""
        order = np.lexsort((self.days, self.object_id))
        ids, lengths = self.object_id[order], self.days[order]
        start, stop = (np.searchsorted(ids, object_id, side=side) for side in ("left", "right"))
        found = np.full(len(object_id), -1, dtype=np.int64)
        for step in range(int((stop - start).max(initial=0))):
            place = np.minimum(start + step, len(ids) - 1)
            hit = (start + step < stop) & (lengths[place] == days)
            found[hit] = order[place[hit]]
        return found


_ROWS = ("object_id", "class_id", "split", "days", "columns")
"""What a table has of each row."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommand's options."""
    cores = os.cpu_count() or 1
    parser.add_argument("--data", type=Path, required=True, help="a directory in the data layout")
    parser.add_argument("--output", type=Path, required=True, help="new directory for the table")
    parser.add_argument("--objects", type=count, help="of about so many objects, the first ones (default: all)")
    parser.add_argument(
        "--days", type=not_negative, nargs="+", default=list(views.MTA_DAYS), help="lengths: days after the first alert"
    )
    parser.add_argument("--alerts", action="store_true", help="alerts as sent, in place of lengths")
    parser.add_argument("--window", type=positive, default=WINDOW_DAYS, help=f"days back, default {WINDOW_DAYS:.0f}")
    parser.add_argument(
        "--tier", choices=tuple(TIERS), help="only of what the experiments of a tier learn from, thinned as they are"
    )
    parser.add_argument(
        "--points", type=count, help="thin longer light curves evenly to so many points, as a model does"
    )
    parser.add_argument("--processes", type=workers, default=cores, help=f"default {cores}, one a core")


def run(arguments: argparse.Namespace) -> int:
    """The subcommand."""
    console = Console(stderr=True)
    most = float("inf") if arguments.objects is None else arguments.objects
    dataset = Dataset.open(arguments.data)
    pieces = [piece for piece in dataset.pieces() if piece.start < most]
    tier = None if arguments.tier is None else TIERS[arguments.tier]
    if tier is not None and arguments.points not in (None, tier.max_points):
        raise InvalidData(f"--points: the tier thins to {tier.max_points}")
    _begin(arguments)
    make = functools.partial(
        _write,
        output=arguments.output,
        days=None if arguments.alerts else tuple(arguments.days),
        window_days=arguments.window,
        max_points=arguments.points if tier is None else tier.max_points,
        chosen=None if tier is None else _learnt_from(dataset, tier),
        data=dataset.index().fingerprint,
    )
    # Spawned, not forked: this process may run other threads.
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.processes, mp_context=spawned) as workers:
        rows = sum(track(workers.map(make, pieces), description="pieces", total=len(pieces), console=console))
    (arguments.output / _UNFINISHED).unlink()
    console.print(f"{rows} rows of {len(ALL_COLUMNS)} columns in {arguments.output}")
    return 0


def _begin(arguments: argparse.Namespace) -> None:
    """Mark the table as unfinished. Raises InvalidData for a directory that holds one, or a part of another one."""
    output, mark = arguments.output, arguments.output / _UNFINISHED
    names = ("data", "objects", "days", "alerts", "window", "tier", "points")
    settings = json.dumps({name: getattr(arguments, name) for name in names}, default=str)
    if mark.exists() and mark.read_text() != settings:
        raise InvalidData(f"{output} holds a part of a table with other options; name a new directory")
    if is_table(output) and not mark.exists():
        raise InvalidData(f"{output} already holds a table; name a new directory")
    output.mkdir(parents=True, exist_ok=True)
    mark.write_text(settings)


def _learnt_from(dataset: Dataset, tier: Tier) -> IntArray:
    index = dataset.index()
    chosen = select(index, objects=tier.objects)
    return index.object_id[chosen.train | chosen.validation]


def _write(
    piece: Piece,
    *,
    output: Path,
    days: Sequence[float] | None,
    window_days: float,
    max_points: int | None,
    chosen: IntArray | None,
    data: str,
) -> int:
    """The table of the ``chosen`` of a piece of the data, or of all, unless it is there; returns its number of rows."""
    path = output / f"part-{piece.start:09d}.parquet"
    if path.exists():
        return int(pq.read_metadata(path).num_rows)
    objects = piece.read()
    if chosen is not None:
        objects = objects.where(np.isin(objects.object_id, chosen))
    objects = objects.where(objects.light_curves.detections > 0)
    if days is None:
        sample = AlertSample.draw(objects.object_id, objects.light_curves)
        parts = [Seen.of_alerts(objects, sample, window_days=window_days)]
    else:
        parts = [Seen.of_ages(objects, [length], window_days=window_days) for length in days]
    notes = {"window_days": window_days, "kind": ALERTS if days is None else LENGTHS, "data": data}
    tables = [_of(part, max_points, notes) for part in parts]
    with replacing(path) as unfinished:
        pq.write_table(pa.concat_tables(map(_arrow, tables)), unfinished, compression="zstd")
    return sum(map(len, tables))


def _of(seen: Seen, max_points: int | None, notes: Mapping[str, Any]) -> FeatureTable:
    return FeatureTable(
        object_id=seen.object_id,
        class_id=seen.class_id,
        split=seen.split,
        days=seen.days,
        columns=np.hstack([features.compute(seen.light_curves.thinned(max_points), seen.metadata), seen.metadata]),
        max_points=max_points,
        **notes,
    )


def is_table(directory: Path) -> bool:
    """Whether a directory holds such a table."""
    first = next(iter(sorted(directory.glob("*.parquet"))), None)
    if first is None:
        return False
    try:
        return (pq.read_schema(first).metadata or {}).get(b"layout") == _MARK[b"layout"]
    except pa.ArrowInvalid as error:
        raise InvalidData(f"{first}: {error}") from error


def read(directory: Path, *, objects: IntArray | None = None) -> FeatureTable:
    """The whole table, or the rows of these objects. Raises InvalidData for anything else, or one of other features."""
    if not is_table(directory):
        raise InvalidData(f"{directory} holds no table of features: python -m training features makes one")
    if (directory / _UNFINISHED).exists():
        raise InvalidData(f"{directory} holds a part of a table: python -m training features goes on with it")
    parts = [_read(file, objects) for file in sorted(directory.glob("*.parquet"))]
    try:
        return FeatureTable.joined(parts)
    except InvalidData as error:
        raise InvalidData(f"{directory}: {error}") from error


def _read(file: Path, objects: IntArray | None) -> FeatureTable:
    try:
        table = pq.read_table(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise InvalidData(f"{file}: {error}") from error
    if objects is not None:
        table = table.filter(np.isin(table["object_id"].to_numpy(), objects))
    if tuple(table.column_names[4:]) != ALL_COLUMNS:
        raise InvalidData(f"{file.parent} holds other features than this version computes; compute them again")
    columns = np.empty((len(table), len(ALL_COLUMNS)), dtype=np.float32)
    for place, name in enumerate(ALL_COLUMNS):
        columns[:, place] = table[name].to_numpy()
    notes = table.schema.metadata or {}
    points, kind, data = (notes.get(name) for name in (_POINTS, _KIND, _DATA))
    return FeatureTable(
        object_id=table["object_id"].to_numpy(),
        class_id=table["class_id"].to_numpy(),
        split=np.array(table["split"].to_pylist(), dtype=np.str_),
        days=table["days"].to_numpy(),
        columns=columns,
        max_points=None if points is None else int(points),
        window_days=float(notes.get(_WINDOW, WINDOW_DAYS)),
        kind=None if kind is None else kind.decode(),
        data=None if data is None else data.decode(),
    )


def _arrow(table: FeatureTable) -> pa.Table:
    columns = {
        "object_id": table.object_id,
        "class_id": table.class_id,
        "split": table.split.tolist(),
        "days": table.days,
        **{name: pa.array(table.columns[:, place], from_pandas=True) for place, name in enumerate(ALL_COLUMNS)},
    }
    notes = {_POINTS: table.max_points, _WINDOW: table.window_days, _KIND: table.kind, _DATA: table.data}
    known = {name: str(value) for name, value in notes.items() if value is not None}
    return pa.table(columns).replace_schema_metadata({**_MARK, **known})

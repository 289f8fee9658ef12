"""Objects to draw from one by one: unpacked once from the shards, then mapped into memory, not read into it.

Shards are compressed and read a row group at a time; draws are of single objects from anywhere. The unpacked arrays
lie in nameless files, which the system keeps in memory as far as there is room and removes with the process, however
it ends.
"""

import tempfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from models.arrays import BoolArray
from models.inputs import ragged
from models.inputs.light_curve import LightCurves
from models.inputs.metadata import COLUMNS
from training.data.layout import Dataset, Objects

_POINTS: dict[str, type[np.generic]] = {
    "mjd": np.float64,
    "band": np.int8,
    "flux": np.float32,
    "flux_err": np.float32,
    "detected": np.bool_,
}
_SMALL = ("object_id", "class_id", "source", "split", "fold")


def unpacked(dataset: Dataset, selected: BoolArray, *, directory: Path) -> Objects:
    """The selected rows (N,) that were ever detected, their points and metadata mapped from files in ``directory``."""
    names = (*_POINTS, "metadata")
    files = {name: tempfile.TemporaryFile(dir=directory) for name in names}  # noqa: SIM115 - closed when mapped
    small: dict[str, list[NDArray[Any]]] = {name: [np.empty(0, np.int64)] for name in ("lengths", "first_alert_mjd")}
    small |= {name: [] for name in _SMALL}
    for piece in dataset.pieces():
        rows = np.flatnonzero(selected[piece.start : piece.start + piece.rows])
        if not len(rows):
            continue
        objects = piece.read().take(rows)
        objects = objects.where(objects.light_curves.detections > 0)
        for name, kind in _POINTS.items():
            files[name].write(getattr(objects.light_curves, name).astype(kind).tobytes())
        files["metadata"].write(objects.metadata.astype(np.float32).tobytes())
        for name in _SMALL:
            small[name].append(getattr(objects, name))
        small["lengths"].append(objects.light_curves.lengths)
        small["first_alert_mjd"].append(objects.light_curves.first_alert_mjd)
    joined: dict[str, NDArray[Any]] = {
        name: np.concatenate(parts) if parts else np.empty(0) for name, parts in small.items()
    }
    return Objects(
        object_id=joined["object_id"],
        class_id=joined["class_id"],
        source=joined["source"],
        split=joined["split"],
        fold=joined["fold"],
        metadata=_mapped(files["metadata"], np.float32).reshape(-1, len(COLUMNS)),
        light_curves=LightCurves(
            offsets=ragged.offsets_of(joined["lengths"].astype(np.int64)),
            first_alert_mjd=joined["first_alert_mjd"],
            **{name: _mapped(files[name], kind) for name, kind in _POINTS.items()},
        ),
    )


def _mapped(file: IO[bytes], kind: type[np.generic]) -> NDArray[Any]:
    with file:  # a mapping outlives its file
        file.flush()
        return np.asarray(np.memmap(file, dtype=kind, mode="r")) if file.tell() else np.empty(0, dtype=kind)

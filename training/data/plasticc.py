"""The PLAsTiCC challenge's training set (Kaggle CSV, or the same as Parquet) -> the layout.

Fluxes are FLUXCAL already. Only what an ELAsTiCC alert also has is taken: photometric redshift, its error, and dust.
"""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.arrays import IntArray
from models.inputs import ragged
from models.inputs.light_curve import LightCurves
from models.inputs.metadata import COLUMNS
from training.data.dust import reddened
from training.data.imported import Imported, Source
from training.data.layout import UNKNOWN_CLASS, Objects
from training.data.splits import fold_of, split_of
from training.errors import InvalidData

TARGET_CLASS = {
    90: 2222,
    62: 2223,
    42: 2224,
    52: 2225,
    67: 2226,
    64: 2232,
    65: 2233,
    6: 2235,
    95: 2242,
    15: 2243,
    92: 2323,
    16: 2325,
    53: 2326,
    88: 2332,
}
"""PLAsTiCC target -> class id; Mira (53) is LPV/Mira."""

_LIGHT_CURVES = {
    "object_id": pa.int64(),
    "mjd": pa.float64(),
    "passband": pa.int8(),
    "flux": pa.float32(),
    "flux_err": pa.float32(),
}
_METADATA = ("object_id", "hostgal_photoz", "hostgal_photoz_err", "mwebv", "target")
_DETECTED = ("detected_bool", "detected")


def read(source: Source, *, seed: int) -> Imported:
    """All objects of a directory that holds one light-curve and one metadata file, sorted by id.

    A photo-z of 0 means a galactic object, without one: missing. Kaggle's fluxes are corrected for the dust of the
    Milky Way, which is taken back: an alert's are not. Raises InvalidData if a file or a column is not there.
    """
    directory = source.paths[0]
    points = _table(directory, "light curve", ("lightcurves", "training_set"), tuple(_LIGHT_CURVES))
    table = _table(directory, "metadata", ("metadata",), _METADATA[:-1])
    object_id = np.sort(table["object_id"].to_numpy())
    order = np.argsort(table["object_id"].to_numpy(), kind="stable")
    dropped: Counter[str] = Counter()
    class_id = _classes(table, order)
    metadata = _metadata(table, order)
    light_curves = reddened(_light_curves(points, object_id, dropped), metadata[:, COLUMNS.index("mwebv")])
    objects = Objects(
        object_id=object_id,
        class_id=class_id,
        source=np.full(len(object_id), "plasticc"),
        split=np.array(split_of(object_id.tolist(), seed=seed)),
        fold=fold_of(object_id.tolist(), seed=seed),
        metadata=metadata,
        light_curves=light_curves,
    )
    noted = Counter(
        {
            "objects of unknown class": int((class_id == UNKNOWN_CLASS).sum()),
            "objects never detected": int(np.isnan(light_curves.first_alert_mjd).sum()),
        }
    )
    return Imported(objects, dropped=+dropped, noted=+noted)


def _table(source: Path, what: str, stems: tuple[str, ...], columns: tuple[str, ...]) -> pa.Table:
    found = [path for path in sorted(source.iterdir()) if _is_one_of(path, stems)] if source.is_dir() else []
    if len(found) != 1:
        names = " or ".join(f"*{stem}*.parquet|csv" for stem in stems)
        raise InvalidData(f"{source}: one {what} file ({names}) is needed, {len(found)} are there")
    path = found[0]
    try:
        table = pq.read_table(path) if path.suffix == ".parquet" else pa.csv.read_csv(path)
    except (pa.ArrowException, OSError) as error:
        raise InvalidData(f"{path}: cannot be read ({' '.join(str(error).split())[:200]})") from error
    absent = set(columns) - set(table.column_names)
    if absent:
        raise InvalidData(f"{path}: no column {', '.join(sorted(absent))}")
    return table


def _is_one_of(path: Path, stems: tuple[str, ...]) -> bool:
    kind = {suffix for suffix in path.suffixes if suffix in {".parquet", ".csv"}}
    is_metadata = "metadata" in path.name
    return bool(kind) and any(stem in path.name for stem in stems) and (is_metadata == ("metadata" in stems))


def _classes(table: pa.Table, order: IntArray) -> NDArray[np.int32]:
    if "target" not in table.column_names:
        return np.full(len(order), UNKNOWN_CLASS, dtype=np.int32)
    targets = table["target"].to_numpy()[order].tolist()
    return np.array([TARGET_CLASS.get(target, UNKNOWN_CLASS) for target in targets], dtype=np.int32)


def _metadata(table: pa.Table, order: IntArray) -> NDArray[np.float32]:
    metadata = np.full((len(order), len(COLUMNS)), np.nan, dtype=np.float32)
    photo_z = table["hostgal_photoz"].to_numpy()[order]
    has_host = photo_z > 0
    for name, column in {"hostgal_zphot": "hostgal_photoz", "hostgal_zphot_err": "hostgal_photoz_err"}.items():
        metadata[has_host, COLUMNS.index(name)] = table[column].to_numpy()[order][has_host]
    metadata[:, COLUMNS.index("mwebv")] = table["mwebv"].to_numpy()[order]
    return metadata


def _light_curves(points: pa.Table, object_id: IntArray, dropped: Counter[str]) -> LightCurves:
    detected_column = next((name for name in _DETECTED if name in points.column_names), None)
    if detected_column is None:
        raise InvalidData(f"the light curves have no column {' or '.join(_DETECTED)}")
    columns = {name: points[name].to_numpy().astype(kind.to_pandas_dtype()) for name, kind in _LIGHT_CURVES.items()}
    detected = points[detected_column].to_numpy().astype(np.bool_)
    measured = np.isfinite(columns["flux"]) & (columns["flux_err"] > 0)
    known = np.isin(columns["object_id"], object_id)
    dropped["points without a flux and a positive error"] = int((~measured & known).sum())
    dropped["points of objects without metadata"] = int((~known).sum())
    usable = measured & known
    order = np.flatnonzero(usable)[np.lexsort((columns["mjd"][usable], columns["object_id"][usable]))]
    row = np.searchsorted(object_id, columns["object_id"][order])
    offsets = ragged.offsets_of(np.bincount(row, minlength=len(object_id)).astype(np.int64))
    mjd = columns["mjd"][order]
    return LightCurves(
        offsets=offsets,
        first_alert_mjd=ragged.first_per_row(offsets, mjd, detected[order]),
        mjd=mjd,
        band=columns["passband"][order],
        flux=columns["flux"][order],
        flux_err=columns["flux_err"][order],
        detected=detected[order],
    )

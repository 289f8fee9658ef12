"""Variable stars and transients as their surveys publish them -> photometry for chapter 3's light curves.

MACHO and ZTF's data release, which the thesis used, and what stands for them where they cannot be had: ASAS's periodic
stars in MACHO's four classes, ZTF's Bright Transient Survey in two bands, and PLAsTiCC's training set.
"""

import csv
import io
import re
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.spatial import KDTree

from models.arrays import BoolArray, FloatArray, IntArray
from models.inputs import period, ragged
from models.inputs.light_curve import LightCurves
from models.inputs.photometry import BANDS, FLUXCAL_ZERO_POINT
from models.taxonomy import CLASS_NAMES
from training.data import plasticc
from training.data.curves import Photometry
from training.data.imported import Source
from training.errors import InvalidData

PERIODIC = ("RR Lyrae", "Cepheid", "eclipsing binary", "long-period variable")
"""What MACHO's catalogue is simplified to."""

_MACHO = {1: 0, 2: 0, 3: 0, 4: 1, 5: 1, 10: 2, 6: 3, 7: 3, 8: 3, 9: 3}
"""Classification in MACHO's catalogue -> place in PERIODIC; RR Lyrae blended with a giant (11) are left out."""
_ASAS = {
    "RR_Lyrae_FM": 0,
    "RR_Lyrae_FO": 0,
    "RR_Lyrae_DM": 0,
    "Classical_Cepheid": 1,
    "MultiMode_Cepheid": 1,
    "PopII_Cepheid": 1,
    "W_Ursae_Maj": 2,
    "Beta_Lyrae": 2,
    "Beta_Persei": 2,
    "Mira": 3,
    "Semireg_PV": 3,
    "LSP": 3,
    "SARG_A": 3,
    "SARG_B": 3,
}
BRIGHT_TRANSIENTS = ("SN Ia", "SN II", "SN Ib/c")
"""Superluminous ones are left out: of 39, eight would be tried, each of which would weigh as 30 of type Ia."""
_BTS = {
    "SN Ia": 0,
    "SN Ia-91T": 0,
    "SN II": 1,
    "SN IIP": 1,
    "SN IIn": 1,
    "SN Ib": 2,
    "SN Ic": 2,
    "SN Ib/c": 2,
    "SN Ic-BL": 2,
    "SN IIb": 2,
    "SN Ibn": 2,
}
_ZTF_BANDS = {1: 0, 2: 1}
"""filterid of g and r; the i band is not used."""
_ZTF_POINTS = 200
"""In each band, at most (3.4.1)."""
_MATCH_ARCSEC = 1.5
_FAINTEST = 40.0


@dataclass(frozen=True)
class _Object:
    """One object's points, in any order."""

    mjd: FloatArray
    band: NDArray[np.int8]
    value: FloatArray
    error: FloatArray
    label: int
    period: float = np.nan


def macho(directory: Path) -> Photometry:
    """MACHO's red band, as its TAP service writes it: ``LC_FIELD.TILE.SEQN.csv`` anywhere, and its catalogue.

    The catalogue is the CSV with the columns field, tile, seqn, period_r and classification. Objects without a period
    or of no class used are left out. Raises InvalidData for what is no such directory or archive.
    """
    files = dict(_files(directory))
    catalogue = next((name for name, text in files.items() if text.startswith(b"starid,")), None)
    if catalogue is None:
        raise InvalidData(f"{directory}: no MACHO catalogue (a CSV that begins with starid) in it")
    known = {}
    for row in _rows(catalogue, files[catalogue], ("field", "tile", "seqn", "classification", "period_r")):
        kind, days = (_number(catalogue, row, column) for column in ("classification", "period_r"))
        known[f"{row['field']}.{row['tile']}.{row['seqn']}"] = (kind, days)
    found = []
    for name, text in files.items():
        match = re.search(r"LC_(\d+\.\d+\.\d+)\.csv$", name)
        kind, days = known.get(match[1], (0.0, 0.0)) if match else (0.0, 0.0)
        if kind in _MACHO and days > 0:
            table = _csv_columns(name, text, ("dateobs", "rmag", "rerr"))
            found.append(_one_band(*table, label=_MACHO[int(kind)], days=days))
    return _photometry(directory, found, PERIODIC, ("r",))


def asas(directory: Path) -> Photometry:
    """ASAS's training set (Richards et al. 2012): ``NUMBER.dat`` of date, magnitude, error, and the table of classes.

    It comes without periods: they are searched. Raises InvalidData for what is no such directory.
    """
    files = dict(_files(directory))
    table = next((name for name in files if name.endswith("_classes.dat")), None)
    if table is None:
        raise InvalidData(f"{directory}: no *_classes.dat in it")
    kinds = {row["filename"]: row["class"] for row in _rows(table, files[table], ("filename", "class"))}
    found = []
    for name, text in files.items():
        label = _ASAS.get(kinds.get(Path(name).stem, ""))
        if name.endswith(".dat") and label is not None:
            table_of_points = _csv_columns(name, b"date,mag,err\n" + text, ("date", "mag", "err"))
            found.append(_one_band(*table_of_points, label=label, days=np.nan))
    return _with_periods(_photometry(directory, found, PERIODIC, ("V",)))


def ztf_bts(directory: Path) -> Photometry:
    """ZTF's Bright Transient Survey: its CSV of types, and ANTARES's light curves ``ZTFID.csv`` in g and R.

    They have no period. Raises InvalidData for what is no such directory.
    """
    files = dict(_files(directory))
    table = next((name for name, text in files.items() if b"ZTFID" in text[:200]), None)
    if table is None:
        raise InvalidData(f"{directory}: no CSV with a column ZTFID in it")
    types = {row["ZTFID"]: row["type"] for row in _rows(table, files[table], ("ZTFID", "type"))}
    found = []
    for name, text in files.items():
        label = _BTS.get(types.get(Path(name).stem, ""))
        if label is None:
            continue
        mjd, value, error = _csv_columns(name, text, ("ant_mjd", "ant_mag", "ant_magerr"))
        names = [row["ant_passband"] for row in _rows(name, text, ("ant_passband",))]
        band = np.array([{"g": 0, "R": 1}.get(each, -1) for each in names], dtype=np.int8)
        kept = _measured(value, error) & (band >= 0)
        found.append(_Object(mjd[kept], band[kept], value[kept], error[kept], label))
    return _photometry(directory, found, BRIGHT_TRANSIENTS, ("g", "r"))


def ztf_release(directory: Path) -> Photometry:
    """ZTF's data release: the bulk Parquet files, and a catalogue of labelled positions, matched within 1.5".

    Parquet columns: objectid, filterid (1 g, 2 r), objra, objdec [degrees], and lists hmjd, mag, magerr, catflags (a
    point with flag 32768 is bad). Catalogue: ``*.csv`` with ra, dec [degrees], class, and period [d]; where that is
    nothing, or not positive, nothing is folded. Bands of one catalogue entry are joined; each keeps 200 points, evenly
    spread. Raises InvalidData for anything else.
    """
    catalogues = sorted(directory.glob("*.csv"))
    if len(catalogues) != 1:
        raise InvalidData(f"{directory}: one catalogue (*.csv) is needed, {len(catalogues)} are there")
    name = str(catalogues[0])
    rows = _rows(name, catalogues[0].read_bytes(), ("ra", "dec", "class"))
    if not rows:
        raise InvalidData(f"{name}: no object in it")
    classes = tuple(sorted({row["class"] for row in rows}))
    sky = KDTree(_unit(np.array([[_number(name, row, column) for column in ("ra", "dec")] for row in rows])))
    points: dict[int, list[FloatArray]] = {}
    for path in sorted(directory.rglob("*.parquet")):
        for entry, table in _matched(path, sky):
            points.setdefault(entry, []).append(table)
    found = []
    for entry, tables in sorted(points.items()):
        mjd, value, error, band = np.concatenate(tables, axis=1)
        kept = np.concatenate([_thinned(np.flatnonzero(band == code)) for code in np.unique(band)])
        label, days = classes.index(rows[entry]["class"]), _number(name, rows[entry], "period")
        days = days if days > 0 else np.nan
        found.append(_Object(mjd[kept], band[kept].astype(np.int8), value[kept], error[kept], label, days))
    return _photometry(directory, found, classes, ("g", "r"))


def plasticc_stars(directory: Path) -> Photometry:
    """PLAsTiCC's training set as ``import plasticc`` reads it: fluxes in six bands.

    It publishes no periods, so nothing is folded, unlike 3.4.1's periodic stars: to fold those one would have to be
    told which they are.
    """
    objects = plasticc.read(Source("plasticc", (directory,)), seed=0).objects
    curves = objects.light_curves
    present = np.unique(objects.class_id)
    return Photometry(
        offsets=curves.offsets,
        mjd=curves.mjd,
        band=curves.band,
        value=curves.flux.astype(np.float64),
        error=curves.flux_err.astype(np.float64),
        label=np.searchsorted(present, objects.class_id),
        period=np.full(len(objects), np.nan),
        classes=tuple(CLASS_NAMES.get(class_id, "unknown") for class_id in present.tolist()),
        bands=BANDS,
    )


READERS: Mapping[str, Callable[[Path], Photometry]] = {
    "macho": macho,
    "asas": asas,
    "ztf-dr": ztf_release,
    "ztf-bts": ztf_bts,
    "plasticc": plasticc_stars,
}

STRETCHES = {"macho": 200, "asas": 200}
"""Points of the stretches that long light curves are cut into."""


# --- reading --------------------------------------------------------------------------------------------------------


def _files(directory: Path) -> Iterator[tuple[str, bytes]]:
    """Every CSV and .dat file of a directory and of the archives in it, by path, in order."""
    if not directory.is_dir():
        raise InvalidData(f"{directory}: no such directory")
    for path in sorted(directory.rglob("*")):
        if path.suffix in {".csv", ".dat"}:
            yield str(path), path.read_bytes()
        elif path.name.endswith((".tar.gz", ".tar")):
            yield from sorted(_members(path))


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                if member.name.endswith((".csv", ".dat")) and (file := archive.extractfile(member)) is not None:
                    yield f"{path}/{member.name}", file.read()
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise InvalidData(f"{path}: no archive that can be read ({error})") from error


def _rows(name: str, text: bytes, columns: Sequence[str]) -> list[dict[str, str]]:
    """Lines of a CSV that has these columns, whatever others."""
    rows = list(csv.DictReader(io.StringIO(text.decode(errors="replace"))))
    if rows and not set(columns) <= set(rows[0]):
        raise InvalidData(f"{name}: the columns {', '.join(columns)} are needed")
    return rows


def _number(name: str, row: Mapping[str, str], column: str) -> float:
    """NaN where it is empty. Raises InvalidData for what is no number."""
    try:
        return float(row.get(column) or "nan")
    except ValueError as error:
        raise InvalidData(f"{name}: no number in the column {column} ({error})") from error


def _csv_columns(name: str, text: bytes, columns: Sequence[str]) -> list[FloatArray]:
    """Columns of numbers, NaN where one is empty."""
    rows = _rows(name, text, columns)
    try:
        return [np.array([float(row[column] or "nan") for row in rows]) for column in columns]
    except (TypeError, ValueError) as error:
        raise InvalidData(f"{name}: no numbers in the columns {', '.join(columns)} ({error})") from error


def _one_band(mjd: FloatArray, magnitude: FloatArray, error: FloatArray, *, label: int, days: float) -> _Object:
    kept = _measured(magnitude, error)
    band = np.zeros(kept.sum(), dtype=np.int8)
    return _Object(mjd[kept], band, magnitude[kept], error[kept], label, days)


def _measured(magnitude: FloatArray, error: FloatArray) -> BoolArray:
    """Magnitudes that are some: the surveys write -99 or 99 for none, and 9.999 for their error."""
    return np.isfinite(magnitude) & (np.abs(magnitude) < _FAINTEST) & (error > 0) & (error < 5)


def _thinned(points: IntArray) -> IntArray:
    return points[ragged.evenly(len(points), _ZTF_POINTS)]


def _unit(degrees: FloatArray) -> FloatArray:
    """Right ascension and declination (N, 2) -> unit vectors (N, 3)."""
    ra, dec = np.radians(degrees).T
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)


def _matched(path: Path, sky: KDTree) -> Iterator[tuple[int, FloatArray]]:
    """The catalogue entry and the points (mjd, magnitude, error, band) of each object near one."""
    columns = ["filterid", "objra", "objdec", "hmjd", "mag", "magerr", "catflags"]
    try:
        table = pq.read_table(path, columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise InvalidData(f"{path}: no light curves of a ZTF data release ({error})") from error
    where = _unit(np.stack([table[name].to_numpy().astype(np.float64) for name in ("objra", "objdec")], axis=1))
    chord = 2 * np.sin(np.radians(_MATCH_ARCSEC / 3600) / 2)
    distance, nearest = sky.query(where, distance_upper_bound=chord)
    for row in np.flatnonzero(np.isfinite(distance)).tolist():
        one = {name: table[name][row].as_py() for name in columns}
        band = _ZTF_BANDS.get(one["filterid"])
        points = np.array([one["hmjd"], one["mag"], one["magerr"]], dtype=np.float64)
        good = (np.array(one["catflags"], dtype=np.int64) & 32768 == 0) & _measured(*points[1:])
        if band is not None and good.any():
            yield int(nearest[row]), np.vstack([points[:, good], np.full(good.sum(), band)])


def _photometry(source: Path, found: Iterable[_Object], classes: tuple[str, ...], bands: tuple[str, ...]) -> Photometry:
    objects = [each for each in found if len(each.mjd)]
    if not objects:
        raise InvalidData(f"{source}: no light curve of a class that is used")
    orders = [np.argsort(each.mjd, kind="stable") for each in objects]
    ordered = list(zip(objects, orders, strict=True))
    return Photometry(
        offsets=ragged.offsets_of(np.array([len(order) for order in orders], dtype=np.int64)),
        mjd=np.concatenate([each.mjd[order] for each, order in ordered]),
        band=np.concatenate([each.band[order] for each, order in ordered]),
        value=np.concatenate([each.value[order] for each, order in ordered]),
        error=np.concatenate([each.error[order] for each, order in ordered]),
        label=np.array([each.label for each in objects], dtype=np.int64),
        period=np.array([each.period for each in objects]),
        classes=classes,
        bands=bands,
    )


def _with_periods(objects: Photometry) -> Photometry:
    """The best period of each, by the features' own search; NaN for an object with too few points for one."""
    flux = 10 ** (-0.4 * (objects.value - FLUXCAL_ZERO_POINT))
    curves = LightCurves(
        offsets=objects.offsets,
        first_alert_mjd=np.full(len(objects), np.nan),
        mjd=objects.mjd,
        band=objects.band,
        flux=flux.astype(np.float32),
        flux_err=(flux * objects.error * 0.4 * np.log(10)).astype(np.float32),
        detected=np.ones(len(flux), dtype=np.bool_),
    )
    days = [np.nan if each is None else 1 / each.frequency for each in period.search(curves)]
    return Photometry(**{**vars(objects), "period": np.array(days)})

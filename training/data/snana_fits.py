"""A pair of SNANA's FITS files, HEAD (a row an object) and PHOT (a row an observation), plain or gzipped -> Tables."""

import gzip
import io
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from models.arrays import BoolArray, FloatArray, IntArray
from models.inputs import ragged
from models.inputs.photometry import FLUXCAL_ZERO_POINT
from training.data.snana_tables import DETECTED, Tables, zero_point_of
from training.errors import InvalidData

Columns = dict[str, NDArray[Any]]

_PHOT = ("MJD", "FLUXCAL", "FLUXCALERR")
_BAND = ("BAND", "FLT")
_TYPE = ("SIM_GENTYPE", "SIM_TYPE_INDEX")
_END_OF_LIGHT_CURVE = -777.0
_BROKEN = (OSError, EOFError, zlib.error, LookupError, TypeError, ValueError, Warning)


def read(head_path: Path, phot_path: Path) -> Tables:
    """Both files, or InvalidData naming the one that is broken, and how."""
    head_cards, head = _table(head_path)
    phot_cards, phot = _table(phot_path, only=(*_PHOT, *_BAND, "PHOTFLAG"))
    _require(head, ("SNID", "PTROBS_MIN", "PTROBS_MAX"), head_path)
    _require(phot, _PHOT, phot_path)
    band = next((phot[name] for name in _BAND if name in phot), None)
    if band is None:
        raise InvalidData(f"{phot_path}: no column {' or '.join(_BAND)}")
    cards = {**head_cards, **phot_cards}
    try:
        zero_point = zero_point_of(cards, default=FLUXCAL_ZERO_POINT)
        points, offsets, noted = _points(head, phot["MJD"])
    except InvalidData as invalid:
        raise InvalidData(f"{phot_path}: {invalid}") from invalid
    n = len(offsets) - 1
    flags = phot["PHOTFLAG"][points] if "PHOTFLAG" in phot else np.zeros(len(points))
    return Tables(
        survey=str(cards.get("SURVEY", "")).strip(),
        snid=_words(head, ("SNID",), n),
        type=_words(head, _TYPE, n),
        model=_words(head, ("SIM_MODEL_NAME",), n),
        head={name: column.astype(np.float64) for name, column in head.items() if column.dtype.kind in "iuf"},
        zero_point=np.full(n, zero_point),
        dereddened=np.full(n, cards.get("MWEBV_APPLYFLAG", 0) == 1),
        offsets=offsets,
        mjd=phot["MJD"][points].astype(np.float64),
        band=band[points].astype(np.bytes_),
        flux=phot["FLUXCAL"][points].astype(np.float64),
        flux_err=phot["FLUXCALERR"][points].astype(np.float64),
        flags=flags.astype(np.int64),
        detected_flag=int(cards.get("PHOTFLAG_DETECT", 0)) or DETECTED,
        noted=noted,
    )


def _table(path: Path, *, only: Sequence[str] | None = None) -> tuple[dict[str, Any], Columns]:
    """The header cards and the columns (all, or those of ``only`` that are there) of a file's one table."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*truncated.*")
            # Unzipped at once: astropy would seek in the compressed file, and unzip it several times over.
            raw = path.read_bytes()
            with fits.open(io.BytesIO(gzip.decompress(raw) if path.suffix == ".gz" else raw)) as file:
                cards = {name: card for hdu in file[:2] for name, card in hdu.header.items()}
                data = file[1].data
                plain = np.asarray(data)  # strings as they lie there: astropy's decoding of them takes most of the time
                names = [name for name in plain.dtype.names or () if only is None or name in only]
                return cards, {name: plain[name] if plain[name].dtype.kind == "S" else data[name] for name in names}
    except _BROKEN as error:
        raise InvalidData(f"{path}: broken ({' '.join(str(error).split())[:200]})") from error


def _require(columns: Columns, names: Sequence[str], path: Path) -> None:
    absent = [name for name in names if name not in columns]
    if absent:
        raise InvalidData(f"{path}: no column {', '.join(absent)}")


def _points(head: Columns, mjd: FloatArray) -> tuple[IntArray, IntArray, dict[str, int]]:
    """The rows of PHOT that are each object's, end to end, and their offsets; and a note if HEAD has them wrong.

    PTROBS_MIN and PTROBS_MAX count from 1 and include both ends; a row of -777 stands after each light curve. Where a
    HEAD was cut out of a larger one, its pointers are that one's: then the rows of -777 tell, if NOBS agrees with them.
    """
    start, stop = head["PTROBS_MIN"].astype(np.int64) - 1, head["PTROBS_MAX"].astype(np.int64)
    start[stop <= 0] = stop[stop <= 0] = 0
    n = len(start)
    ends = mjd == _END_OF_LIGHT_CURVE
    noted = {}
    if not _are_light_curves(start, stop, ends):
        after = np.flatnonzero(ends)
        stop = np.append(after, len(mjd))[:n]
        start = np.append(0, after + 1)[:n]
        if "NOBS" not in head or len(stop) != n or len(after) > n or (stop - start != head["NOBS"]).any():
            pointed = f"up to {head['PTROBS_MAX'].max()}"
            raise InvalidData(f"its {len(mjd)} rows are not those that HEAD points to ({pointed})")
        noted["objects whose rows HEAD points to wrongly, found by the ends of light curves"] = n
    # Each object's rows are every other row of these boundaries; what lies between them is not taken.
    points, offsets = ragged.take(np.stack([start, stop], axis=1).ravel(), 2 * np.arange(n))
    return points, offsets, noted


def _are_light_curves(start: IntArray, stop: IntArray, ends: BoolArray) -> bool:
    """Whether all rows from ``start`` to before ``stop`` are there, and the ends of light curves lie just around."""
    if ((start < 0) | (stop < start) | (stop > len(ends))).any():
        return False
    some = stop > start
    first, last = start[some], stop[some]
    passed = np.append(0, np.cumsum(ends))
    alone = passed[last] == passed[first]
    if not ends.any():
        return bool(alone.all())
    around = np.append(ends, True)
    return bool((alone & around[first - 1] & around[last]).all())


def _words(columns: Columns, names: Sequence[str], n: int) -> tuple[str, ...]:
    """The first of these columns that is there, as words; empty ones without it."""
    found = next((columns[name] for name in names if name in columns), None)
    if found is None:
        return ("",) * n
    if found.dtype.kind == "S":
        return tuple(word.decode(errors="replace").strip() for word in found.tolist())
    return tuple(str(value) for value in found.tolist())

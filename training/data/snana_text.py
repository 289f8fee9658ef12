"""SNANA's text files, one an object (``KEY: value`` lines, then ``OBS:`` lines under ``VARLIST:``) -> Tables."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.arrays import FloatArray, IntArray
from models.inputs import ragged
from models.inputs.photometry import FLUXCAL_ZERO_POINT
from training.data.snana_tables import DETECTED, Tables, zero_point_of
from training.errors import InvalidData

_ALIASES = {"HOST_GALAXY_PHOTO-Z": "HOSTGAL_PHOTOZ", "HOST_GALAXY_SPEC-Z": "HOSTGAL_SPECZ"}
_BY_BAND = ("HOSTGAL_MAG", "HOSTGAL_MAGERR")
_TYPE = ("SIM_GENTYPE", "SIM_TYPE_INDEX")
_COMMENT = re.compile(r"SN Type\s*=\s*(\S+)\s*,\s*MODEL\s*=\s*(\S+)")
"""SNPCC has the true type in words only."""


@dataclass(frozen=True)
class _One:
    header: Mapping[str, str]
    type: str
    model: str
    values: Mapping[str, float]
    zero_point: float
    mjd: FloatArray
    band: NDArray[np.bytes_]
    flux: FloatArray
    flux_err: FloatArray
    flags: IntArray


def read(files: Iterable[tuple[str, bytes]]) -> tuple[Tables | None, tuple[str, ...]]:
    """All files of (name, bytes) that can be read, if any, and one line for each that cannot."""
    read_, failures = [], []
    for name, data in files:
        try:
            read_.append(_parse(data.decode()))
        except (InvalidData, ValueError) as error:
            failures.append(f"{Path(name).name}: {error}")
    return (_tables(read_) if read_ else None), tuple(failures)


def _tables(every: list[_One]) -> Tables:
    def joined(name: str) -> NDArray[np.generic]:
        return np.concatenate([getattr(one, name) for one in every])

    names = sorted({name for one in every for name in one.values})
    masks = {one.values.get("PHOTFLAG_DETECT", 0.0) for one in every}
    if len(masks) > 1:
        raise InvalidData(f"files with different PHOTFLAG_DETECT: {sorted(masks)}")
    return Tables(
        survey=every[0].header.get("SURVEY", ""),
        snid=tuple(one.header["SNID"].split()[0] for one in every),
        type=tuple(one.type for one in every),
        model=tuple(one.model for one in every),
        head={name: np.array([one.values.get(name, np.nan) for one in every]) for name in names},
        zero_point=np.array([one.zero_point for one in every]),
        dereddened=np.array([one.values.get("MWEBV_APPLYFLAG", 0.0) == 1 for one in every]),
        offsets=ragged.offsets_of(np.array([len(one.mjd) for one in every], dtype=np.int64)),
        mjd=joined("mjd").astype(np.float64),
        band=joined("band").astype(np.bytes_),
        flux=joined("flux").astype(np.float64),
        flux_err=joined("flux_err").astype(np.float64),
        flags=joined("flags").astype(np.int64),
        detected_flag=int(masks.pop()) or DETECTED,
    )


def _parse(text: str) -> _One:
    header: dict[str, str] = {}
    observations = []
    for line in text.splitlines():
        key, colon, rest = line.partition(":")
        if key == "OBS":
            observations.append(rest.split())
        elif colon and not key.startswith("#"):
            header.setdefault(key.strip(), rest.strip())
    absent = [key for key in ("SNID", "VARLIST", "NOBS") if not header.get(key)]
    if absent:
        raise InvalidData(f"no SNANA light curve: no {', '.join(absent)}")
    announced = int(header["NOBS"].split()[0])
    if announced != len(observations):
        raise InvalidData(f"{announced} observations announced, {len(observations)} there")
    columns = _columns(header["VARLIST"].split(), observations)
    band = next((columns[name] for name in ("BAND", "FLT") if name in columns), None)
    if band is None or not {"MJD", "FLUXCAL", "FLUXCALERR"} <= columns.keys():
        raise InvalidData(f"no column MJD, BAND (or FLT), FLUXCAL or FLUXCALERR among {', '.join(columns)}")
    comment = _COMMENT.search(header.get("SIM_COMMENT", ""))
    types = [header[key].split()[0] for key in _TYPE if header.get(key)]
    return _One(
        header=header,
        type=next(iter(types), comment[1] if comment else ""),
        model=header.get("SIM_MODEL_NAME", comment[2] if comment else ""),
        values=_values(header),
        zero_point=zero_point_of(header, default=FLUXCAL_ZERO_POINT),
        mjd=np.array(columns["MJD"], dtype=np.float64),
        band=np.array(band, dtype=np.bytes_),
        flux=np.array(columns["FLUXCAL"], dtype=np.float64),
        flux_err=np.array(columns["FLUXCALERR"], dtype=np.float64),
        flags=np.array(columns.get("PHOTFLAG", [0] * len(observations)), dtype=np.int64),
    )


def _columns(names: list[str], observations: list[list[str]]) -> dict[str, list[str]]:
    if any(len(row) != len(names) for row in observations):
        raise InvalidData(f"an observation has not the {len(names)} values of VARLIST")
    return {name: [row[place] for row in observations] for place, name in enumerate(names)}


def _values(header: Mapping[str, str]) -> dict[str, float]:
    """Every header line that is a number, by its FITS name; ``value +- error`` gives two."""
    values = {}
    bands = header.get("FILTERS", "")
    for key, text in header.items():
        name = _ALIASES.get(key, key)
        words = text.split()
        if name in _BY_BAND:
            values.update({f"{name}_{band}": float(word) for band, word in zip(bands, words, strict=False)})
        elif words and (value := _number(words[0])) is not None:
            values[name] = value
            if words[1:2] == ["+-"] and len(words) > 2:
                values[f"{name}_ERR"] = float(words[2])
    return values


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None

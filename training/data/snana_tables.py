"""SNANA light curves as their files have them, FITS or text alike, before any judgement."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.arrays import BoolArray, FloatArray, IntArray
from training.errors import InvalidData

DETECTED = 4096
"""PHOTFLAG of a detection, where the header (PHOTFLAG_DETECT) names no other."""

ZERO_POINT_KEYS = ("ZP_FLUXCAL", "FLUXCAL_ZP", "ZEROPOINT", "ZEROPT", "ZP")
"""Header keywords for the zero point of FLUXCAL; the photometry's column ZEROPT is the images'."""


@dataclass(frozen=True)
class Tables:
    """N objects; their points (P,) end to end, row ``i`` at ``offsets[i]:offsets[i + 1]``, in the file's order."""

    survey: str
    snid: tuple[str, ...]
    """(N,)"""
    type: tuple[str, ...]
    """(N,), the true type, a number or a name; empty where there is none."""
    model: tuple[str, ...]
    """(N,), the simulated model; empty where there is none."""
    head: Mapping[str, FloatArray]
    """Columns (N,) by SNANA's FITS names."""
    zero_point: FloatArray
    """(N,), of the fluxes [AB]."""
    dereddened: BoolArray
    """(N,), True where the fluxes are corrected for Milky Way dust."""
    offsets: IntArray
    mjd: FloatArray
    band: NDArray[np.bytes_]
    """(P,), as spelled."""
    flux: FloatArray
    flux_err: FloatArray
    flags: IntArray
    """(P,), PHOTFLAG; 0 where there is none."""
    detected_flag: int
    noted: Mapping[str, int] = field(default_factory=dict)
    """What is worth knowing about how they were read, with the number of objects."""


def zero_point_of(header: Mapping[str, object], *, default: float) -> float:
    """The zero point that a header states. Raises InvalidData for one that is no number."""
    stated = {key: header[key] for key in ZERO_POINT_KEYS if key in header}
    if not stated:
        return default
    (key, value), *others = stated.items()
    try:
        zero_point = float(str(value).split()[0])
    except (ValueError, IndexError) as error:
        raise InvalidData(f"{key} = {value!r} is no AB zero point") from error
    if others or not 0 < zero_point < 50:
        raise InvalidData(f"no single AB zero point: {stated}")
    return zero_point

"""The metadata columns: what a survey knows of an object beside its light curve, in one named order.

These are the fields of ELAsTiCC's diaObject, in its own spelling and order, less its ids and every coordinate
(thesis 4.4.1: positions were not simulated realistically, so they are not used).
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.arrays import IntArray

_PHOTO_Z_QUANTILES = tuple(f"zphot_q{percent:03d}" for percent in range(0, 101, 10))
_HOST = (
    *("ellipticity", "sqradius", "zspec", "zspec_err", "zphot", "zphot_err"),
    *_PHOTO_Z_QUANTILES,
    *(f"mag_{band}" for band in "ugrizY"),
    "snsep",
    *(f"magerr_{band}" for band in "ugrizY"),
)

COLUMNS: tuple[str, ...] = (
    *("mwebv", "mwebv_err", "z_final", "z_final_err"),
    *(f"{host}_{name}" for host in ("hostgal", "hostgal2") for name in _HOST),
)
"""The 64 names, in the order of every metadata axis."""


def kinship(columns: Sequence[str]) -> IntArray:
    """The group (K,) of each column: those of one group nearly tell each other, as a host's magnitudes do."""
    groups: dict[str, int] = {}
    return np.array([groups.setdefault(_group_of(name), len(groups)) for name in columns], dtype=np.int64)


def _group_of(name: str) -> str:
    """Redshifts of one galaxy are of one group, its magnitudes of another; any other column only with its error."""
    if name.startswith("z_final"):
        return "hostgal_z"
    host, _, what = name.partition("_") if name.startswith("hostgal") else ("", "", name)
    for kind in ("z", "mag"):
        if what.startswith(kind):
            return f"{host}_{kind}"
    return name.removesuffix("_err")


def clean(values: ArrayLike) -> NDArray[np.float32]:
    """Values as float32, with NaN for every way the surveys write "missing".

    They write null, NaN, -9, -99, -999, -9999 (sometimes shifted: -9.008) and +999. No column has a real value of -9 or
    less.
    """
    raw = np.asarray(values, dtype=np.float64)
    # Beyond float32 there is no measurement either: infinities are as missing as NaN.
    with np.errstate(over="ignore", invalid="ignore"):
        narrow = raw.astype(np.float32)
        missing = ~np.isfinite(narrow) | (narrow <= -9) | (narrow == 999)
    return np.where(missing, np.float32(np.nan), narrow)


def must_be_known(names: Iterable[str]) -> None:
    """Raises ValueError for a name that is no metadata column."""
    unknown = set(names) - set(COLUMNS)
    if unknown:
        raise ValueError(f"no such metadata column: {', '.join(sorted(unknown))}")


def row(values: Mapping[str, float | None]) -> list[float]:
    """One object's metadata by column name -> the 64 raw values in order, NaN where it has none.

    Raises ValueError for a name that is no metadata column.
    """
    must_be_known(values)
    return [np.nan if (value := values.get(name)) is None else float(value) for name in COLUMNS]

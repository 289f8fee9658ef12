"""What one column of the features is: name, unit, formula and where it comes from."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from models.inputs.photometry import BANDS

LIGHT_CURVE_PAPER = "Malanchev et al. 2021"
"""The SNAD features, whose definitions of light-curve statistics are used."""
ALERCE = "Sanchez-Saez et al. 2021"
OURS = "ours"


@dataclass(frozen=True)
class Feature:
    """One feature of a light curve. It is NaN where it is not defined."""

    name: str
    unit: str
    """Empty for a pure number."""
    formula: str
    """For m = flux, e = its error, t = time, over the band's points unless it says otherwise."""
    source: str


def by_band(features: Iterable[Feature]) -> tuple[Feature, ...]:
    """Each feature once a band, ``name_u`` to ``name_y``, the bands of one feature together."""
    return tuple(replace(feature, name=f"{feature.name}_{band}") for feature in features for band in BANDS)

"""What a class's physics gives: one object as it shines at the visits that could see it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from models.arrays import FloatArray
from training.survey.cadence import SightLine
from training.survey.hosts import Kind

LEAD_DAYS = 40.0
"""Visits so long before an episode are looked at, too: forced photometry reaches back 30 days."""


@dataclass(frozen=True)
class Source:
    """One object, before the Milky Way's dust and the camera."""

    visits: SightLine
    """Where it is, and the visits (V,) worth simulating: all for a star, those around the episode for a transient."""
    flux: FloatArray
    """(V,), what a difference image shows [FLUXCAL]: zero outside an episode, against a mean of epochs for a star."""
    steady: FloatArray
    """(6,), the object's own light in the template by band [FLUXCAL]; zero for a transient."""
    redshift: float | None = None
    """None in the Milky Way."""
    host: Kind | None = None
    """None in the Milky Way, and where no galaxy is bright enough for a catalogue."""
    period: float | None = None
    """[d], of a pulsation's main mode; None for what does not pulsate."""


Physics = Callable[[np.random.Generator, SightLine], Source]
"""A class: draws one object's parameters and places it on a sight line. All randomness comes from the generator."""


def split_normal(rng: np.random.Generator, *, peak: float, below: float, above: float) -> float:
    """A draw from two half Gaussians of these widths, joined at the peak."""
    size = abs(rng.standard_normal())
    return peak - below * size if rng.random() < below / (below + above) else peak + above * size


def clipped_normal(rng: np.random.Generator, mean: float, deviation: float, low: float, high: float) -> float:
    """A Gaussian draw, kept within bounds."""
    return min(max(mean + deviation * rng.standard_normal(), low), high)


def log_normal(rng: np.random.Generator, median: float, deviation: float) -> float:
    """A draw whose natural logarithm is Gaussian."""
    return float(median * np.exp(deviation * rng.standard_normal()))

"""When and how deep the survey looks: sight lines and their visits, from the table that ``reduce_cadence`` made."""

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from models.arrays import FloatArray
from models.inputs import ragged
from training.survey import photometry

VISITS = Path(__file__).with_name("visits.npz")

HELD_OUT_EVERY = 5
"""Each fifth sight line, wide and deep, is one that the training part does not hold."""

DEEP_SHARE = 40 / 1540
"""How often an object lies in a deep field: their share of the baseline's sight lines."""

TOWARDS_THE_POLES = 28.0
"""Degrees of galactic latitude over which the chance of a sight line grows by e: as real ELAsTiCC alerts are spread."""


@dataclass(frozen=True)
class SightLine:
    """A place on the sky [deg] and its visits (V,), in time order."""

    ra: float
    dec: float
    latitude: float
    """Galactic latitude [deg]."""
    mjd: FloatArray
    """(V,) [TAI days]"""
    band: NDArray[np.int8]
    """(V,), code in BANDS."""
    m5: FloatArray
    """(V,), AB magnitude of a point source at five times the noise of the sky."""

    @functools.cached_property
    def depth(self) -> float:
        """The magnitude that half the visits of the deepest band see in a difference image."""
        depths = photometry.depths(self.m5, self.band)
        return max(float(np.median(depths[self.band == band])) for band in range(6) if (self.band == band).any())

    def between(self, begin: float, end: float) -> Self:
        """The visits from ``begin`` to ``end`` [mjd]."""
        first, last = np.searchsorted(self.mjd, (begin, end))
        visits = slice(int(first), int(last))
        return replace(self, mjd=self.mjd[visits], band=self.band[visits], m5=self.m5[visits])


@dataclass(frozen=True)
class Cadence:
    """The survey's sight lines."""

    wide: tuple[SightLine, ...]
    deep: tuple[SightLine, ...]

    @property
    def begin(self) -> float:
        """Mjd of the first visit."""
        return float(min(line.mjd[0] for line in self.wide))

    @property
    def end(self) -> float:
        """Mjd of the last visit."""
        return float(max(line.mjd[-1] for line in self.wide))

    def part(self, *, held_out: bool) -> "Cadence":
        """The sight lines that are held out from training, or the others."""
        wide, deep = (_part(lines, held_out=held_out) for lines in (self.wide, self.deep))
        return Cadence(wide=wide, deep=deep)

    def draw(self, rng: np.random.Generator) -> SightLine:
        """Where an object lies: the same chances for every class, so that the place never gives the class away."""
        lines, chances = self._deep_chances if rng.random() < DEEP_SHARE else self._wide_chances
        return lines[int(np.searchsorted(chances, rng.random() * chances[-1], side="right"))]

    @functools.cached_property
    def _wide_chances(self) -> tuple[tuple[SightLine, ...], FloatArray]:
        return self.wide, _chances(self.wide)

    @functools.cached_property
    def _deep_chances(self) -> tuple[tuple[SightLine, ...], FloatArray]:
        return self.deep, _chances(self.deep)


def _chances(lines: Sequence[SightLine]) -> FloatArray:
    return np.cumsum([np.exp(abs(line.latitude) / TOWARDS_THE_POLES) for line in lines])


def _part(lines: Sequence[SightLine], *, held_out: bool) -> tuple[SightLine, ...]:
    return tuple(line for place, line in enumerate(lines) if (place % HELD_OUT_EVERY == 0) == held_out)


@functools.cache
def load(path: Path = VISITS) -> Cadence:
    """The shipped cadence."""
    with np.load(path, allow_pickle=False) as table:
        arrays = {name: table[name] for name in table.files}
    offsets = ragged.offsets_of(arrays["length"].astype(np.int64))
    mjd = float(arrays["start"]) + arrays["days"].astype(np.float64)
    lines = [
        SightLine(
            ra=float(arrays["position"][row, 0]),
            dec=float(arrays["position"][row, 1]),
            latitude=float(arrays["latitude"][row]),
            mjd=mjd[begin:end],
            band=arrays["band"][begin:end].astype(np.int8),
            m5=arrays["m5"][begin:end].astype(np.float64),
        )
        for row, (begin, end) in enumerate(itertools.pairwise(offsets.tolist()))
    ]
    is_deep = arrays["deep"].tolist()
    return Cadence(
        wide=tuple(line for line, deep in zip(lines, is_deep, strict=True) if not deep),
        deep=tuple(line for line, deep in zip(lines, is_deep, strict=True) if deep),
    )

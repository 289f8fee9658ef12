"""Distances and volumes of a flat universe with H0 = 70 km/s/Mpc and a matter density of 0.3."""

from collections.abc import Callable

import numpy as np

from models.arrays import FloatArray
from models.inputs.cosmology import REDSHIFTS, FlatUniverse

UNIVERSE = FlatUniverse(hubble=70.0, omega_m=0.3)
"""The universe that is simulated: not the one that features assume (WMAP5), as nobody knows the true one."""

_Z = REDSHIFTS
_E = UNIVERSE.inverse_e
_COMOVING = UNIVERSE.comoving


def distance_modulus(z: float) -> float:
    """Apparent less absolute magnitude at a redshift above zero and up to 4, but for the spectrum's own shift."""
    return float(UNIVERSE.distance_modulus(z))


def distance_moduli(z: FloatArray) -> FloatArray:
    """The same for many."""
    return UNIVERSE.distance_modulus(z)


class Redshifts:
    """Redshifts of events with a ``rate`` (by comoving volume and time at home), between ``z_min`` and ``z_max``."""

    def __init__(self, rate: Callable[[FloatArray], FloatArray], *, z_min: float, z_max: float) -> None:
        within = (z_min <= _Z) & (z_max >= _Z)
        self._z = _Z[within]
        # Events of a year at home are seen over (1 + z) years.
        density = (rate(_Z) * _COMOVING**2 * _E / (1 + _Z))[within]
        cumulative = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
        self.total = float(cumulative[-1])
        """How many events there are, in units that are the same for one rate within any bounds."""
        self._cumulative = cumulative / cumulative[-1]

    def draw(self, rng: np.random.Generator) -> float:
        """One redshift."""
        return float(np.interp(rng.random(), self._cumulative, self._z))

    def draws(self, rng: np.random.Generator, n: int) -> FloatArray:
        """Redshifts (n,)."""
        return np.interp(rng.random(n), self._cumulative, self._z)


def star_formation(z: FloatArray) -> FloatArray:
    """Cosmic star formation, in units of today's (Madau & Dickinson 2014): the rate of core collapses follows it."""
    return np.asarray((1 + z) ** 2.7 / (1 + ((1 + z) / 2.9) ** 5.6))

"""What makes an explosion shine: heating, light that leaks out of expanding ejecta, and the black body one then sees.

Ages are in days at home since explosion, on a grid (K,) that is dense at first; luminosities in erg/s.
"""

import itertools
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from models.arrays import FloatArray
from training.survey import spectra

DAY = 86_400.0
SUN = 1.989e33
"""[g]"""
SOLAR_RADIUS = 6.957e10
"""[cm]"""
LIGHT = 2.998e5
"""[km/s]"""

_STEFAN_BOLTZMANN = 5.6704e-5
_TEN_PARSECS = 3.0857e19  # [cm]
_PLANCK_ZERO = -71.3406
"""AB magnitude of ``spectra.planck`` where a black body fills a surface of one: 2 pi h c, per cubic Angstrom."""

_GRID = np.linspace(0.0, 1.0, 100) ** 2
_DIMMEST = 1e30
"""Nothing shines at the instant of explosion; magnitudes want a number."""


def ages(end: float) -> FloatArray:
    """The grid (K,) from explosion to ``end``."""
    return end * _GRID


def nickel(age: FloatArray) -> FloatArray:
    """Heat of a solar mass of nickel 56 and the cobalt it becomes (Nadyozhin 1994)."""
    return np.asarray(6.45e43 * np.exp(-age / 8.8) + 1.45e43 * np.exp(-age / 111.3))


def magnetar(age: FloatArray, *, field: float, period: float) -> FloatArray:
    """Heat of a neutron star of 1.4 solar masses that spins down (Nicholl et al. 2017).

    ``field`` across the spin axis [1e14 G], ``period`` at birth [ms].
    """
    energy = 2.6e52 / period**2
    memory = 1.3e5 * (period / field) ** 2 / DAY
    return np.asarray(energy / (memory * DAY) / (1 + age / memory) ** 2)


def diffusion_time(mass: float, velocity: float, opacity: float) -> float:
    """Days that light takes to leave ``mass`` [solar] at ``velocity`` [km/s] and ``opacity`` [cm^2/g] (Arnett 1982)."""
    return float(np.sqrt(2 * opacity * mass * SUN / (13.7 * LIGHT * 1e5 * velocity * 1e5)) / DAY)


def trapping_time(mass: float, velocity: float, opacity: float) -> float:
    """Age [d] at which gamma rays begin to leave unseen (Clocchiatti & Wheeler 1997); arguments as before."""
    return float(np.sqrt(3 * opacity * mass * SUN / (4 * np.pi)) / (velocity * 1e5) / DAY)


def diffused(age: FloatArray, heating: FloatArray, *, diffusion: float, trapping: float = np.inf) -> FloatArray:
    """Light (K,) of ejecta heated so (Arnett 1982), gamma rays trapped until ``trapping`` [d]."""
    kept = np.exp(-np.diff((age / diffusion) ** 2))
    gained = (heating[1:] + heating[:-1]) / 2 * (1 - kept)
    steps = zip(kept.tolist(), gained.tolist(), strict=True)
    inside = itertools.accumulate(steps, lambda light, step: light * step[0] + step[1], initial=0.0)
    light = np.fromiter(inside, np.float64, len(age))
    if np.isfinite(trapping):
        light[1:] *= -np.expm1(-((trapping / age[1:]) ** 2))
    return np.maximum(light, _DIMMEST)


def temperature(age: FloatArray, light: FloatArray, *, velocity: float, coolest: float) -> FloatArray:
    """Temperatures (K,) [K] of a photosphere that expands at ``velocity`` [km/s] until ``coolest``, then recedes."""
    surface = 4 * np.pi * _STEFAN_BOLTZMANN * (velocity * 1e5 * DAY * np.maximum(age, 0.05)) ** 2
    return np.asarray(((light / surface) ** 2 + coolest**8) ** 0.125)


def luminosity(magnitude: float) -> float:
    """Luminosity of an absolute magnitude whose spectrum is as the Sun's."""
    return float(3.0e35 * 10 ** (-0.4 * magnitude))


def visual(light: FloatArray, temperature: FloatArray) -> FloatArray:
    """Absolute AB magnitude at V_BAND of a black body of this luminosity."""
    surface = light / (4 * np.pi * _STEFAN_BOLTZMANN * temperature**4 * _TEN_PARSECS**2)
    return np.asarray(spectra.planck(np.array(spectra.V_BAND), temperature) - 2.5 * np.log10(surface) + _PLANCK_ZERO)


FEATURES_AT = np.geomspace(3000.0, 11_000.0, 100)
"""(F,) [Angstrom]"""


@dataclass(frozen=True)
class Line:
    """A feature of the spectrum as a band sees it."""

    centre: float
    """[Angstrom]"""
    width: float
    """Of a Gaussian in the logarithm of the wavelength."""
    depth: FloatArray
    """(K,) [mag], negative for emission."""


@dataclass(frozen=True)
class Fireball:
    """A light curve in V and the photosphere behind it, by age (K,) [d]: what is interpolated at the visits."""

    age: FloatArray
    """Since explosion, or from maximum."""
    visual: FloatArray
    """Absolute AB magnitude at V_BAND."""
    temperature: FloatArray
    """[K]"""
    blanketing: FloatArray
    """Magnitudes that lines take for each e-fold of wavelength bluewards of ``edge``."""
    edge: float
    """[Angstrom]"""
    lines: tuple[Line, ...] = ()
    features: FloatArray | None = None
    """(F,), what other lines take at all times [mag], on the wavelengths FEATURES_AT."""

    def magnitude(self, days: FloatArray, wavelength: FloatArray) -> FloatArray:
        """Absolute AB magnitude at ages ``days`` and wavelengths at home."""
        kelvin = np.interp(days, self.age, self.temperature)
        blanketing = np.interp(days, self.age, self.blanketing)
        light = np.interp(days, self.age, self.visual)
        light = light + spectra.photosphere(wavelength, kelvin, blanketing, self.edge)
        for line in self.lines:
            depth = np.interp(days, self.age, line.depth)
            light = light + depth * spectra.feature(wavelength, line.centre, line.width)
        if self.features is not None:
            light = light + np.interp(wavelength, FEATURES_AT, self.features)
        return np.asarray(light)

    def at_peak(self, visual: float) -> Self:
        """The same, brighter or fainter, so that ``visual`` is its magnitude at maximum."""
        return replace(self, visual=self.visual - self.visual.min() + visual)


# Nicholl et al. (2017): below 3000 Angstrom the flux falls with the wavelength.
_CUT, _CUT_STRENGTH = 3000.0, 1.086


def black_body(
    age: FloatArray,
    light: FloatArray,
    kelvin: FloatArray,
    *,
    blanketing: float = _CUT_STRENGTH,
    edge: float = _CUT,
) -> Fireball:
    """The fireball of this luminosity and temperature (K,), with the ultraviolet cut of a supernova."""
    return Fireball(age, visual(light, kelvin), kelvin, np.full(len(age), blanketing), edge)


def together(*magnitudes: FloatArray) -> FloatArray:
    """Magnitudes of lights that add up."""
    return np.asarray(-2.5 * np.log10(np.sum(10 ** (-0.4 * np.stack(magnitudes)), axis=0)))

"""Two stars that hide each other."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.arrays import FloatArray
from training.survey.cadence import SightLine
from training.survey.classes.recurrent import against_template
from training.survey.classes.source import Source, clipped_normal
from training.survey.classes.stars import counted_magnitude, main_sequence
from training.survey.photometry import flux_of

# A limb-darkened disc (linear, by band as in Claret & Bloemen 2011 at 6000 K) is a stack of even discs, each of more
# area than the one upon it by the same.
_LIMB = np.array([0.80, 0.70, 0.58, 0.50, 0.44, 0.41])
_AREAS = np.arange(1, 5) / 4
_RIMS = np.sqrt(_AREAS)


def _shares() -> FloatArray:
    """Light of each even disc by band (6, 4), of one in all."""
    inner = _AREAS - _AREAS[0]
    cosine = 2 / 3 * ((1 - inner) ** 1.5 - (1 - _AREAS) ** 1.5) / (_AREAS - inner)
    brightness = 1 - _LIMB[:, None] * (1 - cosine)
    light = -np.diff(brightness, axis=1, append=0.0) * _AREAS
    return np.asarray(light / light.sum(axis=1, keepdims=True))


_SHARES = _shares()

_TIDE = 1.3
"""Limb and gravity darkening of an ellipsoid's swing at 6000 K (Morris 1985)."""


def overlap(apart: FloatArray, one: FloatArray, other: FloatArray) -> FloatArray:
    """Area that two discs with these radii share, their centres ``apart``; shapes that broadcast."""
    near, far = np.abs(one - other), one + other
    d = np.clip(apart, np.maximum(near, 1e-9), far)
    # Where one lies within the other or they do not touch, the angles are 0 or pi, and the area that of the smaller, or
    # none.
    one_angle = np.arccos(np.clip((d**2 + one**2 - other**2) / (2 * d * one), -1, 1))
    other_angle = np.arccos(np.clip((d**2 + other**2 - one**2) / (2 * d * other), -1, 1))
    kite = np.sqrt(np.maximum((far**2 - d**2) * (d**2 - near**2), 0))
    return np.asarray(one**2 * one_angle + other**2 * other_angle - kite / 2)


def roche_lobe(mass_ratio: float) -> float:
    """Radius of a star's Roche lobe by their distance, ``mass_ratio`` its mass by the other's (Eggleton 1983)."""
    third = mass_ratio ** (1 / 3)
    return float(0.49 * third**2 / (0.6 * third**2 + np.log1p(third)))


@dataclass(frozen=True)
class Pair:
    """Two stars on an orbit. Lengths by its semi-major axis; the first star is the one hidden at the phase of zero."""

    period: float
    """[d]"""
    phase: float
    """At mjd 0."""
    radii: tuple[float, float]
    light: FloatArray
    """(2, 6), of each star by band [FLUXCAL]."""
    mass_ratio: float
    """Second by first."""
    inclination: float
    """[rad], 90 degrees when seen edge-on."""
    eccentricity: float = 0.0
    periastron: float = 0.0
    """Its argument [rad]."""

    def flux(self, mjd: FloatArray, band: NDArray[np.int8]) -> FloatArray:
        """FLUXCAL at each visit."""
        angle, distance = self._orbit(mjd)
        sin_i = np.sin(self.inclination)
        # The angle is zero when the second star is in front.
        apart = distance * np.sqrt(1 - (np.cos(angle) * sin_i) ** 2)
        swing = _TIDE * sin_i**2 * np.cos(2 * angle) / distance**3
        first = self.light[0, band] * (1 - self.mass_ratio * self.radii[0] ** 3 * swing)
        second = self.light[1, band] * (1 - self.radii[1] ** 3 / self.mass_ratio * swing)
        hiding = np.flatnonzero(apart < sum(self.radii))
        if hiding.size:
            first_is_behind = np.cos(angle[hiding]) > 0
            behind = np.where(first_is_behind, *self.radii)[:, None]
            front = np.where(first_is_behind, *self.radii[::-1])[:, None]
            hidden = overlap(apart[hiding, None], _RIMS * behind, front) / (np.pi * _AREAS * behind**2)
            seen = 1 - (hidden * _SHARES[band[hiding]]).sum(axis=1)
            first[hiding] *= np.where(first_is_behind, seen, 1)
            second[hiding] *= np.where(first_is_behind, 1, seen)
        return np.asarray(first + second)

    def _orbit(self, mjd: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Angle (V,) from the conjunction at the phase of zero, and distance (V,)."""
        turn = 2 * np.pi * np.mod(mjd / self.period + self.phase, 1.0)
        e = self.eccentricity
        if e == 0:
            return turn, np.ones_like(turn)
        conjunction = np.pi / 2 - self.periastron
        half = np.sqrt((1 - e) / (1 + e))
        eccentric = 2 * np.arctan(half * np.tan(conjunction / 2))
        mean = turn + eccentric - e * np.sin(eccentric)
        anomaly = mean + e * np.sin(mean)
        for _ in range(5):
            anomaly = anomaly - (anomaly - e * np.sin(anomaly) - mean) / (1 - e * np.cos(anomaly))
        true = 2 * np.arctan2(np.sin(anomaly / 2), half * np.cos(anomaly / 2))
        return true - conjunction, 1 - e * np.cos(anomaly)


_CONTACT, _SEMI_DETACHED = 0.35, 0.15
_BRIGHTEST_R, _FAINTEST_R = 16.0, 22.5


def eclipsing_binary(rng: np.random.Generator, sight_line: SightLine) -> Source:
    """EB: pairs in contact (W Ursae Majoris), semi-detached (Algol) and detached.

    Shares and log-normal periods as found by OGLE (Soszynski et al. 2016) and Kepler (Kirk et al. 2016); stars of
    Pecaut & Mamajek's main sequence at distances by Kepler's law, lobes of Eggleton (1983).
    """
    kind = rng.random()
    if kind < _CONTACT:
        pair = _contact(rng)
    elif kind < _CONTACT + _SEMI_DETACHED:
        pair = _semi_detached(rng)
    else:
        pair = _detached(rng)
    return against_template(rng, sight_line, pair)


def _contact(rng: np.random.Generator) -> Pair:
    period = float(np.clip(0.36 * np.exp(0.3 * rng.standard_normal()), 0.2, 1.2))
    mass = clipped_normal(rng, 1.1 * (period / 0.36) ** 0.7, 0.1, 0.6, 2.2)
    mass_ratio = rng.uniform(0.12, 1.0)
    # A common envelope, of nearly one temperature.
    fill = rng.uniform(1.0, 1.1)
    radii = (fill * roche_lobe(1 / mass_ratio), fill * roche_lobe(mass_ratio))
    temperatures_of = (mass, mass * (1 + clipped_normal(rng, -0.02, 0.04, -0.1, 0.1)))
    return _pair(rng, period, radii, temperatures_of, mass_ratio, cos_i=rng.uniform(0, 0.7))


def _semi_detached(rng: np.random.Generator) -> Pair:
    """The first heavier and hot, the second cool and as large as its lobe."""
    mass, mass_ratio = rng.uniform(1.3, 2.3), rng.uniform(0.15, 0.45)
    radii = (1.0, 1.0)
    while radii[0] > 0.85 * roche_lobe(1 / mass_ratio):
        period = float(np.clip(2.5 * np.exp(0.6 * rng.standard_normal()), 0.6, 30))
        first = rng.uniform(1.0, 1.4) * main_sequence(mass).radius / _separation(period, mass * (1 + mass_ratio))
        radii = (first, roche_lobe(mass_ratio))
    cos_i = rng.uniform(0, 0.95) * sum(radii)
    return _pair(rng, period, radii, (mass, rng.uniform(0.68, 0.92)), mass_ratio, cos_i=cos_i)


def _detached(rng: np.random.Generator) -> Pair:
    mass = float(np.exp(rng.uniform(np.log(0.6), np.log(2.2))))
    mass_ratio = rng.uniform(0.35, 1.0)
    first, second = (main_sequence(mass).radius * rng.uniform(1.0, 1.5), main_sequence(mass * mass_ratio).radius)
    radii = (1.0, 1.0)
    while radii[0] > 0.8 * roche_lobe(1 / mass_ratio) or radii[1] > 0.8 * roche_lobe(mass_ratio):
        period = float(np.clip(2.2 * np.exp(1.1 * rng.standard_normal()), 0.25, 80))
        separation = _separation(period, mass * (1 + mass_ratio))
        radii = (first / separation, second / separation)
    # Tides make the orbits of the fast ones round.
    widest = min(0.6, max(0.0, 0.35 * np.log10(period / 2)), 1 - 3 * sum(radii))
    eccentricity = widest * np.sqrt(rng.random()) if widest > 0.02 else 0.0
    cos_i = rng.uniform(0, 0.95) * sum(radii)
    return _pair(rng, period, radii, (mass, mass * mass_ratio), mass_ratio, cos_i=cos_i, eccentricity=eccentricity)


def _separation(period: float, mass: float) -> float:
    """Kepler's third law: radii of the Sun, from days and masses of the Sun."""
    return float(4.2083 * (period**2 * mass) ** (1 / 3))


def _pair(
    rng: np.random.Generator,
    period: float,
    radii: tuple[float, float],
    temperatures_of: tuple[float, float],
    mass_ratio: float,
    *,
    cos_i: float,
    eccentricity: float = 0.0,
) -> Pair:
    """A pair at a random phase and brightness, each star as hot as the dwarf of a mass."""
    surface = np.array([main_sequence(mass).surface for mass in temperatures_of])
    light = surface * np.square(radii)[:, None]
    light *= flux_of(np.array(counted_magnitude(rng, _BRIGHTEST_R, _FAINTEST_R))) / light[:, 2].sum()
    return Pair(
        period=period,
        phase=rng.random(),
        radii=radii,
        light=light,
        mass_ratio=mass_ratio,
        inclination=float(np.arccos(min(cos_i, 1.0))),
        eccentricity=eccentricity,
        periastron=rng.uniform(0, 2 * np.pi),
    )

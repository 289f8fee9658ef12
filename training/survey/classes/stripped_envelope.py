"""Massive stars that had lost their hydrogen, or nearly all of it, before their cores collapsed."""

import numpy as np

from models.arrays import FloatArray
from training.survey import engines, hosts, spectra
from training.survey.cadence import SightLine
from training.survey.classes.source import Source, clipped_normal, log_normal
from training.survey.classes.transient import Episode, Population, shown, within_reach
from training.survey.cosmology import Redshifts, star_formation
from training.survey.engines import Fireball, Line

_END = 400.0
_BLANKETED_BELOW = 4750.0

# Fitted to 16 spectral series of Ib, Ic and Ic-BL and two of IIb (Kessler et al. 2010; Vincenzi et al. 2019), smoothed
# to the width of a band: days from maximum in V, temperature [K], how much hotter IIb are, blanketing, and what the
# calcium triplet takes [mag], absorption, later emission. Residuals .1 to .2 mag from 3600 to 9300 Angstrom.
_LAW = np.array(
    [
        (-20.0, 12_000, 1.00, 2.20, -0.10),
        (-12.0, 11_400, 1.02, 2.40, -0.05),
        (-8.0, 10_800, 1.10, 2.45, 0.00),
        (-4.0, 9900, 1.20, 2.50, 0.04),
        (0.0, 8300, 1.25, 2.90, 0.08),
        (4.0, 7150, 1.20, 3.15, 0.10),
        (8.0, 6650, 1.05, 3.30, 0.10),
        (12.0, 6100, 1.00, 3.50, 0.10),
        (16.0, 5700, 1.00, 3.40, 0.08),
        (20.0, 5550, 1.00, 3.10, 0.05),
        (30.0, 5500, 1.05, 3.00, -0.01),
        (40.0, 5350, 1.12, 3.30, -0.13),
        (60.0, 5300, 1.20, 4.00, -0.20),
        (80.0, 5300, 1.20, 4.50, -0.30),
        (400.0, 5300, 1.20, 4.50, -0.60),
    ]
).T
_PHASE, _TEMPERATURE, _HOTTER_IIB, _BLANKETING, _CALCIUM = _LAW


# What else there is stays the same: features by centre, width and depth.
def _features(*lines: tuple[float, float, float]) -> FloatArray:
    return np.asarray(sum(depth * spectra.feature(engines.FEATURES_AT, at, width) for at, width, depth in lines))


_IRON = _features((4900.0, 0.05, 0.10), (6300.0, 0.08, -0.10), (9900.0, 0.05, 0.25))
_HELIUM = _features((5750.0, 0.035, 0.12), (6950.0, 0.03, 0.10))
_HYDROGEN = _features((6400.0, 0.04, 0.15))
_RISE = 16.5
"""Days from explosion to maximum of the mean series."""

_WITH_HELIUM = 0.55

_REDSHIFTS = Redshifts(star_formation, z_min=0.005, z_max=1.0)
_EPISODE = Episode(begin=0.0, end=_END)
_IBC = Population(_REDSHIFTS, _EPISODE, reddening=0.2, headroom=0.2, gone=35.0, fade=25.0)
_IIB = Population(_REDSHIFTS, _EPISODE, reddening=0.10, headroom=0.3, gone=35.0, fade=25.0)


def stripped(
    rng: np.random.Generator,
    *,
    peak: float,
    hotter: FloatArray | float = 1.0,
    features: FloatArray = _IRON,
) -> Fireball:
    """A supernova that shines by nickel, by days since explosion.

    ``hotter`` than the mean series by a factor, or by factors (15,) at the days of the law; ``features`` (F,).
    """
    age = engines.ages(_END)
    light = engines.diffused(
        age,
        engines.nickel(age),
        diffusion=log_normal(rng, 13.2, 0.22),
        trapping=log_normal(rng, 52.0, 0.3),
    )
    visual = -2.5 * np.log10(light)
    rise = float(age[visual.argmin()])
    phase = (age - rise) * (_RISE / rise)
    warmth = log_normal(rng, 1.0, 0.11)
    kelvin = np.interp(phase, _PHASE, _TEMPERATURE * hotter) * warmth
    blanketing = np.maximum(np.interp(phase, _PHASE, _BLANKETING) + rng.standard_normal(), 0.3)
    calcium = np.interp(phase, _PHASE, _CALCIUM) + 0.15 * rng.standard_normal()
    strength = clipped_normal(rng, 1.0, 0.25, 0.0, 2.0)
    lines = (Line(8600.0, 0.08, calcium),)
    return Fireball(age, visual, kelvin, blanketing, _BLANKETED_BELOW, lines, strength * features).at_peak(peak)


def type_ibc(rng: np.random.Generator, sight_line: SightLine) -> Source:
    """SN Ib, Ic and Ic-BL: magnitudes of Richardson et al. (2014), 55 % with helium (Shivvers et al. 2017).

    An Arnett (1982) light curve as broad as Taddia et al. (2018) find, temperatures and lines of the spectral series,
    dust as in Stritzinger et al. (2018).
    """
    event = within_reach(rng, sight_line, _IBC, lambda n: -17.3 + 1.15 * rng.standard_normal(n))
    features = _IRON + _HELIUM if rng.random() < _WITH_HELIUM else _IRON
    return shown(
        sight_line,
        event,
        law=stripped(rng, peak=event.peak, features=features).magnitude,
        episode=_IBC.episode,
        host=hosts.METAL_RICH,
    )


def type_iib(rng: np.random.Generator, sight_line: SightLine) -> Source:
    """SN IIb: as Ib, but hotter, with what is left of the hydrogen, and an envelope that cools in the first days.

    Magnitudes of Richardson et al. (2014), .4 brighter in V than in B; masses and radii of the envelope about those of
    SN 2011dh and 2016gkg: most first maxima are fainter than the second.
    """
    event = within_reach(rng, sight_line, _IIB, lambda n: -17.4 + 0.92 * rng.standard_normal(n))
    nickel = stripped(rng, peak=event.peak, hotter=_HOTTER_IIB, features=_IRON + _HELIUM + _HYDROGEN)
    envelope = cooling_envelope(mass=log_normal(rng, 0.015, 0.7), radius=log_normal(rng, 75.0, 0.7))
    return shown(
        sight_line,
        event,
        law=lambda days, wavelength: engines.together(
            nickel.magnitude(days, wavelength), envelope.magnitude(days, wavelength)
        ),
        episode=_IIB.episode,
        host=hosts.SMALL,
    )


def cooling_envelope(*, mass: float, radius: float) -> Fireball:
    """A shocked envelope, of ``mass`` and ``radius`` [solar], that cools: Piro (2015) for 1e51 erg and a core of 3."""
    age = engines.ages(30.0)
    hundredths = mass / 0.01
    energy = 4e49 * hundredths**0.7
    velocity = 2e4 * hundredths**-0.15  # [km/s]
    diffusion = 0.9 * (0.2 / 0.34) ** 0.5 * 3**0.17 * hundredths**0.57  # [d]
    start = radius * engines.SOLAR_RADIUS / (velocity * 1e5) / engines.DAY  # [d]
    power = start * energy / (diffusion**2 * engines.DAY)
    light = np.maximum(power * np.exp(-age * (age + 2 * start) / (2 * diffusion**2)), 1e30)
    kelvin = engines.temperature(age + start, light, velocity=velocity, coolest=4000.0)
    return engines.black_body(age, light, kelvin)

"""Transients between novae and supernovae: rich in calcium, or luminous and red."""

import numpy as np

from models.arrays import FloatArray
from training.survey import engines, hosts
from training.survey.cadence import SightLine
from training.survey.classes.source import Source, clipped_normal, log_normal
from training.survey.classes.transient import Episode, Population, shown, within_reach
from training.survey.cosmology import Redshifts, star_formation
from training.survey.engines import Fireball, Line

_CART_END = 150.0
_CART = Population(
    Redshifts(lambda z: (1 + z) ** 1.5, z_min=0.003, z_max=0.35),
    Episode(begin=0.0, end=_CART_END),
    reddening=0.04,
    headroom=0.1,
    gone=25.0,
    fade=20.0,
)


def calcium_rich(
    rng: np.random.Generator, *, peak: float, diffusion: float, velocity: float, calcium: float
) -> Fireball:
    """A small explosion, of V magnitude ``peak``, that turns nebular in a month.

    By then [Ca II] 7300 outshines the continuum by ``calcium`` magnitudes as a band sees it.
    """
    age = engines.ages(_CART_END)
    light = engines.diffused(age, engines.nickel(age), diffusion=diffusion, trapping=log_normal(rng, 32.0, 0.25))
    light *= engines.luminosity(peak) / light.max()
    rise = age[light.argmax()]
    kelvin = engines.temperature(age, light, velocity=velocity, coolest=clipped_normal(rng, 4600, 350, 3900, 5500))
    nebular = 1 / (1 + np.exp(-(age - rise - 22) / 7))
    lines = (Line(7300.0, 0.055, -calcium * nebular), Line(8600.0, 0.08, -0.5 * calcium * nebular))
    blanketing = np.full(len(age), clipped_normal(rng, 3.0, 1.2, 0.5, 6.0))
    return Fireball(age, engines.visual(light, kelvin), kelvin, blanketing, 4600.0, lines).at_peak(peak)


def cart(rng: np.random.Generator, sight_line: SightLine) -> Source:
    """CART: magnitudes and speed of Kasliwal et al. (2012) and De et al. (2020), far out of galaxies of early type."""
    event = within_reach(rng, sight_line, _CART, lambda n: -15.9 + 0.6 * rng.standard_normal(n))
    law = calcium_rich(
        rng,
        peak=event.peak,
        diffusion=rng.uniform(5.0, 13.0),
        velocity=clipped_normal(rng, 9000, 1500, 6000, 12_500),
        calcium=clipped_normal(rng, 1.0, 0.4, 0.2, 2.2),
    )
    return shown(sight_line, event, law=law.magnitude, episode=_CART.episode, host=hosts.OUTSKIRTS)


_ILOT_END = 250.0
_ILOT = Population(
    Redshifts(star_formation, z_min=0.001, z_max=0.25), Episode(begin=0.0, end=_ILOT_END), reddening=0.15, headroom=0.4
)


def outburst(*, peak: float, rise: float, plateau: float, decline: float, warm: float, cool: float) -> Fireball:
    """A plateau of ``plateau`` days, ``decline`` [mag/d], from temperature ``warm`` to ``cool`` [K], then a fall."""
    age = engines.ages(_ILOT_END)
    visual = -2.5 * np.log10(-np.expm1(-((np.maximum(age, 0.01) / rise) ** 2)))
    visual = visual + decline * age + 4.0 / (1 + np.exp(-(age - plateau) / (0.12 * plateau)))
    kelvin = cool + (warm - cool) * np.exp(-age / (0.6 * plateau))
    blanketing = np.full(len(age), 3.0)
    return Fireball(age, visual, kelvin, blanketing, 4500.0).at_peak(peak)


def _luminosity_function(rng: np.random.Generator, n: int) -> FloatArray:
    brightest, faintest = 10 ** (-0.4 * 0.4 * np.array([16.0, 11.0]))
    return np.asarray(2.5 / 0.4 * np.log10(rng.uniform(brightest, faintest, n)))


def ilot(rng: np.random.Generator, sight_line: SightLine) -> Source:
    """ILOT: red novae, eruptions of massive stars and their like (Kashi & Soker 2016; Cai et al. 2022).

    Magnitudes from -11 to -16, numbers by luminosity to the power -1.4 (Kochanek et al. 2014); temperatures from 8000 K
    down to 3000 K, plateaus of 30 to 100 days.
    """
    event = within_reach(rng, sight_line, _ILOT, lambda n: _luminosity_function(rng, n))
    warm = rng.uniform(4500, 8000)
    law = outburst(
        peak=event.peak,
        rise=log_normal(rng, 6.0, 0.5),
        plateau=rng.uniform(30.0, 100.0),
        decline=clipped_normal(rng, 0.008, 0.006, 0.0, 0.03),
        warm=warm,
        cool=rng.uniform(3000, min(warm, 5000)),
    )
    return shown(sight_line, event, law=law.magnitude, episode=_ILOT.episode, host=hosts.LARGE)

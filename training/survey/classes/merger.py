"""Neutron stars that merged: what they throw out makes heavy elements, whose decay shines for days."""

import numpy as np

from models.arrays import FloatArray
from training.survey import engines, hosts
from training.survey.cadence import SightLine
from training.survey.classes.source import Source, clipped_normal, log_normal
from training.survey.classes.transient import Episode, Law, Population, shown, within_reach
from training.survey.cosmology import Redshifts
from training.survey.engines import Fireball

_END = 25.0
_KN = Population(
    Redshifts(np.ones_like, z_min=0.005, z_max=0.28),
    Episode(begin=0.0, end=_END),
    reddening=0.05,
    gone=1.5,
    fade=1.8,
)
_ONCE_SPREAD = 0.005
"""Days after which anything that was heated has not cooled by expanding before it is seen."""


def rapid_process(age: FloatArray) -> FloatArray:
    """Heat of a solar mass of heavy elements (Korobkin et al. 2012), what of it ejecta keep (Barnes et al. 2016)."""
    late = np.maximum(age, _ONCE_SPREAD)
    heat = 4e18 * engines.SUN * (0.5 - np.arctan((late * engines.DAY - 1.3) / 0.11) / np.pi) ** 1.3
    spread = 0.34 * late**0.74
    return np.asarray(heat * 0.36 * (np.exp(-0.56 * late) + np.log1p(spread) / spread))


def component(*, mass: float, velocity: float, opacity: float, coolest: float) -> Fireball:
    """Ejecta of ``mass`` [solar] at ``velocity`` [km/s] whose ``opacity`` [cm^2/g] tells how heavy they are."""
    age = engines.ages(_END)
    diffusion = engines.diffusion_time(mass, velocity, opacity)
    light = engines.diffused(age, mass * rapid_process(age), diffusion=diffusion)
    kelvin = engines.temperature(age, light, velocity=velocity, coolest=coolest)
    return engines.black_body(age, light, kelvin, blanketing=0.0)


def two_components(rng: np.random.Generator, *, log_mass: float) -> Law:
    """Blue, fast and light ejecta, and red, slow and heavy ones: their parameters about those of GW170817."""
    mass = 10**log_mass
    blue_share = clipped_normal(rng, 0.32, 0.15, 0.05, 0.8)
    blue = component(
        mass=mass * blue_share,
        velocity=clipped_normal(rng, 0.256, 0.05, 0.12, 0.35) * engines.LIGHT,
        opacity=0.5,
        coolest=clipped_normal(rng, 3500, 700, 1500, 5000),
    )
    red = component(
        mass=mass * (1 - blue_share),
        velocity=clipped_normal(rng, 0.149, 0.03, 0.07, 0.22) * engines.LIGHT,
        opacity=log_normal(rng, 3.65, 0.4),
        coolest=clipped_normal(rng, 1600, 400, 900, 3000),
    )
    return lambda days, wavelength: engines.together(blue.magnitude(days, wavelength), red.magnitude(days, wavelength))


_LEAST, _MOST = -2.6, -1.2
"""Logarithms of the ejected mass [solar]."""


_FAINTEST, _BRIGHTEST = -15.0, -16.6
"""Absolute magnitudes that no band sees surpassed, of the least and the most mass: nearly a straight line between."""


def kilonova(rng: np.random.Generator, sight_line: SightLine) -> Source:
    """KN: two components (Villar et al. 2017), of any mass that a merger may throw out, logarithms alike."""
    event = within_reach(rng, sight_line, _KN, lambda n: rng.uniform(_BRIGHTEST, _FAINTEST, n))
    log_mass = _LEAST + (_MOST - _LEAST) * (event.peak - _FAINTEST) / (_BRIGHTEST - _FAINTEST)
    law = two_components(rng, log_mass=log_mass)
    return shown(sight_line, event, law=law, episode=_KN.episode, host=hosts.MERGERS)

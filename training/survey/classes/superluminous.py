"""Explosions that outshine all supernovae: a newborn magnetar within, or a star unbound by the making of pairs."""

import numpy as np

from training.survey import engines, hosts
from training.survey.cadence import SightLine
from training.survey.classes.source import Source, clipped_normal, log_normal
from training.survey.classes.transient import Episode, Population, shown, within_reach
from training.survey.cosmology import Redshifts, star_formation
from training.survey.engines import Fireball

_SLSN = Population(
    Redshifts(star_formation, z_min=0.02, z_max=3.3), Episode(begin=0.0, end=500.0), reddening=0.05, headroom=0.5
)
_BRIGHTEST_SLSN = -23.3
_HOSTS_KNOWN_TO = 2.95

_PISN = Population(
    Redshifts(lambda z: star_formation(z) * (1 + z), z_min=0.02, z_max=2.2),
    Episode(begin=0.0, end=700.0),
    reddening=0.05,
    headroom=-0.5,
)


def slsn(rng: np.random.Generator, sight_line: SightLine) -> Source:
    """SLSN of type I: a magnetar within ejecta, its parameters as Nicholl et al. (2017) find them for 38 events."""
    event = within_reach(rng, sight_line, _SLSN, lambda n: np.full(n, _BRIGHTEST_SLSN))
    host = hosts.DWARF if event.redshift < _HOSTS_KNOWN_TO else None
    return shown(sight_line, event, law=magnetar_powered(rng).magnitude, episode=_SLSN.episode, host=host)


def magnetar_powered(rng: np.random.Generator) -> Fireball:
    """Ejecta with a magnetar within, by days since explosion."""
    field = log_normal(rng, 0.8, 0.6)
    period = clipped_normal(rng, 2.7, 1.1, 0.7, 6.0)
    mass = log_normal(rng, 4.8, 0.6)
    opacity = rng.uniform(0.1, 0.2)
    energy = 2.6e52 / period**2
    # A third of the magnetar's energy ends up in motion, on top of the explosion's 1e51 erg.
    velocity = float(np.clip(np.sqrt(2 * (1e51 + 0.3 * energy) * 5 / 3 / (mass * engines.SUN)) / 1e5, 5000, 22_000))
    age = engines.ages(500.0)
    light = engines.diffused(
        age,
        engines.magnetar(age, field=field, period=period),
        diffusion=engines.diffusion_time(mass, velocity, opacity),
        trapping=engines.trapping_time(mass, velocity, log_normal(rng, 0.05, 0.7)),
    )
    kelvin = engines.temperature(age, light, velocity=velocity, coolest=clipped_normal(rng, 6500, 900, 4500, 9000))
    return engines.black_body(age, light, kelvin)


def pisn(rng: np.random.Generator, sight_line: SightLine) -> Source:
    """PISN: brightness, breadth and temperature of the models of Kasen, Woosley & Heger (2011).

    The heavier the helium core, the more nickel and the longer light takes to leave. They live where metals are scarce.
    At bolometric maximum most have 4,900 to 8,400 K, 6,000 in the middle: cooler than the 8,500 of those models.
    """
    event = within_reach(rng, sight_line, _PISN, lambda n: -20.0 + rng.standard_normal(n))
    age = engines.ages(700.0)
    heavy = np.clip((-18.0 - event.peak) / 4.0, 0, 1)
    diffusion = clipped_normal(rng, 80.0 + 70.0 * heavy, 18.0, 60.0, 180.0)
    light = engines.diffused(age, engines.nickel(age), diffusion=diffusion, trapping=log_normal(rng, 500.0, 0.3))
    light *= engines.luminosity(event.peak) / light.max()
    velocity = clipped_normal(rng, 5500, 1000, 3500, 8500)
    kelvin = engines.temperature(age, light, velocity=velocity, coolest=clipped_normal(rng, 4800, 400, 4000, 6000))
    fireball = engines.black_body(age, light, kelvin, blanketing=clipped_normal(rng, 4.5, 1.2, 1.5, 8.0), edge=4500.0)
    return shown(sight_line, event, law=fireball.at_peak(event.peak).magnitude, episode=_PISN.episode, host=hosts.DWARF)

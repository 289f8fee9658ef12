"""Stars torn apart by the black hole of a galaxy's nucleus."""

import numpy as np

from training.survey import engines, hosts
from training.survey.cadence import SightLine
from training.survey.classes.source import Source, clipped_normal, log_normal
from training.survey.classes.transient import Episode, Population, shown, within_reach
from training.survey.cosmology import Redshifts
from training.survey.engines import Fireball

# Black holes were lighter, and fewer, in the past: Kochanek (2016).
_REDSHIFTS = Redshifts(lambda z: 10 ** (-5 * z / 6), z_min=0.02, z_max=1.5)

_BEGIN, _END = -120.0, 700.0
_TDE = Population(_REDSHIFTS, Episode(begin=_BEGIN, end=_END), reddening=0.1, headroom=0.9)


def disruption(*, peak: float, rise: float, fall: float, kelvin: float, warming: float) -> Fireball:
    """A black body by day from maximum, of absolute V magnitude ``peak``.

    A Gaussian of deviation ``rise`` [d], then (1 + days / fall)^(-5/3); the temperature changes by ``warming`` [K/d].
    """
    days = np.concatenate([np.linspace(_BEGIN, 0, 40, endpoint=False), engines.ages(_END)])
    late = np.maximum(days, 0)
    light = np.exp(-0.5 * (np.minimum(days, 0) / rise) ** 2) * (1 + late / fall) ** (-5 / 3)
    temperature = np.clip(kelvin + warming * late, 10_000.0, 60_000.0)
    return engines.black_body(days, np.maximum(light, 1e-12), temperature, blanketing=0.0).at_peak(peak)


def tde(rng: np.random.Generator, sight_line: SightLine) -> Source:
    """TDE: temperatures, rises and fades of van Velzen et al. (2021).

    Faint ones are more common (van Velzen 2018): those found have a magnitude of -18.9 in V, with a scatter of .8.
    """
    event = within_reach(rng, sight_line, _TDE, lambda n: -18.3 + 0.9 * rng.standard_normal(n))
    law = disruption(
        peak=event.peak,
        rise=log_normal(rng, 11.0, 0.5),
        fall=log_normal(rng, 55.0, 0.5),
        kelvin=float(np.clip(log_normal(rng, 24_000, 0.35), 15_000, 50_000)),
        warming=clipped_normal(rng, 25.0, 45.0, -60.0, 150.0),
    )
    return shown(sight_line, event, law=law.magnitude, episode=_TDE.episode, host=hosts.QUIET_NUCLEUS)

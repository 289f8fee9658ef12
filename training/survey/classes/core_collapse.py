"""Massive stars whose cores collapse."""

from dataclasses import dataclass

import numpy as np

from models.arrays import FloatArray
from training.survey import hosts, spectra
from training.survey.cadence import SightLine
from training.survey.classes.source import Source, clipped_normal
from training.survey.classes.transient import Episode, Population, shown, within_reach
from training.survey.cosmology import Redshifts, star_formation

_BLANKETED_BELOW = 4750.0
_IRON_BELOW = 8000.0
"""Temperature at which iron lines appear [K]."""
_NICKEL_DECLINE = 0.0098  # mag a day: all of cobalt's gamma rays are caught

_II = Population(
    # As far as the survey can see them.
    Redshifts(star_formation, z_min=0.005, z_max=1.5),
    Episode(begin=0.0, end=450.0),
    reddening=0.1,
    headroom=0.7,
)


@dataclass(frozen=True)
class Hydrogen:
    """A type II as a law: a fast rise, a plateau or a decline in V, perhaps a fall onto the radioactive tail."""

    peak: float
    """Absolute V magnitude at maximum."""
    rise: float
    """Days from explosion to maximum."""
    decline: float
    """Magnitudes a day after maximum."""
    plateau: float
    """Day on which the hydrogen has recombined and the light falls."""
    fall: float
    """Magnitudes of that fall."""
    temperature: float
    """Ten days after explosion [K]."""
    cooling: float
    """Exponent of the temperature's fall with time."""
    coolest: float
    """Hydrogen recombines at this [K]."""
    blanketing: float
    """Of the coolest photosphere, at first; twice as much on day 100."""

    def magnitude(self, days: FloatArray, wavelength: FloatArray) -> FloatArray:
        """Absolute AB magnitude, ``days`` at home since explosion."""
        age = np.maximum(days, 0.05)
        cooling = np.minimum(self.temperature * (age / 10) ** -self.cooling, 30_000)
        temperature = (cooling**8 + self.coolest**8) ** 0.125  # a gentle arrival at recombination
        iron = np.maximum((_IRON_BELOW - temperature) / (_IRON_BELOW - self.coolest), 0)
        iron = self.blanketing * iron * (1 + age / 100)
        colour = spectra.photosphere(wavelength, temperature, iron, _BLANKETED_BELOW)
        return np.asarray(self.visual(age) + colour)

    def visual(self, age: FloatArray) -> FloatArray:
        """Absolute V magnitude by age [d], above zero."""
        rising = -2.5 * np.log10(1 - (1 - np.minimum(age / self.rise, 1)) ** 2)
        before_tail = np.clip(age, self.rise, self.plateau) - self.rise
        tail = np.maximum(age - self.plateau, 0)
        falling = self.fall / (1 + np.exp(-(age - self.plateau) / 5.0))
        return np.asarray(self.peak + rising + self.decline * before_tail + falling + _NICKEL_DECLINE * tail)


def _plateau(rng: np.random.Generator, peak: float) -> Hydrogen:
    return Hydrogen(
        peak=peak,
        rise=clipped_normal(rng, 8, 2, 4, 14),
        decline=clipped_normal(rng, 0.9, 0.6, -0.2, 2.2) / 100,
        plateau=clipped_normal(rng, 105, 15, 70, 140),
        fall=clipped_normal(rng, 1.9, 0.35, 1.0, 3.0),
        **_cooling_envelope(rng),
    )


def _linear(rng: np.random.Generator, peak: float) -> Hydrogen:
    return Hydrogen(
        peak=peak,
        rise=clipped_normal(rng, 10, 3, 5, 18),
        decline=clipped_normal(rng, 2.4, 0.7, 1.4, 4.5) / 100,
        plateau=clipped_normal(rng, 85, 12, 60, 115),
        fall=clipped_normal(rng, 1.5, 0.4, 0.6, 2.5),
        **_cooling_envelope(rng),
    )


def _interacting(rng: np.random.Generator, peak: float) -> Hydrogen:
    return Hydrogen(
        peak=peak,
        rise=float(np.clip(22 * np.exp(0.45 * rng.standard_normal()), 6, 70)),
        decline=clipped_normal(rng, 1.8, 1.0, 0.4, 5.0) / 100,
        plateau=1000.0,
        fall=0.0,
        temperature=clipped_normal(rng, 14_500, 2000, 10_000, 20_000),
        cooling=clipped_normal(rng, 0.28, 0.06, 0.15, 0.45),
        coolest=6500.0,
        blanketing=clipped_normal(rng, 2.0, 1.0, 0.3, 5.0),
    )


def _cooling_envelope(rng: np.random.Generator) -> dict[str, float]:
    return {
        "temperature": clipped_normal(rng, 11_000, 1200, 8500, 14_500),
        "cooling": clipped_normal(rng, 0.4, 0.06, 0.25, 0.55),
        "coolest": clipped_normal(rng, 5700, 250, 5100, 6300),
        "blanketing": clipped_normal(rng, 4.3, 1.2, 1.5, 8.0),
    }


# Maker, mean and scatter of the V magnitude at maximum, and share by volume (Li et al. 2011).
_MAKERS = (_plateau, _linear, _interacting)
_PEAKS = np.array([-16.75, -17.98, -18.53])
_SCATTERS = np.array([0.40, 0.65, 1.15])
_SHARES = np.array([0.80, 0.11, 0.09])


def _peaks(rng: np.random.Generator, n: int) -> FloatArray:
    subtype = np.searchsorted(np.cumsum(_SHARES), rng.random(n))
    return np.asarray(_PEAKS[subtype] + _SCATTERS[subtype] * rng.standard_normal(n))


def _of_peak(rng: np.random.Generator, peak: float) -> Hydrogen:
    """One of the subtypes, as likely as it has this magnitude."""
    likely = _SHARES / _SCATTERS * np.exp(-0.5 * ((peak - _PEAKS) / _SCATTERS) ** 2)
    chances = np.cumsum(likely)
    return _MAKERS[int(np.searchsorted(chances, rng.random() * chances[-1]))](rng, peak)


def type_ii(rng: np.random.Generator, sight_line: SightLine) -> Source:
    """SN II: IIP, IIL and IIn.

    Mean magnitudes of Richardson et al. (2014) with ELAsTiCC's scatter; slopes and plateaus of Anderson et al. (2014);
    temperature and blanketing as in the spectral series of Vincenzi et al. (2019).
    """
    event = within_reach(rng, sight_line, _II, lambda n: _peaks(rng, n))
    law = _of_peak(rng, event.peak).magnitude
    return shown(sight_line, event, law=law, episode=_II.episode, host=hosts.STAR_FORMING)

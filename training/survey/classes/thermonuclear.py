"""Exploding white dwarfs."""

import numpy as np

from models.arrays import FloatArray
from training.survey import hosts, spectra
from training.survey.cadence import SightLine
from training.survey.classes.source import Source, split_normal
from training.survey.classes.transient import Episode, Population, shown, within_reach
from training.survey.cosmology import Redshifts

# Fitted to the mean SALT surface (Guy et al. 2007; Betoule et al. 2014), smoothed to the width of a band, x1 = c = 0:
# days from maximum, V magnitude, temperature [K], blanketing, and the dip about 8500 Angstrom before and between the
# two maxima of the near infrared. Residuals .1 to .2 mag from 2200 to 10,000 Angstrom. Before day -14 a fireball.
_LAW = np.array(
    [
        (-18.0, -10.5, 7000, 4.3, 0.9),
        (-17.0, -13.7, 7000, 4.3, 0.9),
        (-16.0, -15.5, 7100, 4.3, 0.9),
        (-14.0, -17.1, 7300, 4.3, 0.8),
        (-12.0, -17.91, 10_000, 5.9, 0.31),
        (-10.0, -18.41, 11_500, 6.4, 0.18),
        (-8.0, -18.79, 12_100, 6.45, 0.15),
        (-6.0, -19.05, 12_300, 6.5, 0.16),
        (-4.0, -19.21, 12_300, 6.6, 0.21),
        (-2.0, -19.30, 12_000, 6.8, 0.31),
        (0.0, -19.34, 11_100, 6.8, 0.46),
        (4.0, -19.32, 9500, 7.2, 0.68),
        (8.0, -19.12, 8700, 7.5, 0.77),
        (12.0, -18.84, 7400, 6.5, 0.81),
        (16.0, -18.59, 6150, 5.3, 0.87),
        (20.0, -18.39, 5250, 3.6, 0.88),
        (24.0, -18.17, 4700, 2.6, 0.70),
        (28.0, -17.98, 4400, 2.0, 0.68),
        (32.0, -17.73, 4400, 1.8, 0.62),
        (36.0, -17.50, 4500, 2.0, 0.57),
        (40.0, -17.33, 4600, 2.2, 0.57),
        (46.0, -17.13, 4650, 2.2, 0.65),
        (60.0, -16.93, 4600, 1.5, 0.85),
        (81.0, -16.67, 4600, 1.0, 0.90),
        (500.0, -10.8, 4600, 1.0, 0.90),
    ]
).T
_BLANKETED_BELOW = 3800.0
_DIP_AT, _DIP_WIDTH = 8500.0, 0.18

_BRIGHTNESS_OF_STRETCH, _BRIGHTNESS_OF_COLOUR = 0.14, 3.1
_B, _V = 4302.0, 5428.0

_BRIGHTEST = -19.9
"""V magnitude at maximum of a slow and blue one."""
_IA = Population(
    Redshifts(lambda z: (1 + z) ** 1.5, z_min=0.01, z_max=1.65), Episode(begin=-20.0, end=400.0), gone=35.0, fade=25.0
)


def magnitude(days: FloatArray, wavelength: FloatArray, *, x1: float, colour: float) -> FloatArray:
    """Absolute AB magnitude of a type Ia, ``days`` at home from maximum."""
    # How x1 stretches time: Guy et al. (2007).
    phase = days / (0.98 + 0.091 * x1 + 0.003 * x1**2 - 0.00075 * x1**3)
    v, temperature, blanketing, dip = (np.interp(phase, _LAW[0], column) for column in _LAW[1:])
    spectrum = spectra.photosphere(wavelength, temperature, blanketing, _BLANKETED_BELOW)
    infrared = dip * spectra.feature(wavelength, _DIP_AT, _DIP_WIDTH)
    standard = _BRIGHTNESS_OF_COLOUR * colour - _BRIGHTNESS_OF_STRETCH * x1
    return np.asarray(v + spectrum + infrared + standard + colour * reddening(wavelength))


def reddening(wavelength: FloatArray) -> FloatArray:
    """Magnitudes, less those in B, by which a supernova redder by one in B - V is fainter."""
    return np.asarray((1 / wavelength - 1 / _B) / (1 / _B - 1 / _V))


def type_ia(rng: np.random.Generator, sight_line: SightLine) -> Source:
    """SN Ia: stretch and colour as ELAsTiCC draws them, Tripp's relation for the brightness, .1 mag of scatter."""
    event = within_reach(rng, sight_line, _IA, lambda n: np.full(n, _BRIGHTEST))
    x1 = split_normal(rng, peak=0.973, below=1.472, above=0.222)
    colour = split_normal(rng, peak=-0.054, below=0.043, above=0.101)
    offset = 0.1 * rng.standard_normal()
    return shown(
        sight_line,
        event,
        law=lambda days, wavelength: magnitude(days, wavelength, x1=x1, colour=colour) + offset,
        episode=_IA.episode,
        host=hosts.ANY,
    )

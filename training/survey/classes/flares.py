"""Flares of red dwarfs: minutes of blue light upon a faint red star."""

import numpy as np

from models.arrays import FloatArray
from training.survey import spectra
from training.survey.cadence import SightLine
from training.survey.classes.source import LEAD_DAYS, Source, clipped_normal
from training.survey.classes.stars import LEAST_MASS, main_sequence
from training.survey.photometry import flux_of, limits

_MINUTE = 1 / 1440

# A flare's energy goes with the power -1.9 (Hawley et al. 2014), its length with E^0.39 (Maehara et al. 2015) and so
# its peak with E^0.61. Visits meet flares by their length: of those met, this power of a flux outshines it.
_SLOPE = (0.9 - 0.39) / 0.61
_LONGER = 0.39 / 0.61
_STRONGEST = 300.0
"""Times the star at rest, in u: 6 magnitudes."""

_SHORTEST, _LONGEST = 1.0, 60.0
"""Full width at half maximum [min]."""
_OTHERS = 0.1
"""Mean number of visits to the same star that meet another flare as strong."""


def shape(widths: FloatArray) -> FloatArray:
    """A flare's light by time from its peak in full widths at half maximum: 1 at the peak (Davenport et al. 2014)."""
    rise = np.polyval([-1.125, -2.246, -0.175, 1.941, 1.0], np.clip(widths, -1, 0))
    later = np.maximum(widths, 0)
    decay = 0.6890 * np.exp(-1.600 * later) + 0.3030 * np.exp(-0.2783 * later)
    return np.where(widths < -1, 0.0, np.where(widths < 0, np.maximum(rise, 0.0), decay))


def colours(temperature: float, jump: float) -> FloatArray:
    """A flare's light by band (6,), against u: a black body, in u times the Balmer jump."""
    light = flux_of(spectra.planck(spectra.WAVELENGTHS, np.array(temperature)))
    light[0] *= jump
    return np.asarray(light / light[0])


# When a visit meets a flare that it can see, in full widths from its peak.
_WIDTHS = np.linspace(-1, 12, 1301)
_MET = np.cumsum(shape(_WIDTHS) ** _SLOPE) / np.sum(shape(_WIDTHS) ** _SLOPE)


def mdwarf_flare(rng: np.random.Generator, sight_line: SightLine) -> Source:
    """M-dwarf flare that at least one visit meets, and seldom a second flare of the same star.

    Shape of Davenport et al. (2014), 10,000 K and Balmer jumps of Kowalski et al. (2013), energies of Hawley et al.
    (2014). The fainter the stars the more of them, but the fewer of their flares are seen: both cancel until the disc
    ends, and r is 20 +- 2, as of the flares of ELAsTiCC2.
    """
    star = main_sequence(rng.uniform(LEAST_MASS, 0.57))
    steady = flux_of(clipped_normal(rng, 20, 2, 16, 26) + star.colours)
    band_colours = colours(clipped_normal(rng, 10_000, 1000, 8000, 13_000), rng.uniform(1.5, 4.0))
    # What a flare must send in u at a visit to be seen there.
    least = limits(sight_line.m5, sight_line.band) / band_colours[sight_line.band]
    chances = np.cumsum(least**-_SLOPE)
    met = np.sort(np.searchsorted(chances, rng.random(1 + rng.poisson(_OTHERS)) * chances[-1]))
    visits = sight_line.between(sight_line.mjd[met[0]] - LEAD_DAYS, sight_line.mjd[met[-1]] + 0.5)
    flux = np.zeros(len(visits.mjd))
    for visit in met:
        since_peak = float(np.interp(rng.random(), _MET, _WIDTHS))
        peak = least[visit] * rng.random() ** (-1 / _SLOPE) / shape(np.array(since_peak))
        if peak > _STRONGEST * steady[0]:
            continue  # no such flare: nothing is found, and another star drawn
        length = 2.5 * (peak / steady[0] / 10) ** _LONGER * np.exp(0.7 * rng.standard_normal())
        width = float(np.clip(length, _SHORTEST, _LONGEST)) * _MINUTE
        flux += peak * shape((visits.mjd - sight_line.mjd[visit]) / width + since_peak) * band_colours[visits.band]
    return Source(visits=visits, flux=flux, steady=steady)

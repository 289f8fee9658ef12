"""Supernovae and their like: a law of brightness at home, seen at a redshift and through the host's dust."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.survey import dust, spectra
from training.survey.cadence import SightLine
from training.survey.classes.source import LEAD_DAYS, Source
from training.survey.cosmology import distance_modulus
from training.survey.hosts import Kind
from training.survey.photometry import flux_of

FloatArray = NDArray[np.float64]

Law = Callable[[FloatArray, FloatArray], FloatArray]
"""(days at home since the law's zero, wavelength at home [Angstrom]) -> absolute AB magnitude, each (V,)."""


@dataclass(frozen=True)
class Episode:
    """When a law holds, in days at home."""

    begin: float
    end: float


def seen(
    rng: np.random.Generator,
    sight_line: SightLine,
    *,
    law: Law,
    episode: Episode,
    redshift: float,
    host: Kind,
    host_reddening: float = 0.0,
) -> Source:
    """The source that shines by ``law``, its zero at any time from shortly before the survey to its end."""
    stretch = 1 + redshift
    zero = rng.uniform(sight_line.mjd[0] - 0.2 * episode.end * stretch, sight_line.mjd[-1] - episode.begin * stretch)
    visits = sight_line.between(zero + episode.begin * stretch - LEAD_DAYS, zero + episode.end * stretch)
    flux = np.zeros(len(visits.mjd))
    days = (visits.mjd - zero) / stretch
    lit = slice(int(np.searchsorted(days, episode.begin)), None)
    wavelength = (spectra.WAVELENGTHS / stretch)[visits.band[lit]]
    # What dims a band whatever the day: distance, the redshift's squeeze of the spectrum, the host's dust.
    dimming = distance_modulus(redshift) - 2.5 * np.log10(stretch) + spectra.intergalactic(redshift)
    dimming = dimming + host_reddening * dust.per_reddening(spectra.WAVELENGTHS / stretch)
    flux[lit] = flux_of(law(days[lit], wavelength) + dimming[visits.band[lit]])
    return Source(visits=visits, flux=flux, steady=np.zeros(6), redshift=redshift, host=host)

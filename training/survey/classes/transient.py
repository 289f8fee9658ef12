"""Supernovae and their like: a law of brightness at home, seen at a redshift and through the host's dust."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.survey import dust, spectra
from training.survey.cadence import SightLine
from training.survey.classes.source import LEAD_DAYS, Source
from training.survey.cosmology import Redshifts, distance_moduli, distance_modulus
from training.survey.hosts import Kind
from training.survey.photometry import flux_of

FloatArray = NDArray[np.float64]

Law = Callable[[FloatArray, FloatArray], FloatArray]
"""(days at home since the law's zero, wavelength at home [Angstrom]) -> absolute AB magnitude, each (V,)."""


@dataclass(frozen=True)
class Event:
    """One event of a population."""

    peak: float
    """Absolute V magnitude at maximum, without dust."""
    redshift: float
    reddening: float
    """E(B-V) in the host [mag]."""


_AT_ONCE = 64
_MARGIN = 0.25
"""Magnitudes short of its depth at which a sight line finds an event no more: one visit is not enough."""
_LEAST_EXTINCTION = 1.8
"""By reddening, in the reddest band that is deep."""


def within_reach(
    rng: np.random.Generator,
    sight_line: SightLine,
    *,
    redshifts: Redshifts,
    peaks: Callable[[int], FloatArray],
    reddening: float = 0.0,
    headroom: float = 0.0,
) -> Event:
    """One event that the survey could find.

    ``peaks`` draws so many absolute magnitudes, ``reddening`` is the mean of an exponential distribution, and no band
    sees an event brighter than its V magnitude by more than ``headroom``. Events out of reach would not be found:
    leaving them out here, before their light curves are computed, changes nothing but the time it takes.
    """
    faintest = sight_line.depth - _MARGIN + headroom
    while True:
        peak, redshift = peaks(_AT_ONCE), redshifts.draws(rng, _AT_ONCE)
        dust = reddening * rng.exponential(size=_AT_ONCE)
        dimming = distance_moduli(redshift) - 2.5 * np.log10(1 + redshift) + _LEAST_EXTINCTION * dust
        near = peak + dimming < faintest
        if near.any():
            first = int(near.argmax())
            return Event(float(peak[first]), float(redshift[first]), float(dust[first]))


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

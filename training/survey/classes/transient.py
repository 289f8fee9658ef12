"""Supernovae and their like: a law of brightness at home, seen at a redshift and through the host's dust."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from models.arrays import FloatArray
from models.inputs import extinction
from training.survey import spectra
from training.survey.cadence import SightLine
from training.survey.classes.source import LEAD_DAYS, Source
from training.survey.cosmology import Redshifts, distance_moduli, distance_modulus
from training.survey.hosts import Kind
from training.survey.photometry import flux_of

Law = Callable[[FloatArray, FloatArray], FloatArray]
"""(days at home since the law's zero, wavelength at home [Angstrom]) -> absolute AB magnitude, each (V,)."""


@dataclass(frozen=True)
class Episode:
    """When a law holds, in days at home."""

    begin: float
    end: float


@dataclass(frozen=True)
class Population:
    """Events of one kind: where they happen, and bounds on how well they are seen."""

    redshifts: Redshifts
    episode: Episode
    reddening: float = 0.0
    """Mean of E(B-V) in the host [mag], an exponential distribution."""
    headroom: float = 0.0
    """No band sees an event brighter than its V magnitude, by more than this."""
    gone: float = np.inf
    """Day of the law from which an event that is just bright enough to be found is no longer seen."""
    fade: float = 0.0
    """As many days later for each magnitude by which it is brighter."""


@dataclass(frozen=True)
class Event:
    """One event of a population."""

    peak: float
    """Absolute V magnitude at maximum, without dust."""
    redshift: float
    reddening: float
    """E(B-V) in the host [mag]."""
    zero: float
    """Mjd of the law's zero."""


_AT_ONCE = 64
_MARGIN = 0.25
"""Magnitudes short of its depth at which a sight line finds an event no more: one visit is not enough."""
_LEAST_EXTINCTION = 1.8
"""By reddening, in the reddest band that is deep."""


def within_reach(
    rng: np.random.Generator, sight_line: SightLine, population: Population, peaks: Callable[[int], FloatArray]
) -> Event:
    """One event that the survey could find; ``peaks`` draws so many absolute V magnitudes at maximum.

    Events out of reach, or while nobody looks, would not be found: they are left out here, before their light curves
    are computed. A shallow sight line finds nearly as many as a deep one: a place is to tell little of the class.
    """
    faintest = sight_line.depth - _MARGIN + population.headroom
    episode, mjd = population.episode, sight_line.mjd
    while True:
        peak, redshift = peaks(_AT_ONCE), population.redshifts.draws(rng, _AT_ONCE)
        reddening = population.reddening * rng.exponential(size=_AT_ONCE)
        stretch = 1 + redshift
        apparent = peak + distance_moduli(redshift) - 2.5 * np.log10(stretch) + _LEAST_EXTINCTION * reddening
        in_hand = np.maximum(faintest - apparent, 0)
        # From shortly before the survey to its end.
        earliest, latest = mjd[0] - 0.2 * episode.end * stretch, mjd[-1] - episode.begin * stretch
        zero = rng.uniform(earliest, latest)
        last = np.minimum(population.gone + population.fade * in_hand, episode.end)
        visits = np.searchsorted(mjd, zero + last * stretch) - np.searchsorted(mjd, zero + episode.begin * stretch)
        findable = (in_hand > 0) & (visits > 1)
        if findable.any():
            first = int(findable.argmax())
            return Event(float(peak[first]), float(redshift[first]), float(reddening[first]), float(zero[first]))


def shown(sight_line: SightLine, event: Event, *, law: Law, episode: Episode, host: Kind | None) -> Source:
    """The event as a source that shines by ``law``."""
    redshift, zero = event.redshift, event.zero
    stretch = 1 + redshift
    visits = sight_line.between(zero + episode.begin * stretch - LEAD_DAYS, zero + episode.end * stretch)
    flux = np.zeros(len(visits.mjd))
    days = (visits.mjd - zero) / stretch
    lit = slice(int(np.searchsorted(days, episode.begin)), None)
    wavelength = (spectra.WAVELENGTHS / stretch)[visits.band[lit]]
    # What dims a band whatever the day: distance, the redshift's squeeze of the spectrum, the host's dust.
    dimming = distance_modulus(redshift) - 2.5 * np.log10(stretch) + spectra.intergalactic(redshift)
    dimming = dimming + event.reddening * extinction.extinction_coefficient(spectra.WAVELENGTHS / stretch)
    flux[lit] = flux_of(law(days[lit], wavelength) + dimming[visits.band[lit]])
    return Source(visits=visits, flux=flux, steady=np.zeros(6), redshift=redshift, host=host)

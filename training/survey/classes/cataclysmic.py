"""White dwarfs whose discs of gas flare up, again and again."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.arrays import FloatArray
from training.survey import spectra
from training.survey.cadence import SightLine
from training.survey.classes.recurrent import TEMPLATE_DAYS, against_template
from training.survey.classes.source import Source, clipped_normal
from training.survey.photometry import flux_of

_BRIGHTEST_R, _FAINTEST_R = 15.0, 22.0
"""Of a typical maximum."""
_AT_REST = np.array([0.25, 0.25, 0.0, -0.2, -0.35, -0.45])
"""Magnitudes (6,) less the one in r: a white dwarf, a faint disc and a red dwarf (Szkody et al. 2011)."""
_BELOW_THE_GAP, _SUPER = 0.6, 0.25
"""Share of the systems with orbits under two hours, and how many of their outbursts are superoutbursts."""


@dataclass(frozen=True)
class DwarfNova:
    """A star that rests, and its outbursts (K,) in time order, straight lines in magnitudes: up, along, down."""

    rest: FloatArray
    """(6,), FLUXCAL by band between outbursts."""
    hot: FloatArray
    """(6,), light of the outburst by band, against r."""
    start: FloatArray
    """(K,) [mjd]"""
    amplitude: FloatArray
    """(K,), in r [mag]."""
    plateau: FloatArray
    """(K,) [d]"""
    fading: FloatArray
    """(K,), along the plateau [mag/d]."""
    rise: float
    """[d/mag]"""
    decay: float
    """[d/mag]"""

    def flux(self, mjd: FloatArray, band: NDArray[np.int8]) -> FloatArray:
        """FLUXCAL at each visit."""
        outburst = np.maximum(np.searchsorted(self.start, mjd) - 1, 0)
        amplitude, plateau = self.amplitude[outburst], self.plateau[outburst]
        age = mjd - self.start[outburst]
        rising = age / self.rise
        along = age - amplitude * self.rise
        faded = self.fading[outburst] * np.clip(along, 0, plateau)
        falling = amplitude - faded - np.maximum(along - plateau, 0) / self.decay
        brighter = np.maximum(np.minimum(rising, falling), 0)
        return np.asarray(self.rest[band] + self.rest[2] * (10 ** (0.4 * brighter) - 1) * self.hot[band])


def dwarf_nova(rng: np.random.Generator, sight_line: SightLine) -> Source:
    """Dwarf nova: U Geminorum and, with superoutbursts, SU Ursae Majoris stars.

    Recurrence as in OGLE (Mroz et al. 2015); amplitude by recurrence after Kukarkin & Parenago, decay by orbital period
    after Bailey, both as in Warner (1995); orbits either side of the gap of Gansicke et al. (2009).
    """
    below = rng.random() < _BELOW_THE_GAP
    orbit = rng.uniform(1.3, 2.1) if below else rng.uniform(3.0, 8.0)  # hours
    recurrence = float(np.clip(80 * np.exp(rng.standard_normal()), 10, 500))
    amplitude = clipped_normal(rng, 0.7 + 1.9 * np.log10(recurrence), 0.45, 2, 7)
    decay = 0.53 * orbit**0.84 * np.exp(0.2 * rng.standard_normal())
    rise = rng.uniform(0.15, 0.5) * min(decay, 1.5)

    first, last = sight_line.mjd[0] - TEMPLATE_DAYS, sight_line.mjd[-1]
    number = int(1.5 * (last - first) / recurrence) + 12
    is_super = below & (rng.random(number) < _SUPER)
    amplitudes = np.clip(amplitude + 0.25 * rng.standard_normal(number) + 0.8 * is_super, 2, 8)
    plateau = np.where(is_super, rng.uniform(10, 16, number), rng.uniform(1, 4, number) * (1 if below else 2))
    fading = np.where(is_super, 0.11, 0.05)
    length = amplitudes * rise + plateau + (amplitudes - fading * plateau) * decay
    waits = np.maximum(recurrence * np.exp(0.35 * rng.standard_normal(number)), 1.2 * length)
    start = first - rng.random() * recurrence + np.concatenate([[0.0], np.cumsum(waits[:-1])])

    at_rest = rng.uniform(_BRIGHTEST_R, _FAINTEST_R) + amplitude
    colours = _AT_REST * rng.uniform(0.5, 1.5)
    disc = spectra.planck(spectra.WAVELENGTHS, np.array(rng.uniform(9000, 16_000)))
    star = DwarfNova(
        rest=flux_of(at_rest + colours),
        hot=10 ** (-0.4 * (disc - disc[2])),
        start=start,
        amplitude=amplitudes,
        plateau=plateau,
        fading=fading,
        rise=rise,
        decay=decay,
    )
    # Templates leave out what is there only once.
    return against_template(rng, sight_line, star, combine=np.median)

"""Stars that swell and shrink, against a template that is the mean of a few epochs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.survey.cadence import SightLine
from training.survey.classes.source import Source, clipped_normal
from training.survey.photometry import flux_of

FloatArray = NDArray[np.float64]

TEMPLATE_EPOCHS = 6
"""Visits by band that the template is the mean of."""


@dataclass(frozen=True)
class Pulsation:
    """A mean magnitude by band and a light curve that repeats."""

    period: float
    """[d]"""
    phase: float
    """At mjd 0."""
    magnitudes: FloatArray
    """(6,), means by band."""
    amplitudes: FloatArray
    """(6,), from minimum to maximum [mag]."""
    harmonics: NDArray[np.complex128]
    """(H,), of the magnitude at unit amplitude, the fundamental first."""

    def flux(self, mjd: FloatArray, band: NDArray[np.int8]) -> FloatArray:
        """FLUXCAL at each visit."""
        turn = np.exp(2j * np.pi * np.mod(mjd / self.period + self.phase, 1.0))
        shape = np.polyval(self.harmonics[::-1], turn) * turn
        return flux_of(self.magnitudes[band] + self.amplitudes[band] * shape.real)


def against_template(rng: np.random.Generator, sight_line: SightLine, star: Pulsation) -> Source:
    """The star as difference fluxes against the mean of TEMPLATE_EPOCHS visits of the years before the survey."""
    epochs = sight_line.mjd[0] - rng.uniform(30, 700, (6, TEMPLATE_EPOCHS))
    bands = np.repeat(np.arange(6, dtype=np.int8)[:, None], TEMPLATE_EPOCHS, axis=1)
    template = star.flux(epochs, bands).mean(axis=1)
    flux = star.flux(sight_line.mjd, sight_line.band) - template[sight_line.band]
    return Source(visits=sight_line, flux=flux, steady=template)


# Mean g-band templates of Sesar et al. (2010), 483 stars of Stripe 82, as ratios and phases of harmonics; the phase of
# zero is maximum light. Type ab rises in a sixth of its period, type c nearly as slowly as it fades.
def _harmonics(scale: float, first_phase: float, ratios: list[float], phases: list[float]) -> NDArray[np.complex128]:
    order = np.arange(1, len(ratios) + 1)
    return np.asarray(scale * np.array(ratios) * np.exp(1j * (np.array(phases) + order * first_phase)), np.complex128)


_TYPE_AB = _harmonics(0.392, 2.518, [1, 0.43, 0.275, 0.15, 0.08, 0.036, 0.018], [0, 3.87, 1.77, 5.99, 3.90, 1.69, 5.87])
_TYPE_C = _harmonics(0.50, 2.712, [1, 0.155, 0.052, 0.021], [0, 4.56, 2.87, 0.77])

_COLOURS = np.array([1.26, 0.12, 0.0, -0.02, -0.015, -0.01])
_AMPLITUDES = np.array([0.95, 1.0, 0.72, 0.577, 0.52, 0.50])
_NEAREST_KPC, _FARTHEST_KPC = 11.0, 150.0
"""Nearer stars saturate."""


def rr_lyrae(rng: np.random.Generator, sight_line: SightLine) -> Source:
    """RR Lyrae star of the halo: periods, amplitudes, shapes and colours of Sesar et al. (2010), M_r = 0.6."""
    is_c = rng.random() < 104 / 483
    if is_c:
        period = clipped_normal(rng, 0.34, 0.045, 0.22, 0.45)
        amplitude = clipped_normal(rng, 0.51, 0.09, 0.25, 0.75)
    else:
        period = float(np.clip(0.578 * np.exp(0.125 * rng.standard_normal()), 0.42, 0.90))
        # The slower, the smaller (Bailey's diagram).
        amplitude = clipped_normal(rng, 0.074 - 3.77 * np.log10(period), 0.2, 0.25, 1.5)
    # The halo thins out with the distance to the power -3.5, while the cone it is seen in grows with the square.
    distance = rng.uniform(_FARTHEST_KPC**-0.5, _NEAREST_KPC**-0.5) ** -2
    mean = 0.6 + 0.1 * rng.standard_normal() + 5 * np.log10(100 * distance)
    star = Pulsation(
        period=period,
        phase=rng.random(),
        magnitudes=mean + _COLOURS * (1 + 0.1 * rng.standard_normal()),
        amplitudes=amplitude * _AMPLITUDES,
        harmonics=_TYPE_C if is_c else _TYPE_AB,
    )
    return against_template(rng, sight_line, star)

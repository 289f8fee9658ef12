"""Stars that swell and shrink."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.arrays import FloatArray
from training.survey.cadence import SightLine
from training.survey.classes.recurrent import against_template
from training.survey.classes.source import Source, clipped_normal
from training.survey.classes.stars import halo_modulus
from training.survey.photometry import flux_of

Harmonics = NDArray[np.complex128]


@dataclass(frozen=True)
class Mode:
    """One wave that repeats."""

    period: float
    """[d]"""
    phase: float
    """At mjd 0."""
    harmonics: Harmonics
    """(H,), of the magnitude, the fundamental first."""

    def __call__(self, mjd: FloatArray) -> FloatArray:
        """The wave at each visit."""
        turn = np.exp(2j * np.pi * np.mod(mjd / self.period + self.phase, 1.0))
        wave = np.polyval(self.harmonics[::-1], turn) * turn
        return np.asarray(wave.real)


@dataclass(frozen=True)
class Pulsation:
    """A mean magnitude by band, and modes whose waves add up."""

    magnitudes: FloatArray
    """(6,), means by band."""
    amplitudes: FloatArray
    """(6,), of a wave of unit amplitude, from minimum to maximum [mag]."""
    modes: tuple[Mode, ...]

    def flux(self, mjd: FloatArray, band: NDArray[np.int8]) -> FloatArray:
        """FLUXCAL at each visit."""
        wave = sum(mode(mjd) for mode in self.modes)
        return flux_of(self.magnitudes[band] + self.amplitudes[band] * wave)


def _harmonics(scale: float, first_phase: float, ratios: list[float], phases: list[float]) -> Harmonics:
    order = np.arange(1, len(ratios) + 1)
    return np.asarray(scale * np.array(ratios) * np.exp(1j * (np.array(phases) + order * first_phase)), np.complex128)


_TURN = np.exp(2j * np.pi * np.arange(100)[:, None] / 100 * np.arange(1, 5))


def _fourier(ratios: FloatArray, phases: FloatArray) -> Harmonics:
    """Harmonics at unit amplitude from the ratios R21, R31, R41 and the phases phi21, phi31, phi41 of cosines."""
    harmonics = np.concatenate([[1.0 + 0j], ratios * np.exp(1j * phases)])
    return np.asarray(harmonics / np.ptp((_TURN @ harmonics).real))


def _observed(rng: np.random.Generator, sight_line: SightLine, star: Pulsation) -> Source:
    return replace(against_template(rng, sight_line, star), period=star.modes[0].period)


# --- RR Lyrae --------------------------------------------------------------------------------------------------

# Mean g-band templates of Sesar et al. (2010), 483 stars of Stripe 82, as ratios and phases of harmonics; the phase of
# zero is maximum light. Type ab rises in a sixth of its period, type c nearly as slowly as it fades.
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
    mean = 0.6 + 0.1 * rng.standard_normal() + halo_modulus(rng, _NEAREST_KPC, _FARTHEST_KPC)
    star = Pulsation(
        magnitudes=mean + _COLOURS * (1 + 0.1 * rng.standard_normal()),
        amplitudes=amplitude * _AMPLITUDES,
        modes=(Mode(period, rng.random(), _TYPE_C if is_c else _TYPE_AB),),
    )
    return _observed(rng, sight_line, star)


# --- Delta Scuti -----------------------------------------------------------------------------------------------

_DOUBLE_MODE = 0.25
_COLOURS_OF_A_TO_F = np.array([1.22, 0.14, 0.0, 0.0, 0.03, 0.04])


def delta_scuti(rng: np.random.Generator, sight_line: SightLine) -> Source:
    """Delta Scuti star, or its like in the halo (SX Phoenicis), which is what does not saturate.

    Periods and amplitudes as in OGLE's collections (Pietrukowicz et al. 2020), period and luminosity of McNamara
    (2011), ratio of first overtone to fundamental of Poretti et al. (2005), the sawtooth of those of high amplitude as
    in ASAS (Richards et al. 2012): phi21 = 4.0, R21 grows with the amplitude. Bands as of RR Lyrae, as hot and driven
    alike.
    """
    period = float(np.clip(0.075 * np.exp(0.45 * rng.standard_normal()), 0.02, 0.3))
    # The faster, the smaller.
    typical = 0.22 * (period / 0.1) ** 0.4
    amplitude = float(np.clip(typical * np.exp(0.7 * rng.standard_normal()), 0.04, 0.9))
    ratio = clipped_normal(rng, 0.1 + 0.6 * amplitude, 0.05, 0.02, 0.5)
    phases = np.array([4.0, 1.75, 5.8]) + np.array([0.2, 0.3, 0.4]) * rng.standard_normal()
    shape = _fourier(ratio ** np.array([1.0, 1.9, 2.7]), phases)
    modes = [Mode(period, rng.random(), shape)]
    if rng.random() < _DOUBLE_MODE:
        share = rng.uniform(0.2, 0.6)
        overtone = period * clipped_normal(rng, 0.772, 0.004, 0.756, 0.787)
        modes = [
            Mode(period, modes[0].phase, (1 - share) * shape),
            Mode(overtone, rng.random(), np.array([0.5 * share + 0j])),
        ]
    absolute = -2.89 * np.log10(period) - 1.31 - 0.05 + 0.15 * rng.standard_normal()
    # Those that do not saturate, nor hide in the noise.
    modulus = halo_modulus(rng, 10 ** (0.2 * (16 - absolute) - 2), 10 ** (0.2 * (21.5 - absolute) - 2))
    star = Pulsation(
        magnitudes=absolute + modulus + _COLOURS_OF_A_TO_F * (1 + 0.15 * rng.standard_normal()),
        amplitudes=amplitude * _AMPLITUDES,
        modes=tuple(modes),
    )
    return _observed(rng, sight_line, star)


# --- Cepheids --------------------------------------------------------------------------------------------------

# Hertzsprung's progression, read off Fourier fits to the 89 classical Cepheids of ASAS (Richards et al. 2012) in V. By
# period [d]: amplitude [mag]; R21, R31, R41; phi21, phi31, phi41, unwound. Near ten days two modes resonate: the second
# harmonic all but goes, and a bump moves over maximum.
_PROGRESSION = np.array(
    [
        (1.0, 0.62, 0.42, 0.20, 0.10, 4.10, 2.00, 0.00),
        (3.0, 0.66, 0.36, 0.16, 0.07, 4.15, 2.10, 0.05),
        (4.5, 0.68, 0.37, 0.15, 0.06, 4.32, 2.45, 0.45),
        (5.5, 0.70, 0.38, 0.14, 0.06, 4.45, 2.65, 0.60),
        (6.5, 0.71, 0.37, 0.12, 0.04, 4.65, 2.75, 1.10),
        (7.2, 0.74, 0.34, 0.15, 0.04, 4.90, 2.95, 5.00),
        (8.1, 0.70, 0.26, 0.15, 0.08, 5.20, 3.50, 6.40),
        (8.7, 0.66, 0.21, 0.14, 0.10, 5.50, 4.48, 7.70),
        (9.6, 0.68, 0.12, 0.10, 0.08, 6.00, 5.00, 8.20),
        (10.7, 0.71, 0.05, 0.11, 0.07, 9.96, 6.66, 11.2),
        (11.2, 0.78, 0.08, 0.12, 0.09, 9.98, 6.70, 11.1),
        (12.5, 0.90, 0.16, 0.13, 0.12, 10.48, 7.13, 11.2),
        (13.6, 1.05, 0.24, 0.15, 0.15, 10.8, 7.90, 12.2),
        (16.0, 1.12, 0.26, 0.15, 0.13, 10.7, 8.10, 12.1),
        (20.0, 1.08, 0.30, 0.18, 0.13, 10.6, 8.30, 12.4),
        (24.0, 1.15, 0.40, 0.27, 0.18, 10.8, 9.00, 13.5),
        (32.0, 1.05, 0.38, 0.24, 0.15, 10.7, 8.80, 13.2),
        (46.0, 1.00, 0.42, 0.20, 0.11, 10.9, 9.20, 13.6),
        (80.0, 0.90, 0.42, 0.20, 0.11, 10.9, 9.20, 13.6),
    ]
).T
# The same of its 13 Cepheids of population II: BL Herculis, then W Virginis.
_POPULATION_II = np.array(
    [
        (1.0, 0.85, 0.36, 0.22, 0.10, 4.60, 3.00, 1.00),
        (4.0, 0.55, 0.20, 0.06, 0.03, 4.80, 3.20, 1.50),
        (10.0, 0.80, 0.23, 0.08, 0.05, 5.00, 2.00, 1.00),
        (14.0, 1.20, 0.33, 0.10, 0.06, 5.60, 2.70, 1.00),
        (35.0, 1.15, 0.28, 0.10, 0.06, 5.90, 3.00, 1.50),
    ]
).T
_OVERTONE = 0.36, np.array([0.12, 0.03, 0.01]), np.array([4.3, 2.4, 0.5])

# Klagyivik & Szabados (2009) in their bands, between them by wavelength: amplitudes against V's.
_CEPHEID_AMPLITUDES = np.array([1.85, 1.25, 0.84, 0.66, 0.58, 0.54])
_OF_POPULATION_II, _OF_OVERTONES = 0.2, 0.25
_BRIGHTEST_R, _FAINTEST_R = 16.0, 22.0
_CLOUDS, _SCULPTOR = 18.4, 26.5
"""Distance moduli of the Magellanic Clouds and the Sculptor group."""


def hertzsprung(period: float) -> tuple[float, FloatArray, FloatArray]:
    """Amplitude in V [mag], R21, R31, R41 and phi21, phi31, phi41 of a classical Cepheid's fundamental mode."""
    return _at(_PROGRESSION, period)


def _at(table: FloatArray, period: float) -> tuple[float, FloatArray, FloatArray]:
    columns = np.array([np.interp(period, table[0], column) for column in table[1:]])
    return float(columns[0]), columns[1:4], columns[4:]


def cepheid(rng: np.random.Generator, sight_line: SightLine) -> Source:
    """Cepheid that does not saturate: in galaxies from the Magellanic Clouds to Sculptor's, or of population II.

    Shapes and amplitudes by period as in ASAS (Richards et al. 2012), whose period of the resonance they keep; period
    and luminosity of Fouque et al. (2007) and, for population II in the halo, Pritzl et al. (2003). Periods are even in
    their logarithm before the limits of r, which take the slow ones near by and the fast ones far away.
    """
    old = rng.random() < _OF_POPULATION_II
    overtone = not old and rng.random() < _OF_OVERTONES
    mean = 0.0
    while not _BRIGHTEST_R < mean < _FAINTEST_R:
        period = float(np.exp(rng.uniform(0.0, np.log(35.0 if old else 6.0 if overtone else 80.0))))
        if old:
            mean = -1.64 * np.log10(period) - 0.2 + halo_modulus(rng, 15.0, 150.0)
        else:
            # An overtone is as bright as the fundamental it would have.
            fundamental = np.log10(period / 0.7 if overtone else period)
            mean = -2.68 * fundamental - 1.28 - 0.15 + rng.uniform(_CLOUDS, _SCULPTOR)
        mean += 0.2 * rng.standard_normal()
    typical, ratios, phases = _OVERTONE if overtone else _at(_POPULATION_II, period) if old else hertzsprung(period)
    amplitude = float(np.clip(typical * np.exp(0.2 * rng.standard_normal()), 0.15, 1.3))
    ratios = ratios * np.exp(0.1 * rng.standard_normal(3))
    phases = phases + np.array([0.08, 0.15, 0.25]) * rng.standard_normal(3)
    star = Pulsation(
        magnitudes=mean + _cepheid_colours(period) + 0.03 * rng.standard_normal(),
        amplitudes=amplitude * _CEPHEID_AMPLITUDES,
        modes=(Mode(period, rng.random(), _fourier(ratios, phases)),),
    )
    return _observed(rng, sight_line, star)


def _cepheid_colours(period: float) -> FloatArray:
    """(6,), magnitudes less the one in r: an F supergiant, the slower the redder."""
    slow = np.log10(period)
    g, i = 0.30 + 0.22 * slow, -0.08 - 0.08 * slow
    return np.array([g + 1.15 + 0.3 * slow, g, 0.0, i, 1.4 * i, 1.55 * i])

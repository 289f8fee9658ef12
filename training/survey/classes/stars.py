"""Stars at rest: the main sequence, and how far out in the halo a star is."""

from dataclasses import dataclass

import numpy as np

from models.arrays import FloatArray
from training.survey.photometry import flux_of

# Rounded, after Pecaut & Mamajek (2013): mass, radius [Sun], temperature [K], A0 to M6; M_r by their M_V; the colours
# u-g, g-r, r-i, i-z, z-y after the stellar locus of Covey et al. (2007), for M dwarfs West et al. (2011).
_MAIN_SEQUENCE = np.array(
    [
        (0.10, 0.15, 2860, 15.5, 2.80, 1.60, 2.05, 1.12, 0.60),
        (0.23, 0.27, 3210, 12.0, 2.65, 1.50, 1.45, 0.78, 0.40),
        (0.44, 0.45, 3560, 9.70, 2.55, 1.44, 0.95, 0.52, 0.25),
        (0.57, 0.59, 3850, 8.30, 2.50, 1.35, 0.66, 0.37, 0.18),
        (0.70, 0.70, 4440, 6.80, 2.20, 1.08, 0.42, 0.21, 0.10),
        (0.88, 0.81, 5270, 5.50, 1.65, 0.65, 0.23, 0.09, 0.04),
        (0.98, 0.98, 5660, 4.70, 1.33, 0.50, 0.16, 0.05, 0.02),
        (1.08, 1.10, 5930, 4.28, 1.17, 0.43, 0.13, 0.03, 0.01),
        (1.33, 1.45, 6550, 3.29, 1.00, 0.29, 0.08, 0.00, 0.00),
        (1.61, 1.73, 7220, 2.47, 1.08, 0.14, 0.01, -0.03, -0.02),
        (1.88, 1.79, 8080, 1.95, 1.15, -0.04, -0.08, -0.08, -0.04),
        (2.30, 2.10, 9700, 1.20, 1.05, -0.24, -0.17, -0.13, -0.05),
    ]
)
LEAST_MASS, MOST_MASS = float(_MAIN_SEQUENCE[0, 0]), float(_MAIN_SEQUENCE[-1, 0])

# Colours to magnitudes: u - r, g - r, 0, i - r, z - r, y - r.
_FROM_R = np.array(
    [(1, 1, 0, 0, 0), (0, 1, 0, 0, 0), (0, 0, 0, 0, 0), (0, 0, -1, 0, 0), (0, 0, -1, -1, 0), (0, 0, -1, -1, -1)]
)

_LOG_MASS = np.linspace(np.log(LEAST_MASS), np.log(MOST_MASS), 1001)
_FINE = np.stack([np.interp(_LOG_MASS, np.log(_MAIN_SEQUENCE[:, 0]), column) for column in _MAIN_SEQUENCE.T], axis=1)
_COLOURS = _FINE[:, 4:] @ _FROM_R.T

_COUNTS = 0.15
"""Slope of the logarithm of star counts, between r of 16 and 23 at high latitudes."""


@dataclass(frozen=True)
class Dwarf:
    """A star of the main sequence."""

    radius: float
    """[Sun]"""
    temperature: float
    """[K]"""
    absolute_r: float
    colours: FloatArray
    """(6,), magnitudes less the one in r."""

    @property
    def surface(self) -> FloatArray:
        """What each square of the Sun's radius sends by band (6,): FLUXCAL at ten parsecs."""
        return np.asarray(flux_of(self.absolute_r + self.colours) / self.radius**2)


def main_sequence(mass: float) -> Dwarf:
    """The dwarf of this mass [Sun], from LEAST_MASS to MOST_MASS; lighter and heavier ones are those."""
    place = (np.log(mass) - _LOG_MASS[0]) / (_LOG_MASS[1] - _LOG_MASS[0])
    row = min(max(round(float(place)), 0), len(_LOG_MASS) - 1)
    _, radius, temperature, absolute_r = _FINE[row, :4].tolist()
    return Dwarf(radius=radius, temperature=temperature, absolute_r=absolute_r, colours=_COLOURS[row])


def counted_magnitude(rng: np.random.Generator, brightest: float, faintest: float) -> float:
    """Of a star away from the plane: their number grows tenfold in 7 magnitudes (Bahcall & Soneira 1980)."""
    least, most = 10 ** (_COUNTS * brightest), 10 ** (_COUNTS * faintest)
    return float(np.log10(rng.uniform(least, most)) / _COUNTS)


def halo_modulus(rng: np.random.Generator, nearest_kpc: float, farthest_kpc: float) -> float:
    """Apparent less absolute magnitude of a star of the halo between two distances.

    The halo thins out with the distance to the power -3.5, while the cone it is seen in grows with the square.
    """
    distance = rng.uniform(farthest_kpc**-0.5, nearest_kpc**-0.5) ** -2
    return float(5 * np.log10(100 * distance))

"""Extinction by dust: the law of Fitzpatrick (1999) for R_V = 3.1.

Between its anchors it is drawn straight, not as a spline: up to five per cent higher in z and y. The thesis has that of
O'Donnell (1994), up to eight per cent higher still (i).
"""

import numpy as np
from numpy.typing import NDArray

from models.arrays import FloatArray
from models.inputs.photometry import WAVELENGTHS

R_V = 3.1

# Anchors of the law's optical and infrared part: A_lambda / E(B-V) at 1 / wavelength [1/micron].
_OPTICAL = {
    0.0: 0.0,
    1e4 / 26_500: 0.265,
    1e4 / 12_200: 0.829,
    1e4 / 6_000: 2.688,
    1e4 / 5_470: 3.055,
    1e4 / 4_670: 3.806,
    1e4 / 4_110: 4.315,
    1e4 / 2_700: 6.265,
    1e4 / 2_600: 6.591,
}


def _ultraviolet(x: FloatArray) -> FloatArray:
    """A_lambda / E(B-V) for 1 / wavelength [1/micron] beyond 3.8."""
    slope = -0.824 + 4.717 / R_V
    bump = x**2 / ((x**2 - 4.596**2) ** 2 + (0.99 * x) ** 2)
    rise = np.maximum(x - 5.9, 0)
    far = 0.5392 * rise**2 + 0.05644 * rise**3
    return np.asarray(R_V + 2.030 - 3.007 * slope + slope * x + 3.23 * bump + 0.41 * far)


_X = np.concatenate([list(_OPTICAL), np.arange(3.9, 11.0, 0.1)])
_LAW = np.concatenate([list(_OPTICAL.values()), _ultraviolet(np.arange(3.9, 11.0, 0.1))])


def extinction_coefficient(wavelength: FloatArray) -> FloatArray:
    """A_lambda / E(B-V) at wavelengths [Angstrom] above 910; multiply by A_V / R_V for a host's dust."""
    return np.asarray(np.interp(1e4 / wavelength, _X, _LAW))


MILKY_WAY = extinction_coefficient(WAVELENGTHS)
"""(6,), A / E(B-V) by band."""


def transmission(mwebv: NDArray[np.floating]) -> FloatArray:
    """What dust of the Milky Way of these E(B-V) [mag] (N,) lets through, by band (N, 6). NaN is no dust."""
    reddening = np.nan_to_num(np.asarray(mwebv, dtype=np.float64), nan=0.0)
    return np.asarray(10 ** (-0.4 * reddening[:, None] * MILKY_WAY))

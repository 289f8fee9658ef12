"""Spectra simple enough to evaluate at every visit: what a source sends at the effective wavelength of each band.

Bands are taken at one wavelength each. Lines narrower than a band are beyond this; what a band sees of them, fitted to
real spectra, is in the laws of the classes.
"""

import numpy as np

from models.arrays import FloatArray
from models.inputs import photometry

WAVELENGTHS = photometry.WAVELENGTHS

V_BAND = 5450.0
"""Where absolute magnitudes of supernovae are anchored [Angstrom]."""

_SECOND_RADIATION = 1.43878e8  # h c / k [Angstrom K]
_LYMAN_ALPHA = 1215.7


def planck(wavelength: FloatArray, temperature: FloatArray) -> FloatArray:
    """AB magnitudes, up to a constant, of a black body [K]."""
    x = np.minimum(_SECOND_RADIATION / (wavelength * temperature), 200.0)
    return np.asarray(7.5 * np.log10(wavelength) + 2.5 * np.log10(np.expm1(x)))


def photosphere(wavelength: FloatArray, temperature: FloatArray, blanketing: FloatArray, edge: float) -> FloatArray:
    """AB magnitudes, less the one at V_BAND, of a supernova: a black body whose blue side iron lines cover.

    Bluewards of ``edge`` [Angstrom], ``blanketing`` magnitudes are lost for each e-fold of wavelength.
    """
    continuum = planck(wavelength, temperature) - planck(np.array(V_BAND), temperature)
    return continuum + blanketing * np.maximum(np.log(edge / wavelength), 0)


def feature(wavelength: FloatArray, centre: float, width: float) -> FloatArray:
    """A line as a band sees it: one at ``centre`` [Angstrom], a Gaussian of ``width`` in the logarithm around it."""
    return np.asarray(np.exp(-0.5 * (np.log(wavelength / centre) / width) ** 2))


def power_law(wavelength: FloatArray, index: float, anchor: float) -> FloatArray:
    """AB magnitudes, less the one at ``anchor`` [Angstrom], of a flux that goes with frequency to the ``index``."""
    return np.asarray(2.5 * index * np.log10(wavelength / anchor))


def intergalactic(z: float) -> FloatArray:
    """Magnitudes (6,) that hydrogen on the way takes from each band bluewards of Lyman alpha (Madau 1995)."""
    depth = 0.0036 * (WAVELENGTHS / _LYMAN_ALPHA) ** 3.46
    return np.where((1 + z) * _LYMAN_ALPHA > WAVELENGTHS, 1.086 * depth, 0.0)

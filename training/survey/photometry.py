"""What the camera makes of a flux: its error, whether it is detected, and when an object counts as found. FLUXCAL."""

import numpy as np
from numpy.typing import NDArray

from models.arrays import FloatArray
from models.inputs.photometry import FLUXCAL_ZERO_POINT

DETECTION_SNR = 4.8
"""Signal-to-noise at which half are detected; with the width, as many are faint as of the real ELAsTiCC alerts."""
DETECTION_WIDTH = 0.6
LEAST_SNR = 2.2
"""Fainter than this nothing is detected: the logistic's last 1.3 %, which would be noise years from an event."""

TRIGGER_DAYS = 30 / 1440
"""Two detections further apart than this make an object: a moving one is gone by then."""

_DIFFERENCING = np.array([0.45, 0.46, 0.40, 0.44, 0.35, 0.16])
"""(6,), magnitudes of depth that a difference image loses to a single exposure.

With it the medians of the errors are within 4 % (i: 7 %) of those of the real ELAsTiCC alerts.
"""

# simulator.md, "Observing": effective noise area, photon noise of the object and what lies beneath, calibration.
_SKY = 1.06 * 0.04
_PHOTONS = 0.001
_CALIBRATION = 0.005


def flux_of(magnitude: FloatArray) -> FloatArray:
    """AB magnitudes -> FLUXCAL."""
    return np.asarray(10 ** (-0.4 * (magnitude - FLUXCAL_ZERO_POINT)))


def magnitude_of(flux: FloatArray) -> FloatArray:
    """FLUXCAL above zero -> AB magnitudes."""
    return np.asarray(FLUXCAL_ZERO_POINT - 2.5 * np.log10(flux))


def depths(m5: FloatArray, band: NDArray[np.int8]) -> FloatArray:
    """Magnitudes (V,) at five times the noise of a difference image's sky, from those ``m5`` (V,) of the exposure's."""
    return np.asarray(m5 - _DIFFERENCING[band])


def limits(m5: FloatArray, band: NDArray[np.int8]) -> FloatArray:
    """The same as fluxes (V,)."""
    return flux_of(depths(m5, band))


def sky_noise(limit: FloatArray) -> FloatArray:
    """Errors (V,) of a flux of zero on a dark place, by the limits (V,) of the visits."""
    return np.asarray(np.sqrt(_SKY) * limit)


def flux_errors(flux: FloatArray, limit: FloatArray, static: FloatArray) -> FloatArray:
    """Errors (V,) of difference fluxes where ``static`` (V,) lies beneath: a host, or the star at rest."""
    photons = _PHOTONS * limit * (np.maximum(flux, 0) + static)
    return np.asarray(np.sqrt(_SKY * limit**2 + photons + (_CALIBRATION * flux) ** 2))


def detection_probability(snr: FloatArray) -> FloatArray:
    """Chance of detection by signal-to-noise, whether brighter or fainter than the template."""
    size = np.minimum(np.abs(snr), 50.0)
    chance = 1 / (1 + np.exp((DETECTION_SNR - size) / DETECTION_WIDTH))
    return np.where(size < LEAST_SNR, 0.0, chance)


def triggers(detection_mjd: FloatArray, *, once: bool = False) -> bool:
    """Whether detections at these times, in order, make an object of the survey; any one does if ``once``."""
    if once:
        return len(detection_mjd) > 0
    return len(detection_mjd) > 1 and bool(detection_mjd[-1] - detection_mjd[0] > TRIGGER_DAYS)

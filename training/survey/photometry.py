"""What the camera makes of a flux: its error, whether it is detected, and when an object counts as found. FLUXCAL."""

import numpy as np
from numpy.typing import NDArray

from models.inputs import photometry

FloatArray = NDArray[np.float64]

ZERO_POINT = photometry.ZERO_POINT

DETECTION_SNR = 5.0
"""Signal-to-noise at which half are detected."""
DETECTION_WIDTH = 0.45
LEAST_SNR = 2.5
"""Fainter than this nothing is detected: the logistic's last 0.4 %, which would be noise years from an event."""

TRIGGER_DAYS = 30 / 1440
"""Two detections further apart than this make an object: a moving one is gone by then."""

_DIFFERENCING = np.array([0.65, 0.70, 0.58, 0.50, 0.40, 0.20])
"""(6,), magnitudes of depth that a difference image loses to a single exposure.

Without this loss the medians of the errors are 1.8 to 1.2 times (u to y) too small against the real ELAsTiCC alerts,
and supernovae are found at half again their redshift.
"""

# simulator.md, "Observing": effective noise area, photon noise of the object and what lies beneath, calibration.
_SKY = 1.06 * 0.04
_PHOTONS = 0.001
_CALIBRATION = 0.005


def flux_of(magnitude: FloatArray) -> FloatArray:
    """AB magnitudes -> FLUXCAL."""
    return np.asarray(10 ** (-0.4 * (magnitude - ZERO_POINT)))


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

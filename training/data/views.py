"""What an object looked like at some moment: the epochs to cut light curves at, for training and for evaluation."""

import numpy as np

from models.arrays import FloatArray, IntArray
from models.inputs import ragged
from models.inputs.light_curve import LightCurves

MTA_DAYS = (8.0, 128.0, 2048.0)
"""Mask temporal augmentation (thesis 4.3.5): the days after the first alert that a light curve may be cut at."""


def epoch_of_detection(curves: LightCurves, number: IntArray) -> FloatArray:
    """Epoch (N,) [mjd] of each row's ``number``-th detection, counted from 1; the last one for a row that has fewer."""
    offsets = ragged.keep(curves.offsets, curves.detected)
    counts = np.diff(offsets)
    if (counts == 0).any():
        raise ValueError("an object without any detection was never an alert")
    return curves.mjd[curves.detected][offsets[:-1] + np.minimum(number, counts) - 1]


def days_after_first_alert(curves: LightCurves, days: FloatArray) -> FloatArray:
    """Epoch (N,) [mjd] this long after the first alert, but never after the last detection (thesis 4.2)."""
    return np.minimum(curves.first_alert_mjd + days, curves.last_detection_mjd())


def random_alert(curves: LightCurves, rng: np.random.Generator) -> FloatArray:
    """Epoch (N,) [mjd] of one detection each, its number log-uniform: half of the draws from the first few."""
    counts = curves.detections
    number = np.floor((counts + 1.0) ** rng.random(len(counts))).astype(np.int64)
    return epoch_of_detection(curves, np.maximum(number, 1))


def random_mta(curves: LightCurves, rng: np.random.Generator) -> tuple[FloatArray, IntArray]:
    """Epoch (N,) [mjd] of mask temporal augmentation, and which of MTA_DAYS (N,) it is."""
    day = rng.integers(len(MTA_DAYS), size=len(curves))
    return days_after_first_alert(curves, np.array(MTA_DAYS)[day]), day


def random_window(curves: LightCurves, rng: np.random.Generator, days: float) -> FloatArray:
    """Epoch (N,) [mjd] at which a window of this length ends: anywhere, or the last detection if all fits in one."""
    last = curves.last_detection_mjd()
    earliest = np.minimum(curves.first_detection_mjd() + days, last)
    return earliest + (last - earliest) * rng.random(len(curves))

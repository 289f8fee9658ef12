"""The dust of the Milky Way along a sight line."""

import numpy as np

# What the real ELAsTiCC alerts of 8,317 objects say of it, by galactic latitude [deg]: the median, and the scatter of
# its logarithm; thin and even at the poles, patchy where the disc's clouds reach up.
_LATITUDE = np.array([2.0, 7.0, 12.5, 17.5, 22.5, 27.5, 35.0, 45.0, 55.0, 67.0, 82.0])
_MEDIAN = np.array([0.6, 0.3, 0.14, 0.115, 0.065, 0.053, 0.043, 0.029, 0.0175, 0.0134, 0.0134])
_SCATTER = np.array([0.7, 0.65, 0.53, 0.53, 0.5, 0.45, 0.7, 0.7, 0.5, 0.36, 0.27])
_MOST = 2.0


def milky_way_reddening(rng: np.random.Generator, latitude: float) -> float:
    """E(B-V) [mag] on a sight line at a galactic ``latitude`` [deg]."""
    median, scatter = (float(np.interp(abs(latitude), _LATITUDE, law)) for law in (_MEDIAN, _SCATTER))
    return min(median * float(np.exp(scatter * rng.standard_normal())), _MOST)

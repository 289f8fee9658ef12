"""Bands and flux units, the same for every survey once inside ``models``."""

import numpy as np

BANDS = ("u", "g", "r", "i", "z", "y")
"""LSST's filters in the order of every band axis; a band's code is its place here."""

FLUXCAL_ZERO_POINT = 27.5
"""AB zero point of SNANA's FLUXCAL, the unit of every flux inside ``models`` and of the data layout."""

FLUX_LIMIT = 1e12
"""No flux and no error is larger [FLUXCAL]: a source of magnitude -2.5 saturates every survey."""

FLUX_ERR_FLOOR = 1e-6
"""No error is smaller [FLUXCAL]: magnitude 42.5. No signal-to-noise is then above 1e18: float32 holds its square."""

FLUX_SCALE = 10.0
"""Where asinh turns from linear to logarithmic [FLUXCAL]: about the noise of one wide-survey visit."""

FLUXCAL_PER_NJY = 10 ** (0.4 * (FLUXCAL_ZERO_POINT - 31.4))
"""SNANA's FLUXCAL has AB zero point 27.5, nanojansky has 31.4: 1 nJy = 0.02754 FLUXCAL."""

WAVELENGTHS = np.array([3671.0, 4827.0, 6223.0, 7546.0, 8691.0, 9712.0])
"""(6,), effective wavelengths of u g r i z y [Angstrom] (Rubin's throughputs, version 1.9)."""

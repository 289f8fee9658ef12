"""Fluxes as they were observed, where a data set has them corrected for the dust of the Milky Way."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.inputs import ragged
from models.inputs.extinction import transmission
from models.inputs.light_curve import LightCurves


def reddened(curves: LightCurves, mwebv: NDArray[np.floating]) -> LightCurves:
    """The light curves (N,) behind dust of these E(B-V) [mag] (N,), as alerts have them; NaN is none."""
    share = transmission(mwebv)[ragged.row_of_each(curves.offsets), curves.band]
    return replace(
        curves,
        flux=(curves.flux * share).astype(np.float32),
        flux_err=(curves.flux_err * share).astype(np.float32),
    )

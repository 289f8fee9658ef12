"""Stars that vary for ever: difference fluxes against a template that is the mean of a few epochs."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.arrays import FloatArray
from training.survey.cadence import SightLine
from training.survey.classes.source import Source

TEMPLATE_EPOCHS = 6
"""Visits by band that the template is the mean of."""
TEMPLATE_DAYS = 700.0
"""How long before the survey the first of them may be."""

_BANDS = np.repeat(np.arange(6, dtype=np.int8)[:, None], TEMPLATE_EPOCHS, axis=1)


class Star(Protocol):
    """Anything that shines at any time."""

    def flux(self, mjd: FloatArray, band: NDArray[np.int8]) -> FloatArray:
        """FLUXCAL at each visit, both of one shape (V,)."""
        ...


def against_template(
    rng: np.random.Generator,
    sight_line: SightLine,
    star: Star,
    combine: Callable[..., FloatArray] = np.mean,
) -> Source:
    """The star as difference fluxes against TEMPLATE_EPOCHS visits of the years before the survey, by band.

    ``combine`` makes one of them along an ``axis``: their mean, or what leaves out the odd one.
    """
    epochs = sight_line.mjd[0] - rng.uniform(30, TEMPLATE_DAYS, _BANDS.size)
    epochs_flux = star.flux(epochs, _BANDS.ravel()).reshape(_BANDS.shape)
    template = combine(epochs_flux, axis=1)
    flux = star.flux(sight_line.mjd, sight_line.band) - template[sight_line.band]
    return Source(visits=sight_line, flux=flux, steady=template)

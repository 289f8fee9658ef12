"""Distances of a flat universe of matter and a cosmological constant."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from models.arrays import FloatArray

REDSHIFTS = np.linspace(0.0, 4.0, 4001)
"""Where distances are tabulated."""


@dataclass(frozen=True)
class FlatUniverse:
    """Its expansion today [km/s/Mpc], and the share of matter in it."""

    hubble: float
    omega_m: float

    @property
    def hubble_mpc(self) -> float:
        """The Hubble distance [Mpc]."""
        return 299_792.458 / self.hubble

    @cached_property
    def inverse_e(self) -> FloatArray:
        """1 / E(z) = H0 / H(z) at REDSHIFTS."""
        return np.asarray(1 / np.sqrt(self.omega_m * (1 + REDSHIFTS) ** 3 + 1 - self.omega_m))

    @cached_property
    def comoving(self) -> FloatArray:
        """Comoving distances of REDSHIFTS [Mpc]."""
        steps = (self.inverse_e[1:] + self.inverse_e[:-1]) / 2 * np.diff(REDSHIFTS)
        return np.asarray(self.hubble_mpc * np.concatenate([[0.0], np.cumsum(steps)]))

    def distance_modulus(self, z: ArrayLike) -> FloatArray:
        """Apparent less absolute magnitude at redshifts above zero and up to 4, but for the spectrum's own shift."""
        redshift = np.asarray(z)
        comoving = np.interp(redshift, REDSHIFTS, self.comoving)
        return np.asarray(5 * np.log10((1 + redshift) * comoving) + 25)


WMAP5 = FlatUniverse(hubble=70.2, omega_m=0.277)
"""Komatsu et al. (2009), which scales the fluxes of the features (thesis 4.4.1)."""

"""Nuclei of galaxies that feed a black hole."""

import numpy as np

from models.arrays import FloatArray
from training.survey import hosts, spectra
from training.survey.cadence import SightLine
from training.survey.classes.source import Source
from training.survey.cosmology import Redshifts, distance_modulus
from training.survey.photometry import flux_of

_REDSHIFTS = Redshifts(np.ones_like, z_min=0.05, z_max=3.2)

# Croom et al. (2009): the break of the luminosity function, M_g at z = 2, brightens with redshift; slopes either side.
_BREAK, _BRIGHTENING, _DIMMING = -22.17, 1.46, -0.328
_STEEP, _FLAT = -3.33, -1.41
_FROM_BREAK = np.linspace(-4.0, 3.0, 351)
_DENSITY = 1 / (10 ** (0.4 * (_STEEP + 1) * _FROM_BREAK) + 10 ** (0.4 * (_FLAT + 1) * _FROM_BREAK))
_CUMULATIVE = np.cumsum(_DENSITY) / _DENSITY.sum()

_SPECTRAL_INDEX = -0.5
_TEMPLATE_EPOCHS = 6
_TEMPLATE_DAYS = 400.0


def damped_walk(rng: np.random.Generator, days: FloatArray, tau: float) -> FloatArray:
    """A damped random walk (T,) of unit variance at ``days`` in order, drawn exactly: Doob's stretched Brownian motion.

    ``tau``, its memory [d], must be more than 1/300 of the whole.
    """
    stretched = np.exp(2 * (days - days[0]) / tau)
    steps = np.sqrt(np.diff(stretched, prepend=0.0)) * rng.standard_normal(len(days))
    return np.asarray(np.cumsum(steps) / np.sqrt(stretched))


def agn(rng: np.random.Generator, sight_line: SightLine) -> Source:
    """AGN: luminosities of Croom et al. (2009), a damped random walk as in MacLeod et al. (2010)."""
    z = _REDSHIFTS.draw(rng)
    evolved = _BREAK - 2.5 * (_BRIGHTENING * z + _DIMMING * z**2)
    absolute_g = evolved + float(np.interp(rng.random(), _CUMULATIVE, _FROM_BREAK))
    means = _magnitudes(absolute_g, z)
    tau, sigma = _variability(rng, absolute_g, z)

    epochs = np.sort(sight_line.mjd[0] - rng.uniform(30, _TEMPLATE_DAYS, _TEMPLATE_EPOCHS))
    walk = damped_walk(rng, np.concatenate([epochs, sight_line.mjd]), tau)
    old, new = walk[:_TEMPLATE_EPOCHS], walk[_TEMPLATE_EPOCHS:]
    template = flux_of(means[:, None] + sigma[:, None] * old).mean(axis=1)
    band = sight_line.band
    flux = flux_of(means[band] + sigma[band] * new) - template[band]
    return Source(visits=sight_line, flux=flux, steady=template, redshift=z, host=hosts.ACTIVE)


def _magnitudes(absolute_g: float, z: float) -> FloatArray:
    """Apparent magnitudes (6,) of a power law without its host."""
    # M_g stands for the wavelength that the g band sees at z = 2.
    k_correction = -2.5 * (1 + _SPECTRAL_INDEX) * np.log10((1 + z) / 3)
    apparent_g = absolute_g + distance_modulus(z) + k_correction
    colours = spectra.power_law(spectra.WAVELENGTHS, _SPECTRAL_INDEX, float(spectra.WAVELENGTHS[1]))
    hydrogen = spectra.intergalactic(z)
    return np.asarray(apparent_g + colours + hydrogen)


def _variability(rng: np.random.Generator, absolute_g: float, z: float) -> tuple[float, FloatArray]:
    """Memory as seen here [d] and standard deviations (6,) [mag]: the fits of MacLeod et al. (2010)."""
    absolute_i = absolute_g + 0.35  # M_i at z = 0
    log_mass = 2.0 - 0.27 * absolute_i + (0.58 + 0.011 * absolute_i) * rng.standard_normal() - 9
    at_home = np.log10(spectra.WAVELENGTHS / (1 + z) / 4000)
    brightness = absolute_i + 23
    structure = -0.51 - 0.479 * at_home + 0.131 * brightness + 0.18 * log_mass + 0.1 * rng.standard_normal()
    log_tau = 2.4 + 0.17 * at_home[2] + 0.03 * brightness + 0.21 * log_mass + 0.2 * rng.standard_normal()
    tau = float(np.clip(10**log_tau, 10, 5000)) * (1 + z)
    return tau, np.minimum(10**structure, 1.5) / np.sqrt(2)

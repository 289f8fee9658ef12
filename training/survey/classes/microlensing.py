"""A star in front of another one magnifies it."""

import numpy as np
from numpy.typing import NDArray

from models.arrays import FloatArray
from training.survey.cadence import SightLine
from training.survey.classes.source import LEAD_DAYS, Source
from training.survey.classes.stars import counted_magnitude, main_sequence
from training.survey.photometry import flux_of

_BINARY = 0.28
_REACH = 5.0
"""Einstein radii from where on the lens is looked at; there it magnifies by a third of a per cent."""
_NEAR = 2.5
"""Within so many of them (and as many as the lenses are apart) two lenses are not one."""
_SOLVED = 1e-5
"""Images, unlike the polynomial's other roots, fulfil the lens equation so well."""

_BRIGHTEST_R, _FAINTEST_R = 16.0, 23.0
_RED_CLUMP = np.array([2.6, 0.80, 0.0, -0.24, -0.36, -0.42])
"""Colours (6,) of a giant: magnitudes less the one in r."""
_GIANTS = 0.25


def one_lens(distance: FloatArray) -> FloatArray:
    """Magnification by distance from the lens [Einstein radii] (Paczynski 1986)."""
    square = distance**2
    return np.asarray((square + 2) / np.sqrt(square * (square + 4)))


def two_lenses(source: NDArray[np.complex128], *, separation: float, mass_ratio: float) -> FloatArray:
    """Magnifications (V,) of a point at ``source`` (V,) by two lenses.

    Lengths in Einstein radii of both together, from their centre of mass; the heavier lens lies on the negative real
    axis. Images are roots of the polynomial of Witt & Mao (1995).
    """
    light = mass_ratio / (1 + mass_ratio)
    # The polynomial's origin lies between the lenses, the lighter one at -z1, the heavier at z1.
    z1 = -separation / 2
    zeta = source + separation * (light - 0.5)
    m, dm = 0.5, light - 0.5  # half the sum and half the difference of the masses, the one at -z1 less the one at z1
    conjugate = zeta.conj()
    both = zeta * conjugate
    z2, z3, z4 = z1**2, z1**3, z1**4
    coefficients = np.stack(
        [
            z2 * (4 * dm**2 * zeta + 4 * m * dm * z1 + 4 * dm * both * z1 + 2 * m * conjugate * z2)
            + z2 * (both * conjugate * z2 - 2 * dm * z3 - zeta * z4),
            -8 * m * dm * zeta * z1
            - 4 * (dm**2 + m**2 + m * both) * z2
            - 4 * dm * conjugate * z3
            - conjugate**2 * z4
            + z4 * z2,
            4 * m**2 * zeta
            + 4 * m * dm * z1
            - 4 * dm * both * z1
            - 2 * both * conjugate * z2
            + 4 * dm * z3
            + 2 * zeta * z4,
            4 * m * both + 4 * dm * conjugate * z1 + 2 * conjugate**2 * z2 - 2 * z4,
            -2 * m * conjugate + both * conjugate - 2 * dm * z1 - zeta * z2,
            z2 - conjugate**2,
        ],
        axis=1,
    )
    images = _roots(coefficients)
    back = images.conj()
    to_heavy, to_light = back - z1, back + z1
    missed = np.abs(images - (1 - light) / to_heavy - light / to_light - zeta[:, None])
    shear = (1 - light) / to_heavy**2 + light / to_light**2
    magnified = 1 / np.abs(1 - np.abs(shear) ** 2)
    return np.asarray(np.where(missed < _SOLVED, magnified, 0.0).sum(axis=1))


def _roots(coefficients: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """All roots (V, 5) of polynomials (V, 6), the constant first: eigenvalues of companion matrices."""
    companion = np.zeros((len(coefficients), 5, 5), dtype=np.complex128)
    companion[:, np.arange(1, 5), np.arange(4)] = 1
    companion[:, :, 4] = -coefficients[:, :5] / coefficients[:, 5:]
    return np.asarray(np.linalg.eigvals(companion))


def microlens(rng: np.random.Generator, sight_line: SightLine) -> Source:
    """uLens: a star, or two of them, cross the line of sight to a dwarf or a giant.

    Times as of OGLE's events (Mroz et al. 2019): ln tE = ln 24 +- .75 days; 28 % binary lenses; u0 is even up to 1.
    The ratio of the two masses is even in its logarithm, and so is their distance (Opik's law). Another star's light
    may lie in the same point: a difference image does not show it, but its noise does. Sources are points.
    """
    crossing = float(np.clip(24 * np.exp(0.75 * rng.standard_normal()), 1.0, 300.0))
    nearest, centre = rng.random(), rng.uniform(sight_line.mjd[0], sight_line.mjd[-1])
    visits = sight_line.between(centre - _REACH * crossing - LEAD_DAYS, centre + _REACH * crossing)
    along = (visits.mjd - centre) / crossing
    distance = np.hypot(along, nearest)
    magnification = one_lens(distance)
    if rng.random() < _BINARY:
        separation, mass_ratio = float(np.exp(rng.uniform(*np.log((0.3, 3.0))))), 10 ** rng.uniform(-1.5, 0)
        near = distance < _NEAR + separation
        path = np.exp(1j * rng.uniform(0, 2 * np.pi)) * (along + 1j * nearest)[near]
        magnification[near] = two_lenses(path, separation=separation, mass_ratio=mass_ratio)
    colours = _RED_CLUMP if rng.random() < _GIANTS else main_sequence(rng.uniform(0.5, 1.4)).colours
    light = flux_of(counted_magnitude(rng, _BRIGHTEST_R, _FAINTEST_R) + colours)
    lensed = 1.0 if rng.random() < 0.5 else rng.uniform(0.1, 1.0)
    beside = light[2] * 10 ** (-0.4 * main_sequence(rng.uniform(0.5, 1.4)).colours)
    steady = lensed * light + (1 - lensed) * beside
    flux = np.where(along < -_REACH, 0.0, (magnification - 1) * (lensed * light)[visits.band])
    return Source(visits=visits, flux=flux, steady=steady)

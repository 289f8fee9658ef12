"""Host galaxies: their light beneath an object, and what a catalogue tells of them, the 64 metadata columns.

Sizes, separations, magnitudes with their errors, and how often there is a spectrum, a second host or none follow the
13,747 real ELAsTiCC alerts of supernovae.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from models.arrays import FloatArray
from models.inputs.metadata import COLUMNS
from training.survey.cosmology import distance_modulus
from training.survey.photometry import flux_of, magnitude_of
from training.survey.spectra import WAVELENGTHS


@dataclass(frozen=True)
class Kind:
    """The galaxies that a class lives in."""

    magnitude: float
    """Mean absolute magnitude in the r band today."""
    scatter: float
    """Its standard deviation."""
    quiescent: float = 0.0
    """Share of those that form no more stars: their colours are an elliptical's."""
    blue: float = 0.8
    """Of the others' colours: 0 for an elliptical's, 1 for those of a spiral of late type, beyond for a starburst's."""
    nuclear: bool = False
    """Whether the object sits in the nucleus."""
    remoteness: float = 1.0
    """How much further out than a supernova's the object lies."""


ANY = Kind(magnitude=-19.6, scatter=1.5, quiescent=0.3)
STAR_FORMING = Kind(magnitude=-19.2, scatter=1.5, quiescent=0.04)
METAL_RICH = Kind(magnitude=-20.0, scatter=1.2, quiescent=0.03, blue=0.75)
"""Large spirals, as of most Ib and Ic (Kelly & Kirshner 2012)."""
LATE = Kind(magnitude=-19.5, scatter=1.2, quiescent=0.03, blue=0.9)
"""Spirals of late type, as of Iax (Foley et al. 2013; Lyman et al. 2018)."""
LARGE = Kind(magnitude=-20.3, scatter=1.0, quiescent=0.02)
"""Spirals that make many stars, as M 31, M 99 and M 101, of red novae and their like (Cai et al. 2022)."""
SMALL = Kind(magnitude=-18.8, scatter=1.5, quiescent=0.02, blue=0.9)
"""Small and young, as of IIb (Arcavi et al. 2010; Schulze et al. 2021)."""
ACTIVE = Kind(magnitude=-20.8, scatter=1.0, quiescent=0.5, blue=0.8, nuclear=True)
EARLY = Kind(magnitude=-20.8, scatter=1.0, quiescent=0.8, blue=0.5, remoteness=1.3)
"""Old and massive, as of 91bg (Gonzalez-Gaitan et al. 2011; Barkhudaryan et al. 2019)."""
OUTSKIRTS = Kind(magnitude=-20.5, scatter=1.1, quiescent=0.65, remoteness=3.0)
"""Early types, the object far out in the halo, as of calcium-rich transients (Kasliwal 2012; Lunnan et al. 2017)."""
MERGERS = Kind(magnitude=-20.2, scatter=1.2, quiescent=0.35, remoteness=1.7)
"""Of any type, the binary kicked out, as of short gamma-ray bursts (Fong et al. 2022)."""
DWARF = Kind(magnitude=-17.8, scatter=1.3, blue=1.2, remoteness=0.8)
"""Starbursts poor in metals, as of superluminous supernovae (Lunnan et al. 2014; Perley et al. 2016)."""
QUIET_NUCLEUS = Kind(magnitude=-19.6, scatter=1.0, quiescent=0.25, blue=0.5, nuclear=True)
"""Green and of a small black hole, as of tidal disruptions (van Velzen et al. 2021)."""


@dataclass(frozen=True)
class Galaxy:
    """One galaxy as it is."""

    redshift: float
    magnitudes: FloatArray
    """(6,), AB, whole galaxy."""
    square_radius: float
    """Square of the radius [arcsec^2]."""
    ellipticity: float
    separation: float
    """From the object [arcsec]."""

    @property
    def beneath(self) -> FloatArray:
        """Its light (6,) under a point source at the object's place [FLUXCAL]."""
        central = np.exp(-(self.separation**2) / max(self.square_radius, 0.1))
        return np.asarray(flux_of(self.magnitudes) * central / (1 + self.square_radius))

    def with_nucleus(self, light: FloatArray) -> "Galaxy":
        """The same, with a nucleus of its own that always shines (6,) [FLUXCAL]: no catalogue tells the two apart."""
        return replace(self, magnitudes=magnitude_of(flux_of(self.magnitudes) + light))


# Rest-frame AB magnitudes less the one at 6200 Angstrom, roughly the E and Scd spectra of Coleman, Wu & Weedman (1980).
_REST = np.array([1500.0, 2300, 3000, 3600, 4200, 4800, 6200, 7500, 8700, 10_500])
_ELLIPTICAL = np.array([6.5, 5.2, 3.7, 2.5, 1.55, 0.8, 0.0, -0.35, -0.6, -0.85])
_SPIRAL = np.array([2.3, 2.1, 1.75, 1.35, 0.65, 0.4, 0.0, -0.15, -0.25, -0.35])

_BLUEST = 1.35
"""A starburst: a third of the way again from an elliptical to a spiral, and all but flat in the ultraviolet."""
_EVOLUTION, _EVOLVES_TO = 1.3, 2.0
"""Magnitudes a redshift by which galaxies were brighter, their stars younger (Faber et al. 2007), and until when."""

_CENTRING = 0.045
"""How well a galaxy and an object of ten times the noise are centred, each way [arcsec]."""
_HOSTLESS = 0.015
_SECOND_HOST = 0.12
_SAME_GROUP = 0.3
_CATALOGUE_LIMIT = 28.5
"""A galaxy with a fainter r magnitude is in no catalogue."""


def draw(rng: np.random.Generator, redshift: float, kind: Kind) -> Galaxy:
    """The galaxy around an object of a class that lives in ``kind``."""
    magnitudes = _magnitudes(rng, redshift, kind)
    r = float(np.clip(magnitudes[2], 14, 27))
    size = 10 ** (1.025 - 0.115 * (r - 21.5) + 0.25 * rng.standard_normal())
    away = kind.remoteness * 10 ** (-0.36 - 0.13 * (r - 21.5) + 0.45 * rng.standard_normal())
    centring = _CENTRING * np.hypot(*rng.standard_normal(2))
    return Galaxy(
        redshift=redshift,
        magnitudes=magnitudes,
        square_radius=float(size),
        ellipticity=float(rng.beta(1.1, 2.4)),
        separation=float(centring if kind.nuclear else np.hypot(away, centring)),
    )


def neighbour(rng: np.random.Generator, host: Galaxy) -> Galaxy | None:
    """The second host that the catalogue offers, if it does: of the same group, or by chance on the same line."""
    if rng.random() > _SECOND_HOST:
        return None
    redshift = host.redshift if rng.random() < _SAME_GROUP else min(rng.gamma(2.5, 0.25) + 0.02, 3.0)
    found = draw(rng, redshift, ANY)
    separation = 3.5 * np.exp(0.45 * rng.standard_normal())
    return replace(found, separation=separation)


def _magnitudes(rng: np.random.Generator, redshift: float, kind: Kind) -> FloatArray:
    sequence, width = (0.0, 0.12) if rng.random() < kind.quiescent else (kind.blue, 0.22)
    blue = np.clip(sequence + width * rng.standard_normal(), 0, _BLUEST)
    rest = np.log(WAVELENGTHS / (1 + redshift))
    colours = np.interp(rest, np.log(_REST), blue * _SPIRAL + (1 - blue) * _ELLIPTICAL)
    absolute = kind.magnitude + kind.scatter * rng.standard_normal() - _EVOLUTION * min(redshift, _EVOLVES_TO)
    wiggle = 0.05 * rng.standard_normal(len(WAVELENGTHS))
    faintness = distance_modulus(redshift) - 2.5 * np.log10(1 + redshift)
    return np.asarray(absolute + colours + wiggle + faintness)


# --- what the catalogue says -----------------------------------------------------------------------------------


def metadata(
    rng: np.random.Generator, *, reddening: float, host: Galaxy | None, dust: FloatArray
) -> NDArray[np.float32]:
    """The metadata row (64,) in the order of COLUMNS, NaN where missing.

    ``host`` is None for a galactic object, and ``dust`` (6,) what the Milky Way takes from every band. z_final is the
    host's spectroscopic redshift where there is one, else its photometric one: never what was drawn.
    """
    values: dict[str, float] = {"mwebv": reddening, "mwebv_err": 0.05 * reddening}
    if host is not None and rng.random() > _HOSTLESS:
        first = _catalogued(rng, host, dust)
        second = neighbour(rng, host)
        values |= {f"hostgal_{name}": value for name, value in first.items()}
        if second is not None:
            values |= {f"hostgal2_{name}": value for name, value in _catalogued(rng, second, dust).items()}
        best = "zspec" if "zspec" in first else "zphot"
        if best in first:
            values |= {"z_final": first[best], "z_final_err": first[f"{best}_err"]}
    return np.array([values.get(name, np.nan) for name in COLUMNS], dtype=np.float32)


_DEPTH = np.array([24.3, 26.2, 26.5, 25.9, 25.1, 24.2])
"""(6,), magnitudes at which the catalogue's error is 0.2, but for a floor."""
_FLOOR = 0.0157
_SHALLOW = 3.15
"""Errors of some galaxies are larger by this factor: more often of faint ones, by r magnitude."""
_SHALLOW_R = np.array([18.5, 19.5, 20.5, 21.5, 22.5, 23.5])
_SHALLOW_SHARE = np.array([0.1, 0.11, 0.16, 0.27, 0.33, 0.37])
_FAINTEST_ERROR = 0.6
"""Magnitudes of a galaxy that is not seen in a band are forced: no further off than this."""
_QUANTILE_NAMES = tuple(f"zphot_q{percent:03d}" for percent in range(0, 101, 10))

# What the photometric redshifts of the real alerts' hosts are, by r magnitude and true redshift: the scatter of those
# that are about right (by 1 + z), a bias and how wide the scatter is by redshift, the share that is all wrong, and the
# redshift that a galaxy of this magnitude usually has: the wrong ones are drawn about that (as in Benitez 2000).
# Real are true redshifts to 1.1; further out the Balmer break leaves the y band, and Lyman's enters u.
_PHOTO_Z_R = np.array([17.0, 18.5, 19.5, 20.5, 21.5, 22.5, 23.5, 24.5, 25.5, 26.5])
_CORE = np.array([0.038, 0.042, 0.048, 0.058, 0.075, 0.085, 0.1, 0.12, 0.15, 0.18])
_ASTRAY = np.array([0.01, 0.01, 0.015, 0.03, 0.07, 0.14, 0.24, 0.42, 0.6, 0.7])
_USUAL = np.array([0.12, 0.2, 0.35, 0.5, 0.65, 0.75, 0.9, 1.1, 1.4, 1.6])
_PHOTO_Z_AT = np.array([0.05, 0.1, 0.25, 0.35, 0.45, 0.55, 0.7, 1.2, 1.6, 2.3, 2.8])
_BIAS = np.array([0.0, 0.01, -0.03, -0.03, 0.0, 0.02, 0.01, 0.0, 0.0, 0.0, 0.0])
_WIDENED = np.array([0.7, 0.75, 1.0, 1.15, 1.0, 0.8, 0.6, 0.5, 1.0, 1.0, 0.6])
_FARTHEST = 2.95
_QUOTED_ERROR_SCATTER = 0.0135
"""ELAsTiCC quotes as the error of a photometric redshift the redshift itself, give or take this."""

# What the quantiles claim, by the photometric redshift alone, bright or faint, right or wrong: the width (by 1 + z) and
# the scatter of its logarithm, how much wider it is below than above, and how often the low end is not a far tail.
_QUOTED_AT = np.array([0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.7, 0.95, 1.5])
_QUOTED_WIDTH = np.array([0.037, 0.054, 0.075, 0.096, 0.085, 0.085, 0.043, 0.024, 0.026])
_QUOTED_SCATTER = np.array([0.7, 0.31, 0.45, 0.41, 0.46, 0.53, 0.64, 0.8, 0.85])
_QUOTED_SKEWNESS = np.array([0.47, 0.77, 0.68, 0.75, 1.23, 1.87, 1.15, 1.03, 0.98])
_NO_LOW_TAIL = np.array([0.0, 0.0, 0.0, 0.0, 0.05, 0.15, 0.3, 0.6, 0.75])
_SECOND_PEAK = 0.06
"""Share of distributions that do not exclude the far end."""
_NORMAL = np.concatenate([[-2.2], ndtri(np.arange(0.1, 0.91, 0.1)), [2.2]])
"""(11,), where the quantiles lie in a standard Gaussian, but for the ends."""


def _catalogued(rng: np.random.Generator, galaxy: Galaxy, dust: FloatArray) -> Mapping[str, float]:
    """A galaxy's columns, less their prefix; none for one too faint to be in the catalogue."""
    magnitudes = galaxy.magnitudes + dust
    if magnitudes[2] > _CATALOGUE_LIMIT:
        return {}
    shallow = rng.random() < np.interp(magnitudes[2], _SHALLOW_R, _SHALLOW_SHARE)
    quality = (_SHALLOW if shallow else 1.0) * np.exp(0.012 * rng.standard_normal())
    wobble = np.exp(0.15 * rng.standard_normal(len(WAVELENGTHS)))
    errors = quality * np.hypot(_FLOOR, 0.2 * wobble * 10 ** (0.4 * (magnitudes - _DEPTH)))
    errors = np.minimum(errors, 9.0)
    seen = magnitudes + np.minimum(errors, _FAINTEST_ERROR) * rng.standard_normal(len(errors))
    columns = dict(zip((f"mag_{band}" for band in "ugrizY"), seen.tolist(), strict=True))
    columns |= dict(zip((f"magerr_{band}" for band in "ugrizY"), errors.tolist(), strict=True))
    columns |= {
        "ellipticity": galaxy.ellipticity,
        "sqradius": galaxy.square_radius,
        "snsep": galaxy.separation,
        **_photo_z(rng, galaxy.redshift, float(magnitudes[2])),
    }
    if rng.random() < np.interp(magnitudes[2], [17, 19, 22, 25], [0.2, 0.09, 0.06, 0.04]):
        columns |= {"zspec": galaxy.redshift + 0.0015 * rng.standard_normal(), "zspec_err": 0.001}
    return columns


def _photo_z(rng: np.random.Generator, redshift: float, r: float) -> Mapping[str, float]:
    """A photometric redshift, its error and its quantiles: right to a few per cent, or all wrong, more so if faint."""
    core, astray, usual = (float(np.interp(r, _PHOTO_Z_R, law)) for law in (_CORE, _ASTRAY, _USUAL))
    bias, widened = (float(np.interp(redshift, _PHOTO_Z_AT, law)) for law in (_BIAS, _WIDENED))
    if rng.random() < astray:
        centre = rng.gamma(3.0, usual / 2.7)
    else:
        centre = redshift + (bias + widened * core * rng.standard_normal()) * (1 + redshift)
    centre = min(max(abs(centre), 0.01), _FARTHEST)
    error = max(centre + _QUOTED_ERROR_SCATTER * rng.standard_normal(), 0.01)
    quantiles = _quantiles(rng, centre)
    return {"zphot": centre, "zphot_err": float(error), **dict(zip(_QUANTILE_NAMES, quantiles.tolist(), strict=True))}


def _quantiles(rng: np.random.Generator, centre: float) -> FloatArray:
    """What the catalogue claims of a photometric redshift (11,): in order, the sixth at ``centre``."""
    width, scatter, skewness, no_tail = (
        float(np.interp(centre, _QUOTED_AT, law))
        for law in (_QUOTED_WIDTH, _QUOTED_SCATTER, _QUOTED_SKEWNESS, _NO_LOW_TAIL)
    )
    width *= (1 + centre) * np.exp(scatter * rng.standard_normal())
    lopsided = np.sqrt(skewness) * np.exp(0.3 * rng.standard_normal())
    # No redshift is below zero: a wide distribution leans on it.
    below, above = min(width * lopsided, 0.65 * centre), min(width / lopsided, 0.4)
    quantiles = np.minimum(centre + np.where(_NORMAL < 0, below, above) * _NORMAL, _FARTHEST)
    # The ends of the distribution are further out than a Gaussian's, the far one at nearly the same place for most.
    if rng.random() > no_tail:
        quantiles[0] = 0.34 * quantiles[1] * np.exp(0.35 * rng.standard_normal())
    quantiles[0] = min(max(quantiles[0], 0.002), quantiles[1])
    end = rng.uniform(2.5, 2.95) if rng.random() < _SECOND_PEAK else 0.83 * np.exp(0.16 * rng.standard_normal())
    quantiles[-1] = max(quantiles[-2] + 0.02, end)
    return np.asarray(quantiles)

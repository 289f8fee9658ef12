"""White dwarfs that explode in another way than type Ia: faint and red ones, and ones that do not quite succeed."""

import numpy as np

from models.inputs.extinction import R_V
from training.survey import engines, hosts
from training.survey.cadence import SightLine
from training.survey.classes.source import Source, clipped_normal, log_normal
from training.survey.classes.thermonuclear import reddening
from training.survey.classes.transient import Episode, Law, Population, shown, within_reach
from training.survey.cosmology import Redshifts, star_formation
from training.survey.engines import Fireball, Line

# Fitted to 82 light curves of 91bg in the PLAsTiCC training set, whose template is that of Nugent et al. (2002): days
# from maximum, V magnitude, temperature [K], blanketing, what titanium takes about 4200 Angstrom, and the dip about
# 8600 Angstrom; there is no second maximum. Median residual .05 mag from 3800 to 8800 Angstrom.
_LAW_91BG = np.array(
    [
        (-18.0, -10.0, 5100, 0.9, 0.0, 0.3),
        (-15.0, -13.5, 5100, 0.9, 0.0, 0.3),
        (-11.0, -16.13, 5500, 1.7, 0.05, 0.38),
        (-8.0, -17.52, 5900, 2.6, 0.19, 0.43),
        (-4.0, -18.16, 5700, 3.6, 0.35, 0.56),
        (0.0, -18.31, 5140, 4.5, 0.46, 0.75),
        (4.0, -18.12, 4540, 4.9, 0.54, 0.80),
        (8.0, -17.69, 4040, 4.7, 0.67, 0.72),
        (12.0, -17.35, 4100, 4.3, 0.62, 0.63),
        (16.0, -17.05, 4020, 3.9, 0.57, 0.54),
        (20.0, -16.75, 4150, 3.4, 0.63, 0.45),
        (25.0, -16.37, 4200, 2.9, 0.78, 0.26),
        (32.0, -16.08, 4890, 2.4, 0.82, 0.06),
        (42.0, -15.71, 5500, 2.0, 0.92, -0.03),
        (60.0, -15.26, 6150, 1.7, 1.02, -0.19),
        (90.0, -14.46, 7000, 1.4, 0.85, -0.58),
        (300.0, -9.0, 7000, 1.4, 0.85, -0.58),
    ]
).T
_PHASE, _V, _TEMPERATURE, _BLANKETING, _TITANIUM, _CALCIUM = _LAW_91BG
_BLANKETED_BELOW = 3950.0

# Of the same light curves: the law's colour, and how much fainter in B the redder ones are.
_COLOUR_OF_LAW = 0.5
_BRIGHTNESS_OF_COLOUR = 2.7
# As PLAsTiCC and ELAsTiCC draw them; what colour and magnitude have to do with each other is from the fit.
_STRETCH, _STRETCH_SCATTER = 0.975, 0.096
_COLOUR, _COLOUR_SCATTER = 0.557, 0.175
_STRETCH_AND_COLOUR = -0.656
_PEAK = -18.31 + (_BRIGHTNESS_OF_COLOUR - 1) * (_COLOUR - _COLOUR_OF_LAW)
_PEAK_SCATTER = 0.36
_PEAK_AND_COLOUR = 0.85

_91BG = Population(
    Redshifts(lambda z: (1 + z) ** 1.5, z_min=0.01, z_max=0.6),
    Episode(begin=-18.0, end=200.0),
    headroom=-0.2,
    gone=20.0,
    fade=20.0,
)


def law_91bg(*, stretch: float, colour: float, peak: float) -> Law:
    """A 91bg, by days from maximum, of absolute V magnitude ``peak``."""
    lines = (Line(4200.0, 0.07, _TITANIUM), Line(8600.0, 0.12, _CALCIUM))
    fireball = Fireball(stretch * _PHASE, _V, _TEMPERATURE, _BLANKETING, _BLANKETED_BELOW, lines).at_peak(peak)
    redder = colour - _COLOUR_OF_LAW
    return lambda days, wavelength: fireball.magnitude(days, wavelength) + redder * (1 + reddening(wavelength))


def type_91bg(rng: np.random.Generator, sight_line: SightLine) -> Source:
    """SN Ia of the kind of 1991bg: stretch and colour as ELAsTiCC draws them, the redder the fainter and the faster."""
    event = within_reach(rng, sight_line, _91BG, lambda n: _PEAK + _PEAK_SCATTER * rng.standard_normal(n))
    colour = _given((event.peak - _PEAK) / _PEAK_SCATTER, _PEAK_AND_COLOUR, rng)
    stretch = _given(colour, _STRETCH_AND_COLOUR, rng)
    law = law_91bg(
        stretch=max(_STRETCH + _STRETCH_SCATTER * stretch, 0.6),
        colour=_COLOUR + _COLOUR_SCATTER * colour,
        peak=event.peak,
    )
    return shown(sight_line, event, law=law, episode=_91BG.episode, host=hosts.EARLY)


def _given(known: float, correlation: float, rng: np.random.Generator) -> float:
    """A standard Gaussian draw that goes with another one."""
    return correlation * known + float(np.sqrt(1 - correlation**2)) * rng.standard_normal()


_END_IAX = 300.0
_IRON_BELOW = 4800.0
_A_V_IAX = 1.7
_IAX = Population(
    Redshifts(star_formation, z_min=0.005, z_max=0.6),
    Episode(begin=0.0, end=_END_IAX),
    reddening=_A_V_IAX / R_V,
    gone=30.0,
    fade=25.0,
)


def law_iax(rng: np.random.Generator, *, peak: float) -> Fireball:
    """A deflagration: nickel within slow ejecta, iron lines over a black body, by days since explosion."""
    age = engines.ages(_END_IAX)
    bright = (-14.0 - peak) / 4.6
    light = engines.diffused(
        age,
        engines.nickel(age),
        diffusion=clipped_normal(rng, 8.2 + 2.3 * bright, 0.8, 6.0, 11.5),
        trapping=log_normal(rng, 40.0, 0.3),
    )
    light *= engines.luminosity(peak) / light.max()
    velocity = clipped_normal(rng, 2700 + 2800 * bright, 500, 2000, 7000)
    kelvin = engines.temperature(age, light, velocity=velocity, coolest=clipped_normal(rng, 5400, 400, 4400, 6500))
    # Hot at first (B - V of 0 to .3 at maximum, as SN 2002cx, 2005hk, 2008ha and 2012Z); iron covers the blue later.
    growing = np.interp(age / age[light.argmax()], [0.5, 1.0, 1.5, 2.2], [0.1, 0.3, 0.8, 1.15])
    blanketing = clipped_normal(rng, 4.5, 0.9, 2.0, 8.0) * growing
    # What nickel and cobalt take of the near ultraviolet all along: about what PLAsTiCC's lack in u.
    ultraviolet = (Line(3050.0, 0.1, np.full(len(age), clipped_normal(rng, 0.9, 0.2, 0.3, 1.5))),)
    return Fireball(age, engines.visual(light, kelvin), kelvin, blanketing, _IRON_BELOW, ultraviolet).at_peak(peak)


def type_iax(rng: np.random.Generator, sight_line: SightLine) -> Source:
    """SN Iax: magnitudes, rises and velocities as in Jha (2017), the fainter the slower; dust as ELAsTiCC draws.

    Magnitudes from -18.6 to -14, the bright ones the more common: so they are found as far away as PLAsTiCC's. In V
    they rise in 11 to 19 days, of which the published ones of 9 to 15 are the quicker part.
    """
    event = within_reach(rng, sight_line, _IAX, lambda n: rng.triangular(-18.6, -18.6, -14.0, n))
    return shown(sight_line, event, law=law_iax(rng, peak=event.peak).magnitude, episode=_IAX.episode, host=hosts.LATE)

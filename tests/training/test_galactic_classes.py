"""The simulated survey's stars: what varies, when, by how much and in which colour."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.arrays import FloatArray
from training.survey import cadence, photometry, survey
from training.survey.cadence import SightLine
from training.survey.classes import (
    CLASSES,
    cataclysmic,
    eclipsing,
    flares,
    microlensing,
    pulsating,
    stars,
)
from training.survey.classes.eclipsing import Pair
from training.survey.classes.source import Source

U, G, R, I = range(4)  # noqa: E741
FLARE = 2233
GALACTIC = (2233, 2234, 2235, 2322, 2324, 2325)


def _line(band: int, *, days: float, step: float) -> SightLine:
    """A sight line that is looked at all the time, in one band."""
    mjd = np.arange(60_000.0, 60_000.0 + days, step)
    return SightLine(0.0, -30.0, -60.0, mjd, np.full(len(mjd), band, dtype=np.int8), np.full(len(mjd), 24.0))


def _in_two_bands(line: SightLine, other: int) -> SightLine:
    """Each visit twice, the second time in another band."""
    bands = np.stack([line.band, np.full_like(line.band, other)], axis=1).ravel()
    return SightLine(0.0, -30.0, -60.0, np.repeat(line.mjd, 2), bands, np.repeat(line.m5, 2))


def _magnitudes(source: Source, band: int) -> FloatArray:
    """Of all the light, not the difference only."""
    light = source.flux + source.steady[source.visits.band]
    return photometry.magnitude_of(light[source.visits.band == band])


def _seen(class_id: int, tries: int) -> list[survey.Found]:
    rng = np.random.default_rng(class_id)
    drawn = [survey.observe(rng, class_id, cadence.load().draw(rng)) for _ in range(tries)]
    return [one for one in drawn if one is not None]


# --- all -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("class_id", GALACTIC)
def test_the_same_generator_draws_the_same_star(class_id: int) -> None:
    line = cadence.load().wide[3]
    one, two, other = (CLASSES[class_id].physics(np.random.default_rng(seed), line) for seed in (7, 7, 8))
    np.testing.assert_array_equal(one.flux, two.flux)
    np.testing.assert_array_equal(one.steady, two.steady)
    assert not np.array_equal(one.steady, other.steady)


@pytest.mark.parametrize("class_id", GALACTIC)
def test_stars_are_found_often_and_have_neither_host_nor_redshift(class_id: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        source = CLASSES[class_id].physics(rng, cadence.load().draw(rng))
        assert source.redshift is None
        assert source.host is None
        assert len(source.flux) == len(source.visits.mjd)
        assert np.isfinite(source.flux).all()
        assert (source.steady > 0).all()
        # No difference takes more than the star.
        assert (source.flux + source.steady[source.visits.band] > 0).all()
    assert len(_seen(class_id, 200)) > 50


def test_the_main_sequence_is_a_sequence_and_the_sun_lies_on_it() -> None:
    masses = np.linspace(stars.LEAST_MASS, stars.MOST_MASS, 50)
    dwarfs = [stars.main_sequence(mass) for mass in masses]
    assert (np.diff([dwarf.temperature for dwarf in dwarfs]) > 0).all()
    assert (np.diff([dwarf.absolute_r for dwarf in dwarfs]) < 0).all()
    assert (np.diff([dwarf.surface for dwarf in dwarfs], axis=0) > 0).all()
    sun = stars.main_sequence(1.0)
    assert sun.temperature == pytest.approx(5772, abs=100)
    assert sun.absolute_r == pytest.approx(4.65, abs=0.15)
    assert sun.colours[G] == pytest.approx(0.45, abs=0.05)


# --- pulsating -------------------------------------------------------------------------------------------------


def _turns(magnitudes: FloatArray) -> float:
    """How often a noiseless star passes its middle upwards."""
    middle = (magnitudes.max() + magnitudes.min()) / 2
    return float(np.sum((magnitudes[:-1] > middle) & (magnitudes[1:] <= middle)))


def test_delta_scuti_are_fast_and_the_strong_ones_rise_steeply() -> None:
    rng, line = np.random.default_rng(0), _line(G, days=3, step=0.0005)
    amplitudes, rises = [], []
    for _ in range(100):
        magnitudes = _magnitudes(pulsating.delta_scuti(rng, line), G)
        turns, rise = _turns(magnitudes), np.mean(np.diff(magnitudes) < 0)
        assert 0.015 < 3 / turns < 0.35
        amplitudes.append(np.ptp(magnitudes))
        rises.append(rise)
    strong = np.array(amplitudes) > 0.4
    assert 0.03 < min(amplitudes) < max(amplitudes) < 1.0
    assert np.mean(np.array(rises)[strong]) < 0.42
    assert np.mean(np.array(rises)[~strong]) < 0.5


def test_a_quarter_of_delta_scuti_beat() -> None:
    rng, line = np.random.default_rng(0), _line(G, days=3, step=0.0005)
    spreads = []
    for _ in range(200):
        magnitudes = _magnitudes(pulsating.delta_scuti(rng, line), G)
        middle = magnitudes[1:-1]
        maxima = middle[(middle < magnitudes[:-2]) & (middle < magnitudes[2:]) & (middle < magnitudes.mean())]
        spreads.append(np.ptp(maxima) / np.ptp(magnitudes))
    assert np.mean(np.array(spreads) > 0.05) == pytest.approx(0.25, abs=0.08)


def test_cepheids_have_their_periods_and_amplitudes() -> None:
    rng, line = np.random.default_rng(0), _line(R, days=400, step=0.05)
    periods = []
    for _ in range(100):
        magnitudes = _magnitudes(pulsating.cepheid(rng, line), R)
        assert 0.1 < np.ptp(magnitudes) < 1.2
        assert 15 < magnitudes.mean() < 23
        periods.append(400 / _turns(magnitudes))
    assert 0.9 < min(periods) < 2
    assert 30 < max(periods) < 90


def test_the_second_harmonic_of_cepheids_all_but_vanishes_at_ten_days_as_its_phase_runs_through() -> None:
    periods = np.array([3.0, 5.0, 7.0, 9.0, 10.5, 13.0, 20.0])
    ratios, phases = zip(*(pulsating.hertzsprung(period)[1:] for period in periods), strict=True)
    second, turned = np.array(ratios)[:, 0], np.array(phases)[:, 0]
    assert periods[np.argmin(second)] == 10.5
    assert second.min() < 0.1
    assert second[0] > 0.35
    assert (np.diff(turned[:6]) > 0).all()
    assert 2 * np.pi - 0.5 < turned[-1] - turned[0] < 2 * np.pi + 0.5


@pytest.mark.parametrize(
    ("star", "period"), [("220039", 4.0342), ("224428", 5.7297), ("241594", 8.2194), ("237469", 26.4449)]
)
def test_cepheids_have_the_shapes_of_real_ones(star: str, period: float, data: Path) -> None:
    with tarfile.open(data / "periodic" / "asas_richards2012" / "asas_training_set.tar.gz") as tar:
        member = tar.extractfile(f"asas_training_set/{star}.dat")
        assert member is not None
        mjd, magnitude, error = np.loadtxt(io.BytesIO(member.read()), delimiter=",").T
    turn = np.exp(2j * np.pi * mjd / period)
    waves = [np.ones(len(mjd)), *(part for order in range(1, 5) for part in ((turn**order).real, (turn**order).imag))]
    fitted, *_ = np.linalg.lstsq(np.stack(waves, axis=1) / error[:, None], magnitude / error, rcond=None)
    harmonics = fitted[1::2] - 1j * fitted[2::2]
    _, ratios, phases = pulsating.hertzsprung(period)
    against = np.exp(1j * np.angle(harmonics[1:3] / harmonics[0] ** np.array([2, 3])))
    np.testing.assert_allclose(np.abs(harmonics[1:3] / harmonics[0]), ratios[:2], atol=0.1)
    assert np.abs(np.angle(against * np.exp(-1j * phases[:2]))).max() < 0.6


@pytest.mark.parametrize("physics", [pulsating.delta_scuti, pulsating.cepheid])
def test_pulsators_vary_more_in_the_blue(physics: Callable[[np.random.Generator, SightLine], Source]) -> None:
    line = _in_two_bands(_line(G, days=60, step=0.02), I)
    for seed in range(20):
        source = physics(np.random.default_rng(seed), line)
        blue, red = (np.ptp(_magnitudes(source, band)) for band in (G, I))
        assert 1.3 < blue / red < 2.5


# --- eclipsing -------------------------------------------------------------------------------------------------


def _pair(radii: tuple[float, float] = (0.2, 0.1), **changes: object) -> Pair:
    light = np.array([[3.0] * 6, [1.0] * 6])
    values = {"period": 2.0, "phase": 0.0, "radii": radii, "light": light, "mass_ratio": 1e-6}
    return Pair(**{**values, "inclination": np.pi / 2, **changes})  # type: ignore[arg-type]


def _folded(pair: Pair, phases: FloatArray, band: int = R) -> FloatArray:
    return pair.flux(phases * pair.period, np.full(len(phases), band, dtype=np.int8))


def test_two_discs_overlap_as_darts_say() -> None:
    darts = np.random.default_rng(0).uniform(-1, 1, (400_000, 2))
    for apart, one, other in ((0.5, 0.6, 0.4), (0.2, 0.6, 0.3), (0.7, 0.5, 0.5), (0.1, 0.3, 0.35), (1.0, 0.4, 0.5)):
        within = (np.hypot(*darts.T) < one) & (np.hypot(darts[:, 0] - apart, darts[:, 1]) < other)
        assert eclipsing.overlap(np.array(apart), np.array(one), np.array(other)) == pytest.approx(
            4 * within.mean(), abs=0.008
        )


def test_a_star_is_hidden_whole_at_one_conjunction_and_crosses_the_other_one_at_the_second() -> None:
    plain = _pair(mass_ratio=0.5)
    # The small star hides a quarter of the large one's disc, and more of its light.
    outside, transit, total = _folded(plain, np.array([0.13, 0.0, 0.5]))
    assert total == pytest.approx(3, rel=0.02)
    assert outside == pytest.approx(4, rel=0.02)
    assert 3 * 0.25 < outside - transit < 3 * 0.25 * 1.4


def test_limb_darkening_makes_transits_rounder_in_the_blue() -> None:
    pair = _pair(mass_ratio=0.5)
    centre, edge = np.array([0.0]), np.array([np.arcsin(0.17) / 2 / np.pi])
    for band, other in ((U, R), (R, I)):
        deeper = _folded(pair, edge, band) - _folded(pair, centre, band)
        assert deeper > _folded(pair, edge, other) - _folded(pair, centre, other)


def test_the_hotter_star_is_hidden_at_the_deeper_minimum_and_deeper_in_the_blue() -> None:
    radii = (0.2, 0.15)
    light = np.array(
        [stars.main_sequence(mass).surface * radius**2 for mass, radius in zip((1.6, 0.8), radii, strict=True)]
    )
    pair = _pair(radii, light=light, mass_ratio=0.5)
    (blue, first_blue, second_blue), (red, first_red, second_red) = (
        _folded(pair, np.array([0.15, 0.0, 0.5]), band) for band in (G, I)
    )
    assert first_blue < second_blue
    assert first_red < second_red
    assert first_blue / blue < first_red / red - 0.03
    assert second_blue / blue > second_red / red + 0.03


def test_a_third_of_the_pairs_vary_all_the_time_and_others_seldom() -> None:
    rng, line = np.random.default_rng(1), _line(R, days=60, step=0.01)
    at_rest = []
    for _ in range(200):
        magnitudes = _magnitudes(eclipsing.eclipsing_binary(rng, line), R)
        at_rest.append(np.mean(magnitudes < magnitudes.min() + 0.15 * np.ptp(magnitudes)))
    assert 0.25 < np.mean(np.array(at_rest) < 0.6) < 0.6
    assert np.mean(np.array(at_rest) > 0.7) > 0.25


def test_an_eccentric_orbit_moves_the_second_minimum() -> None:
    phases = np.linspace(0.05, 0.95, 9001)
    round_, long = (
        phases[np.argmin(_folded(_pair((0.05, 0.05), mass_ratio=1.0, eccentricity=e), phases))] for e in (0.0, 0.3)
    )
    assert round_ == pytest.approx(0.5, abs=0.002)
    # Periastron on the line of nodes: to the first order in e, half and 2 e / pi.
    assert long == pytest.approx(0.5 + 2 * 0.3 / np.pi, abs=0.02)
    assert _folded(_pair((0.05, 0.05), mass_ratio=1.0, eccentricity=0.3), np.array([0.0])) < 3.2


def test_tides_show_twice_an_orbit() -> None:
    pair = _pair((0.3, 0.2), mass_ratio=0.5, inclination=np.radians(50))
    at_rest = _folded(pair, np.array([0.0, 0.25, 0.5, 0.75]))
    assert at_rest[1] == pytest.approx(at_rest[3])
    assert at_rest[0] == pytest.approx(at_rest[2])
    assert 0.01 < 1 - at_rest[0] / at_rest[1] < 0.2


def test_lobes_are_eggletons() -> None:
    assert eclipsing.roche_lobe(1.0) == pytest.approx(0.379, abs=1e-3)
    assert eclipsing.roche_lobe(0.1) == pytest.approx(0.207, abs=1e-3)


# --- lenses ----------------------------------------------------------------------------------------------------


def test_one_lens_magnifies_by_paczynskis_law() -> None:
    assert microlensing.one_lens(np.array([1.0])) == pytest.approx(3 / np.sqrt(5))
    near, far = microlensing.one_lens(np.array([1e-3, 50.0]))
    assert near == pytest.approx(1e3, rel=1e-3)
    assert far == pytest.approx(1, abs=1e-6)


def test_two_lenses_together_or_one_of_no_mass_are_one() -> None:
    path = np.asarray(np.linspace(-2, 2, 41) + 0.3j, dtype=np.complex128)
    alone = microlensing.one_lens(np.abs(path))
    np.testing.assert_allclose(microlensing.two_lenses(path, separation=0.01, mass_ratio=0.5), alone, rtol=1e-3)
    np.testing.assert_allclose(microlensing.two_lenses(path, separation=1.3, mass_ratio=1e-7), alone, rtol=1e-3)
    far = microlensing.two_lenses(np.array([30 + 5j]), separation=1.0, mass_ratio=0.3)
    assert far == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("separation", "mass_ratio"), [(0.6, 0.5), (1.0, 0.1), (2.2, 1.0)])
def test_two_lenses_magnify_as_rays_shot_backwards_say(separation: float, mass_ratio: float) -> None:
    light = mass_ratio / (1 + mass_ratio)
    heavy_at, light_at = -separation * light, separation * (1 - light)
    side = np.arange(-4, 4, 0.004)
    for centre in (0.1 + 0.05j, -0.3 + 0.2j, 0.5 - 0.4j, 1.1 + 0.1j):
        radius, rays = 0.06, 0
        for imaginary in side:
            image = side + 1j * imaginary
            back = image.conj()
            hit = image - (1 - light) / (back - heavy_at) - light / (back - light_at)
            rays += int(np.sum(np.abs(hit - centre) < radius))
        magnified = rays * 0.004**2 / (np.pi * radius**2)
        # The mean over the same disc, of points spread evenly.
        order = np.arange(4000) + 0.5
        disc = np.asarray(centre + radius * np.sqrt(order / 4000) * np.exp(2.399963j * order), dtype=np.complex128)
        points = microlensing.two_lenses(disc, separation=separation, mass_ratio=mass_ratio)
        assert points.mean() == pytest.approx(magnified, rel=0.05)


def test_within_a_caustic_there_are_five_images_and_at_least_threefold_light() -> None:
    inside = microlensing.two_lenses(np.array([0.0j, 0.02 + 0.02j]), separation=1.0, mass_ratio=1.0)
    assert (inside > 3).all()


def test_lensed_stars_brighten_alike_in_all_bands_and_are_at_rest_long_before() -> None:
    line = _in_two_bands(_line(G, days=1500, step=0.5), I)
    for seed in range(60):
        source = microlensing.microlens(np.random.default_rng(seed), line)
        blue, red = (source.flux[source.visits.band == band] for band in (G, I))
        lit = blue > 0
        colour = red[lit] / blue[lit]
        np.testing.assert_allclose(colour, colour[0], rtol=1e-9)
        assert (source.flux >= -0.35 * source.steady[source.visits.band]).all()
        if source.visits.mjd[0] > line.mjd[0]:
            assert not source.flux[source.visits.mjd < source.visits.mjd[0] + 40].any()


def test_lensing_lasts_weeks_and_magnifies_by_at_least_a_third() -> None:
    rng, line = np.random.default_rng(0), _line(R, days=3000, step=0.5)
    widths, peaks = [], []
    for _ in range(300):
        source = microlensing.microlens(rng, line)
        peaks.append(source.flux.max() / source.steady[R])
        widths.append(0.5 * np.sum(source.flux > source.flux.max() / 2))
    assert 8 < np.median(widths) < 40
    assert np.median(peaks) > 0.34


# --- dwarf novae -----------------------------------------------------------------------------------------------


def _outbursts(brighter: FloatArray, mjd: FloatArray) -> list[tuple[float, float]]:
    """Days in which each outburst brightens and fades between a magnitude above rest and its maximum."""
    ups = np.flatnonzero((brighter[:-1] < 1) & (brighter[1:] >= 1)) + 1
    downs = np.flatnonzero((brighter[:-1] >= 1) & (brighter[1:] < 1))
    pairs = [(up, downs[downs > up][0]) for up in ups if (downs > up).any()]
    tops = [up + int(np.argmax(brighter[up : down + 1])) for up, down in pairs]
    return [(mjd[top] - mjd[up], mjd[down] - mjd[top]) for (up, down), top in zip(pairs, tops, strict=True)]


def test_dwarf_novae_burst_again_and_again_rise_fast_and_fade_slowly() -> None:
    rng, line = np.random.default_rng(0), _line(R, days=1100, step=0.1)
    amplitudes, recurrences, rises, lengths = [], [], [], []
    for _ in range(80):
        magnitudes = _magnitudes(cataclysmic.dwarf_nova(rng, line), R)
        brighter = magnitudes.max() - magnitudes
        each = _outbursts(brighter, line.mjd)
        amplitudes.append(brighter.max())
        recurrences.append(1100 / max(len(each), 1))
        rises += [up / down for up, down in each if down > 0]
        lengths += [up + down for up, down in each]
    assert 1.5 < np.percentile(amplitudes, 3) < max(amplitudes) < 8.5
    assert 40 < np.median(recurrences) < 160
    assert np.median(rises) < 0.5
    assert 3 < np.percentile(lengths, 10) < np.median(lengths) < np.percentile(lengths, 90) < 25
    # Kukarkin & Parenago: the longer the wait, the larger.
    often = np.array(recurrences) < np.median(recurrences)
    assert np.mean(np.array(amplitudes)[~often]) > np.mean(np.array(amplitudes)[often]) + 0.5


def test_dwarf_novae_are_blue_in_outburst() -> None:
    line = _in_two_bands(_line(G, days=1000, step=0.5), I)
    for seed in range(30):
        source = cataclysmic.dwarf_nova(np.random.default_rng(seed), line)
        blue, red = (_magnitudes(source, band) for band in (G, I))
        top, rest = np.argmin(blue), np.argmax(blue)
        assert blue[top] - red[top] < 0.15
        assert blue[top] - red[top] < blue[rest] - red[rest]


# --- flares ----------------------------------------------------------------------------------------------------


def test_a_flare_is_half_as_bright_half_a_width_around_its_peak_and_fades_slowly() -> None:
    widths = np.linspace(-2, 12, 140_001)
    light = flares.shape(widths)
    bright = widths[light >= 0.5 * light.max()]
    assert light.max() == pytest.approx(1, abs=0.01)
    assert np.ptp(bright) == pytest.approx(1, abs=0.1)
    assert (light[widths < -1] == 0).all()
    assert light[widths > 0].sum() > 2 * light[widths < 0].sum()


def test_flares_are_blue_and_red_dwarfs_are_not() -> None:
    band_colours = flares.colours(10_000, 2.0)
    assert band_colours[U] == 1
    assert (np.diff(band_colours[1:]) < 0).all()
    source = flares.mdwarf_flare(np.random.default_rng(0), cadence.load().wide[0])
    magnitudes = photometry.magnitude_of(source.steady)
    assert magnitudes[U] - magnitudes[R] > 3.5
    assert (np.diff(magnitudes) < 0).all()


def test_flares_are_over_within_a_night_and_strong_ones_are_rare() -> None:
    rng, line = np.random.default_rng(0), _line(U, days=300, step=1 / 1440)
    minutes, peaks = [], []
    for _ in range(60):
        source = flares.mdwarf_flare(rng, line)
        if not source.flux.any():
            continue
        minutes.append(np.sum(source.flux > source.flux.max() / 2))
        peaks.append(source.flux.max() / source.steady[U])
        assert np.sum(source.flux > 0.01 * source.flux.max()) < 3 * 16 * 60
    assert 1 <= min(minutes) <= np.median(minutes) < 20
    assert max(minutes) < 150
    assert np.mean(np.array(peaks) > 100) < 0.2
    assert max(peaks) < 400
    assert len(peaks) > 30


def test_one_detection_makes_a_flare_an_object_and_most_have_no_more() -> None:
    detections = np.array([int(one.detected.sum()) for one in _seen(FLARE, 400)])
    # 20 of the 27 flares of ELAsTiCC2 have one, the others two.
    assert 0.5 < np.mean(detections == 1) < 0.85
    assert np.mean(detections <= 2) > 0.8
    assert photometry.triggers(np.array([60_000.0]), once=True)
    assert not photometry.triggers(np.array([60_000.0]))
    assert not photometry.triggers(np.array([]), once=True)

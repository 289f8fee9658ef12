"""Transients of other galaxies: each as bright, as fast, as red and as far from its host's centre as real ones."""

from collections.abc import Callable

import numpy as np
import pytest

from models.arrays import FloatArray
from training.survey import cosmology, engines, hosts, photometry, spectra, survey
from training.survey.cadence import SightLine
from training.survey.classes import (
    CLASSES,
    core_collapse,
    disruption,
    faint_transients,
    merger,
    peculiar_thermonuclear,
    stripped_envelope,
    superluminous,
    thermonuclear,
    transient,
)
from training.survey.classes.source import Physics, Source
from training.survey.population import TEST

EXTRAGALACTIC = {
    2221: stripped_envelope.type_iib,
    2222: thermonuclear.type_ia,
    2223: stripped_envelope.type_ibc,
    2224: core_collapse.type_ii,
    2225: peculiar_thermonuclear.type_iax,
    2226: peculiar_thermonuclear.type_91bg,
    2232: merger.kilonova,
    2242: superluminous.slsn,
    2243: disruption.tde,
    2244: faint_transients.ilot,
    2245: faint_transients.cart,
    2246: superluminous.pisn,
}
U, G, R, I, Z = range(5)  # noqa: E741  the bands' names
V, B = 5450.0, 4350.0


def _watched(*, m5: float = 30.0, step: float = 1.0) -> SightLine:
    """A sight line looked at in every band all the time, so deep that everything is in reach."""
    mjd = np.repeat(np.arange(60_000.0, 61_500.0, step), 6)
    return SightLine(0.0, -30.0, -60.0, mjd, np.tile(np.arange(6, dtype=np.int8), len(mjd) // 6), np.full(len(mjd), m5))


def _light_curve(source: Source, wavelength: float) -> tuple[FloatArray, FloatArray] | None:
    """Days at home and absolute magnitudes in the band that sees ``wavelength``, if one does, of a whole episode."""
    assert source.redshift is not None
    stretch = 1 + source.redshift
    off = np.abs(np.log(spectra.WAVELENGTHS / stretch / wavelength))
    seen = (source.visits.band == off.argmin()) & (source.flux > 0)
    if off.min() > 0.1 or not seen.any():
        return None
    days = source.visits.mjd[seen] / stretch
    peak = days[source.flux[seen].argmax()]
    if not days[0] < peak < days[-1]:
        return None
    dimming = cosmology.distance_modulus(source.redshift) - 2.5 * np.log10(stretch)
    return days - peak, photometry.magnitude_of(source.flux[seen]) - dimming


def _light_curves(physics: Physics, n: int = 400, wavelength: float = V) -> list[tuple[FloatArray, FloatArray]]:
    rng, line = np.random.default_rng(0), _watched(step=3.0)
    curves = (_light_curve(physics(rng, line), wavelength) for _ in range(n))
    return [curve for curve in curves if curve is not None]


def _at(law: transient.Law, days: float | list[float] | FloatArray, wavelength: float) -> FloatArray:
    times = np.atleast_1d(np.asarray(days, dtype=np.float64))
    return law(times, np.full(len(times), wavelength))


# --- all of them -----------------------------------------------------------------------------------------------


def test_every_class_is_simulated_and_found() -> None:
    assert {class_id: CLASSES[class_id].physics for class_id in EXTRAGALACTIC} == EXTRAGALACTIC
    (many,) = survey.simulate(3 * len(CLASSES), seed=2, population=TEST)
    assert set(many.objects.class_id.tolist()) == set(CLASSES)


@pytest.mark.parametrize("physics", EXTRAGALACTIC.values(), ids=lambda physics: str(physics.__name__))
def test_a_class_draws_the_same_source_from_the_same_seed(physics: Physics) -> None:
    line = _watched(m5=24.5, step=5.0)
    one, two = (physics(np.random.default_rng(7), line) for _ in range(2))
    np.testing.assert_array_equal(one.flux, two.flux)
    assert one.redshift == two.redshift
    assert np.isfinite(one.flux).all()
    assert (one.flux >= 0).all()
    assert (one.steady == 0).all()


@pytest.mark.parametrize(
    ("physics", "median", "scatter"),
    [
        (stripped_envelope.type_ibc, -17.0, (0.8, 1.5)),
        (stripped_envelope.type_iib, -17.3, (0.5, 1.3)),
        (peculiar_thermonuclear.type_91bg, -18.2, (0.2, 0.6)),
        (peculiar_thermonuclear.type_iax, -16.0, (0.9, 2.2)),
        (faint_transients.cart, -15.8, (0.4, 0.9)),
        (faint_transients.ilot, -12.1, (1.0, 1.9)),
        (disruption.tde, -18.2, (0.6, 1.2)),
        (superluminous.pisn, -19.9, (0.6, 1.4)),
        (superluminous.slsn, -21.3, (0.4, 1.1)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_peak_magnitudes_are_the_published_ones(physics: Physics, median: float, scatter: tuple[float, float]) -> None:
    peaks = np.array([magnitudes.min() for _, magnitudes in _light_curves(physics)])
    assert len(peaks) > 25
    assert np.median(peaks) == pytest.approx(median, abs=0.5)
    low, high = np.quantile(peaks, [0.16, 0.84])
    assert scatter[0] < (high - low) / 2 < scatter[1]


def test_the_slow_are_slow_and_the_fast_are_fast() -> None:
    def days_within_a_magnitude(physics: Physics) -> float:
        curves = _light_curves(physics, n=250)
        return float(np.median([np.ptp(days[magnitudes < magnitudes.min() + 1]) for days, magnitudes in curves]))

    order = [
        merger.kilonova,
        faint_transients.cart,
        stripped_envelope.type_ibc,
        core_collapse.type_ii,
        superluminous.pisn,
    ]
    widths = [days_within_a_magnitude(physics) for physics in order]
    assert widths == sorted(widths)
    assert widths[0] < 4
    assert 12 < widths[1] < 25
    assert 22 < widths[2] < 42
    assert widths[-1] > 120


def test_an_event_is_drawn_within_reach_of_its_sight_line() -> None:
    def peaks(m5: float) -> FloatArray:
        rng, line = np.random.default_rng(0), _watched(m5=m5, step=5.0)
        population = transient.Population(
            cosmology.Redshifts(np.ones_like, z_min=0.01, z_max=0.5), transient.Episode(begin=0.0, end=50.0)
        )
        events = [transient.within_reach(rng, line, population, lambda n: rng.uniform(-19, -14, n)) for _ in range(300)]
        modulus = np.array([cosmology.distance_modulus(event.redshift) for event in events])
        drawn = np.array([event.peak for event in events])
        assert (drawn + modulus < m5 + 0.5).all()
        return drawn

    # Deep enough, the luminosity function; else the bright ones, which are seen in a larger volume.
    assert np.median(peaks(32.0)) == pytest.approx(-16.5, abs=0.4)
    assert np.median(peaks(23.0)) < -17.8


def test_an_event_while_nobody_looks_is_not_drawn() -> None:
    line = _watched(step=5.0)
    seasons = line.between(60_000.0, 60_200.0)
    population = transient.Population(
        cosmology.Redshifts(np.ones_like, z_min=0.01, z_max=0.1),
        transient.Episode(begin=0.0, end=50.0),
        gone=10.0,
    )
    rng = np.random.default_rng(0)
    for _ in range(100):
        event = transient.within_reach(rng, seasons, population, lambda n: np.full(n, -17.0))
        shining = (seasons.mjd > event.zero) & (seasons.mjd < event.zero + 10.0 * (1 + event.redshift))
        assert shining.sum() > 1


# --- engines ---------------------------------------------------------------------------------------------------


def test_light_equals_heat_at_maximum_and_follows_it_later() -> None:
    age = engines.ages(150.0)
    heat = engines.nickel(age)
    light = engines.diffused(age, heat, diffusion=12.0)
    assert light.max() == pytest.approx(heat[light.argmax()], rel=0.03)  # Arnett's rule
    assert light[-1] == pytest.approx(heat[-1], rel=0.03)
    assert engines.diffused(age, heat, diffusion=12.0, trapping=40.0)[-1] < 0.2 * light[-1]
    broader = engines.diffused(age, heat, diffusion=25.0)
    assert age[broader.argmax()] > age[light.argmax()] + 5


def test_a_magnetar_loses_the_energy_it_was_born_with() -> None:
    age = np.linspace(0, 20_000, 2_000_001)
    lost = np.trapezoid(engines.magnetar(age, field=1.0, period=3.0), age) * engines.DAY
    assert lost == pytest.approx(2.6e52 / 9, rel=0.01)


def test_the_sun_as_a_black_body_is_of_fifth_magnitude() -> None:
    assert engines.visual(np.array([3.83e33]), np.array([5772.0])) == pytest.approx([4.8], abs=0.1)


# --- thermonuclear ---------------------------------------------------------------------------------------------


def _ia(days: FloatArray, wavelength: FloatArray) -> FloatArray:
    return thermonuclear.magnitude(days, wavelength, x1=0.0, colour=0.0)


def test_a_91bg_is_fast_and_red_with_a_titanium_trough_and_no_second_maximum() -> None:
    law = peculiar_thermonuclear.law_91bg(stretch=1.0, colour=0.557, peak=-18.2)
    faded = _at(law, [0.0, 15.0], B)
    assert faded[1] - faded[0] > 1.5  # Delta m15 of a normal one: 1.1
    assert _at(law, 0.0, B)[0] > _at(_ia, 0.0, B)[0] + 1.5
    trough = [(_at(each, 5.0, 4200.0) - _at(each, 5.0, 4800.0))[0] for each in (law, _ia)]
    assert trough[0] > trough[1] + 0.4
    days = np.arange(6.0, 40.0)
    assert (np.diff(_at(law, days, 8000.0)) > 0).all()
    assert not (np.diff(_at(_ia, days, 8000.0)) > 0).all()


def test_redder_91bgs_are_fainter_and_faster() -> None:
    rng, line = np.random.default_rng(0), _watched(step=3.0)
    colours, peaks = [], []
    for _ in range(300):
        source = peculiar_thermonuclear.type_91bg(rng, line)
        blue, visual = _light_curve(source, B), _light_curve(source, V)
        if blue is not None and visual is not None:
            peaks.append(blue[1].min())
            colours.append(blue[1].min() - visual[1].min())
    assert len(peaks) > 50
    assert np.corrcoef(colours, peaks)[0, 1] > 0.5


def test_an_iax_rises_in_9_to_20_days_the_faint_ones_faster_than_a_ia_fades() -> None:
    rng = np.random.default_rng(0)
    rises, faded = [], []
    for peak in np.linspace(-18.6, -14.0, 60):
        law = peculiar_thermonuclear.law_iax(rng, peak=float(peak))
        visual = _at(law.magnitude, np.arange(1.0, 80.0), V)
        rises.append(1.0 + visual.argmin())
        blue = _at(law.magnitude, np.arange(1.0, 80.0), B)
        faded.append(blue[blue.argmin() + 15] - blue.min())
    assert np.min(rises) >= 9
    assert np.max(rises) <= 20
    assert 1.1 < np.median(faded) < 2.2


# --- core collapse ---------------------------------------------------------------------------------------------


def test_a_stripped_supernova_reddens_after_maximum_and_blue_light_goes_first() -> None:
    rng = np.random.default_rng(0)
    colours, fades = [], []
    for _ in range(60):
        law = stripped_envelope.stripped(rng, peak=-17.3)
        peak = law.age[law.visual.argmin()]
        days = peak + np.array([0.0, 15.0])
        colours.append(_at(law.magnitude, days, B) - _at(law.magnitude, days, V))
        fades.append([np.diff(_at(law.magnitude, days, wavelength))[0] for wavelength in (B, V, 7600.0)])
    maximum, later = np.median(colours, axis=0)
    assert 0.1 < maximum < 0.7
    assert later > maximum + 0.3
    blue, visual, red = np.median(fades, axis=0)
    assert blue > visual > red
    assert 0.5 < visual < 1.0  # Taddia et al. (2018): Delta m15 of .75 in V


def test_a_cooling_envelope_is_a_blue_bump_of_a_few_days() -> None:
    envelope = stripped_envelope.cooling_envelope(mass=0.015, radius=50.0).magnitude
    first = _at(envelope, 1.0, V)[0]
    assert -17.3 < first < -15.5
    assert _at(envelope, 1.0, 3700.0)[0] < first - 0.3
    assert _at(envelope, 6.0, V)[0] > first + 2
    larger = stripped_envelope.cooling_envelope(mass=0.015, radius=200.0).magnitude
    assert _at(larger, 1.0, V)[0] < first - 0.5


def test_only_a_iib_begins_with_a_bump() -> None:
    def bumps(physics: Physics) -> float:
        rng, line = np.random.default_rng(1), _watched()
        found = []
        for _ in range(150):
            curve = _light_curve(physics(rng, line), 4400.0)
            if curve is not None:
                steps = np.sign(np.diff(curve[1][curve[0] < 30]))
                found.append(np.sum((steps[:-1] > 0) & (steps[1:] < 0)) > 0)
        assert len(found) > 20
        return float(np.mean(found))

    assert bumps(stripped_envelope.type_iib) > 0.4
    assert bumps(stripped_envelope.type_ibc) == 0


# --- superluminous, disruption ---------------------------------------------------------------------------------


def test_a_magnetar_shines_for_months_with_its_ultraviolet_cut() -> None:
    rng = np.random.default_rng(0)
    laws = [superluminous.magnetar_powered(rng) for _ in range(150)]
    peaks = np.array([law.visual.min() for law in laws])
    assert np.median(peaks) == pytest.approx(-21.3, abs=0.4)
    rises = np.array([law.age[law.visual.argmin()] for law in laws])
    assert 25 < np.median(rises) < 70
    for law in laws[:20]:
        day = float(law.age[law.visual.argmin()])
        uncut = spectra.planck(np.array([2000.0, 3000.0]), np.interp([day], law.age, law.temperature))
        lost = _at(law.magnitude, day, 2000.0) - _at(law.magnitude, day, 3000.0) - (uncut[0] - uncut[1])
        assert lost == pytest.approx([2.5 * np.log10(1.5)], abs=0.01)  # the flux falls with the wavelength


def test_a_superluminous_supernova_beyond_the_catalogues_has_no_host() -> None:
    rng, line = np.random.default_rng(0), _watched(step=10.0)
    sources = [superluminous.slsn(rng, line) for _ in range(400)]
    assert {source.host for source in sources} == {hosts.DWARF, None}
    assert all((source.host is None) == (source.redshift is not None and source.redshift > 2.95) for source in sources)


def test_a_pair_instability_supernova_takes_three_months_to_rise_and_is_red() -> None:
    curves = _light_curves(superluminous.pisn, n=500)
    rises = [-days[magnitudes < magnitudes.min() + 2.5].min() for days, magnitudes in curves]
    assert len(rises) > 25
    assert np.median(rises) > 70
    rng, line = np.random.default_rng(0), _watched(step=3.0)
    pairs = [
        [_light_curve(source, band) for band in (B, V)]
        for source in (superluminous.pisn(rng, line) for _ in range(500))
    ]
    colours = [blue[1].min() - visual[1].min() for blue, visual in pairs if blue is not None and visual is not None]
    assert len(colours) > 25
    assert 0.2 < np.median(colours) < 1.2


def test_a_disruption_fades_as_the_time_to_the_minus_five_thirds_at_one_colour() -> None:
    law = disruption.disruption(peak=-19.3, rise=12.0, fall=40.0, kelvin=25_000.0, warming=0.0).magnitude
    days = np.array([0.0, 50.0, 100.0, 400.0])
    colour = _at(law, days, 3600.0) - _at(law, days, 6200.0)
    assert np.ptp(colour) < 1e-6
    assert colour[0] < -0.5
    expected = 2.5 * 5 / 3 * np.log10((days + 40) / 40) - 19.3
    np.testing.assert_allclose(_at(law, days, V), expected, atol=0.02)
    rising = _at(law, np.arange(-60.0, 0.0), V)
    assert (np.diff(rising) < 0).all()
    warm = disruption.disruption(peak=-19.3, rise=12.0, fall=40.0, kelvin=25_000.0, warming=50.0).magnitude
    assert (_at(warm, 200.0, 3600.0) - _at(warm, 200.0, 6200.0))[0] < colour[0]


# --- faint and fast --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("redshift", "band"), [(0.02, I), (0.19, Z)])
def test_calcium_brightens_the_band_it_is_shifted_into(redshift: float, band: int) -> None:
    def late(calcium: float) -> FloatArray:
        law = faint_transients.calcium_rich(
            np.random.default_rng(0), peak=-15.9, diffusion=9.0, velocity=9000.0, calcium=calcium
        )
        magnitudes = law.magnitude(np.full(6, day), spectra.WAVELENGTHS / (1 + redshift))
        return np.asarray(magnitudes)

    day = 50.0
    line = late(0.0) - late(1.0)
    assert line.argmax() == band
    assert line[band] > 0.5
    assert np.abs(line[:R]).max() < 0.1
    day = 8.0
    assert np.abs(late(0.0) - late(1.0)).max() < 0.15


def test_a_calcium_rich_transient_is_red_from_the_start_and_fast() -> None:
    rng = np.random.default_rng(0)
    colours, fades = [], []
    for diffusion in np.linspace(5.0, 13.0, 40):
        law = faint_transients.calcium_rich(rng, peak=-15.9, diffusion=diffusion, velocity=9000.0, calcium=1.0)
        day = law.age[law.visual.argmin()]
        colours.append((_at(law.magnitude, day, 4830.0) - _at(law.magnitude, day, 6220.0))[0])
        fades.append(np.diff(_at(law.magnitude, day + np.array([0.0, 15.0]), V))[0])
        assert 6 < day < 17
    assert 0.15 < np.median(colours) < 0.7
    assert 0.9 < np.median(fades) < 1.9


def test_a_red_outburst_stays_on_its_plateau_then_falls() -> None:
    law = faint_transients.outburst(peak=-14.0, rise=5.0, plateau=70.0, decline=0.005, warm=6000, cool=3500).magnitude
    assert np.ptp(_at(law, np.arange(12.0, 50.0), V)) < 0.5
    assert _at(law, 120.0, V)[0] > _at(law, 40.0, V)[0] + 2.5
    colours = _at(law, [10.0, 60.0], 4830.0) - _at(law, [10.0, 60.0], 7500.0)
    assert colours[1] > colours[0] + 0.3


def test_a_kilonova_like_gw170817_reddens_within_days() -> None:
    blue = merger.component(mass=0.023, velocity=0.256 * engines.LIGHT, opacity=0.5, coolest=3983)
    red = merger.component(mass=0.050, velocity=0.149 * engines.LIGHT, opacity=3.65, coolest=1151)
    days = np.array([0.5, 1.5, 3.5])
    bands = [
        engines.together(_at(blue.magnitude, days, wavelength), _at(red.magnitude, days, wavelength))
        for wavelength in (4800.0, 6200.0, 8900.0)
    ]
    # What was seen (Villar et al. 2017), 40 Mpc away: g, r, z.
    seen = np.array([[17.4, 18.7, 20.9], [17.3, 17.9, 19.6], [17.5, 17.6, 18.4]]) - 33.0
    assert np.abs(np.array(bands) - seen).max() < 0.8
    colour = bands[0] - bands[2]
    assert colour[2] > colour[0] + 1.5


def test_more_ejecta_make_a_brighter_and_longer_kilonova_within_the_bound_of_its_reach() -> None:
    rng, times = np.random.default_rng(0), np.linspace(0.2, 8.0, 100)

    def peaks(log_mass: float) -> FloatArray:
        laws = [merger.two_components(rng, log_mass=log_mass) for _ in range(40)]
        return np.array([_at(law, times, V).min() for law in laws])

    small, large = peaks(-2.6), peaks(-1.2)
    assert np.median(large) < np.median(small) - 0.8
    assert small.min() > -15.1
    assert large.min() > -16.7


# --- hosts -----------------------------------------------------------------------------------------------------


def _separations(kind: hosts.Kind) -> FloatArray:
    rng = np.random.default_rng(0)
    return np.array([hosts.draw(rng, 0.1, kind).separation for _ in range(400)])


def test_calcium_rich_transients_lie_far_out_and_disruptions_in_the_nucleus() -> None:
    rng, line = np.random.default_rng(0), _watched(step=20.0)

    def of(physics: Callable[..., Source]) -> FloatArray:
        host = physics(rng, line).host
        assert host is not None
        return _separations(host)

    usual = of(stripped_envelope.type_ibc)
    assert np.median(of(faint_transients.cart)) > 2 * np.median(usual)
    assert np.median(of(merger.kilonova)) > 1.3 * np.median(usual)
    assert np.quantile(of(disruption.tde), 0.99) < 0.15
    # As in nature, no separation gives the class away.
    assert np.quantile(usual, 0.9) > np.median(of(faint_transients.cart))


def test_hosts_of_superluminous_supernovae_are_faint_and_blue_and_those_of_91bg_bright_and_red() -> None:
    rng = np.random.default_rng(0)
    dwarf, early = (
        np.median([hosts.draw(rng, 0.2, kind).magnitudes for _ in range(200)], axis=0)
        for kind in (hosts.DWARF, hosts.EARLY)
    )
    assert dwarf[R] > early[R] + 2.5
    assert early[G] - early[R] > dwarf[G] - dwarf[R] + 0.2

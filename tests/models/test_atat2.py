"""ATAT2: an alert's answer depends on what had arrived by then, and on nothing else."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.atat2 import ATAT2, ATAT2Config
from models.calibration import UNCALIBRATED
from models.classifier import Classifier
from models.inputs.light_curve import LightCurves, merged
from models.inputs.sequence import MAX_POINTS, arrival, pack
from models.network import Network
from models.taxonomy import Taxonomy
from tests import alerts

SMALL = {"n_classes": 3, "d_model": 16, "d_metadata": 16, "d_statistics": 16, "harmonics": 4}


def _model(**options: object) -> ATAT2:
    torch.manual_seed(0)
    return ATAT2(ATAT2Config.from_dict({**SMALL, **options})).eval()


def _curves(*counts: int, seed: int = 0) -> LightCurves:
    rng = np.random.default_rng(seed)
    return merged(alerts.batch(*(alerts.random_elasticc(rng, n, alert_id=n) for n in counts)))


def _logits(model: ATAT2, curves: LightCurves, *, has_metadata: bool = True) -> torch.Tensor:
    n = len(curves)
    metadata = np.full((n, len(model.config.metadata_columns)), 0.3, dtype=np.float32)
    with torch.inference_mode():
        return model.answers(model.embed(model.pack(curves, metadata, np.full(n, has_metadata))))["all"]


@pytest.mark.parametrize("causal", [True, False])
def test_a_rows_answer_is_its_last_tokens(causal: bool) -> None:
    model = _model(causal=causal)
    curves = _curves(1, 30, 7, 200)
    batch = pack(curves, np.full((4, 64), 0.3, dtype=np.float32), np.full(4, True))
    with torch.inference_mode():
        torch.testing.assert_close(model(batch)[batch.ends], _logits(model, curves), atol=1e-5, rtol=1e-4)


@settings(deadline=None, max_examples=30)
@given(alerts.records, st.integers(0, 59))
def test_what_arrives_later_changes_no_earlier_answer(record: alerts.Record, place: int) -> None:
    curves = merged(alerts.batch(record))
    epochs = curves.mjd[curves.detected]
    epoch = epochs[place % len(epochs)]
    known = curves.as_sent(np.array([epoch]))
    batch = pack(curves, np.zeros((1, 64), dtype=np.float32), np.array([True]))
    model = _model()
    with torch.inference_mode():
        every = model(batch)[1:]
    # The alert's own detection completes it, the last if two are of one time, in the whole sequence as in its own.
    mine = np.flatnonzero(batch.detected.numpy())[np.searchsorted(epochs, epoch, side="right") - 1]
    metadata = np.zeros((1, 64), dtype=np.float32)
    with torch.inference_mode():
        alone = model.answers(model.embed(model.pack(known, metadata, np.array([True]))))["all"]
    torch.testing.assert_close(every[[mine]], alone, atol=2e-5, rtol=1e-4)


def test_changing_every_later_point_leaves_the_earlier_tokens_as_they_are() -> None:
    curves = _curves(40)
    batch = pack(curves, np.zeros((1, 64), dtype=np.float32), np.array([True]))
    k = 17
    later = torch.arange(len(batch.time)) > k
    changed = {
        name: torch.where(later, torch.rand(len(later)) * 100 + 1, getattr(batch, name))
        for name in ("flux", "flux_err", "time", "peak", "since_detection")
    }
    changed["statistics"] = torch.where(later[:, None], torch.rand(len(later), 1), batch.statistics)
    other = type(batch)(**{**vars(batch), **changed, "band": torch.where(later, 5 - batch.band, batch.band)})
    model = _model()
    with torch.inference_mode():
        one, two = model(batch), model(other)
    torch.testing.assert_close(one[: k + 2], two[: k + 2])
    assert (one[k + 2 :] - two[k + 2 :]).abs().min() > 0


def test_forced_photometry_arrives_with_the_first_alert_half_a_day_after_the_first_detection() -> None:
    t = alerts.FIRST_MJD
    record = alerts.elasticc(
        alerts.source(4, t + 5),
        previous=[alerts.source(1, t), alerts.source(2, t + 0.2), alerts.source(3, t + 2)],
        forced=[alerts.forced(11, t - 3), alerts.forced(12, t + 3), alerts.forced(13, t + 4)],
    )
    curves = merged(alerts.batch(record))
    assert curves.mjd.tolist() == [t - 3, t, t + 0.2, t + 2, t + 3, t + 4, t + 5]
    assert arrival(curves).tolist() == [t + 2, t, t + 0.2, t + 2, t + 5, t + 5, t + 5]
    batch = pack(curves, np.zeros((1, 64), dtype=np.float32), np.array([True]))
    np.testing.assert_allclose(batch.time.numpy(), [0, 0.2, -3, 2, 3, 4, 5], atol=1e-4)
    assert batch.detected.tolist() == [True, True, False, True, False, False, True]
    np.testing.assert_allclose(batch.since_detection.numpy(), [0, 0.2, 0, 1.8, 0, 0, 3], atol=1e-4)


def test_the_peak_is_of_what_had_arrived() -> None:
    batch = pack(_curves(30, 12), np.zeros((2, 64), dtype=np.float32), np.full(2, True))
    flux, start = batch.flux.numpy(), 0
    for length in batch.lengths.tolist():
        own = slice(start, start + length)
        np.testing.assert_allclose(batch.peak.numpy()[own], np.maximum.accumulate(np.abs(flux[own])), rtol=1e-5)
        start += length


@pytest.mark.parametrize("counts", [[1, 2, 3], [60, 1, 7, 30], [5]])
def test_company_does_not_change_an_answer(counts: list[int]) -> None:
    model, curves = _model(), _curves(*counts)
    together = _logits(model, curves)
    for row in range(len(curves)):
        torch.testing.assert_close(together[[row]], _logits(model, curves.take(np.array([row]))), atol=2e-5, rtol=1e-4)


def test_without_metadata_the_answer_is_the_light_curves_alone() -> None:
    model, curves = _model(), _curves(9)
    classifier = Classifier(
        Network(model), taxonomy=Taxonomy((2222, 2224, 2332)), calibration=UNCALIBRATED, name="toy", version="1"
    )
    for value in (0.0, 0.7):
        metadata = np.full((1, 64), value, dtype=np.float32)
        predictions = classifier.predict(curves, metadata, np.array([False]))
        assert predictions.branches.tolist() == ["lc"]
        np.testing.assert_allclose(
            predictions.probabilities, _logits(model, curves, has_metadata=False).double().softmax(1), atol=1e-6
        )
    assert classifier.predict(curves, metadata, np.array([True])).branches.tolist() == ["lc+md"]


def test_a_long_light_curve_is_read_from_its_latest_points() -> None:
    curves = _curves(MAX_POINTS + 50)
    whole = pack(curves, np.zeros((1, 64), dtype=np.float32), np.array([True]))
    latest = curves.where(np.arange(MAX_POINTS + 50) >= 50)
    assert whole.lengths.tolist() == whole.n_observations.tolist() == [390]
    np.testing.assert_array_equal(whole.flux, latest.flux[np.argsort(arrival(latest), kind="stable")])


@pytest.mark.parametrize("options", [{}, {"max_tokens": 20}, {"max_points": 30}, {"max_tokens": 20, "max_points": 30}])
def test_the_configuration_says_how_many_points_become_tokens(options: dict[str, Any]) -> None:
    model = _model(**options)
    most = model.config.most_points
    curves = _curves(most - 1, most, most + 1, MAX_POINTS + 50).thinned(model.config.max_points)
    packed = model.pack(curves, np.zeros((4, 64), dtype=np.float32), np.full(4, True))
    assert packed.lengths.tolist() == [most - 1, most, most, most]


@pytest.mark.parametrize("name", ["max_tokens", "max_points"])
def test_a_model_that_would_read_no_point_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is 1 or more, not 0"):
        ATAT2Config.from_dict({"n_classes": 3, name: 0})


def test_light_curves_alone_are_a_choice() -> None:
    model, curves = _model(metadata_columns=()), _curves(9, 4)
    assert not [name for name, _ in model.named_parameters() if "perceptron" in name or "tokenizer" in name]
    assert torch.isfinite(_logits(model, curves)).all()


def test_a_long_light_curve_may_be_told_in_few_tokens_that_know_of_every_point() -> None:
    curves, metadata = _curves(120, 9), np.zeros((2, 64), dtype=np.float32)
    whole, told = (pack(curves, metadata, np.full(2, True), max_tokens=most) for most in (None, 20))
    assert told.lengths.tolist() == [20, 9]
    assert told.n_observations.tolist() == whole.lengths.tolist() == whole.n_observations.tolist() == [120, 9]
    without = pack(curves, metadata, np.full(2, True), max_tokens=20, with_statistics=False)
    assert without.n_observations.tolist() == [20, 9]  # the others are seen by nothing
    torch.testing.assert_close(told.statistics[19], whole.statistics[119])
    torch.testing.assert_close(told.statistics[20:], whole.statistics[120:])
    assert torch.isin(told.time[:20], whole.time[:120]).all()


def test_a_row_without_points_is_answered_by_its_metadata() -> None:
    model, curves = _model(), _curves(3, 4)
    nothing = curves.where(np.repeat([False, True], curves.lengths))
    logits = _logits(model, nothing)
    assert torch.isfinite(logits).all()
    torch.testing.assert_close(logits[[1]], _logits(model, curves.take(np.array([1]))), atol=2e-5, rtol=1e-4)


def test_a_window_longer_than_time_modulation_is_refused() -> None:
    with pytest.raises(ValueError, match="would repeat"):
        _model(window_days=2000.0)

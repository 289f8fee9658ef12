"""Calibration: known distortions are undone, and another prior is Bayes' rule."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from models.calibration import UNIFORM, Calibration, InvalidPrior, Scaling, fit_scaling, fit_temperature
from models.taxonomy import Taxonomy

TAXONOMY = Taxonomy((2222, 2224, 2332))


def _distorted(n: int = 20_000) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """True logits, labels drawn from them, and logits as an overconfident model with a favourite class gives them."""
    truth = 1.5 * torch.randn(n, 3)
    labels = torch.multinomial(truth.softmax(1), 1).squeeze(1)
    return truth, labels, (truth - torch.tensor([1.0, 0.0, -1.0])) / torch.tensor([0.5, 0.5, 0.8])


def test_vector_scaling_undoes_what_was_done_to_each_class() -> None:
    truth, labels, given = _distorted()
    scaling = fit_scaling(
        given, labels, np.ones(len(labels), dtype=np.int64), weights=torch.ones(len(labels)), starts=(0,), by_class=True
    )
    assert scaling.scale[0] == pytest.approx((0.5, 0.5, 0.8), rel=0.06)
    found = Calibration({}, prior="", scalings={"mix": scaling}).probabilities(given, "mix", np.ones(len(labels), int))
    torch.testing.assert_close(found, F.softmax(truth.double(), 1), atol=0.03, rtol=0)


def test_each_number_of_detections_has_the_scaling_of_its_bin() -> None:
    truth, labels, _ = _distorted()
    detections = np.resize([1, 2, 60], len(labels))  # the last of a bin, and the first of two
    given = truth * torch.from_numpy(np.resize([4.0, 0.5, 2.0], len(labels)))[:, None]
    starts = (0, 2, 21, 60)
    scaling = fit_scaling(given, labels, detections, weights=torch.ones(len(labels)), starts=starts, by_class=False)
    assert np.array(scaling.scale).ravel() == pytest.approx([0.25, 2.0, 1.0, 0.5], rel=0.05)  # no row has 21 to 59
    torch.testing.assert_close(scaling(given.double(), detections), truth.double(), atol=0.3, rtol=0.05)


def test_weights_undo_that_a_class_is_nine_times_as_common_as_another() -> None:
    labels = torch.tensor([0, 1]).repeat_interleave(torch.tensor([900, 100]))
    logits, detections = torch.zeros(1000, 2), np.ones(1000, dtype=np.int64)
    for weights, expected in ((torch.tensor([1.0, 9.0])[labels], [0.5, 0.5]), (torch.ones(1000), [0.9, 0.1])):
        scaling = fit_scaling(logits, labels, detections, weights=weights, starts=(0,), by_class=True)
        assert scaling(logits[:1], detections[:1]).softmax(1)[0].tolist() == pytest.approx(expected, abs=0.01)


def test_a_light_curve_of_weight_three_counts_as_three() -> None:
    _, labels, given = _distorted(2_000)
    times = torch.where(labels == 2, 3, 1)
    thrice = torch.arange(len(labels)).repeat_interleave(times)
    weighted = fit_temperature(given, labels, weights=times)
    assert weighted == pytest.approx(fit_temperature(given[thrice], labels[thrice], weights=torch.ones(len(thrice))))
    assert weighted != pytest.approx(fit_temperature(given, labels, weights=torch.ones(len(labels))), rel=0.02)


def test_a_class_with_hardly_any_light_curves_is_left_almost_as_it_is() -> None:
    logits, labels = torch.zeros(4, 3), torch.tensor([2, 2, 2, 2])
    detections, weights = np.ones(4, dtype=np.int64), torch.full((4,), 100.0)  # which are no more light curves
    scaling = fit_scaling(logits, labels, detections, weights=weights, starts=(0,), by_class=True)
    assert max(map(abs, scaling.bias[0])) < 2


def _calibration(**values: tuple[float, ...]) -> Calibration:
    scaling = Scaling(detections=(0, 3), scale=((0.5,), (1.0,)), bias=((0.0, 1.0, 0.0), (0.0, 0.0, 0.0)))
    return Calibration({"lc": 2.0}, prior=UNIFORM, scalings={"mix": scaling}, **values)


def test_it_comes_back_from_json_the_same() -> None:
    calibration = _calibration(training_shares=(0.5, 0.3, 0.2)).under("training", TAXONOMY)
    assert Calibration.from_dict(json.loads(json.dumps(calibration.to_dict()))) == calibration
    assert calibration.prior == "as common as in training"
    assert Calibration.from_dict({"temperatures": {"lc": 2.0}, "prior": "x"}) == Calibration({"lc": 2.0}, prior="x")


def test_the_root_of_what_was_common_in_training_lies_between_it_and_a_uniform_prior() -> None:
    calibration = _calibration(training_shares=(0.64, 0.32, 0.04)).under("root", TAXONOMY)
    assert calibration.prior == "square roots of the shares in training"
    assert calibration.prior_shares == pytest.approx(np.array([8, 4 * 2**0.5, 2]) / (10 + 4 * 2**0.5))


@pytest.mark.parametrize("head", ["lc", "mix", "tab"])
def test_another_prior_is_bayes_rule(head: str, tmp_path: Path) -> None:
    logits, detections = torch.randn(6, 3), np.array([1, 2, 3, 4, 5, 60])
    (tmp_path / "rates.json").write_text(json.dumps({"Ia": 6, "2224": 3, "AGN": 1}))
    old = _calibration()
    new = old.under(str(tmp_path / "rates.json"), TAXONOMY)
    weighted = old.probabilities(logits, head, detections) * torch.tensor([0.6, 0.3, 0.1])
    expected = weighted / weighted.sum(dim=1, keepdim=True)
    torch.testing.assert_close(new.probabilities(logits, head, detections), expected)
    assert new.prior == "rates.json"
    back = new.under("uniform", TAXONOMY)
    torch.testing.assert_close(
        back.probabilities(logits, head, detections), old.probabilities(logits, head, detections)
    )
    assert back.prior == UNIFORM


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[1, 2, 3]", "no JSON object"),
        ('{"Ia": 1, "II": 1}', "AGN"),
        ('{"Ia": 1, "II": 1, "AGN": 1, "Blazar": 1}', "Blazar"),
        ('{"Ia": 1, "2222": 1, "II": 1, "AGN": 1}', "twice"),
        ('{"Ia": 0, "II": 1, "AGN": 1}', "above 0"),
        ('{"Ia": -1, "II": -1, "AGN": -1}', "above 0"),
        ('{"Ia": NaN, "II": 1, "AGN": 1}', "above 0"),
        ('{"Ia": 1e-300, "II": 1e300, "AGN": 1}', "0 beside the largest"),
        ('{"Ia": 1' + 400 * "0" + ', "II": 1, "AGN": 1}', "too large"),
    ],
)
def test_what_is_no_prior_is_told(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "rates.json"
    path.write_text(text)
    with pytest.raises(InvalidPrior, match=reason):
        _calibration().under(str(path), TAXONOMY)
    with pytest.raises(InvalidPrior, match="how common its classes were"):
        _calibration().under("training", TAXONOMY)


def test_large_numbers_are_a_prior(tmp_path: Path) -> None:
    (tmp_path / "rates.json").write_text('{"Ia": 1e308, "II": 1e308, "AGN": 2e307}')
    shares = _calibration().under(str(tmp_path / "rates.json"), TAXONOMY).prior_shares
    assert sorted(shares) == pytest.approx([1 / 11, 5 / 11, 5 / 11])

"""ATAT against the plain padded model of the thesis, and what must not change its answer."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.atat import ATAT, ATATConfig
from models.inputs.batch import pack
from models.inputs.light_curve import LightCurves, merged
from models.inputs.metadata import COLUMNS
from tests import alerts
from tests.models import padded

SMALL = {"n_classes": 5, "d_lc": 32, "d_tab": 24, "harmonics": 8}


def _model(**options: object) -> ATAT:
    torch.manual_seed(1)
    return ATAT(ATATConfig.from_dict({**SMALL, **options})).eval()


def _inputs(counts: list[int], seed: int = 0) -> tuple[LightCurves, np.ndarray]:
    rng = np.random.default_rng(seed)
    batch = alerts.batch(*(alerts.random_elasticc(rng, n, alert_id=k) for k, n in enumerate(counts, start=1)))
    return merged(batch), batch.metadata


def _logits(model: ATAT, curves: LightCurves, metadata: np.ndarray) -> dict[str, torch.Tensor]:
    with torch.inference_mode():
        heads: dict[str, torch.Tensor] = model(pack(curves, metadata, np.ones(len(curves), dtype=np.bool_))).present()
    return heads


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"flux_encoding": "asinh"},
        {"flux_encoding": "asinh", "use_flux_err": False, "first_harmonic": 0},
        {"use_flux_err": False},
        {"relative_flux": True},
        {"use_flux_err": False, "relative_flux": True},
        {"flux_encoding": "asinh", "relative_flux": True},
        {"flux_encoding": "asinh", "use_flux_err": False, "relative_flux": True},
        {"missing": "-9999"},
        {"metadata_columns": ()},
        {"light_curve": False},
        {"d_lc": 192, "d_tab": 144, "harmonics": 64, "flux_encoding": "asinh"},
    ],
)
def test_packed_equals_plain_padded(options: dict[str, object]) -> None:
    model = _model(**options)
    curves, metadata = _inputs([1, 2, 3, 40, 17, 1, 60])
    metadata = metadata[:, [COLUMNS.index(name) for name in model.config.metadata_columns]]
    missing = np.isnan(metadata)
    with torch.inference_mode():
        expected = padded.forward(
            model,
            padded.padded([curves[row] for row in range(len(curves))]),
            torch.from_numpy(np.where(missing, np.float32(0), metadata)),
            torch.from_numpy(missing),
        ).present()
    got = _logits(model, curves, metadata)
    assert got.keys() == expected.keys()
    for head, logits in got.items():
        torch.testing.assert_close(logits, expected[head], rtol=1e-5, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 50), min_size=2, max_size=12))
def test_company_and_order_do_not_change_an_answer(counts: list[int]) -> None:
    model = _model(flux_encoding="asinh")
    curves, metadata = _inputs(counts)
    together = _logits(model, curves, metadata)["mix"]
    order = np.random.default_rng(sum(counts)).permutation(len(counts))
    shuffled = _logits(model, curves.take(order), metadata[order])["mix"]
    torch.testing.assert_close(shuffled, together[torch.from_numpy(order)], rtol=1e-5, atol=1e-5)
    for row in range(len(counts)):
        alone = _logits(model, curves.take(np.array([row])), metadata[[row]])["mix"]
        torch.testing.assert_close(alone[0], together[row], rtol=1e-5, atol=1e-5)


def test_what_stands_in_a_missing_place_changes_nothing() -> None:
    model = _model()
    curves, metadata = _inputs([5, 9])
    batch = pack(curves, metadata, np.ones(2, dtype=np.bool_))
    assert batch.missing.any()
    other = dataclasses.replace(batch, metadata=torch.where(batch.missing, torch.tensor(77.0), batch.metadata))
    with torch.inference_mode():
        for one, two in zip(model(batch).present().values(), model(other).present().values(), strict=True):
            assert torch.equal(one, two)


def test_a_missing_value_is_not_a_zero() -> None:
    model = _model()
    curves, metadata = _inputs([5])
    column = COLUMNS.index("mwebv")
    gone, zero = metadata.copy(), metadata.copy()
    gone[0, column], zero[0, column] = np.nan, 0.0
    assert not torch.allclose(_logits(model, curves, gone)["tab"], _logits(model, curves, zero)["tab"])


def test_without_points_the_answer_is_finite() -> None:
    model = _model(flux_encoding="asinh")
    curves, metadata = _inputs([5, 3])
    nothing = curves.where(np.zeros(len(curves.mjd), dtype=np.bool_))
    assert torch.isfinite(_logits(model, nothing, metadata)["mix"]).all()


def test_each_branch_can_stand_alone() -> None:
    curves, metadata = _inputs([4, 7])
    assert _logits(_model(metadata_columns=()), curves, metadata[:, :0]).keys() == {"lc"}
    assert _logits(_model(light_curve=False), curves, metadata).keys() == {"tab"}
    assert _logits(_model(), curves, metadata).keys() == {"lc", "tab", "mix"}


def test_the_light_curve_head_does_not_see_the_table() -> None:
    model = _model()
    curves, metadata = _inputs([4, 7])
    assert torch.equal(_logits(model, curves, metadata)["lc"], _logits(model, curves, metadata * np.nan)["lc"])


def test_defaults_have_the_size_of_the_thesis() -> None:
    weights = sum(parameter.numel() for parameter in ATAT(ATATConfig(n_classes=20)).parameters())
    assert weights == pytest.approx(1.95e6, rel=0.01)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"window_days": 2000.0}, "beyond t_max"),
        ({"light_curve": False, "metadata_columns": ()}, "needs a light-curve branch"),
        ({"metadata_columns": ("hostgal_ra",)}, "no such metadata column: hostgal_ra"),
        ({"d_lc": 30}, "not a multiple"),
    ],
)
def test_a_model_that_makes_no_sense_is_refused(options: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        _model(**options)


def test_dropout_acts_in_training_only() -> None:
    model = _model()
    curves, metadata = _inputs([20])
    batch = pack(curves, metadata, np.ones(1, dtype=np.bool_))
    assert torch.equal(model(batch).mix, model(batch).mix)
    model.train()
    assert not torch.equal(model(batch).mix, model(batch).mix)

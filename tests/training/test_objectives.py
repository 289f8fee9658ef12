"""What training minimises, worked out by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor

from models.atat import Logits
from models.inputs import sequence
from models.inputs.batch import Batch, pack
from models.inputs.light_curve import LightCurves
from models.inputs.sequence import Sequences
from training.objectives import Objective

EVEN = torch.zeros(2)


def _curves(*detected: list[bool]) -> LightCurves:
    """A point a day, of which these are detections."""
    lengths = [len(row) for row in detected]
    days = np.concatenate([np.arange(length, dtype=np.float64) for length in lengths])
    return LightCurves(
        offsets=np.cumsum([0, *lengths]),
        first_alert_mjd=np.array([60_000.0 + row.index(True) for row in detected]),
        mjd=60_000.0 + days,
        band=np.zeros(len(days), dtype=np.int8),
        flux=np.full(len(days), 100, dtype=np.float32),
        flux_err=np.full(len(days), 5, dtype=np.float32),
        detected=np.concatenate([np.array(row) for row in detected]),
    )


def _packed(*detected: list[bool]) -> Sequences:
    """A sequence a row, of which these are detections."""
    table = np.empty((len(detected), 0), dtype=np.float32)
    return sequence.pack(_curves(*detected), table, np.zeros(len(detected), dtype=np.bool_))


def _batch(*has_metadata: bool) -> Batch:
    """A light curve a row, of which these came with metadata."""
    table = np.zeros((len(has_metadata), 1), dtype=np.float32)
    return pack(_curves(*[[True]] * len(has_metadata)), table, np.array(has_metadata))


def _losing(losses: list[float], rows: int = 0) -> Tensor:
    """Logits of two classes (rows + P, 2) that lose so much (P,) at each point, if the first is right."""
    right = torch.zeros(len(losses))
    wrong = torch.tensor(losses).exp().sub(1).log()
    points = torch.stack([right, wrong], dim=1)
    return torch.cat([torch.full((rows, 2), torch.nan), points])


def _all(rows: int) -> Tensor:
    return torch.ones(rows, dtype=torch.bool)


def test_of_a_sequence_early_points_weigh_more_and_the_last_one_most() -> None:
    batch = _packed([True, True, True, True])
    losses = [1.0, 2.0, 3.0, 4.0]
    shares = np.array([1, 1 / 2, 1 / 3, 1 / 4]) / (1 + 1 / 2 + 1 / 3 + 1 / 4)
    every = Objective(EVEN, label_smoothing=0.0, last=0.4)
    expected = 0.6 * shares @ losses + 0.4 * 4.0
    label = torch.zeros(1, dtype=torch.int64)
    assert every(_losing(losses, 1), batch, label, _all(1)).item() == pytest.approx(expected)
    last = Objective(EVEN, label_smoothing=0.0, last=1.0)
    assert last(_losing(losses, 1), batch, label, _all(1)).item() == pytest.approx(4.0)


def test_of_a_thinned_sequence_only_the_last_point_counts() -> None:
    """The points before any other are not those that an alert of that age had."""
    batch = _packed([True, True], [True, True, True])
    objective = Objective(EVEN, label_smoothing=0.0, last=0.0)
    labels = torch.zeros(2, dtype=torch.int64)
    losses = _losing([1.0, 4.0, 5.0, 6.0, 7.0], 2)
    assert objective(losses, batch, labels, torch.tensor([True, False])).item() == pytest.approx((2.0 + 7.0) / 2)


def test_sequences_weigh_alike_however_long() -> None:
    batch = _packed([True], [True, True, True])
    labels = torch.zeros(2, dtype=torch.int64)
    objective = Objective(EVEN, label_smoothing=0.0, last=0.0)
    assert objective(_losing([3.0, 1.0, 1.0, 1.0], 2), batch, labels, _all(2)).item() == pytest.approx((3 + 1) / 2)


@pytest.mark.parametrize("adjusted", [True, False])
def test_adjusted_logits_are_those_of_classes_that_are_equally_common(*, adjusted: bool) -> None:
    """Nine draws in ten are of one class. Of a network that knows no more, the best has equal logits if adjusted."""
    batch = _packed(*[[True]] * 10)
    labels = torch.tensor([0] * 9 + [1])
    adjustment = torch.tensor([0.9, 0.1]).log() if adjusted else EVEN
    logits = torch.zeros(2, requires_grad=True)
    output = torch.cat([torch.zeros(10, 2), logits.expand(10, 2)])
    loss = Objective(adjustment, label_smoothing=0.0, last=1.0)(output, batch, labels, _all(10))
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    expected = [0.0, 0.0] if adjusted else [-0.4, 0.4]
    assert logits.grad.tolist() == pytest.approx(expected, abs=1e-6)


def test_heads_add_up_each_over_the_rows_that_it_answers() -> None:
    """Of three light curves one came without metadata: of that one the first head alone is asked."""
    batch, labels = _batch(True, False, True), torch.zeros(3, dtype=torch.int64)
    lc, tab, mix = _losing([1.0, 2.0, 6.0]), _losing([3.0, 50.0, 1.0]), _losing([0.5, 60.0, 0.7])
    objective = Objective(EVEN, label_smoothing=0.0, last=1.0)
    for heads, expected in (
        (Logits(lc=lc, tab=tab, mix=mix), 9 / 3 + 4 / 2 + 1.2 / 2),
        (Logits(lc=lc, tab=None, mix=None), 9 / 3),
        (Logits(lc=None, tab=tab, mix=None), 4 / 2),
    ):
        assert objective(heads, batch, labels, _all(3)).item() == pytest.approx(expected)
    bare = objective(Logits(lc=lc, tab=tab, mix=mix), _batch(False, False, False), labels, _all(3))
    assert bare.item() == pytest.approx(9 / 3)


def test_smoothed_labels_are_shared_out_among_the_classes() -> None:
    """Of a fifth of the label, shared out between two classes, the wrong one has a tenth."""
    objective = Objective(EVEN, label_smoothing=0.2, last=1.0)
    label = torch.zeros(1, dtype=torch.int64)
    loss = 2.0
    expected = 0.9 * loss + 0.1 * (loss - np.log(np.exp(loss) - 1))
    heads = Logits(lc=_losing([loss]), tab=None, mix=None)
    assert objective(heads, _batch(True), label, _all(1)).item() == pytest.approx(expected)
    assert objective(_losing([loss], 1), _packed([True]), label, _all(1)).item() == pytest.approx(expected)

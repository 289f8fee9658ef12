"""What training minimises: cross-entropies over light curves as packed for each architecture."""

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from models.arrays import BoolArray
from models.atat import Logits
from models.inputs.batch import Batch
from models.inputs.light_curve import LightCurves
from models.inputs.sequence import Sequences


@dataclass(frozen=True)
class Examples:
    """B light curves as cut and augmented, their tables (B, K), and what they are."""

    light_curves: LightCurves
    table: NDArray[np.float32]
    has_metadata: BoolArray
    labels: Tensor
    """(B,), places among the outputs."""
    entire: Tensor
    """(B,) bool, whether the network sees every point that was known."""


@dataclass(frozen=True)
class Objective:
    """Cross-entropy with label smoothing, and with the classes' unequal shares among the draws taken back."""

    adjustment: Tensor
    """(C,), added to the logits: log shares, so that the model's own prior is uniform; or zeros."""
    label_smoothing: float
    last: float
    """For ATAT2, the weight of a sequence's last point beside that of all its points."""

    def __call__(self, output: Logits | Tensor, batch: Batch | Sequences, labels: Tensor, entire: Tensor) -> Tensor:
        """The loss of what a network made of a batch of labels (B,), ``entire`` (B,) as in Examples."""
        if isinstance(output, Logits):
            return self._of_every_head(output, batch.has_metadata, labels)
        return self._of_every_prefix(output, cast(Sequences, batch), labels, entire)

    def _of_every_head(self, output: Logits, has_table: Tensor, labels: Tensor) -> Tensor:
        """Sum of the heads' cross-entropies (figure 4.1), those of the table over the rows that have one."""
        total = labels.new_zeros((), dtype=torch.float32)
        for name, head in output.present().items():
            weights = torch.ones_like(has_table) if name == "lc" else has_table
            losses = self._cross_entropy(head, labels)
            total = total + (losses * weights).sum() / weights.sum().clamp_min(1)
        return total

    def _of_every_prefix(self, output: Tensor, batch: Sequences, labels: Tensor, entire: Tensor) -> Tensor:
        """Cross-entropy at every point from the first detection on; each sequence weighs the same.

        Of one that was thinned at the last point alone: the points before any other are not all that an alert of that
        age had, and how far apart they are tells how long the object was going to be seen.
        """
        row = torch.repeat_interleave(torch.arange(len(batch), device=labels.device), batch.lengths)
        weights = _weights(batch, row, last=torch.where(entire, self.last, 1.0))
        told = weights > 0
        losses = self._cross_entropy(output[len(batch) :][told], labels[row[told]])
        return (losses * weights[told]).sum() / len(batch)

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(
            logits.float() + self.adjustment, labels, label_smoothing=self.label_smoothing, reduction="none"
        )


def _weights(batch: Sequences, row: Tensor, *, last: Tensor) -> Tensor:
    """Weights (P,) of the points from the first detection on, 1 a row in all: the k-th goes as 1/k, and the last gets
    a share (B,) beside.

    An alert ends with a detection, but what is known some days after one ends with the forced photometry since.
    """
    begun = _within_rows(batch.detected.float(), batch, row) > 0
    shares = begun / _within_rows(begun.float(), batch, row).clamp_min(1)
    shares = shares / shares.new_zeros(len(batch)).index_add(0, row, shares).clamp_min(1e-9)[row]
    weights = (1 - last)[row] * shares
    has_points = batch.lengths > 0
    weights[(batch.lengths.cumsum(0) - 1)[has_points]] += last[has_points]
    return weights


def _within_rows(values: Tensor, batch: Sequences, row: Tensor) -> Tensor:
    """Cumulative sums (P,) that begin anew in each row."""
    total = values.cumsum(0)
    before = (total - values)[(batch.lengths.cumsum(0) - batch.lengths).clamp_max(max(len(values) - 1, 0))]
    return total - before[row]

"""What training minimises: cross-entropies over light curves as packed for each architecture."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from models.atat import ATAT
from models.atat2 import ATAT2
from models.inputs.light_curve import LightCurves
from models.inputs.sequence import Sequences
from models.network import AnyATAT


@dataclass(frozen=True)
class Examples:
    """B light curves as cut and augmented, their metadata columns (B, K), and what they are."""

    light_curves: LightCurves
    metadata: NDArray[np.float32]
    has_metadata: NDArray[np.bool_]
    labels: Tensor
    """(B,), places among the outputs."""


@dataclass(frozen=True)
class Objective:
    """Cross-entropy with label smoothing, and with the classes' unequal shares among the draws taken back."""

    adjustment: Tensor
    """(C,), added to the logits: log shares, so that the model's own prior is uniform; or zeros."""
    label_smoothing: float
    last: float
    """For ATAT2, the weight of an object's last alert beside that of all its alerts."""

    def __call__(self, module: AnyATAT, examples: Examples) -> Tensor:
        if isinstance(module, ATAT2):
            return self._of_every_alert(module, examples)
        return self._of_every_head(module, examples)

    def _of_every_head(self, module: ATAT, examples: Examples) -> Tensor:
        """Sum of the heads' cross-entropies (figure 4.1), those of the table over the rows that have one."""
        batch = module.pack(examples.light_curves, examples.metadata, examples.has_metadata)
        total = torch.zeros(())
        for name, head in module.answers(batch).items():
            rows = torch.ones_like(batch.has_metadata) if name == "lc" else batch.has_metadata
            if rows.any():
                total = total + self._cross_entropy(head[rows], examples.labels[rows]).mean()
        return total

    def _of_every_alert(self, module: ATAT2, examples: Examples) -> Tensor:
        """Cross-entropy at every alert of the sequences; each sequence weighs the same."""
        batch = module.pack(examples.light_curves, examples.metadata, examples.has_metadata)
        logits = module(batch)[len(batch) :]
        row = torch.repeat_interleave(torch.arange(len(batch)), batch.lengths)
        weights = _weights(batch, row, last=self.last)
        alerts = weights > 0
        losses = self._cross_entropy(logits[alerts], examples.labels[row[alerts]])
        return (losses * weights[alerts]).sum() / len(batch)

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits + self.adjustment, labels, label_smoothing=self.label_smoothing, reduction="none")


def _weights(batch: Sequences, row: Tensor, *, last: float) -> Tensor:
    """Weights (P,) of the points that complete an alert, 1 a row in all: the k-th goes as 1/k, the last gets more."""
    detected = batch.detected.float()
    before = detected.cumsum(0) - detected
    number = before - before[batch.lengths.cumsum(0) - batch.lengths].repeat_interleave(batch.lengths) + 1
    shares = detected / number
    shares = shares / shares.new_zeros(len(batch)).index_add(0, row, shares).clamp_min(1e-9)[row]
    weights = (1 - last) * shares
    weights[(batch.lengths.cumsum(0) - 1)[batch.lengths > 0]] += last
    return weights

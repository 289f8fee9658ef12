"""Logits -> probabilities one can bet on: one temperature a head, fitted on held-out alerts."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Calibration:
    """Temperatures by head (``lc``, ``tab``, ``mix``), and the class prior under which they hold, in words."""

    temperatures: Mapping[str, float]
    prior: str

    def probabilities(self, logits: Tensor, head: str) -> Tensor:
        """Logits (B, C) of one head -> probabilities (B, C) in float64. A head that was not fitted keeps its logits."""
        return F.softmax(logits.double() / self.temperatures.get(head, 1.0), dim=1)


UNCALIBRATED = Calibration(temperatures={}, prior="as trained")


def fit_temperature(logits: Tensor, labels: Tensor, *, weights: Tensor) -> float:
    """The temperature that minimises the weighted cross-entropy of logits (N, C) against labels (N,).

    A search over a logarithmic grid from 1/20 to 20, then a finer one around its best: the loss has one minimum in 1/T.
    """
    low, high = -3.0, 3.0
    for _ in range(3):
        grid = torch.linspace(low, high, 41).exp()
        losses = torch.stack([_loss(logits / temperature, labels, weights) for temperature in grid])
        best = grid[losses.argmin()].log().item()
        step = (high - low) / 40
        low, high = best - step, best + step
    return float(torch.tensor(best).exp())


def _loss(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    return (F.cross_entropy(logits, labels, reduction="none") * weights).sum() / weights.sum()

"""How far a reconstruction is from what was observed: one figure a light curve, the mean over its points.

Dividing by the length (3.2) gives each light curve the same weight, however many points it has.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from models.autoencoders.points import Points


@dataclass(frozen=True)
class Reconstruction:
    """The distribution of each of P points, as decoded."""

    mean: Tensor
    """(P,)"""
    log_variance: Tensor | None
    """(P,); None where only the mean is estimated."""


@dataclass(frozen=True)
class Loss:
    """What an autoencoder minimises."""

    of: Callable[[Reconstruction, Points, Tensor], Tensor]
    """From the observed points and the variance of their noise (P,): (B,)."""
    estimates_variance: bool
    """Whether the decoder is to say how sure it is, too."""


def mean_squared_error(reconstruction: Reconstruction, points: Points, variance: Tensor) -> Tensor:  # noqa: ARG001
    """Eq. 3.1."""
    return points.mean(_square(reconstruction, points)[:, None])[:, 0]


def likelihood(reconstruction: Reconstruction, points: Points, variance: Tensor) -> Tensor:
    """Eq. 3.3 over the length, of a Gaussian whose variance is estimated, too (3.2 lacks its covariance's inverse)."""
    return cross_entropy(reconstruction, points, torch.zeros_like(variance))


def cross_entropy(reconstruction: Reconstruction, points: Points, variance: Tensor) -> Tensor:
    """Eq. 3.4: of what was observed, a Gaussian too, and the decoded one; ``likelihood`` where ``variance`` is 0."""
    if reconstruction.log_variance is None:
        raise ValueError("a reconstruction without a variance has no likelihood")
    log_variance = reconstruction.log_variance
    misfit = (_square(reconstruction, points) + variance) * (-log_variance).exp()
    return points.mean((math.log(2 * math.pi) + log_variance + misfit)[:, None])[:, 0] / 2


def _square(reconstruction: Reconstruction, points: Points) -> Tensor:
    return (points.values[:, 0] - reconstruction.mean).square()


LOSSES: Mapping[str, Loss] = {
    "mse": Loss(mean_squared_error, estimates_variance=False),
    "likelihood": Loss(likelihood, estimates_variance=True),
    "cross-entropy": Loss(cross_entropy, estimates_variance=True),
}

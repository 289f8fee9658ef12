"""What encoders and decoders pass to one another: sequences of points in time, packed as everywhere in ``models``."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.arrays import IntArray
from models.inputs.batch import Layout, layout_of


@dataclass(frozen=True)
class Points:
    """B sequences of P points in all, end to end; none is empty."""

    values: Tensor
    """(P, F) float32"""
    time: Tensor
    """(P,) float32, between 0 and 1: a phase, or a share of the light curve's span."""
    band: Tensor
    """(P,) int64, 0 where there is but one."""
    lengths: Tensor
    """(B,) int64"""
    layout: Layout

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def row(self) -> Tensor:
        """(P,), the sequence of each point."""
        return torch.repeat_interleave(torch.arange(len(self), device=self.lengths.device), self.lengths)

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        moved = {name: value.to(device) for name, value in vars(self).items()}
        return replace(self, **moved)

    def mean(self, tokens: Tensor) -> Tensor:
        """Mean of each sequence's tokens (P, D): (B, D). Masked mean pooling (3.3.1), without anything to mask."""
        sums = tokens.new_zeros(len(self), tokens.shape[1], dtype=torch.float32)
        sums = sums.index_add_(0, self.row, tokens.float())
        return sums / self.lengths[:, None]

    def dense(self, tokens: Tensor) -> Tensor:
        """Tokens (P, D) as (B, L, D), zeros after the end of a sequence."""
        rectangle = tokens.new_zeros(len(self) * self._longest, tokens.shape[1])
        return rectangle.index_copy(0, self._places(), tokens).view(len(self), self._longest, -1)

    def packed(self, rectangle: Tensor) -> Tensor:
        """The inverse of ``dense``: (B, L, D) -> (P, D)."""
        return rectangle.flatten(0, 1)[self._places()]

    @property
    def _longest(self) -> int:
        return int(self.lengths.max())

    def _places(self) -> Tensor:
        starts = self.lengths.cumsum(0) - self.lengths
        within = torch.arange(len(self.time), device=self.time.device) - starts[self.row]
        return self.row * self._longest + within


def pack(values: NDArray[np.float32], time: NDArray[np.float32], band: NDArray[np.int8], offsets: IntArray) -> Points:
    """Values (P,) at times (P,) in bands (P,) of the sequences that ``offsets`` (B + 1,) part. No row may be empty."""
    lengths = np.diff(offsets)
    if len(lengths) == 0 or lengths.min() == 0:
        raise ValueError("a sequence without points has nothing to encode")
    return Points(
        values=torch.from_numpy(values)[:, None],
        time=torch.from_numpy(time),
        band=torch.from_numpy(band.astype(np.int64)),
        lengths=torch.from_numpy(lengths),
        layout=layout_of(offsets, class_tokens=False),
    )


def grid(n_points: int, device: torch.device) -> Tensor:
    """Times (K,) of induction points, evenly from 0 to 1."""
    return torch.linspace(0, 1, n_points, device=device)


def regular(values: Tensor) -> Points:
    """Values (B, K, F) at the times of ``grid``, in one band."""
    b, k, _ = values.shape
    return Points(
        values=values.flatten(0, 1),
        time=grid(k, values.device).repeat(b),
        band=torch.zeros(b * k, dtype=torch.int64, device=values.device),
        lengths=torch.full((b,), k, device=values.device),
        layout=layout_of(np.arange(b + 1) * k, class_tokens=False).to(values.device),
    )


def softmax_by_group(scores: Tensor, group: Tensor, n_groups: int) -> tuple[Tensor, Tensor]:
    """Softmax of scores (P, K) over the points of each group (P,), for each of K places: (P, K).

    And the logarithm of what each was divided by (G, K); -inf for a group without points.
    """
    index = group[:, None].expand_as(scores)
    highest = scores.detach().new_full((n_groups, scores.shape[1]), -torch.inf)
    highest = highest.scatter_reduce(0, index, scores.detach(), "amax")
    shares = (scores - highest[group]).exp()
    totals = scores.new_zeros(n_groups, scores.shape[1]).index_add(0, group, shares)
    return shares / totals[group], totals.log() + highest

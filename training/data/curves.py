"""Labelled light curves as the autoencoders of chapter 3 see them: time between 0 and 1, brightness of order 1.

Three steps make them of raw photometry: a star's long light curve is cut into stretches, time is folded with the period
or, where there is none, brought to 0 to 1 (both 3.4.1), and brightness is centred and scaled. For the last the thesis
names no rule; here every light curve has zero mean and unit variance, so that its amplitude says nothing of its class.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.arrays import FloatArray, IntArray
from models.autoencoders.points import Points, pack
from models.inputs import ragged
from training.data.splits import split_of
from training.errors import InvalidData

LEAST_POINTS = 10
"""A shorter light curve is left out."""


@dataclass(frozen=True)
class Curves:
    """N labelled light curves, P points in all."""

    offsets: IntArray
    """(N + 1,)"""
    time: NDArray[np.float32]
    """(P,), 0 to 1."""
    band: NDArray[np.int8]
    """(P,)"""
    value: NDArray[np.float32]
    """(P,)"""
    variance: NDArray[np.float32]
    """(P,), of the noise, as observed; 0 where it is not known."""
    label: IntArray
    """(N,), place in ``classes``."""
    split: NDArray[np.str_]
    """(N,), train, validation or test."""
    owner: IntArray
    """(N,), number of the object that it is of: its stretches share a split."""
    classes: tuple[str, ...]
    bands: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def take(self, rows: IntArray) -> Self:
        """These rows, in this order."""
        points, offsets = ragged.take(self.offsets, rows)
        return type(self)(
            offsets=offsets,
            time=self.time[points],
            band=self.band[points],
            value=self.value[points],
            variance=self.variance[points],
            label=self.label[rows],
            split=self.split[rows],
            owner=self.owner[rows],
            classes=self.classes,
            bands=self.bands,
        )

    def of(self, split: str) -> Self:
        """The rows of one split."""
        return self.take(np.flatnonzero(self.split == split))

    def split_anew(self, seed: int) -> Self:
        """With other test objects, by the seed."""
        return replace(self, split=_split(self.owner, seed=seed))

    def sampled(self, per_class: Mapping[str, int], *, seed: int) -> Self:
        """So many of each class by split, or all there are."""
        rng = np.random.default_rng(seed)
        rows = []
        for split, number in per_class.items():
            for label in range(len(self.classes)):
                members = np.flatnonzero((self.split == split) & (self.label == label))
                rows.append(np.sort(rng.permutation(members)[:number]))
        return self.take(np.concatenate(rows))

    def batch(self, device: torch.device) -> tuple[Points, Tensor, Tensor]:
        """All of them as points, the variance of each point (P,), and the labels (N,)."""
        points = pack(self.value, self.time, self.band, self.offsets).to(device)
        return points, torch.from_numpy(self.variance).to(device), torch.from_numpy(self.label).to(device)


@dataclass(frozen=True)
class Photometry:
    """N objects as measured, in magnitudes or fluxes; points (P,) in time order."""

    offsets: IntArray
    mjd: FloatArray
    band: NDArray[np.int8]
    """(P,), place in ``bands``."""
    value: FloatArray
    error: FloatArray
    """(P,), standard deviation."""
    label: IntArray
    """(N,), place in ``classes``."""
    period: FloatArray
    """(N,) [d]; NaN for an object that has none."""
    classes: tuple[str, ...]
    bands: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.offsets) - 1


def prepared(objects: Photometry, *, stretch: int | None = None) -> Curves:
    """Photometry -> light curves. Stretches of one object stay in one split, as seed 0 has them.

    With ``stretch``, a light curve is cut into so many points each, as the thesis's MACHO was (Naul et al. 2018); a
    rest shorter than half of it is left out. Raises InvalidData if nothing is left.
    """
    owner, points, offsets = _stretches(objects.offsets, stretch)
    if len(owner) == 0:
        raise InvalidData(f"no light curve has {LEAST_POINTS} points or more")
    value, error = objects.value[points], objects.error[points]
    centre = np.repeat(ragged.means(offsets, value), np.diff(offsets))
    spread = np.sqrt(np.repeat(ragged.means(offsets, (value - centre) ** 2), np.diff(offsets)))
    spread[spread == 0] = 1.0
    time = _folded(objects.mjd[points], offsets, objects.period[owner])
    # By phase, of what was folded: an LSTM reads the points in their order.
    order = np.lexsort((time, ragged.row_of_each(offsets)))
    return Curves(
        offsets=offsets,
        time=time[order].astype(np.float32),
        band=objects.band[points][order],
        value=((value - centre) / spread)[order].astype(np.float32),
        variance=((error / spread) ** 2)[order].astype(np.float32),
        label=objects.label[owner],
        split=_split(owner, seed=0),
        owner=owner,
        classes=objects.classes,
        bands=objects.bands,
    )


def _split(owner: IntArray, *, seed: int) -> NDArray[np.str_]:
    """Of light curves (N,) by the number of their object."""
    return np.array(split_of(range(int(owner.max()) + 1), seed=seed, validation=0.15))[owner]


def _stretches(offsets: IntArray, stretch: int | None) -> tuple[IntArray, IntArray, IntArray]:
    """The object of each stretch (M,), its points (Q,) and their offsets (M + 1,)."""
    owner, starts, ends = [], [], []
    for row, (start, end) in enumerate(itertools.pairwise(offsets.tolist())):
        length = end - start if stretch is None else stretch
        least = LEAST_POINTS if stretch is None else max(LEAST_POINTS, stretch // 2)
        for first in range(start, end, max(length, 1)):
            last = min(first + length, end)
            if last - first >= least:
                owner.append(row)
                starts.append(first)
                ends.append(last)
    lengths = np.array(ends, dtype=np.int64) - np.array(starts, dtype=np.int64)
    points = np.concatenate([np.arange(*ends_of) for ends_of in zip(starts, ends, strict=True)] or [np.empty(0)])
    return np.array(owner, dtype=np.int64), points.astype(np.int64), ragged.offsets_of(lengths)


def _folded(mjd: FloatArray, offsets: IntArray, period: FloatArray) -> FloatArray:
    """Phase of a periodic object, (t mod P) / P, and the share of its span of any other."""
    lengths = np.diff(offsets)
    start, end = np.repeat(mjd[offsets[:-1]], lengths), np.repeat(mjd[offsets[1:] - 1], lengths)
    span = np.where(end > start, end - start, 1.0)
    each = np.repeat(period, lengths)
    return np.where(np.isnan(each), (mjd - start) / span, np.mod(mjd, each) / each)

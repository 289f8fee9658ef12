"""Light curves + metadata columns -> one packed Batch. Offsets and masks are made only here.

Packed means that the points of many light curves lie end to end and no padding exists. By the mathematics of masked
attention this equals the padded layout of thesis 4.3.1 exactly, for a fraction of its arithmetic.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.arrays import BoolArray, IntArray
from models.inputs import ragged
from models.inputs.light_curve import LightCurves
from models.inputs.photometry import BANDS

MAX_POINTS_PER_BAND = 65
"""A band with more points than this is subsampled evenly, as in the released ATAT code."""

_PADDING_STEP = 1.25
"""Rows of one attention group differ in length by less than this factor, so little of a group is padding."""


@dataclass(frozen=True)
class Segment:
    """A dense rectangle of b sequences, l tokens each: sequences of about the same length."""

    shape: tuple[int, int]
    observed: Tensor | None
    """(b, l) bool, False for padding; None where there is none."""


@dataclass(frozen=True)
class Layout:
    """How B sequences lie in one array of T = B + P tokens (the B class tokens first, then all points; T = P where
    there are none), and how the dense rectangles that attention works on, G tokens with their padding, are gathered
    from it and put back.
    """

    segments: tuple[Segment, ...]
    gather: Tensor
    """(G,), the token at each place of the rectangles, end to end. Padding repeats the row's first, unseen."""
    place: Tensor
    """(T,), where each token is in the rectangles."""
    causal: bool = False
    """Whether a token sees only itself and those before it in its sequence; its class token is the first of all."""

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        segments = tuple(
            replace(segment, observed=None if segment.observed is None else segment.observed.to(device))
            for segment in self.segments
        )
        return replace(self, segments=segments, gather=self.gather.to(device), place=self.place.to(device))


@dataclass(frozen=True)
class Batch:
    """What ATAT takes: B light curves of P points in all, and K metadata columns."""

    layout: Layout
    time: Tensor
    """(P,) float32, days since the light curve's first point."""
    band: Tensor
    """(P,) int64, code in BANDS."""
    flux: Tensor
    """(P,) float32 [FLUXCAL]"""
    flux_err: Tensor
    """(P,) float32 [FLUXCAL]"""
    lengths: Tensor
    """(B,) int64, points of each light curve."""
    metadata: Tensor
    """(B, K) float32, 0 where missing: NaN never reaches attention."""
    missing: Tensor
    """(B, K) bool"""
    has_metadata: Tensor
    """(B,) bool"""

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def n_observations(self) -> Tensor:
        """(B,), how many points of each row are read: all of them."""
        return self.lengths

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        return type(self)(
            layout=self.layout.to(device),
            time=self.time.to(device),
            band=self.band.to(device),
            flux=self.flux.to(device),
            flux_err=self.flux_err.to(device),
            lengths=self.lengths.to(device),
            metadata=self.metadata.to(device),
            missing=self.missing.to(device),
            has_metadata=self.has_metadata.to(device),
        )


def pack(light_curves: LightCurves, metadata: NDArray[np.float32], has_metadata: BoolArray) -> Batch:
    """Light curves (B) and their metadata (B, K), NaN where missing, as tensors on the CPU."""
    points = _subsampled(light_curves)
    offsets = ragged.offsets_of(
        np.bincount(ragged.row_of_each(light_curves.offsets)[points], minlength=len(light_curves))
    )
    missing = np.isnan(metadata)
    return Batch(
        layout=layout_of(offsets),
        time=torch.from_numpy(light_curves.time[points]),
        band=torch.from_numpy(light_curves.band[points].astype(np.int64)),
        flux=torch.from_numpy(light_curves.flux[points]),
        flux_err=torch.from_numpy(light_curves.flux_err[points]),
        lengths=torch.from_numpy(np.diff(offsets)),
        metadata=torch.from_numpy(np.where(missing, np.float32(0), metadata)),
        missing=torch.from_numpy(missing),
        has_metadata=torch.from_numpy(has_metadata.copy()),
    )


def token_batches(lengths: IntArray, *, max_tokens: int, row_tokens: int) -> Iterator[IntArray]:
    """Rows grouped for inference: alike in length, at most ``max_tokens`` tokens together (but always one row).

    A row has ``row_tokens`` beside its points.
    """
    order = np.argsort(lengths, kind="stable")
    tokens = lengths[order] + row_tokens
    start = 0
    while start < len(order):
        fitting = int(np.searchsorted(np.cumsum(tokens[start:]), max_tokens, side="right"))
        stop = start + max(fitting, 1)
        yield order[start:stop]
        start = stop


def _subsampled(light_curves: LightCurves) -> IntArray:
    """Positions of the points to keep: all of them, but MAX_POINTS_PER_BAND evenly spread ones of a crowded band."""
    crowd = ragged.row_of_each(light_curves.offsets) * len(BANDS) + light_curves.band
    counts = np.bincount(crowd, minlength=len(light_curves) * len(BANDS))
    kept = np.ones(len(crowd), dtype=np.bool_)
    for crowded in np.flatnonzero(counts > MAX_POINTS_PER_BAND):
        points = np.flatnonzero(crowd == crowded)
        kept[points] = False
        kept[points[ragged.evenly(len(points), MAX_POINTS_PER_BAND)]] = True
    return np.flatnonzero(kept)


def layout_of(offsets: IntArray, *, causal: bool = False, class_tokens: bool = True) -> Layout:
    """The layout of sequences of a class token and the points that ``offsets`` (B + 1,) part.

    Without ``class_tokens``, of the points alone, and then no sequence may be empty.
    """
    lengths = np.diff(offsets) + class_tokens
    segments = []
    gather = []
    place = np.empty(lengths.sum(), dtype=np.int64)
    filled = 0
    for rows in _alike(lengths):
        within = np.arange(lengths[rows].max())
        observed = within < lengths[rows, None]
        # Column 0 is the row's class token and column j its point j - 1; or else column j is point j.
        first = rows[:, None] if class_tokens else offsets[rows, None]
        start = offsets[rows, None] + (len(lengths) - 1 if class_tokens else 0)
        tokens = np.where(observed & (within > 0), start + within, first)
        place[tokens[observed]] = filled + np.flatnonzero(observed)
        filled += tokens.size
        gather.append(tokens.ravel())
        full = bool(observed.all())
        segments.append(Segment((len(rows), len(within)), None if full else torch.from_numpy(observed)))
    return Layout(tuple(segments), torch.from_numpy(_joined(gather)), torch.from_numpy(place), causal=causal)


def _alike(lengths: IntArray) -> Iterator[IntArray]:
    """Row numbers in groups of similar length."""
    order = np.argsort(lengths, kind="stable")
    bucket = np.floor(np.log(lengths[order]) / np.log(_PADDING_STEP))
    yield from np.split(order, np.flatnonzero(np.diff(bucket)) + 1) if len(order) else ()


def _joined(arrays: Sequence[IntArray]) -> IntArray:
    return np.concatenate(arrays) if arrays else np.empty(0, dtype=np.int64)

"""How good probabilities are: precision, recall and F1 by class, calibration errors, and how sure one can be of them.

Everything rests on tables of counts, which a bootstrap over objects weighs anew by one matrix product a class.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from models.arrays import BoolArray, FloatArray, IntArray
from models.taxonomy import Taxonomy

DRAWS = 1000
"""Of a bootstrap."""
ECE_BINS = 15
LEVEL = 0.95
"""Of intervals."""


# --- from counts ----------------------------------------------------------------------------------------------------


def confusion(labels: IntArray, predicted: IntArray, n_classes: int) -> IntArray:
    """Counts (C, C): rows are true classes, columns predicted ones."""
    return np.bincount(labels * n_classes + predicted, minlength=n_classes**2).reshape(n_classes, n_classes)


@dataclass(frozen=True)
class Rates:
    """Precision, recall and F1 (..., C) of confusion counts (..., C, C); 0 where there is nothing to divide by."""

    precision: FloatArray
    recall: FloatArray
    f1: FloatArray
    accuracy: FloatArray
    """(...)"""

    @classmethod
    def of(cls, counts: FloatArray | IntArray) -> Self:
        """From confusion counts, which may be weighted."""
        hits = np.diagonal(counts, axis1=-2, axis2=-1).astype(np.float64)
        true, claimed = counts.sum(axis=-1), counts.sum(axis=-2)
        return cls(
            precision=_ratio(hits, claimed),
            recall=_ratio(hits, true),
            f1=_ratio(2 * hits, true + claimed),
            accuracy=_ratio(hits.sum(axis=-1), true.sum(axis=-1)),
        )


def _ratio(above: FloatArray, below: FloatArray | IntArray) -> FloatArray:
    return np.divide(above, below, out=np.zeros(above.shape), where=below > 0)


def macro_f1(labels: IntArray, predicted: IntArray, *, least: int = 1) -> float:
    """Mean F1 over the classes among the labels (places in the taxonomy) with ``least`` objects, or the largest."""
    n_classes = int(max(labels.max(), predicted.max())) + 1
    present, sizes = np.unique(labels, return_counts=True)
    enough = present[sizes >= min(least, sizes.max())]
    return float(Rates.of(confusion(labels, predicted, n_classes)).f1[enough].mean())


def summary(labels: IntArray, predicted: IntArray, taxonomy: Taxonomy) -> dict[str, Any]:
    """Macro means and the figures of each class among the labels, as JSON can hold them."""
    counts = confusion(labels, predicted, len(taxonomy))
    rates, present = Rates.of(counts), np.unique(labels)
    return {
        "objects": len(labels),
        "macro_f1": float(rates.f1[present].mean()),
        "macro_precision": float(rates.precision[present].mean()),
        "macro_recall": float(rates.recall[present].mean()),
        "accuracy": float(rates.accuracy),
        "classes": {
            taxonomy.names[place]: {
                "precision": float(rates.precision[place]),
                "recall": float(rates.recall[place]),
                "f1": float(rates.f1[place]),
                "objects": float(counts[place].sum()),
            }
            for place in present.tolist()
        },
    }


# --- how sure -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, draws: FloatArray) -> Self:
        """From (1 + R,) values: the figure itself, then R of the bootstrap, NaN where a draw has nothing to tell."""
        tail = 50 * (1 - LEVEL)
        told = draws[1:][np.isfinite(draws[1:])]
        low, high = np.percentile(told, [tail, 100 - tail]) if len(told) else (np.nan, np.nan)
        return cls(float(draws[0]), float(low), float(high))

    @classmethod
    def of_mean(cls, values: FloatArray) -> Self:
        """Of values (N,) that have nothing to do with each other, by Student's t; of one alone without an interval."""
        value = float(values.mean())
        if len(values) < 2:
            return cls(value, np.nan, np.nan)
        reach = t.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
        return cls(value, value - float(reach), value + float(reach))

    @classmethod
    def of_seeds(cls, draws: Sequence[FloatArray]) -> Self:
        """The mean over S seeds of (1 + R,) each, as ``of`` takes them, all with the same draws of objects.

        How seeds differ (by ``of_mean``) and which objects were drawn (by ``of``) have nothing to do with each other:
        what the two reach is added in quadrature. One seed alone has no interval: it says nothing of how seeds differ.
        """
        stacked = np.stack(draws)
        by_object, by_seed = cls.of(stacked.mean(axis=0)), cls.of_mean(stacked[:, 0])
        return replace(by_object, value=by_seed.value).widened(by_seed.high - by_seed.value)

    def widened(self, reach: float) -> Self:
        """With what else reaches so far, and has nothing to do with it, added in quadrature."""
        low, high = np.hypot(self.value - self.low, reach), np.hypot(self.high - self.value, reach)
        return type(self)(self.value, self.value - float(low), self.value + float(high))

    def at_least(self, reach: float) -> Self:
        """The longer, on either side, of this interval and one that reaches so far and holds what this one does."""
        low, high = np.minimum(self.low, self.value - reach), np.maximum(self.high, self.value + reach)
        return type(self)(self.value, float(low), float(high))

    def times(self, factor: float) -> Self:
        """In another unit."""
        return type(self)(factor * self.value, factor * self.low, factor * self.high)


@dataclass(frozen=True)
class Resampling:
    """A bootstrap over N objects: draws, with replacement, of as many objects of each class as there are.

    The objects stay the same from model to model and from one length of light curve to another, so that differences
    are paired.
    """

    labels: IntArray
    """(N,)"""
    n_classes: int
    members: tuple[IntArray, ...]
    """Rows of each class."""
    weights: tuple[NDArray[np.float32], ...]
    """Of each class, (1 + R, members): how often each member was drawn; the first row is once each."""

    @classmethod
    def of(cls, labels: IntArray, n_classes: int, *, draws: int = DRAWS, seed: int = 0) -> Self:
        """``draws`` draws."""
        rng = np.random.default_rng(seed)
        members = tuple(np.flatnonzero(labels == place) for place in range(n_classes))
        weights = tuple(_weights(rng, len(rows), draws) for rows in members)
        return cls(labels, n_classes, members, weights)

    def totals(self, table: FloatArray | IntArray) -> FloatArray:
        """Sums over each class's objects of table (N, ...), in every draw: (1 + R, C, ...)."""
        flat = table.reshape(len(table), -1).astype(np.float32)
        sums = [weights @ flat[rows] for rows, weights in zip(self.members, self.weights, strict=True)]
        return np.stack(sums, axis=1).reshape(-1, self.n_classes, *table.shape[1:]).astype(np.float64)


def _weights(rng: np.random.Generator, size: int, draws: int) -> NDArray[np.float32]:
    weights = np.ones((1 + draws, size), dtype=np.float32)
    if size:
        drawn = rng.integers(size, size=(draws, size)) + size * np.arange(draws)[:, None]
        weights[1:] = np.bincount(drawn.ravel(), minlength=draws * size).reshape(draws, size)
    return weights


def over_seeds(values: Sequence[FloatArray], *, seed: int = 0) -> FloatArray:
    """Mean over S seeds of values (1 + R, ...) each; in the bootstrap's draws, of S seeds with replacement.

    A draw of S from S spreads less than the seeds do, by (S - 1) / S in variance, which is made up for. One seed alone
    says nothing of how seeds differ: then the draws differ by objects only.
    """
    stacked = np.stack(values)
    mean: FloatArray = stacked.mean(axis=0)
    if len(values) == 1:
        return mean
    rng = np.random.default_rng([seed, len(values)])
    chosen = rng.integers(len(values), size=(stacked.shape[1] - 1, len(values)))
    draw = np.arange(1, stacked.shape[1])[:, None]
    apart = stacked[chosen, draw].mean(axis=1) - mean[1:]
    return np.concatenate([mean[:1], mean[1:] + math.sqrt(len(values) / (len(values) - 1)) * apart])


# --- calibration ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reliability:
    """Confidence (the largest probability) against accuracy, in 15 bins of equal mass (fewer if there are few rows)."""

    mass: FloatArray
    """(..., bins)"""
    confidence: FloatArray
    """(..., bins), its mean."""
    accuracy: FloatArray
    """(..., bins)"""

    @property
    def ece(self) -> FloatArray:
        """Expected calibration error (...): the mean over the mass of how far the two are apart."""
        apart = np.nan_to_num(np.abs(self.confidence - self.accuracy))
        return _ratio(np.einsum("...b,...b->...", self.mass, apart), self.mass.sum(axis=-1))


def reliability(
    confidence: FloatArray, correct: BoolArray, weight: FloatArray, row: IntArray, resampling: Resampling
) -> Reliability:
    """Of M predictions with weights, each of the object in a row of the resampling; (1 + R, bins)."""
    order = np.argsort(confidence, kind="stable")
    before = np.cumsum(weight[order]) - 0.5 * weight[order]
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.minimum((ECE_BINS * before / weight.sum()).astype(np.int64), ECE_BINS - 1)
    table = np.zeros((len(resampling.labels), ECE_BINS, 3))
    for column, values in enumerate((np.ones(len(weight)), confidence, correct.astype(np.float64))):
        np.add.at(table[:, :, column], (row, place), weight * values)
    mass, confident, right = np.moveaxis(resampling.totals(table).sum(axis=1), -1, 0)
    with np.errstate(invalid="ignore"):  # a draw may leave a bin empty, of which there is nothing to tell
        return Reliability(mass, confident / mass, right / mass)


def class_weights(counts: IntArray | FloatArray, shares: FloatArray) -> FloatArray:
    """What each of a class's members (C,) weighs for classes to be as common as these shares (C,); 1 on average."""
    wanted = np.where(counts > 0, shares, 0.0)
    return _ratio(wanted * (counts.sum() / wanted.sum()), counts)

"""Arithmetic on ragged arrays: rows of different lengths, laid end to end, with offsets.

Row ``i`` of a ragged array is ``values[offsets[i]:offsets[i + 1]]``; there is one offset more than there are rows.
"""

import numpy as np
from numpy.typing import NDArray

from models.arrays import BoolArray, FloatArray, IntArray


def offsets_of(lengths: IntArray) -> IntArray:
    """Offsets (N + 1,) of rows with these lengths (N,)."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def row_of_each(offsets: IntArray) -> IntArray:
    """The row number of every value, (P,)."""
    return np.repeat(np.arange(len(offsets) - 1, dtype=np.int64), np.diff(offsets))


def take(offsets: IntArray, rows: IntArray) -> tuple[IntArray, IntArray]:
    """Select rows, in any order and with repeats.

    Returns ``(values, offsets)``: the positions of the selected rows' values, end to end, and their offsets.
    """
    lengths = np.diff(offsets)[rows]
    selected = offsets_of(lengths)
    positions = np.arange(selected[-1], dtype=np.int64) + np.repeat(offsets[rows] - selected[:-1], lengths)
    return positions, selected


def keep(offsets: IntArray, kept: BoolArray) -> IntArray:
    """Offsets after dropping the values where ``kept`` (P,) is False; rows stay, perhaps empty."""
    counts = np.bincount(row_of_each(offsets)[kept], minlength=len(offsets) - 1)
    return offsets_of(counts.astype(np.int64))


def evenly(n: int, most: int) -> IntArray:
    """At most so many of n places, evenly from the first to the last."""
    return np.arange(n) if n <= most else np.linspace(0, n - 1, most).round().astype(np.int64)


def spread(offsets: IntArray, most: int) -> tuple[IntArray, IntArray]:
    """At most so many values of each row, evenly from its first to its last; as ``take`` returns them."""
    every = np.diff(offsets)
    lengths = np.minimum(every, most)
    selected = offsets_of(lengths)
    number = np.arange(selected[-1]) - np.repeat(selected[:-1], lengths)
    step = np.repeat((every - 1) / np.maximum(lengths - 1, 1), lengths)
    return np.repeat(offsets[:-1], lengths) + np.rint(number * step).astype(np.int64), selected


def first_per_row(offsets: IntArray, values: FloatArray, where: BoolArray) -> FloatArray:
    """The smallest value of each row among those where ``where`` is True; NaN for a row that has none."""
    smallest = np.full(len(offsets) - 1, np.inf)
    np.minimum.at(smallest, row_of_each(offsets)[where], values[where])
    return np.where(np.isinf(smallest), np.nan, smallest)


def first_of_each(*sorted_keys: NDArray[np.generic]) -> BoolArray:
    """True where a run of equal keys starts, for keys already sorted together."""
    new = np.ones(len(sorted_keys[0]), dtype=np.bool_)
    new[1:] = np.logical_or.reduce([key[1:] != key[:-1] for key in sorted_keys])
    return new


def reduced(ufunc: np.ufunc, offsets: IntArray, values: FloatArray) -> FloatArray:
    """``ufunc`` (np.add, np.maximum...) over each row of values (..., P), (..., N); NaN for an empty row."""
    filled = np.diff(offsets) > 0
    result = np.full((*values.shape[:-1], len(filled)), np.nan)
    if filled.any():
        result[..., filled] = ufunc.reduceat(values, offsets[:-1][filled], axis=-1)
    return result


def means(offsets: IntArray, values: FloatArray) -> FloatArray:
    """Mean of each row of values (P,), (N,); NaN for an empty row."""
    return reduced(np.add, offsets, values) / np.maximum(np.diff(offsets), 1)


def sorted_rows(offsets: IntArray, values: FloatArray) -> FloatArray:
    """Values (P,) in ascending order within each row."""
    return values[np.lexsort((values, row_of_each(offsets)))]


def quantile(offsets: IntArray, ascending: FloatArray, share: float) -> FloatArray:
    """Quantile of each row of values in ascending order, interpolated as numpy does; NaN for an empty row."""
    result = np.full(len(offsets) - 1, np.nan)
    lengths = np.diff(offsets)
    filled = lengths > 0
    place = share * (lengths[filled] - 1)
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, lengths[filled] - 1)
    low, high = ascending[offsets[:-1][filled] + below], ascending[offsets[:-1][filled] + above]
    result[filled] = low + (place - below) * (high - low)
    return result

"""Alerts as a survey sends them, some of every object in each of five bins by the number of detections they carry."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from models.arrays import FloatArray, IntArray
from models.inputs import ragged
from models.inputs.light_curve import WINDOW_DAYS, LightCurves

LAST = (1, 2, 5, 20)
"""The largest number of detections of each bin but the last."""
BINS = ("1", "2", "3-5", "6-20", "> 20")

_ROW_DAYS = 1e6
"""Sets the clocks of two rows apart by more than any survey lasts."""


def bin_of(detections: IntArray) -> IntArray:
    """The place in BINS (N,) of alerts with so many detections (N,)."""
    return np.searchsorted(LAST, detections, side="left")


@dataclass(frozen=True)
class AlertSample:
    """M alerts of N objects, in the order of the objects. Arrays (M,)."""

    row: IntArray
    """The object's row."""
    epoch: FloatArray
    """[mjd]"""
    detections: IntArray
    """How many the alert carries, of the WINDOW_DAYS before it."""
    weight: FloatArray
    """How many alerts of its object and bin it stands for."""

    def __len__(self) -> int:
        return len(self.row)

    @classmethod
    def draw(cls, object_id: IntArray, curves: LightCurves, *, per_bin: int = 1) -> Self:
        """Up to ``per_bin`` alerts of each object and bin, all alike likely.

        The choice is a function of the object's id and its detections alone, so that any model and any subset of the
        objects gets the same.
        """
        offsets = ragged.keep(curves.offsets, curves.detected)
        row, epoch = ragged.row_of_each(offsets), curves.mjd[curves.detected]
        clock = epoch + _ROW_DAYS * row
        carried = np.searchsorted(clock, clock, side="right") - np.searchsorted(clock, clock - WINDOW_DAYS, side="left")
        place = np.arange(len(row)) - offsets[:-1][row]
        key = row * len(BINS) + bin_of(carried)
        order = np.lexsort((_scrambled(object_id[row], place), key))
        starts = np.flatnonzero(ragged.first_of_each(key[order]))
        sizes = np.diff(np.append(starts, len(order)))
        rank = np.arange(len(order)) - np.repeat(starts, sizes)
        chosen = rank < per_bin
        weight = np.repeat(sizes / np.minimum(sizes, per_bin), sizes)[chosen]
        picked = order[chosen]
        return cls(row=row[picked], epoch=epoch[picked], detections=carried[picked], weight=weight)


def _scrambled(object_id: IntArray, place: IntArray) -> NDArray[np.uint64]:
    """Numbers (N,) that look random: splitmix64 of the object's id and the detection's place."""
    with np.errstate(over="ignore"):
        mixed = object_id.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + place.astype(np.uint64)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))

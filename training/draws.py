"""The batches of a run: step n of a seed is always the same, whatever came before and whoever draws it."""

from collections.abc import Sequence

import numpy as np
import torch

from models.arrays import BoolArray, FloatArray, IntArray
from models.inputs.light_curve import LightCurves
from models.inputs.table import FloatTable, select
from models.network_config import NetworkConfig
from training.data import views
from training.data.layout import Objects
from training.errors import InvalidData
from training.experiment import Experiment
from training.features import FeatureTable
from training.objectives import Examples

_DRAW = 1
"""Tells the numbers of draws from those of dropout."""


class Draws:
    """Independent draws: a class, then an object of it, then a moment of its life, then an augmentation."""

    def __init__(
        self,
        experiment: Experiment,
        config: NetworkConfig,
        objects: Objects,
        labels: IntArray,
        *,
        tables: "Tables | None",
        shares: FloatArray | None = None,
    ) -> None:
        """``labels`` (N,): places among the outputs, each of which occurs.

        ``shares`` (C,) of the draws that each label gets; by default they follow from ``class_power``.
        """
        self._experiment = experiment
        self._config = config
        self._objects = objects
        self._tables = tables
        sizes = np.bincount(labels).astype(np.float64)
        powered = sizes**experiment.training.class_power
        self.shares: FloatArray = powered / powered.sum() if shares is None else shares
        self._sizes = sizes.astype(np.int64)
        self._by_class = np.argsort(labels, kind="stable")
        self._first = np.cumsum(self._sizes) - self._sizes

    def step(self, number: int, *, part: int = 0, parts: int = 1) -> Examples:
        """The batch of a step, or every ``parts``-th of its rows."""
        training = self._experiment.training
        rng = np.random.default_rng((training.seed, _DRAW, number))
        label = rng.choice(len(self.shares), size=training.batch_size, p=self.shares)
        rows = self._by_class[self._first[label] + rng.integers(self._sizes[label])]
        curves, day = self._cropped(self._objects.light_curves.take(rows), rng)
        known = self._experiment.augmentation(curves, rng)
        entire = ~self._is_thinned(known)
        known = known.thinned(self._config.max_points)
        table = self._table(rows, day)
        table = np.where(rng.random(table.shape) < training.missing_metadata, np.float32(np.nan), table)
        has_metadata = rng.random(len(rows)) >= training.no_metadata
        own = np.arange(part, len(rows), parts)
        return Examples(
            known.take(own), table[own], has_metadata[own], torch.from_numpy(label[own]), torch.from_numpy(entire[own])
        )

    def _cropped(self, curves: LightCurves, rng: np.random.Generator) -> tuple[LightCurves, IntArray]:
        """Light curves as known at some moment, and which of MTA_DAYS that was, where there is a choice."""
        training, window = self._experiment.training, self._config.window_days
        day = np.full(len(curves), len(views.MTA_DAYS) - 1)
        whole = curves.last_detection_mjd()
        if training.crops == "none":
            return curves.until(whole, window_days=window), day
        if training.crops == "windows":
            return self._windows(curves, rng), day
        is_full = rng.random(len(curves)) < training.full
        if training.crops == "alerts":
            epoch = np.where(is_full, whole, views.random_alert(curves, rng))
            return curves.as_sent(epoch, window_days=window), day
        epoch, cut = views.random_mta(curves, rng)
        return curves.until(np.where(is_full, whole, epoch), window_days=window), np.where(is_full, day, cut)

    def _windows(self, curves: LightCurves, rng: np.random.Generator) -> LightCurves:
        """Windows, of which those that would be thinned are mostly cut short: what they looked like early on is told by
        no prefix of what remains of them.
        """
        days = self._config.window_days
        ends = views.random_window(curves, rng, days)
        whole = curves.until(ends, window_days=days)
        long = self._is_thinned(whole) & (whole.detections > 0)
        cut = np.flatnonzero(long & (rng.random(len(whole)) >= self._experiment.training.full))
        ends[cut] = views.random_alert(whole.take(cut), rng)
        return whole.until(ends, window_days=days)

    def _is_thinned(self, curves: LightCurves) -> BoolArray:
        """Whether the network will not see all points (N,)."""
        limit = self._config.most_points
        return curves.lengths > (np.inf if limit is None else limit)

    def _table(self, rows: IntArray, day: IntArray) -> FloatTable:
        metadata = self._objects.metadata[rows]
        if self._tables is None:
            return select(metadata, self._config.columns)
        return np.hstack([self._tables.of(rows, day), select(metadata, self._config.metadata_columns)])


class Tables:
    """The features of objects at each of MTA_DAYS, found by row."""

    def __init__(self, table: FeatureTable, objects: Objects, shape: NetworkConfig) -> None:
        """Raises InvalidData for an object that the table lacks at one of the lengths."""
        self._values = np.stack([_values(table, objects, shape.feature_columns, days) for days in views.MTA_DAYS])

    def of(self, rows: IntArray, day: IntArray) -> FloatTable:
        """Features (M, K) of rows (M,) as of the ``day``-th (M,) of MTA_DAYS."""
        return self._values[day, rows]


def _values(table: FeatureTable, objects: Objects, columns: Sequence[str], days: float) -> FloatTable:
    rows = table.find(objects.object_id, np.full(len(objects), days, dtype=np.float32))
    lacking = int((rows < 0).sum())
    if lacking:
        raise InvalidData(f"the table of features lacks {lacking} objects at {days:.0f} days")
    return select(table.columns[rows], columns)

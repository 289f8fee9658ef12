"""Light curves as cut for a model: by age, or as sent. What is computed of them is kept by object and days."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from models.arrays import FloatArray, IntArray
from models.inputs.light_curve import LightCurves
from training.data import views
from training.data.alert_sample import AlertSample
from training.data.layout import Objects
from training.rows import Rows


@dataclass(frozen=True)
class Seen(Rows):
    """M light curves as cut for a model, with what tells them apart. Arrays (M,)."""

    split: NDArray[np.str_]
    days: NDArray[np.float32]
    """After the first alert."""
    light_curves: LightCurves
    metadata: NDArray[np.float32]
    """(M, 64)"""

    @classmethod
    def of(cls, objects: Objects, row: IntArray, light_curves: LightCurves, days: FloatArray) -> Self:
        """Of the objects in these rows (M,)."""
        return cls(
            object_id=objects.object_id[row],
            class_id=objects.class_id[row],
            source=objects.source[row],
            split=objects.split[row],
            days=days.astype(np.float32),
            light_curves=light_curves,
            metadata=objects.metadata[row],
        )

    @classmethod
    def of_ages(cls, objects: Objects, ages: Sequence[float], *, window_days: float) -> Self:
        """N objects at each age in turn (N * ages,)."""
        row = np.tile(np.arange(len(objects)), len(ages))
        days = np.repeat(np.asarray(ages, dtype=np.float64), len(objects))
        curves = objects.light_curves.take(row)
        known = curves.until(views.days_after_first_alert(curves, days), window_days=window_days)
        return cls.of(objects, row, known, days)

    @classmethod
    def of_alerts(cls, objects: Objects, sample: AlertSample, *, window_days: float) -> Self:
        """Alerts as sent."""
        curves = objects.light_curves
        sent = curves.take(sample.row).as_sent(sample.epoch, window_days=window_days)
        return cls.of(objects, sample.row, sent, sample.epoch - curves.first_alert_mjd[sample.row])

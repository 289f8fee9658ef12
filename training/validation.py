"""The validation objects as they were at some moment: what early stopping looks at."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from models.arrays import IntArray
from models.inputs.light_curve import LightCurves
from models.inputs.table import FloatTable, select
from models.network_config import NetworkConfig
from training.data import views
from training.data.layout import Objects
from training.draws import Tables
from training.errors import InvalidData
from training.experiment import TrainingConfig

ALERTS = "alerts"
"""The view of an alert of each object as sent."""


@dataclass(frozen=True)
class View:
    """The validation objects as they were at some moment."""

    light_curves: LightCurves
    table: FloatTable
    """(N, K), what the model sees beside them."""


def views_of(
    validation: Objects, shape: NetworkConfig, config: TrainingConfig, tables: Tables | None
) -> Iterator[tuple[str, View]]:
    """What is trained on, by name. Days after the first alert, or whole and as one alert each."""
    curves, everyone = validation.light_curves, np.arange(len(validation))
    if config.crops in ("mta", "none"):
        for day, days in enumerate(views.MTA_DAYS):
            if config.crops == "mta" or days == views.MTA_DAYS[-1]:
                epoch = views.days_after_first_alert(curves, np.full(len(curves), days))
                cut = curves.until(epoch, window_days=shape.window_days)
                yield f"{days:.0f} days", View(cut, table_of(validation, everyone, shape, tables, day))
        return
    if tables is not None:
        raise InvalidData('features are known at the days of MTA only: crops = "mta" or "none"')
    whole = curves.until(curves.last_detection_mjd(), window_days=shape.window_days)
    yield "full", View(whole, table_of(validation, everyone, shape, None, 0))
    yield ALERTS, alerts_of(validation, shape)


def alerts_of(validation: Objects, shape: NetworkConfig) -> View:
    """An alert of each object as sent, always the same one."""
    curves = validation.light_curves
    epoch = views.random_alert(curves, np.random.default_rng(0))
    sent = curves.as_sent(epoch, window_days=shape.window_days)
    return View(sent, table_of(validation, np.arange(len(validation)), shape, None, 0))


def table_of(objects: Objects, rows: IntArray, shape: NetworkConfig, tables: Tables | None, day: int) -> FloatTable:
    """Features as of the ``day``-th of MTA_DAYS, for a model that sees any, and metadata (M, K) of some rows (M,)."""
    metadata = select(objects.metadata[rows], shape.metadata_columns)
    if tables is None:
        return metadata
    return np.hstack([tables.of(rows, np.full(len(rows), day)), metadata])

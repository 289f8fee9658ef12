"""The table that models see beside light curves: engineered features, then metadata, by name."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.inputs import features
from models.inputs.light_curve import LightCurves
from models.inputs.metadata import COLUMNS

FloatTable = NDArray[np.float32]

ALL_COLUMNS = (*features.NAMES, *COLUMNS)
"""The columns of a whole table: every feature, then every metadata column."""

_PLACES = {name: place for place, name in enumerate(ALL_COLUMNS)}


def has_features(columns: Sequence[str]) -> bool:
    """Whether any of these columns is a feature, and has to be computed."""
    return not set(columns) <= set(COLUMNS)


def select(table: FloatTable, columns: Sequence[str]) -> FloatTable:
    """The named columns (N, K) of a whole table (N, len(ALL_COLUMNS)), or of one of metadata alone (N, 64).

    Raises ValueError for a feature of the latter.
    """
    if tuple(columns) == ALL_COLUMNS:
        return table
    first = len(ALL_COLUMNS) - table.shape[1]
    places = [_PLACES[name] - first for name in columns]
    if min(places, default=0) < 0:
        raise ValueError(f"a feature is asked of {table.shape[1]} columns of metadata")
    return table[:, places]


def table_of(light_curves: LightCurves, metadata: FloatTable, columns: Sequence[str]) -> FloatTable:
    """The named columns (N, K) of light curves and their metadata (N, 64); features are computed only if asked for."""
    asked = set(columns) - set(COLUMNS)
    if not asked:
        return select(metadata, columns)
    with_period = not features.PERIOD_NAMES.isdisjoint(asked)
    return select(np.hstack([features.compute(light_curves, metadata, period=with_period), metadata]), columns)

"""The table beside light curves: columns by name, and none in another's place."""

import numpy as np
import pytest

from models.inputs.metadata import COLUMNS
from models.inputs.table import ALL_COLUMNS, select


def test_columns_are_found_by_name_in_a_whole_table_and_in_metadata_alone() -> None:
    table = np.arange(2 * len(ALL_COLUMNS), dtype=np.float32).reshape(2, -1)
    asked = (COLUMNS[3], COLUMNS[0])
    places = [ALL_COLUMNS.index(name) for name in asked]
    np.testing.assert_array_equal(select(table, asked), table[:, places])
    np.testing.assert_array_equal(select(table[:, -len(COLUMNS) :], asked), table[:, places])


def test_a_feature_is_not_looked_for_among_metadata() -> None:
    with pytest.raises(ValueError, match="a feature is asked of 64 columns of metadata"):
        select(np.zeros((1, len(COLUMNS)), dtype=np.float32), (COLUMNS[0], ALL_COLUMNS[len(ALL_COLUMNS) - 65]))

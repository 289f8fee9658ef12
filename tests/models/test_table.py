"""The table beside light curves: columns by name, and none in another's place."""

import numpy as np
import pytest

from models.calibration import UNCALIBRATED
from models.classifier import Classifier
from models.ensemble import Ensemble
from models.inputs.light_curve import merged
from models.inputs.metadata import COLUMNS
from models.inputs.table import ALL_COLUMNS, select, table_of
from models.network import Network, build
from models.random_forest import Forest, ForestConfig
from models.scoring import Model
from models.taxonomy import Taxonomy
from tests import alerts


def test_columns_are_found_by_name_in_a_whole_table_and_in_metadata_alone() -> None:
    table = np.arange(2 * len(ALL_COLUMNS), dtype=np.float32).reshape(2, -1)
    asked = (COLUMNS[3], COLUMNS[0])
    places = [ALL_COLUMNS.index(name) for name in asked]
    np.testing.assert_array_equal(select(table, asked), table[:, places])
    np.testing.assert_array_equal(select(table[:, -len(COLUMNS) :], asked), table[:, places])


def test_a_feature_is_not_looked_for_among_metadata() -> None:
    with pytest.raises(ValueError, match="a feature is asked of 64 columns of metadata"):
        select(np.zeros((1, len(COLUMNS)), dtype=np.float32), (COLUMNS[0], ALL_COLUMNS[len(ALL_COLUMNS) - 65]))


def test_features_are_of_the_light_curve_as_thinned_whatever_reads_them() -> None:
    taxonomy, columns = Taxonomy((2222, 2224, 2332)), ("longest_gap", "mwebv")
    forest = Forest(ForestConfig(columns=columns, max_points=5), taxonomy)
    options = {"n_classes": 3, "feature_columns": columns[:1], "metadata_columns": columns[1:], "max_points": 5}
    network = Network(build("atat", options))
    both = Ensemble(
        [
            Classifier(model, taxonomy=taxonomy, calibration=UNCALIBRATED, name="toy", version="1")
            for model in (forest, network)
        ]
    )
    rng = np.random.default_rng(0)
    batch = alerts.batch(*(alerts.random_elasticc(rng, 20, alert_id=number) for number in (1, 2, 3)))
    curves = merged(batch)
    whole, thinned = (table_of(each, batch.metadata, columns) for each in (curves, curves.thinned(5)))
    assert (whole[:, 0] != thinned[:, 0]).all()
    models: tuple[Model, ...] = (forest, network, both)
    for model in models:
        np.testing.assert_array_equal(model.table(curves, batch.metadata), thinned)

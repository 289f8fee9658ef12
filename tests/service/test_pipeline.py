"""The road from decoded messages to answers: a row that cannot be answered costs itself only."""

from dataclasses import replace

import numpy as np
import torch

from models.atat import ATAT, ATATConfig
from models.calibration import UNCALIBRATED
from models.classifier import Classifications, Classifier
from models.inputs.alert import alert_batch
from models.inputs.alert_batch import AlertBatch
from models.inputs.errors import InvalidAlert
from models.network import Network
from models.taxonomy import Taxonomy
from service import pipeline
from tests import alerts


class _Overflowing(Classifier):
    """A model whose arithmetic overflows on alert 2."""

    def classify(self, batch: AlertBatch) -> Classifications:
        classified = super().classify(batch)
        probabilities = classified.predictions.probabilities.copy()
        probabilities[batch.alert_id == 2] = np.nan
        return replace(classified, predictions=replace(classified.predictions, probabilities=probabilities))


def test_probabilities_that_are_not_finite_are_no_answer_and_the_others_go_on() -> None:
    torch.manual_seed(5)
    network = Network(ATAT(ATATConfig.from_dict({"n_classes": 2, "d_lc": 16, "d_tab": 16, "harmonics": 4})))
    classifier = _Overflowing(network, taxonomy=Taxonomy((2222, 2224)), calibration=UNCALIBRATED, name="a", version="1")
    decoded = alert_batch([{"test": alerts.elasticc(alert_id=number)} for number in (1, 2, 3)])
    first, second, third = pipeline.answer(classifier, decoded).results
    assert isinstance(second, InvalidAlert)
    assert "not finite" in str(second)
    for result in (first, third):
        assert not isinstance(result, InvalidAlert)
        assert sum(result["probabilities"].values()) > 0.999


def test_the_largest_fluxes_and_smallest_errors_that_are_let_in_have_finite_probabilities() -> None:
    classifier = Classifier.load()
    points = [(3.6e13, 3.7e-5), (-3.6e13, 3.7e-5), (3.6e13, 3.6e13), (0.0, 3.7e-5)]
    records = [
        alerts.elasticc(alerts.source(1, alerts.FIRST_MJD, flux=flux, flux_err=flux_err)) for flux, flux_err in points
    ]
    answers = pipeline.answer(classifier, alert_batch([{"test": record} for record in records]))
    assert not [result for result in answers.results if isinstance(result, InvalidAlert)]

"""A Network's fast ways give the plain one's answers, on every real alert."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.atat import ATAT
from models.inputs import avro
from models.inputs.alert import alert_batch
from models.inputs.alert_batch import AlertBatch
from models.inputs.light_curve import LightCurves, merged
from models.inputs.photometry import BANDS
from models.network import Network, build
from tests.models import padded

SMALL = {"n_classes": 20, "harmonics": 8, "n_heads": 2}
ATAT_OPTIONS = {**SMALL, "d_lc": 16, "d_tab": 16, "flux_encoding": "asinh"}


@pytest.fixture(scope="module")
def real(data: Path) -> AlertBatch:
    """Every real alert."""
    paths = sorted((data / "elasticc" / "alerts").glob("*.avro"))
    messages = [message for path in paths for message in avro.messages(path.read_bytes())]
    return alert_batch([avro.unread(message) for message in messages if isinstance(message, bytes)]).alerts


def _cut(alerts: AlertBatch) -> LightCurves:
    return merged(alerts).until(alerts.epoch)


def _probabilities(network: Network, alerts: AlertBatch) -> torch.Tensor:
    scores = network.score(_cut(alerts), alerts.metadata, alerts.has_metadata)
    return torch.from_numpy(scores.answers(20)).softmax(-1)


def test_packed_equals_padded_on_every_real_alert(real: AlertBatch) -> None:
    module = build("atat", ATAT_OPTIONS).eval()
    assert isinstance(module, ATAT)
    module.fit_scales(real.metadata)
    curves = _cut(real)
    row = np.repeat(np.arange(len(curves)), curves.lengths)
    crowd = np.bincount(row * len(BANDS) + curves.band, minlength=len(curves) * len(BANDS)).reshape(-1, len(BANDS))
    expected = torch.empty(len(curves), 20)
    with torch.inference_mode():
        for rows in np.array_split(np.argsort(crowd.max(axis=1)), 60):
            metadata = torch.from_numpy(real.metadata[rows])
            missing = metadata.isnan()
            grids = padded.padded([curves[one] for one in rows])
            mix = padded.forward(module, grids, metadata.nan_to_num(0.0), missing).mix
            assert mix is not None
            expected[torch.from_numpy(rows)] = mix.softmax(-1)
    assert real.has_metadata.all()
    assert (_probabilities(Network(module), real) - expected).abs().max() < 1e-5


@pytest.mark.parametrize(("kind", "options"), [("atat", ATAT_OPTIONS), ("atat2", {**SMALL, "d_model": 16})])
def test_bfloat16_changes_no_real_alerts_probabilities_by_more_than_a_little(
    real: AlertBatch, kind: str, options: dict[str, object]
) -> None:
    module = build(kind, options)
    module.fit_scales(real.metadata)
    exact, narrow = Network(module), Network(module, precision="bfloat16")
    change = (_probabilities(exact, real) - _probabilities(narrow, real)).abs().max()
    assert 0 < change < 5e-3

"""What models answer that are right about so much and no more."""

import numpy as np
from numpy.typing import NDArray

from models.calibration import Calibration
from models.classifier import Description
from models.taxonomy import CLASS_NAMES, Taxonomy
from training.answers import Run
from training.measure import view_of
from training.predictions import AGES, Predictions, Scored

TAXONOMY = Taxonomy(tuple(class_id for class_id in CLASS_NAMES if class_id != 2326))
N = 20 * 40


def run_of(variant: str, seed: int, right: dict[str, float], *, sure: float = 0.9, n: int = N) -> Run:
    """A model that is right about the first shares of each class's objects, by view; wrong about the others."""
    class_id = np.repeat(TAXONOMY.class_ids, n // 20).astype(np.int32)
    by_age = [scored_of(class_id, days, share=right.get(view_of(days), right["else"]), sure=sure) for days in AGES]
    share = right.get("alerts", right["else"])
    alerts = [
        scored_of(class_id, 0.5, share=share, sure=sure, detections=detections) for detections in (1, 2, 4, 9, 50)
    ]
    description = Description(
        "atat", {}, TAXONOMY, Calibration({}, prior="uniform over the classes"), variant, "1", {}, {}
    )
    joined = Predictions(Scored.joined(by_age), Scored.joined(alerts), {"inference": 1e-3}, "CPU, 1 thread")
    return Run.by(description, joined, named=(variant, seed))


def scored_of(class_id: NDArray[np.int32], days: float, *, share: float, sure: float, detections: int = 3) -> Scored:
    """What it thinks of objects (N,) so many days after the first alert."""
    n = len(class_id)
    number = np.tile(np.arange(n // 20), 20)
    true = TAXONOMY.places(class_id)
    said = np.where(number < share * (n // 20), true, (true + 1) % 20)
    probabilities = np.full((n, 20), (1 - sure) / 19)
    probabilities[np.arange(n), said] = sure
    return Scored(
        object_id=np.arange(1, n + 1),
        class_id=class_id,
        source=np.full(n, "test"),
        days=np.full(n, days, dtype=np.float32),
        detections=np.full(n, detections),
        carried=np.full(n, detections),
        weight=np.ones(n, dtype=np.float32),
        head=np.full(n, "mix"),
        logits=np.log(probabilities).astype(np.float32),
    )

"""``python -m training calibrate``: fits a model's calibration anew, on held-out alerts as sent, and writes it into it.

For each head the candidates are a temperature and vector scaling, each for all alerts alike or by the number of
detections; two halves of the objects are fitted and judged crosswise, and the one of the least cross-entropy is taken.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from models.calibration import UNIFORM, Calibration, Scaling, fit_scaling, weighted_loss
from models.classifier import Classifier
from training import features, predictions
from training.data import layout
from training.data.alert_sample import LAST, AlertSample
from training.data.layout import InvalidData, Objects
from training.features import FeatureTable
from training.metrics import class_weights

IntArray = NDArray[np.int64]

_STARTS = (0, *(last + 1 for last in LAST))
"""Numbers of detections from which each bin holds."""


@dataclass(frozen=True)
class Held:
    """M alerts as sent, of held-out objects, and one head's logits of them."""

    logits: Tensor
    """(M, C)"""
    labels: Tensor
    """(M,)"""
    detections: IntArray
    """(M,)"""
    weights: Tensor
    """(M,): alerts that each stands for, where objects are as common in one class as in another."""

    def where(self, rows: NDArray[np.bool_]) -> "Held":
        """The rows where ``rows`` is True."""
        chosen = torch.from_numpy(rows)
        return Held(self.logits[chosen], self.labels[chosen], self.detections[rows], self.weights[chosen])


Fit = Callable[[Held], Scaling]


def _scaling(*, by_class: bool, by_detections: bool) -> Fit:
    starts = _STARTS if by_detections else (0,)
    return lambda held: fit_scaling(
        held.logits, held.labels, held.detections, weights=held.weights, starts=starts, by_class=by_class
    )


CANDIDATES: Mapping[str, Fit] = {
    "temperature": _scaling(by_class=False, by_detections=False),
    "temperature by detections": _scaling(by_class=False, by_detections=True),
    "vector": _scaling(by_class=True, by_detections=False),
    "vector by detections": _scaling(by_class=True, by_detections=True),
}
"""From the simplest on."""


def calibrate(
    classifier: Classifier,
    objects: Objects,
    *,
    training_classes: NDArray[np.int32],
    tables: Sequence[FeatureTable] = (),
    per_bin: int = 1,
) -> tuple[Calibration, dict[str, Any]]:
    """A calibration from held-out objects, under a uniform prior, and what each candidate's cross-entropy was.

    ``training_classes`` (M,) are the class ids of the objects that were trained on, whose shares ``--prior training``
    asks for. Raises InvalidData if no object is left.
    """
    known = np.isin(objects.class_id, classifier.taxonomy.class_ids)
    objects = objects.where(known & (objects.light_curves.detections > 0))
    if not len(objects):
        raise InvalidData("no held-out object of the model's classes to calibrate on")
    sample = AlertSample.draw(objects.object_id, objects.light_curves, per_bin=per_bin)
    seen = predictions.Seen.of_alerts(objects, sample, window_days=classifier.model.window_days)
    heads = seen.scores(classifier.model, tables).logits
    of_object = classifier.taxonomy.places(objects.class_id)
    labels = of_object[sample.row]
    n_classes = len(classifier.taxonomy)
    weights = sample.weight * class_weights(of_object, np.full(n_classes, 1 / n_classes))[labels]
    half = np.array([layout.position_of(f"calibration:{id_}") < 0.5 for id_ in objects.object_id.tolist()])[sample.row]
    scalings, losses = {}, {}
    for head, logits in heads.items():
        held = Held(logits, torch.from_numpy(labels), seen.light_curves.detections, torch.from_numpy(weights))
        losses[head] = {name: _crosswise(fit, held, half) for name, fit in CANDIDATES.items()}
        scalings[head] = CANDIDATES[min(losses[head], key=losses[head].__getitem__)](held)
    counts = np.bincount(classifier.taxonomy.places(training_classes), minlength=n_classes)
    shares = tuple((counts / counts.sum()).tolist()) if (counts > 0).all() else ()
    return Calibration(temperatures={}, prior=UNIFORM, scalings=scalings, training_shares=shares), losses


def _crosswise(fit: Fit, held: Held, half: NDArray[np.bool_]) -> float:
    """Cross-entropy of each half under what was fitted to the other."""
    if half.all() or not half.any():
        return float("inf")
    total = 0.0
    for own in (half, ~half):
        judged = held.where(own)
        scaled = fit(held.where(~own))(judged.logits.double(), judged.detections)
        total += float(weighted_loss(scaled, judged.labels, judged.weights) * judged.weights.sum())
    return total / float(held.weights.sum())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommand's options."""
    parser.add_argument(
        "--model", type=Path, required=True, help="directory of the model, whose model.json is rewritten"
    )
    parser.add_argument("--data", type=Path, required=True, help="the data it was trained on, in the layout")
    parser.add_argument("--fold", type=int, help="the fold it was not trained on (default: the validation split)")
    parser.add_argument("--features", type=Path, help="their features, by python -m training features --alerts")
    parser.add_argument("--alerts-per-bin", type=int, default=1, metavar="N", help="of each object (default: 1)")


def run(arguments: argparse.Namespace) -> int:
    """The subcommand."""
    console = Console()
    classifier = predictions.load(arguments.model)
    objects = layout.read(arguments.data)
    if arguments.fold is None:
        held_out, trained = objects.split == "validation", objects.split == "train"
    else:
        held_out = (objects.fold == arguments.fold) & (objects.split != "test")
        trained = (objects.fold != arguments.fold) & (objects.split != "test")
    trained &= np.isin(objects.class_id, classifier.taxonomy.class_ids)
    tables = [] if arguments.features is None else [features.read(arguments.features)]
    calibration, losses = calibrate(
        classifier,
        objects.where(held_out),
        training_classes=objects.class_id[trained],
        tables=tables,
        per_bin=arguments.alerts_per_bin,
    )
    classifier.calibration = calibration
    classifier.metrics = {**classifier.metrics, "calibration, cross-entropy": losses}
    classifier.save_description(predictions.find_artifact(arguments.model))
    for head, each in losses.items():
        told = ", ".join(f"{name} {loss:.4f}" for name, loss in each.items())
        console.print(f"{head}: cross-entropy of held-out alerts: {told}")
    return 0

"""``python -m training calibrate``: fits a model's calibration anew, on held-out objects, and writes it into it.

On alerts as sent, or on light curves of the lengths that ``--days`` names. For each head the candidates are a
temperature and vector scaling, each for all alike or by the number of detections; two halves of the objects are fitted
and judged crosswise, and the one of the least cross-entropy is taken. Objects that the model, or a member of it, was
trained on take no part, and nor do those of a fold that it left out, which it is to be tried on.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from models.arrays import BoolArray, FloatArray, IntArray
from models.calibration import UNIFORM, Calibration, Scaling, fit_scaling, weighted_loss
from models.classifier import Classifier
from models.selection import PRIORS
from models.taxonomy import Taxonomy
from training import features, options, predictions
from training.arguments import count, fold_number, not_negative
from training.data.alert_sample import LAST, AlertSample
from training.data.layout import Dataset, Index, Objects
from training.data.selection import Selection, select
from training.data.splits import position_of
from training.errors import InvalidData
from training.features import FeatureTable
from training.metrics import class_weights
from training.seen import Seen

_STARTS = (0, *(last + 1 for last in LAST))
"""Numbers of detections from which each bin holds."""


@dataclass(frozen=True)
class Held:
    """M light curves of held-out objects, and one head's logits of them."""

    logits: Tensor
    """(M, C)"""
    labels: Tensor
    """(M,)"""
    detections: IntArray
    """(M,)"""
    weights: Tensor
    """(M,): what each stands for, where objects are as common in one class as in another."""

    def where(self, rows: BoolArray) -> "Held":
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


def fit_scalings(
    classifier: Classifier,
    objects: Objects,
    *,
    tables: Sequence[FeatureTable] = (),
    per_bin: int = 1,
    days: Sequence[float] = (),
) -> tuple[dict[str, Scaling], dict[str, Any]]:
    """Each head's scaling by held-out objects, for a uniform prior, and what each candidate's cross-entropy was.

    On an ``AlertSample`` of them, or on what was known so many ``days`` after the first alert. Raises InvalidData if
    no object is left.
    """
    known = np.isin(objects.class_id, classifier.taxonomy.class_ids)
    objects = objects.where(known & (objects.light_curves.detections > 0))
    if not len(objects):
        raise InvalidData("no held-out object of the model's classes to calibrate on")
    seen, stands_for = _seen(objects, per_bin, days, window_days=classifier.model.window_days)
    heads = predictions.scores_of(classifier.model, seen, tables).logits
    labels = classifier.taxonomy.places(seen.class_id)
    n_classes = len(classifier.taxonomy)
    counts = np.bincount(classifier.taxonomy.places(objects.class_id), minlength=n_classes)
    weights = stands_for * class_weights(counts, np.full(n_classes, 1 / n_classes))[labels]
    half = np.array([position_of(f"calibration:{object_id}") < 0.5 for object_id in seen.object_id.tolist()])
    scalings, losses = {}, {}
    for head, logits in heads.items():
        held = Held(logits, torch.from_numpy(labels), seen.light_curves.detections, torch.from_numpy(weights))
        losses[head] = {name: _crosswise(fit, held, half) for name, fit in CANDIDATES.items()}
        scalings[head] = CANDIDATES[min(losses[head], key=losses[head].__getitem__)](held)
    return scalings, losses


def _seen(objects: Objects, per_bin: int, days: Sequence[float], *, window_days: float) -> tuple[Seen, FloatArray]:
    """Light curves (M,) to calibrate on, and what each stands for (M,)."""
    if days:
        seen = Seen.of_ages(objects, days, window_days=window_days)
        return seen, np.ones(len(seen.object_id))
    sample = AlertSample.draw(objects.object_id, objects.light_curves, per_bin=per_bin)
    return Seen.of_alerts(objects, sample, window_days=window_days), sample.weight


def _crosswise(fit: Fit, held: Held, half: BoolArray) -> float:
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
    parser.add_argument("--fold", type=fold_number, help="the one it was validated on, where the model does not say")
    parser.add_argument("--features", type=Path, help="their features, by python -m training features, --alerts or not")
    parser.add_argument("--alerts-per-bin", type=count, default=1, metavar="N", help="of each object (default: 1)")
    parser.add_argument(
        "--days",
        type=not_negative,
        nargs="+",
        default=[],
        help="calibrate on light curves so long after the first alert, in place of alerts as sent",
    )
    parser.add_argument(
        "--prior", default="uniform", help=f"that it answers under from now on: {PRIORS} (default: uniform)"
    )
    options.add_machine(parser)


def run(arguments: argparse.Namespace) -> int:
    """The subcommand."""
    options.use_machine(arguments)
    console = Console()
    classifier = predictions.load(arguments.model, device=arguments.device)
    dataset = Dataset.open(arguments.data)
    index = dataset.index()
    if any(told.get("data") not in (None, index.fingerprint) for told in _provenances(classifier.provenance)):
        console.print(f"trained on other data than {arguments.data}: whether on some of its objects is not known")
    selection = _selection(classifier, index, arguments.fold)
    uniform = _uniform(classifier.taxonomy, index.class_id[selection.train])
    answering = predictions.under(uniform, arguments.prior, classifier.taxonomy, told="--prior")
    scalings, losses = fit_scalings(
        classifier,
        dataset.read().where(selection.validation),
        tables=[] if arguments.features is None else [features.read(arguments.features)],
        per_bin=arguments.alerts_per_bin,
        days=arguments.days,
    )
    classifier.calibration = replace(answering, scalings=scalings)
    classifier.metrics = {**classifier.metrics, "calibration, cross-entropy": losses}
    classifier.save_description(predictions.find_artifact(arguments.model))
    for head, each in losses.items():
        told = ", ".join(f"{name} {loss:.4f}" for name, loss in each.items())
        console.print(f"{head}: cross-entropy of what was held out: {told}")
    return 0


def _uniform(taxonomy: Taxonomy, training_classes: NDArray[np.int32]) -> Calibration:
    """No scaling yet, but the shares (C,) of the classes that were trained on, if each was, for priors made of them."""
    known = training_classes[np.isin(training_classes, taxonomy.class_ids)]
    counts = np.bincount(taxonomy.places(known), minlength=len(taxonomy))
    shares = tuple((counts / counts.sum()).tolist()) if (counts > 0).all() else ()
    return Calibration(temperatures={}, prior=UNIFORM, training_shares=shares)


def _selection(classifier: Classifier, index: Index, fold: int | None) -> Selection:
    """What the model, or any member of it, was trained on; and what all were validated on, by what they say."""
    trainings = [told.get("training", {}) for told in _provenances(classifier.provenance)]
    each = [
        select(index, fold=told.get("fold") if fold is None else fold, left_out=told.get("left_out"))
        for told in trainings
    ]
    train = np.logical_or.reduce([one.train for one in each])
    return Selection(train, np.logical_and.reduce([one.validation for one in each]) & ~train)


def _provenances(provenance: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Where each member of a model comes from, those of members included; or the model itself."""
    members = provenance.get("members")
    if not members:
        return [provenance]
    return [told for member in members for told in _provenances(member["provenance"])]

"""Figures from predictions: what several models do on the same objects and light curves, with intervals.

Models that differ by their seed alone are one variant. Intervals are a bootstrap's, over the objects within each class
and over the variant's seeds; differences between variants are paired by object.
"""

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from models.calibration import InvalidPrior
from models.classifier import Description, InvalidArtifact
from models.taxonomy import CLASS_NAMES
from training.data.alert_sample import BINS, bin_of
from training.data.layout import InvalidData
from training.metrics import DRAWS, Estimate, Rates, Reliability, Resampling, class_weights, over_seeds, reliability
from training.predictions import Predictions, Scored, find_artifact

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

ALERTS = "alerts"
"""The view of every alert as sent; ``alerts, 3-5`` is of those with so many detections."""

ALERT_VIEWS = (ALERTS, *(f"{ALERTS}, {name}" for name in BINS))

_LEAST = 1e-12
"""Stands for a probability of 0 where there is a logarithm to take."""

_SEEDED = re.compile(r"(?P<variant>.+)-(?P<seed>\d+)")


def view_of(days: float) -> str:
    """Name of the view of light curves so many days after the first alert."""
    return f"{days:.0f} day{'' if days == 1 else 's'}"


@dataclass(frozen=True)
class Run:
    """One model and what it predicted."""

    variant: str
    seed: int | None
    description: Description
    predictions: Predictions

    @classmethod
    def of(
        cls,
        directory: Path,
        predictions: Predictions,
        *,
        named: tuple[str, int | None] | None = None,
        prior: str | None = None,
    ) -> Self:
        """By default variant and seed are those of a directory VARIANT-SEED, or the model's name and none.

        Raises InvalidData for no model, or one to which the prior does not fit.
        """
        try:
            description = Description.read(find_artifact(directory))
            if prior is not None:
                calibration = description.calibration.under(prior, description.taxonomy)
                description = description.calibrated(calibration)
        except (InvalidArtifact, InvalidPrior) as error:
            raise InvalidData(f"{directory}: {error}") from error
        variant, seed = named or seed_of(directory) or (description.name, None)
        return cls(variant, seed, description, predictions)

    @classmethod
    def pooled(cls, runs: Sequence["Run"]) -> "Run":
        """One run of the out-of-fold predictions of several, each calibrated as its own model is."""
        first = runs[0]
        if any(run.description.taxonomy != first.description.taxonomy for run in runs):
            raise InvalidData(f"the folds of {first.variant} have different classes")

        def joined(scored: Sequence[Scored]) -> Scored:
            parts = [
                replace(each, logits=np.log(np.maximum(run.probabilities(each), _LEAST)).astype(np.float32))
                for run, each in zip(runs, scored, strict=True)
            ]
            return Scored.joined(parts)

        predictions = Predictions(
            by_age=joined([run.predictions.by_age for run in runs]),
            by_alert=joined([run.predictions.by_alert for run in runs]),
            seconds=first.predictions.seconds,
            machine=first.predictions.machine,
        )
        calibration = replace(first.description.calibration, temperatures={}, scalings={}, shift=())
        return cls(first.variant, first.seed, first.description.calibrated(calibration), predictions)

    def probabilities(self, scored: Scored) -> FloatArray:
        """Calibrated, (M, C) in the order of the model's classes."""
        return self.description.calibration.of_rows(scored.logits, scored.head, scored.detections)


def seed_of(directory: Path) -> tuple[str, int] | None:
    """Variant and seed by a directory's name, or by its parent's; None for another name."""
    for name in (directory.name, directory.parent.name):
        found = _SEEDED.fullmatch(name)
        if found:
            return found["variant"], int(found["seed"])
    return None


@dataclass(frozen=True)
class Measured:
    """One variant on a panel. Draws have 1 + R rows: the figure itself, then the bootstrap's."""

    variant: str
    seeds: tuple[int | None, ...]
    views: tuple[str, ...]
    classes: tuple[int, ...]
    present: NDArray[np.bool_]
    """(V, C), whether a view has anything of a class."""
    counts: FloatArray
    """(V, C, C) confusion of light curves, or of alerts as sent; mean over seeds."""
    objects: IntArray
    """(V, C) that take part."""
    precision: FloatArray
    """(1 + R, V, C)"""
    recall: FloatArray
    f1: FloatArray
    accuracy: FloatArray
    """(1 + R, V)"""
    ece: Mapping[str, FloatArray]
    """By view of alerts, (1 + R,): under the prior of the model."""
    cross_entropy: Mapping[str, float]
    curves: Mapping[str, Reliability]
    """By view of alerts, of the first seed; (1 + R, 15)."""
    seconds: Mapping[str, float]
    machine: str
    prior: str

    def place(self, view: str) -> int:
        """Place of a view. Raises InvalidData for one that was not measured."""
        if view not in self.views:
            raise InvalidData(f"{self.variant} was not measured at {view}: {', '.join(self.views)}")
        return self.views.index(view)

    def macro(self, view: str, *, of: str = "f1", classes: Sequence[int] | None = None) -> FloatArray:
        """Draws (1 + R,) of the mean over the classes that the view has, or over some of them."""
        place = self.place(view)
        chosen = self.present[place]
        if classes is not None:
            chosen = chosen & np.isin(self.classes, classes)
        values: FloatArray = getattr(self, of)[:, place, chosen].mean(axis=-1)
        return values


@dataclass(frozen=True)
class Panel:
    """The objects that every run has predicted, drawn anew the same way for all of them."""

    classes: tuple[int, ...]
    """Of the objects, and of the models' outputs."""
    object_id: IntArray
    """(N,), ascending."""
    resampling: Resampling

    @classmethod
    def of(cls, runs: Sequence[Run], *, source: str | None = None, draws: int = DRAWS, seed: int = 0) -> Self:
        """Of the objects, all or of one source, that the runs have in common. Raises InvalidData if there are none."""
        common = None
        class_of: dict[int, int] = {}
        for run in runs:
            scored = run.predictions.by_age
            ids, first = np.unique(scored.object_id, return_index=True)
            if source is not None:
                kept = scored.source[first] == source
                ids, first = ids[kept], first[kept]
            common = ids if common is None else np.intersect1d(common, ids)
            class_of |= dict(zip(ids.tolist(), scored.class_id[first].tolist(), strict=True))
        if common is None or not len(common):
            raise InvalidData("the models have no object in common to be compared on")
        class_id = np.array([class_of[id_] for id_ in common.tolist()])
        outputs = {class_id for run in runs for class_id in run.description.taxonomy.class_ids}
        classes = tuple(sorted(outputs | set(class_id.tolist()), key=tuple(CLASS_NAMES).index))
        labels = _places(classes, class_id)
        return cls(classes, common, Resampling.of(labels, len(classes), draws=draws, seed=seed))

    def __len__(self) -> int:
        return len(self.object_id)

    def measure(self, runs: Sequence[Run]) -> Measured:
        """One variant: runs that differ by seed."""
        each = [self._rates(run) for run in runs]
        views, present, objects, counts, rates = (list(column) for column in zip(*each, strict=True))
        if any(other != views[0] for other in views):
            raise InvalidData(f"the seeds of {runs[0].variant} were not evaluated at the same lengths")
        calibrations = [self._calibration(run) for run in runs]
        stirred = zlib.crc32(runs[0].variant.encode())  # seeds of one variant have nothing to do with another's
        return Measured(
            variant=runs[0].variant,
            seeds=tuple(run.seed for run in runs),
            views=views[0],
            classes=self.classes,
            present=present[0],
            counts=np.mean(counts, axis=0),
            objects=objects[0],
            precision=over_seeds([rate.precision for rate in rates], seed=stirred),
            recall=over_seeds([rate.recall for rate in rates], seed=stirred),
            f1=over_seeds([rate.f1 for rate in rates], seed=stirred),
            accuracy=over_seeds([rate.accuracy for rate in rates], seed=stirred),
            ece={
                view: over_seeds([found[view][0].ece for found in calibrations], seed=stirred)
                for view in calibrations[0]
            },
            cross_entropy={
                view: float(np.mean([found[view][1] for found in calibrations])) for view in calibrations[0]
            },
            curves={view: found[0] for view, found in calibrations[0].items()},
            seconds={
                step: float(np.mean([run.predictions.seconds[step] for run in runs]))
                for step in runs[0].predictions.seconds
            },
            machine=runs[0].predictions.machine,
            prior=runs[0].description.calibration.prior,
        )

    def _of_panel(self, scored: Scored) -> tuple[Scored, IntArray]:
        """The rows of the panel's objects, and each one's place among them."""
        row = np.minimum(np.searchsorted(self.object_id, scored.object_id), len(self) - 1)
        kept = self.object_id[row] == scored.object_id
        return scored.take(np.flatnonzero(kept)), row[kept]

    def _rates(self, run: Run) -> tuple[tuple[str, ...], NDArray[np.bool_], IntArray, FloatArray, Rates]:
        by_age, age_row = self._of_panel(run.predictions.by_age)
        by_alert, alert_row = self._of_panel(run.predictions.by_alert)
        ages, age_view = np.unique(by_age.days, return_inverse=True)
        alert_views = len(ages) + np.stack([np.zeros(len(by_alert), dtype=np.int64), 1 + bin_of(by_alert.carried)])
        views = (*map(view_of, ages.tolist()), *ALERT_VIEWS)
        row = np.concatenate([age_row, alert_row, alert_row])
        view = np.concatenate([age_view.ravel(), *alert_views])
        weight = np.concatenate([by_age.weight, by_alert.weight, by_alert.weight])
        predicted = np.concatenate([self._predicted(run, by_age), *2 * [self._predicted(run, by_alert)]])
        shape = (len(self), len(views), len(self.classes))
        cell = np.ravel_multi_index((row, view, predicted), shape)
        table = np.bincount(cell, weights=weight, minlength=int(np.prod(shape))).reshape(shape)
        counts = self.resampling.totals(table).transpose(0, 2, 1, 3)
        taking_part = (table.sum(axis=2) > 0).astype(np.int64)
        objects = np.stack([taking_part[rows].sum(axis=0) for rows in self.resampling.members], axis=1)
        return views, objects > 0, objects, counts[0], Rates.of(counts)

    def _predicted(self, run: Run, scored: Scored) -> IntArray:
        outputs = _places(self.classes, np.array(run.description.taxonomy.class_ids))
        predicted: IntArray = outputs[run.probabilities(scored).argmax(axis=1)]
        return predicted

    def _calibration(self, run: Run) -> dict[str, tuple[Reliability, float]]:
        """By view of alerts: confidence against accuracy, and the cross-entropy. Classes weigh as the prior says."""
        scored, row = self._of_panel(run.predictions.by_alert)
        taxonomy = run.description.taxonomy
        probabilities = run.probabilities(scored)
        labels = taxonomy.places(scored.class_id)
        outputs = _places(self.classes, np.array(taxonomy.class_ids))
        shares = np.zeros(len(self.classes))
        shares[outputs] = run.description.calibration.shares(len(taxonomy))
        weight = scored.weight * class_weights(self.resampling.labels, shares)[outputs[labels]]
        predicted = probabilities.argmax(axis=1)
        confidence = probabilities[np.arange(len(predicted)), predicted]
        surprise = -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], _LEAST))
        found = {}
        of_bin = bin_of(scored.carried)
        for place, view in enumerate(ALERT_VIEWS):
            own = np.ones(len(scored), dtype=np.bool_) if place == 0 else of_bin == place - 1
            if own.any():
                curve = reliability(confidence[own], (predicted == labels)[own], weight[own], row[own], self.resampling)
                found[view] = (curve, float(np.average(surprise[own], weights=weight[own])))
        return found


def _places(classes: Sequence[int], class_id: IntArray) -> IntArray:
    place = {each: number for number, each in enumerate(classes)}
    found: IntArray = np.array([place[each] for each in class_id.tolist()], dtype=np.int64)
    return found


def by_variant(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs by variant, in the order they first come."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.variant, []).append(run)
    return found


def difference(first: Measured, second: Measured, view: str, *, classes: Sequence[int] | None = None) -> Estimate:
    """How much greater the first variant's macro F1 is, in points of a hundred; both must be of one panel."""
    return Estimate.of(first.macro(view, classes=classes) - second.macro(view, classes=classes)).times(100)

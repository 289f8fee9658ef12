"""Figures from predictions: what several models do on the same objects and light curves, with intervals.

Models that differ by their seed alone are one variant. Intervals are a bootstrap's, over the objects within each class
and over the variant's seeds; differences between variants are paired by object.
"""

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from models.arrays import BoolArray, FloatArray, IntArray
from models.taxonomy import CLASS_NAMES
from training.answers import AnyAnswers, Run
from training.data.alert_sample import BINS, bin_of
from training.errors import InvalidData
from training.metrics import DRAWS, Estimate, Rates, Reliability, Resampling, class_weights, over_seeds, reliability

ALERTS = "alerts"
"""The view of every alert as sent; ``alerts, 3-5`` is of those with so many detections."""

ALERT_VIEWS = (ALERTS, *(f"{ALERTS}, {name}" for name in BINS))


ENOUGH = 30
"""Objects of a class in a view, or all of the class that there are anywhere: with fewer it takes no part in means."""


def view_of(days: float) -> str:
    """Name of the view of light curves so many days after the first alert."""
    return f"{days:.6g} day{'' if days == 1 else 's'}"


def worst_bin(errors: Mapping[str, FloatArray]) -> tuple[str, str]:
    """Of errors by view of alerts, (1 + R,): the view of so many detections that has the greatest, and that number."""
    view = max((view for view in errors if view != ALERTS), key=lambda view: float(errors[view][0]))
    return view, view.removeprefix(ALERTS + ", ")


def days_of(view: str) -> float | None:
    """The inverse of ``view_of``; None for a view of alerts."""
    found = re.fullmatch(r"([\d.]+) days?", view)
    return float(found[1]) if found else None


@dataclass(frozen=True)
class Measured:
    """One variant on a panel. Draws have 1 + R rows: the figure itself, then the bootstrap's."""

    variant: str
    model: str
    """Its name and version."""
    seeds: tuple[int | None, ...]
    views: tuple[str, ...]
    classes: tuple[int, ...]
    present: BoolArray
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
    """By view of alerts, (1 + R,), as they come: the prior is of objects, each of which counts with all its alerts."""
    cross_entropy: Mapping[str, float]
    ece_alike: Mapping[str, FloatArray]
    """The same where the prior is of the view's alerts: a class does not count for more that sends more of them."""
    cross_entropy_alike: Mapping[str, float]
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
        """Draws (1 + R,) of the mean over the classes that are ``counted``, or over some of them."""
        place = self.place(view)
        chosen = self.counted(view)
        if classes is not None:
            chosen = chosen & np.isin(self.classes, classes)
        return _mean(getattr(self, of)[:, place, chosen])

    def counted(self, view: str) -> BoolArray:
        """(C,), whether a class takes part in the view's mean: it has ENOUGH objects, unless no class has."""
        place = self.place(view)
        enough: BoolArray = self.present[place] & (self.objects[place] >= np.minimum(ENOUGH, self.objects.max(axis=0)))
        return enough if enough.any() else np.asarray(self.present[place])


@dataclass(frozen=True)
class _Calibration:
    """Of one run in one view."""

    curve: Reliability
    cross_entropy: float


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
            answers = run.by_age
            ids, first = np.unique(answers.object_id, return_index=True)
            if source is not None:
                kept = answers.source[first] == source
                ids, first = ids[kept], first[kept]
            common = ids if common is None else np.intersect1d(common, ids)
            class_of |= dict(zip(ids.tolist(), answers.class_id[first].tolist(), strict=True))
        if common is None or not len(common):
            raise InvalidData("the models have no object in common to be compared on")
        class_id = np.array([class_of[id_] for id_ in common.tolist()])
        outputs = {class_id for run in runs for class_id in run.classes}
        classes = tuple(sorted(outputs | set(class_id.tolist()), key=tuple(CLASS_NAMES).index))
        labels = _places(classes, class_id)
        return cls(classes, common, Resampling.of(labels, len(classes), draws=draws, seed=seed))

    def __len__(self) -> int:
        return len(self.object_id)

    def measure(self, runs: Sequence[Run]) -> Measured:
        """One variant: runs that differ by seed. Seeds of one variant have nothing to do with another's."""
        each = [self._rates(run) for run in runs]
        views, present, objects, counts, rates = (list(column) for column in zip(*each, strict=True))
        if any(other != views[0] for other in views):
            raise InvalidData(f"the seeds of {runs[0].variant} were not evaluated at the same lengths")
        if any(run.prior != runs[0].prior for run in runs):
            raise InvalidData(f"the seeds of {runs[0].variant} answered under different priors")
        models = sorted({run.model for run in runs})
        if len(models) > 1:
            raise InvalidData(f"the seeds of {runs[0].variant} are not of one model: {', '.join(models)}")
        calibrations, alike = ([self._calibration(run, alike=alike) for run in runs] for alike in (False, True))
        fastest = min(runs, key=lambda run: sum(run.seconds.values()))  # the least disturbed
        stirred = zlib.crc32(runs[0].variant.encode())
        return Measured(
            variant=runs[0].variant,
            model=models[0],
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
            ece=_errors(calibrations, seed=stirred),
            cross_entropy=_cross_entropies(calibrations),
            ece_alike=_errors(alike, seed=stirred),
            cross_entropy_alike=_cross_entropies(alike),
            curves={view: found.curve for view, found in calibrations[0].items()},
            seconds=dict(fastest.seconds),
            machine=fastest.machine,
            prior=runs[0].prior,
        )

    def _of_panel(self, answers: AnyAnswers) -> tuple[AnyAnswers, IntArray]:
        """The rows of the panel's objects, and each one's place among them."""
        row = np.minimum(np.searchsorted(self.object_id, answers.object_id), len(self) - 1)
        kept = self.object_id[row] == answers.object_id
        return answers.take(np.flatnonzero(kept)), row[kept]

    def _rates(self, run: Run) -> tuple[tuple[str, ...], BoolArray, IntArray, FloatArray, Rates]:
        by_age, age_row = self._of_panel(run.by_age)
        by_alert, alert_row = self._of_panel(run.by_alert)
        ages, age_view = np.unique(by_age.days, return_inverse=True)
        alert_views = len(ages) + np.stack([np.zeros(len(by_alert), dtype=np.int64), 1 + bin_of(by_alert.carried)])
        views = (*map(view_of, ages.tolist()), *ALERT_VIEWS)
        row = np.concatenate([age_row, alert_row, alert_row])
        view = np.concatenate([age_view.ravel(), *alert_views])
        weight = np.concatenate([np.ones(len(by_age)), by_alert.weight, by_alert.weight])
        predicted = _places(self.classes, np.concatenate([by_age.predicted, *2 * [by_alert.predicted]]))
        shape = (len(self), len(views), len(self.classes))
        cell = np.ravel_multi_index((row, view, predicted), shape)
        table = np.bincount(cell, weights=weight, minlength=int(np.prod(shape))).reshape(shape)
        counts = self.resampling.totals(table).transpose(0, 2, 1, 3)
        taking_part = (table.sum(axis=2) > 0).astype(np.int64)
        objects = np.stack([taking_part[rows].sum(axis=0) for rows in self.resampling.members], axis=1)
        rates = Rates.of(counts)
        absent = counts.sum(axis=-1) == 0  # a draw may miss every object of a class that few have
        for each in (rates.recall, rates.f1):
            each[absent] = np.nan
        return views, objects > 0, objects, counts[0], rates

    def _calibration(self, run: Run, *, alike: bool) -> dict[str, _Calibration]:
        """By view of alerts; ``alike`` as the prior says of its alerts, else as it says of objects."""
        answers, row = self._of_panel(run.by_alert)
        shares = np.zeros(len(self.classes))
        shares[_places(self.classes, np.array(run.classes))] = run.shares
        labels = _places(self.classes, answers.class_id)
        of_objects = class_weights(np.bincount(self.resampling.labels, minlength=len(shares)), shares)
        right = answers.predicted == answers.class_id
        found = {}
        of_bin = bin_of(answers.carried)
        for place, view in enumerate(ALERT_VIEWS):
            own = np.ones(len(answers), dtype=np.bool_) if place == 0 else of_bin == place - 1
            if own.any():
                sent = np.bincount(labels[own], weights=answers.weight[own], minlength=len(shares))
                of_class = class_weights(sent, shares) if alike else of_objects
                weight = answers.weight[own] * of_class[labels[own]]
                found[view] = _Calibration(
                    reliability(answers.confidence[own], right[own], weight, row[own], self.resampling),
                    float(np.average(answers.surprise[own], weights=weight)),
                )
        return found


def _places(classes: Sequence[int], class_id: NDArray[np.integer[Any]]) -> IntArray:
    place = {each: number for number, each in enumerate(classes)}
    found: IntArray = np.array([place[each] for each in class_id.tolist()], dtype=np.int64)
    return found


def _errors(seeds: Sequence[Mapping[str, _Calibration]], *, seed: int) -> dict[str, FloatArray]:
    """Of calibration, by view, (1 + R,): over a variant's seeds."""
    return {view: over_seeds([found[view].curve.ece for found in seeds], seed=seed) for view in seeds[0]}


def _cross_entropies(seeds: Sequence[Mapping[str, _Calibration]]) -> dict[str, float]:
    return {view: float(np.mean([found[view].cross_entropy for found in seeds])) for view in seeds[0]}


def _mean(values: FloatArray) -> FloatArray:
    """Over the last axis, of what is a number; NaN where nothing is."""
    there = np.isfinite(values)
    total, number = np.where(there, values, 0.0).sum(axis=-1), there.sum(axis=-1)
    mean: FloatArray = np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)
    return mean


def few(measured: Measured, views: Sequence[str]) -> dict[str, list[str]]:
    """By view, the classes that it has too few objects of, or none, to take part in its mean."""
    found = {}
    for view in views:
        out = measured.present.any(axis=0) & ~measured.counted(view)
        if out.any():
            found[view] = [CLASS_NAMES[measured.classes[column]] for column in np.flatnonzero(out)]
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

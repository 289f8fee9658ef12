"""What the runs that ``few-labels`` compares have answered, measured: each method's F1, and how much more than scratch.

Seeds are few, so what differs from one to another is judged by Student's t; what objects were drawn, by a bootstrap.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from training import answers
from training.data.splits import FOLDS
from training.few_labels_choice import chosen, pairs
from training.few_labels_runs import COMPARED, LONGER, SCRATCH, Bench, Method, Run
from training.measure import Panel, view_of
from training.metrics import Estimate

_VIEW = view_of(COMPARED)


@dataclass(frozen=True)
class Row:
    """A method at a share of the labels: its runs that have answered, of as many as were asked for. In points of F1."""

    method: Method
    labels: float
    runs: tuple[Run, ...]
    f1: Estimate
    gain: Estimate | None
    """More than from scratch at the same share, over the seeds that both have; None where there are none."""
    paired: int
    """How many seeds these are."""
    over_longer: Estimate | None = None
    """More than from scratch for as long as pretraining and training take together, likewise."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of the runs."""
        return tuple(run.seed for run in self.runs)


@dataclass(frozen=True)
class Comparison:
    """All of them, on the same objects."""

    rows: tuple[Row, ...]
    """Of what has answered."""
    n_objects: int
    lost: tuple[Run, ...]
    """Of the runs that were asked for, those that diverged."""

    def scratch(self, labels: float) -> Row | None:
        """The start from scratch at this share of the labels."""
        return next((row for row in self.rows if (row.method.name, row.labels) == (SCRATCH, labels)), None)


def measured(bench: Bench, methods: Sequence[Method], labels: Sequence[float], seeds: int) -> Comparison:
    """Of as many seeds of each method at each share of the labels."""
    asked = [(method, share, chosen(bench, method, share, seeds)) for method, share in pairs(methods, labels)]
    lost = tuple(run for _, _, runs in asked for run in runs if bench.has_diverged(run))
    there = [(method, share, tuple(filter(bench.has_answered, runs))) for method, share, runs in asked]
    there = [each for each in there if each[2]]
    if not there:
        return Comparison((), 0, lost)
    told = {run.name: bench.answers(run) for _, _, runs in there for run in runs}
    trial = _OnFolds(told) if bench.folds else _OnOneTrial(told)
    from_scratch = {(method.name, share): runs for method, share, runs in there if method.self_supervision is None}
    rows = []
    for method, share, runs in there:
        gains = {}
        for name in (SCRATCH, LONGER):
            others = from_scratch.get((name, share), ()) if method.name not in (name, SCRATCH) else ()
            gains[name] = [(run, other) for run in runs for other in others if run.seed == other.seed]
        gain, over_longer = (trial.gain(couples).times(100) if couples else None for couples in gains.values())
        rows.append(Row(method, share, runs, trial.f1(runs).times(100), gain, len(gains[SCRATCH]), over_longer))
    return Comparison(tuple(rows), trial.n_objects, lost)


def verdict(row: Row, seeds: int, least: float) -> str:
    """Whether a method has gained so many points, surely some; none on fewer seeds than were asked for."""
    if row.gain is None or row.paired < seeds:
        return f"not judged: {row.paired} of {seeds} seeds"
    if np.isnan(row.gain.low):
        return "not judged: one seed"
    return "pass" if row.gain.value >= least and row.gain.low > 0 else "**FAIL**"


class _OnOneTrial:
    """Runs of all seeds answered about the same objects."""

    def __init__(self, told: Mapping[str, answers.Run]) -> None:
        panel = Panel.of(list(told.values()))
        self.n_objects = len(panel)
        self._draws = {name: panel.measure([each]).macro(_VIEW) for name, each in told.items()}

    def f1(self, runs: Sequence[Run]) -> Estimate:
        return Estimate.of_seeds([self._draws[run.name] for run in runs])

    def gain(self, couples: Sequence[tuple[Run, Run]]) -> Estimate:
        return Estimate.of_seeds([self._draws[run.name] - self._draws[other.name] for run, other in couples])


class _OnFolds:
    """The run of each seed answered about its own fold: all folds together are the objects."""

    def __init__(self, told: Mapping[str, answers.Run]) -> None:
        self._told = told
        self.n_objects = len(np.unique(np.concatenate([each.by_age.object_id for each in told.values()])))

    def f1(self, runs: Sequence[Run]) -> Estimate:
        pooled = self._pooled(runs)
        return Estimate.of(Panel.of([pooled]).measure([pooled]).macro(_VIEW))

    def gain(self, couples: Sequence[tuple[Run, Run]]) -> Estimate:
        """Of all folds together; its interval is the longer of two that both hold which objects were drawn.

        How folds differ holds it, as each is tried on objects of its own, and more; but few folds can agree by chance,
        where the bootstrap over objects says how far they might not have. Folds learn from much the same objects: by
        how much that makes Student's t too short, Nadeau and Bengio (2003) say, whose factor this is.
        """
        both = [self._pooled(runs) for runs in zip(*couples, strict=True)]
        panel = Panel.of(both)
        first, second = (panel.measure([each]).macro(_VIEW) for each in both)
        by_object = Estimate.of(first - second)
        by_fold = Estimate.of_mean(np.array([self._apart(*couple) for couple in couples]))
        return by_object.at_least(np.sqrt(1 + len(couples) / (FOLDS - 1)) * (by_fold.high - by_fold.value))

    def _pooled(self, runs: Sequence[Run]) -> answers.Run:
        return answers.Run.pooled([self._told[run.name] for run in runs])

    def _apart(self, run: Run, other: Run) -> float:
        both = [self._told[run.name], self._told[other.name]]
        panel = Panel.of(both, draws=1)
        first, second = (float(panel.measure([each]).macro(_VIEW)[0]) for each in both)
        return first - second

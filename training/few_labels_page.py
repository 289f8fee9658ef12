"""``FEW_LABELS.md``: what the runs of ``few-labels`` came to, and whether that is what was to be reached."""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from training import answers, measure
from training.few_labels_choice import SCREENED, chosen, pairs, ranked
from training.few_labels_runs import COMPARED, LONGER, SCRATCH, Bench, Method, Run
from training.measure import Measured, Panel, view_of
from training.metrics import Estimate
from training.pages import markdown

TO_REACH = 3.0
"""Points of macro F1 more than from scratch, at SCREENED."""
ANCHOR = "ATCAT, on ELAsTiCC, keeps 87.1 of 89.75 with 10% of the labels (97.0 %)"
"""What has been published of the like."""

_VIEW = view_of(COMPARED)


def page(bench: Bench, methods: Sequence[Method], labels: Sequence[float], seeds: int) -> str:
    """``FEW_LABELS.md``, of what is there."""
    every = {(method.name, share): chosen(bench, method, share, seeds) for method, share in pairs(methods, labels)}
    compared = {key: answered for key, runs in every.items() if (answered := list(filter(bench.has_answered, runs)))}
    lost = [run for runs in every.values() for run in runs if bench.has_diverged(run)]
    parts = [
        "# What pretraining gains where few labels are known",
        f"Made by `python -m training few-labels`: not edited by hand. Configuration {bench.experiment.name}, tier "
        f"{bench.experiment.tier}, {bench.experiment.training.steps:,} steps of training for every network (for "
        f"`{LONGER}` as many more as pretraining has), with augmentation: a budget by which no network of many labels "
        "has learned all that it could. Validation objects have all of their labels; they choose learning rates and "
        "the best step, by the mean over whole light curves and alerts as sent.",
        *_told_of_pretraining(bench),
    ]
    screen = ranked(bench)
    if any(run.method not in methods for run in screen):  # without a screen, some of the comparison stand in its place
        told = f"One seed, {SCREENED:.0%} of the labels: mean macro F1 of the views on validation objects, in per cent."
        told += " Errors are of what each was asked to predict, and do not compare between kinds of pretraining."
        head = ["method", "F1", "pretraining: validation errors"]
        parts += ["## Screen", told, markdown(head, list(_screen_rows(bench, screen)))]
    if compared:
        parts += ["## Comparison", *_comparison(bench, compared)]
    if lost:
        parts += ["Diverged, and left out: " + ", ".join(f"{run.variant}, seed {run.seed}" for run in lost) + "."]
    return "\n\n".join(parts) + "\n"


def _told_of_pretraining(bench: Bench) -> Iterator[str]:
    """All methods learn equally long, from the same objects."""
    for outcome in bench.outcomes().values():
        if outcome.pretraining is not None:
            sources, objects = ", ".join(outcome.pretraining["sources"]), outcome.pretraining["objects"]
            told = f"{bench.pretraining_steps:,} steps on {objects:,} objects of {sources}"
            yield f"Pretraining: {told}, no label looked at."
            return


def _screen_rows(bench: Bench, runs: Sequence[Run]) -> Iterator[list[str]]:
    for run in runs:
        outcome, errors = bench.outcome(run), ""
        if outcome is not None and outcome.pretraining is not None:
            found = outcome.pretraining["validation"]
            names = [name for name in found if name not in ("step", "minutes", "learning_rate", "loss")]
            errors = ", ".join(f"{name} {found[name]:.3f}" for name in names)
        yield [run.method.name, f"{100 * bench.score(run):.1f}", errors]


def _comparison(bench: Bench, compared: dict[tuple[str, float], list[Run]]) -> Iterator[str]:
    """The table, and whether what was to be reached has been."""
    every = {key: list(map(bench.answers, each)) for key, each in compared.items()}
    runs = {key: [answers.Run.pooled(each)] for key, each in every.items()} if bench.folds else every
    panel = Panel.of([run for each in runs.values() for run in each])
    found = {key: panel.measure(each, paired_by_seed=True) for key, each in runs.items()}
    rows = []
    verdicts = []
    whole = found.get((SCRATCH, 1.0))
    for (name, share), measured in found.items():
        scratch = found.get((SCRATCH, share))
        gain = None if scratch is None or name == SCRATCH else measure.difference(measured, scratch, _VIEW)
        if gain is not None and bench.folds:
            gain = _over_folds(every[name, share], every[SCRATCH, share])
        kept = "" if whole is None else f"{100 * measured.macro(_VIEW)[0] / whole.macro(_VIEW)[0]:.1f} %"
        own = compared[name, share]
        figures = [_told(_percent(measured)), "" if gain is None else _told(gain, signed=True), kept]
        rows.append([name, f"{share:.0%}", f"{own[0].learning_rate:g}", str(len(own)), *figures])
        if gain is not None and share == SCREENED and name != LONGER:
            verdicts.append((name, gain))
    pooled = ", each of the run that left out its fold" if bench.folds else ""
    told = "whole light curves, in per cent; differences are paired by object and by seed."
    yield f"Macro F1 on {len(panel)} test objects{pooled}, {told}"
    if bench.folds:
        yield (
            "Intervals of F1 are over objects alone. A difference is the mean of those of the folds, each of which "
            "has its own labels, weights and objects, and its interval is Student's t over them: too short, as the "
            "folds learn from much the same objects. Methods and learning rates were chosen at the first seed, by "
            "objects that runs of other seeds are tried on."
        )
    head = ["method", "labels learned from", "learning rate", "seeds", "F1", "more than scratch", "of scratch with all"]
    yield markdown(head, rows)
    if whole is not None:
        yield f"For comparison: {ANCHOR}."
    for name, gain in verdicts:
        passes = gain.value >= TO_REACH and gain.low > 0
        yield f"- {name}: {_told(gain, signed=True)} at {SCREENED:.0%}; {'pass' if passes else '**FAIL**'}" + (
            f" ({TO_REACH:+g}, interval above 0)"
        )


def _over_folds(runs: Sequence[answers.Run], others: Sequence[answers.Run]) -> Estimate:
    """How much greater macro F1 is in points: the mean over the folds that both were tried on."""
    gains = []
    for run in runs:
        for other in (each for each in others if each.seed == run.seed):
            panel = Panel.of([run, other], draws=1)
            first, second = panel.measure([run]), panel.measure([other])
            gains.append(measure.difference(first, second, _VIEW).value)
    return Estimate.of_mean(np.array(gains))


def _percent(measured: Measured) -> Estimate:
    return Estimate.of(measured.macro(_VIEW)).times(100)


def _told(estimate: Estimate, *, signed: bool = False) -> str:
    number = "{:+.1f}" if signed else "{:.1f}"
    told: Callable[[float], str] = number.format
    if math.isnan(estimate.low):
        return told(estimate.value)
    return f"{told(estimate.value)} ({told(estimate.low)} to {told(estimate.high)})"

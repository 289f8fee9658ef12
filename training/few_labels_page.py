"""``FEW_LABELS.md``: what the runs of ``few-labels`` came to, and whether that is what was to be reached."""

import math
from collections.abc import Callable, Iterator, Sequence

from training.few_labels_choice import SCREENED, at_an_end, ranked
from training.few_labels_comparison import Comparison, Row, measured, verdict
from training.few_labels_runs import LONGER, Bench, Method
from training.few_labels_screen import screen
from training.metrics import Estimate
from training.pages import markdown

TO_REACH = 3.0
"""Points of macro F1 more than from scratch, at SCREENED."""
ANCHOR = "ATCAT, on ELAsTiCC, keeps 87.1 of 89.75 with 10% of the labels (97.0 %)"
"""What has been published of the like."""


def page(bench: Bench, methods: Sequence[Method], labels: Sequence[float], seeds: int) -> str:
    """``FEW_LABELS.md``, of what is there."""
    compared = measured(bench, methods, labels, seeds)
    parts = [
        "# What pretraining gains where few labels are known",
        f"Made by `python -m training few-labels`: not edited by hand. Configuration {bench.experiment.name}, tier "
        f"{bench.experiment.tier}, {bench.experiment.training.steps:,} steps of training for every network (for "
        f"`{LONGER}` as many more as pretraining has), with augmentation. The {bench.n_validation:,} validation "
        "objects have all of their labels, however few are learned from; they choose learning rates and the best step, "
        "by the mean over whole light curves and alerts as sent.",
        *_told_of_pretraining(bench),
    ]
    runs = ranked(bench)
    if any(run.method not in methods for run in runs):  # without a screen, some of the comparison stand in its place
        parts += ["## Screen", *screen(bench, runs)]
    if compared.rows:
        parts += ["## Comparison", *_comparison(bench, compared, seeds)]
    if compared.lost:
        lost = ", ".join(f"{run.variant}, seed {run.seed}" for run in compared.lost)
        parts += [f"Diverged, and left out: {lost}."]
    return "\n\n".join(parts) + "\n"


def _told_of_pretraining(bench: Bench) -> Iterator[str]:
    """All methods learn equally long, from the same objects but for the fold that is left out."""
    told = [outcome.pretraining for outcome in bench.outcomes().values() if outcome.pretraining is not None]
    if told:
        objects = sorted({each["objects"] for each in told})
        number = f"{objects[0]:,}" + (f" to {objects[-1]:,}" if len(objects) > 1 else "")
        sources = ", ".join(told[0]["sources"])
        yield f"Pretraining: {bench.pretraining_steps:,} steps on {number} objects of {sources}, no label learned from."


def _comparison(bench: Bench, compared: Comparison, seeds: int) -> Iterator[str]:
    """The table, and whether what was to be reached has been."""
    pooled = ", each of the run that left out its fold" if bench.folds else ""
    yield (
        f"Macro F1 on {compared.n_objects} test objects{pooled}, whole light curves, in per cent; differences are "
        "paired by object, and over the seeds that both have. Learning rates were chosen at the first seed, by "
        "validation objects, and so were the methods, here or in the run that they were named after; it is one of "
        "those compared."
    )
    yield (
        "Intervals of F1 are over objects alone; those of differences are the longer of the one over objects (a "
        "bootstrap) and the one over folds (Student's t, made longer as folds learn from much the same objects; each "
        "is tried on objects of its own, among which are those that the other runs learned from or were chosen by)."
        if bench.folds
        else "Intervals are of objects (a bootstrap) and seeds (Student's t) together; validation objects and those "
        "that pretraining learns from are the same for all seeds."
    )
    head = ["method", "labels learned from", "learning rate", "seeds", "F1", "more than scratch"]
    head += [f"more than {LONGER}", "of scratch with all"]
    whole = compared.scratch(1.0)
    yield markdown(head, [_row(bench, row, whole) for row in compared.rows])
    if whole is not None:
        yield (
            f"For comparison: {ANCHOR}. Here {bench.experiment.training.steps:,} steps are fewer than a network of all "
            "labels can learn by, so that the last column flatters."
        )
    for row in compared.rows:
        if row.method.self_supervision is not None and row.labels == SCREENED:
            gain = "nothing to compare" if row.gain is None else _told(row.gain, signed=True)
            passes = verdict(row, seeds, TO_REACH)
            longer = "" if row.over_longer is None else f", {_told(row.over_longer, signed=True)} over {LONGER}"
            yield f"- {row.method.name}: {gain} at {SCREENED:.0%}{longer}; {passes} ({TO_REACH:+g}, interval above 0)"


def _row(bench: Bench, row: Row, whole: Row | None) -> list[str]:
    rate = row.runs[0].learning_rate
    return [
        row.method.name,
        f"{row.labels:.0%} ({bench.n_labels(row.runs[0]):,})",
        f"{rate:g}" + (", at an end of those tried" if at_an_end(rate) else ""),
        str(len(row.runs)),
        _told(row.f1),
        *("" if gain is None else _told(gain, signed=True) for gain in (row.gain, row.over_longer)),
        "" if whole is None or whole.seeds != row.seeds else f"{100 * row.f1.value / whole.f1.value:.1f} %",
    ]


def _told(estimate: Estimate, *, signed: bool = False) -> str:
    number = "{:+.1f}" if signed else "{:.1f}"
    told: Callable[[float], str] = number.format
    if math.isnan(estimate.low):
        return told(estimate.value)
    return f"{told(estimate.value)} ({told(estimate.low)} to {told(estimate.high)})"

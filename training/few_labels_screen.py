"""What the screen of ``few-labels`` tells: every kind of self-supervision, and each of the four settings by itself."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np

from models.self_supervision import BERT, MAE, SelfSupervision
from training.few_labels_choice import ETA_ORIG, ETA_PRED, SCREENED, as_configured, chapter
from training.few_labels_runs import Bench, Method, Run
from training.pages import markdown

_SETTINGS: Mapping[str, Sequence[Any]] = {
    "kind": ("B", "M"),
    "eta_pred": ETA_PRED,
    "eta_orig": ETA_ORIG,
    "token": ("noise", "learned"),
}
"""The chapter's four hyperparameters (5.2), and what was tried of each."""
_KNOWN = {"BERT's": BERT, "MAE's": MAE}


def screen(bench: Bench, runs: Sequence[Run]) -> Iterator[str]:
    """Paragraphs and tables about runs of the screen, the best first."""
    yield (
        f"One seed, {SCREENED:.0%} of the labels, one learning rate for all, {runs[0].learning_rate:g}, at which "
        "none need be at its best: mean macro F1 of the views on validation objects, in per cent. Errors are of "
        "what each was asked to predict, and do not compare between kinds of pretraining."
    )
    yield markdown(["method", "F1", "pretraining: validation errors"], list(_rows(bench, runs)))
    f1 = {run.method: 100 * bench.score(run) for run in runs}
    own = {ssl: f1[method] for method in chapter(bench.experiment) if method in f1 and (ssl := method.self_supervision)}
    settings = list(_settings(own))
    if settings:
        yield (
            "Each of the chapter's four settings by itself: of pairs that differ in it alone, how much further one "
            "value comes than the other, on the mean, and in how many of them. All are of one seed, and pairs share "
            "runs: a setting that is ahead in nearly all of its pairs matters, and little is told by less."
        )
        yield markdown(["setting", "instead of", "points of F1", "ahead in"], settings)
    known = [(whose, as_configured(bench.experiment, kind)) for whose, kind in _KNOWN.items()]
    told = [f"{whose} ({Method(ssl).name}) {own[ssl]:.1f}" for whose, ssl in known if ssl in own]
    if told:
        yield f"Settings that the chapter unites: {', '.join(told)}."


def _rows(bench: Bench, runs: Sequence[Run]) -> Iterator[list[str]]:
    for run in runs:
        outcome, errors = bench.outcome(run), ""
        if outcome is not None and outcome.pretraining is not None:
            found = outcome.pretraining["validation"]
            names = [name for name in found if name not in ("step", "minutes", "learning_rate", "loss")]
            errors = ", ".join(f"{name} {found[name]:.3f}" for name in names)
        yield [run.method.name, f"{100 * bench.score(run):.1f}", errors]


def _settings(f1: Mapping[SelfSupervision, float]) -> Iterator[list[str]]:
    """Of points of F1 by kind of self-supervision: a row for every two values of a setting that are told apart."""
    for setting, values in _SETTINGS.items():
        for before, after in combinations(values, 2):
            others = [ssl for ssl in f1 if getattr(ssl, setting) == before]
            pairs = [(f1[other], f1[own]) for other in others if (own := replace(other, **{setting: after})) in f1]
            if pairs:
                gain = np.array([own - other for other, own in pairs])
                told = [f"{gain.mean():+.1f}", f"{np.count_nonzero(gain > 0)} of {len(gain)}"]
                yield [f"{setting} {after}", str(before), *told]

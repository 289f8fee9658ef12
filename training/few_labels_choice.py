"""Which runs ``few-labels`` makes: a screen of every kind of self-supervision, learning rates, and the comparison."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from models.self_supervision import SelfSupervision
from training.experiment import Experiment
from training.few_labels_runs import Bench, Method, Run

ETA_PRED = (0.15, 0.5, 1.0)
ETA_ORIG = (0.1, 0.25)
SCREENED = 0.1
"""Share of the labels in the screen."""
LABELS = (0.01, 0.1, 1.0)
LEARNING_RATES = (3e-4, 1e-3, 3e-3, 1e-2)
"""Those in the middle are tried first, then outwards from the better one."""


def grid(experiment: Experiment) -> list[Method]:
    """What is screened: the chapter's four hyperparameters, and some settings beyond it."""
    beyond = [] if getattr(experiment.shape, "causal", False) else _beyond(experiment)
    return [*chapter(experiment), *map(Method, beyond)]


def chapter(experiment: Experiment) -> list[Method]:
    """The chapter's four hyperparameters. A network without a table has no columns for noise to stand for."""
    tokens = ("learned", "noise") if _has_table(experiment) else ("learned",)
    return [
        Method(_of(experiment, kind=kind, eta_pred=eta_pred, eta_orig=eta_orig, token=token))
        for kind in ("B", "M")
        for eta_pred in ETA_PRED
        for eta_orig in ETA_ORIG
        for token in tokens
    ]


def _of(experiment: Experiment, **varied: Any) -> SelfSupervision:
    return as_configured(experiment, SelfSupervision(**varied))


def as_configured(experiment: Experiment, kind: SelfSupervision) -> SelfSupervision:
    """A kind, with what is no choice of kind as the configuration has it: every method has that alike."""
    return replace(kind, **of_every_kind(experiment))


def of_every_kind(experiment: Experiment) -> dict[str, Any]:
    """Of the configuration's self-supervision, what tells no method from another."""
    return {name: getattr(experiment.self_supervision, name) for name in ("decoder_layers", "dropout")}


def _has_table(experiment: Experiment) -> bool:
    return experiment.architecture == "atat" and bool(experiment.shape.columns)


def _beyond(experiment: Experiment) -> Iterator[SelfSupervision]:
    """SSL-M that predicts all, of which the class tokens must hold everything: of a network that has any to itself."""
    alone = _of(experiment, kind="M", eta_pred=ETA_PRED[-1], eta_orig=ETA_ORIG[-1], decoder_sees="class token")
    yield alone
    if _has_table(experiment):
        yield replace(alone, of="light curve")
        yield replace(alone, hidden_together="groups")
        yield replace(alone, hidden_together="groups", decoder_sees="class tokens")


def screened(experiment: Experiment) -> list[Run]:
    """A run a method of the grid, and one from scratch: one seed, the configuration's own learning rate."""
    methods = [Method(None), *grid(experiment)]
    return [Run(method, SCREENED, experiment.training.learning_rate, 0) for method in methods]


def ranked(bench: Bench) -> list[Run]:
    """What has been run of the screen, the best by validation first."""
    return sorted(filter(bench.is_done, screened(bench.experiment)), key=bench.score, reverse=True)


def best(bench: Bench, number: int) -> list[Method]:
    """Of the screen, those that pretrain; whatever is best, one of the chapter's own is among them."""
    methods = [run.method for run in ranked(bench) if run.method.self_supervision is not None]
    chapters = chapter(bench.experiment)
    own = next((method for method in methods if method in chapters), None)
    first = methods[:number]
    return first if own is None or own in first else [*first[:-1], own]


def pairs(methods: Sequence[Method], labels: Sequence[float]) -> list[tuple[Method, float]]:
    """What is compared: every method at every share of the labels, but the longer one at SCREENED alone."""
    return [(method, share) for share in labels for method in methods if share == SCREENED or not method.longer]


def compare(bench: Bench, methods: Sequence[Method], labels: Sequence[float], seeds: int) -> None:
    """Learning rates at the first seed, then the best one at all seeds."""
    every = pairs(methods, labels)
    while not all(map(bench.is_tried, rates := [run for pair in every for run in rates_to_try(bench, *pair)])):
        bench.make(rates, "learning rates", compared=False)
    rest = [run for method, share in every for run in chosen(bench, method, share, seeds)]
    bench.make(sorted(rest, key=lambda run: run.seed), "comparison", compared=True)  # a seed's pretraining is for all


def rates_to_try(bench: Bench, method: Method, share: float) -> list[Run]:
    """The learning rates to try: those in the middle, then outwards until the best has a worse one beside it on
    either side, or there are no more.
    """
    low = (len(LEARNING_RATES) - 1) // 2
    high = low + 2
    while True:
        runs = [Run(method, share, rate, 0) for rate in LEARNING_RATES[low:high]]
        if not all(map(bench.is_tried, runs)):
            return runs
        best_of_all = max(runs, key=bench.score)
        if best_of_all is runs[0] and low > 0:
            low -= 1
        elif best_of_all is runs[-1] and high < len(LEARNING_RATES):
            high += 1
        else:
            return runs


def at_an_end(rate: float) -> bool:
    """Whether no lower, or no higher, learning rate is ever tried: the best may lie beyond."""
    return rate in (LEARNING_RATES[0], LEARNING_RATES[-1])


def chosen(bench: Bench, method: Method, share: float, seeds: int) -> list[Run]:
    """The runs at the learning rate that is best by validation; none where one has yet to be tried."""
    tried = rates_to_try(bench, method, share)
    if not all(map(bench.is_tried, tried)) or not any(map(bench.is_done, tried)):
        return []
    rate = max(tried, key=bench.score).learning_rate
    return [Run(method, share, rate, seed) for seed in range(seeds)]

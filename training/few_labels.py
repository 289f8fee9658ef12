"""``python -m training few-labels``: what pretraining gains where few labels are known (chapter 5, which left it open).

First a screen: every combination of SSL-B or SSL-M, eta_pred, eta_orig and token is pretrained once, and then trained
on a tenth of the labels. The best on validation objects are compared with a network that starts from scratch, at
several shares of the labels and seeds: the same objects, augmentation and steps, each with the best of some learning
rates (by validation, at the first seed). Another seed has other weights and other labels, the same for every method,
and with ``--folds`` is tried on another fold. Writes ``FEW_LABELS.md``.

Each run is kept, under ``pretrained/`` or ``runs/``: killed at any moment, the same command goes on where it was.
"""

import argparse
import csv
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console

from models.classifier import DESCRIPTION
from models.network import build
from models.self_supervision import SelfSupervision
from training import answers, measure, options, predictions, pretrained
from training.arguments import count
from training.data.layout import FOLDS, UNKNOWN_CLASS, Dataset, InvalidData
from training.data.selection import select
from training.errors import Diverged
from training.experiment import CONFIGS, TIERS, Experiment, path_of
from training.experiments import OBJECTS, paced, record
from training.loop import CHECKPOINT, LOG
from training.measure import Measured, Panel, view_of
from training.metrics import Estimate
from training.pages import markdown
from training.predictions import AGES, Selection
from training.pretrain import pretrain
from training.pretrained import Pretrained
from training.processes import World
from training.train import train

ETA_PRED = (0.15, 0.5, 1.0)
ETA_ORIG = (0.1, 0.25)
SCREENED = 0.1
"""Share of the labels in the screen."""
LABELS = (0.01, 0.1, 1.0)
LEARNING_RATES = (3e-4, 1e-3, 3e-3, 1e-2)
"""Those in the middle are tried first, then outwards from the better one."""
TO_REACH = 3.0
"""Points of macro F1 more than from scratch, at SCREENED."""
ANCHOR = "ATCAT, on ELAsTiCC, keeps 87.1 of 89.75 with 10% of the labels (97.0 %)"
"""What has been published of the like."""

SCRATCH, LONGER = "scratch", "scratch-for-longer"
PAGE = "FEW_LABELS.md"
VERSION = 1
"""Of how runs are made. To be raised with whatever changes them: a directory then refuses the older ones."""
_SETTINGS = "settings.json"
_VIEW = view_of(AGES[-1])


@dataclass(frozen=True)
class Method:
    """How a network's weights start: as self-supervision left them, or from scratch."""

    self_supervision: SelfSupervision | None
    longer: bool = False
    """Whether it learns for as long as pretraining and training take together: whether scratch had only to go on."""

    @property
    def name(self) -> str:
        """Of its directories."""
        ssl = self.self_supervision
        if ssl is None:
            return LONGER if self.longer else SCRATCH
        parts = ["ssl", ssl.kind.lower(), f"{ssl.eta_pred:g}", f"{ssl.eta_orig:g}", ssl.token]
        parts += [] if ssl.decoder_sees == "tokens" else [ssl.decoder_sees]
        parts += [] if ssl.hidden_together == "columns" else [ssl.hidden_together]
        parts += [] if ssl.of == "both" else [ssl.of, "alone"]
        return "-".join(parts).replace(" ", "-")


@dataclass(frozen=True)
class Run:
    """A method on a share of the labels."""

    method: Method
    labels: float
    learning_rate: float
    seed: int

    @property
    def variant(self) -> str:
        """All but the seed."""
        return f"{self.method.name}-labels-{self.labels:g}-rate-{self.learning_rate:g}"


def grid(experiment: Experiment) -> list[Method]:
    """What is screened: the chapter's four hyperparameters, and some settings beyond it."""
    config = build(experiment.architecture, {"n_classes": 1, **experiment.model}).config
    beyond = [] if getattr(config, "causal", False) else _beyond(has_table=_has_table(experiment))
    return [*chapter(experiment), *map(Method, beyond)]


def chapter(experiment: Experiment) -> list[Method]:
    """The chapter's four hyperparameters. A network without a table has no columns for noise to stand for."""
    return [
        Method(SelfSupervision(kind=kind, eta_pred=eta_pred, eta_orig=eta_orig, token=token))
        for kind in ("B", "M")
        for eta_pred in ETA_PRED
        for eta_orig in ETA_ORIG
        for token in (("learned", "noise") if _has_table(experiment) else ("learned",))
    ]


def _has_table(experiment: Experiment) -> bool:
    config = build(experiment.architecture, {"n_classes": 1, **experiment.model}).config
    return experiment.architecture == "atat" and bool(config.columns)


def _beyond(*, has_table: bool) -> Iterator[SelfSupervision]:
    """SSL-M that predicts all, of which the class tokens must hold everything: of a network that has any to itself."""
    alone = SelfSupervision(kind="M", eta_pred=ETA_PRED[-1], eta_orig=ETA_ORIG[-1], decoder_sees="class token")
    yield alone
    if has_table:
        yield replace(alone, of="light curve")
        yield replace(alone, hidden_together="groups")
        yield replace(alone, hidden_together="groups", decoder_sees="class tokens")


# --- runs -----------------------------------------------------------------------------------------------------------


Trials = Mapping[int, Selection]
"""What the runs of a seed are compared on."""


@dataclass(frozen=True)
class Bench:
    """A directory of runs on one data set. A run that is there is not made again."""

    directory: Path
    experiment: Experiment
    dataset: Dataset
    unlabelled: tuple[Dataset, ...]
    pretraining_steps: int
    folds: bool
    """Whether each seed leaves out the fold of its number, to be tried on."""
    device: str
    console: Console

    def model(self, run: Run) -> Path:
        """Where a run's model is."""
        return self.directory / "runs" / f"{run.variant}-{run.seed}" / self.experiment.name

    def is_done(self, run: Run) -> bool:
        """Whether it is there: what describes it is written last."""
        return (self.model(run) / DESCRIPTION).exists()

    def has_diverged(self, run: Run) -> bool:
        """Whether training, or pretraining before it, came to no end: trying again would change nothing."""
        return self._diverged(run).exists()

    def is_tried(self, run: Run) -> bool:
        """Whether there is nothing left to do."""
        return self.is_done(run) or self.has_diverged(run)

    def _diverged(self, run: Run) -> Path:
        return self.model(run).parent / "diverged.txt"

    def weights(self, method: Method, seed: int) -> Path:
        """Where a method's pretrained weights are."""
        return self.directory / "pretrained" / f"{method.name}-{seed}" / self.experiment.name

    def score(self, run: Run) -> float:
        """The best mean of the views' macro F1 on validation objects; less than any where training diverged."""
        if self.has_diverged(run):
            return -math.inf
        with (self.model(run).parent / LOG).open() as file:
            return max(_mean_f1(row) for row in csv.DictReader(file))

    def make(self, run: Run) -> None:
        """Train, and before that pretrain, what is not there yet."""
        if self.is_tried(run):
            return
        try:
            self._train(run)
        except Diverged as error:
            self.console.print(f"left out: {error}")
            self._diverged(run).parent.mkdir(parents=True, exist_ok=True)
            self._diverged(run).write_text(f"{error}\n")

    def _train(self, run: Run) -> None:
        steps = self.experiment.training.steps + (self.pretraining_steps if run.method.longer else 0)
        experiment = self._at(run.seed).trained(labels=run.labels, learning_rate=run.learning_rate, steps=steps)
        output = self.model(run).parent
        train(
            experiment,
            self.dataset,
            output,
            features_directory=None,
            minutes=None,
            resume=(output / CHECKPOINT).exists(),
            init=self._pretrained(run.method, run.seed),
            world=World.alone(self.device),
            console=self.console,
        )
        (output / CHECKPOINT).unlink()

    def _pretrained(self, method: Method, seed: int) -> Pretrained | None:
        if method.self_supervision is None:
            return None
        weights = self.weights(method, seed)
        if not pretrained.is_done(weights):
            self._pretrain(method.self_supervision, weights.parent, seed)
        return Pretrained.read(weights)

    def _pretrain(self, self_supervision: SelfSupervision, output: Path, seed: int) -> None:
        experiment = self._at(seed).supervised_by_itself(**vars(self_supervision)).pretrained()
        experiment = experiment.trained(steps=self.pretraining_steps)
        pretrain(
            experiment,
            self.dataset,
            output,
            unlabelled=self.unlabelled,
            device=self.device,
            minutes=None,
            resume=(output / CHECKPOINT).exists(),
            console=self.console,
        )
        (output / CHECKPOINT).unlink(missing_ok=True)

    def _at(self, seed: int) -> Experiment:
        return self.experiment.trained(seed=seed, left_out=seed if self.folds else None)

    def make_all(self, runs: Sequence[Run], purpose: str) -> None:
        """Those that are not there, saying before each how long the rest will take if it goes on so."""
        todo = [run for run in runs if not self.is_tried(run)]
        self.console.print(f"{purpose}: {len(runs) - len(todo)} of {len(runs)} runs are done")
        for run in paced(todo, self.console):
            self.make(run)


def _mean_f1(row: dict[str, str]) -> float:
    found = [float(value) for name, value in row.items() if name.startswith("F1 ")]
    return sum(found) / len(found)


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
    own = next((method for method in methods if method in chapter(bench.experiment)), None)
    first = methods[:number]
    return first if own is None or own in first else [*first[:-1], own]


def _pairs(methods: Sequence[Method], labels: Sequence[float]) -> list[tuple[Method, float]]:
    """What is compared: every method at every share of the labels, but the longer one at SCREENED alone."""
    return [(method, share) for share in labels for method in methods if share == SCREENED or not method.longer]


def compare(bench: Bench, methods: Sequence[Method], labels: Sequence[float], seeds: int) -> None:
    """Learning rates at the first seed, then the best one at all seeds."""
    pairs = _pairs(methods, labels)
    while not all(map(bench.is_tried, rates := [run for pair in pairs for run in _rates(bench, *pair)])):
        bench.make_all(rates, "learning rates")
    rest = [run for method, share in pairs for run in _chosen(bench, method, share, seeds)]
    bench.make_all(rest, "comparison")


def _rates(bench: Bench, method: Method, share: float) -> list[Run]:
    """The learning rates to try: those in the middle, then outwards until the best has a worse one on either side."""
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


def _chosen(bench: Bench, method: Method, share: float, seeds: int) -> list[Run]:
    """The runs at the learning rate that is best by validation; none where one has yet to be tried."""
    tried = _rates(bench, method, share)
    if not all(map(bench.is_tried, tried)) or not any(map(bench.is_done, tried)):
        return []
    rate = max(tried, key=bench.score).learning_rate
    return [Run(method, share, rate, seed) for seed in range(seeds)]


# --- the page -------------------------------------------------------------------------------------------------------


def page(bench: Bench, trials: Trials, methods: Sequence[Method], labels: Sequence[float], seeds: int) -> str:
    """``FEW_LABELS.md``, of what is there."""
    chosen = {(method.name, share): _chosen(bench, method, share, seeds) for method, share in _pairs(methods, labels)}
    compared = {key: done for key, runs in chosen.items() if (done := list(filter(bench.is_done, runs)))}
    lost = [run for runs in chosen.values() for run in runs if bench.has_diverged(run)]
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
        parts += ["## Comparison", *_comparison(bench, trials, compared)]
    if lost:
        parts += ["Diverged, and left out: " + ", ".join(f"{run.variant}, seed {run.seed}" for run in lost) + "."]
    return "\n\n".join(parts) + "\n"


def _told_of_pretraining(bench: Bench) -> Iterator[str]:
    """All methods learn equally long, from the same objects."""
    done = [weights for each in grid(bench.experiment) if pretrained.is_done(weights := bench.weights(each, 0))]
    if done:
        told = Pretrained.read(done[0]).provenance
        sources, steps = ", ".join(told["sources"]), told["training"]["steps"]
        yield f"Pretraining: {steps:,} steps on {told['objects']:,} objects of {sources}, no label looked at."


def _screen_rows(bench: Bench, runs: Sequence[Run]) -> Iterator[list[str]]:
    for run in runs:
        errors = ""
        if run.method.self_supervision is not None:
            found = Pretrained.read(bench.weights(run.method, run.seed)).provenance["validation"]
            names = [name for name in found if name not in ("step", "minutes", "learning_rate", "loss")]
            errors = ", ".join(f"{name} {found[name]:.3f}" for name in names)
        yield [run.method.name, f"{100 * bench.score(run):.1f}", errors]


def _comparison(bench: Bench, trials: Trials, compared: dict[tuple[str, float], list[Run]]) -> Iterator[str]:
    """The table, and whether what was to be reached has been."""
    every = {key: [_measured_run(bench, trials, run, key) for run in each] for key, each in compared.items()}
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


def _measured_run(bench: Bench, trials: Trials, run: Run, key: tuple[str, float]) -> answers.Run:
    model, test = bench.model(run), trials[run.seed]
    kept = model.parent / "predictions"
    found = predictions.of_model(model, test, kept, ages=AGES[-1:], alerts=False, device=bench.device)
    return answers.Run.of(model, found, named=(f"{key[0]}, {key[1]:g}", run.seed))


def _percent(measured: Measured) -> Estimate:
    return Estimate.of(measured.macro(_VIEW)).times(100)


def _told(estimate: Estimate, *, signed: bool = False) -> str:
    number = "{:+.1f}" if signed else "{:.1f}"
    told: Callable[[float], str] = number.format
    if math.isnan(estimate.low):
        return told(estimate.value)
    return f"{told(estimate.value)} ({told(estimate.low)} to {told(estimate.high)})"


# --- the command ----------------------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommand's options."""
    parser.add_argument("--config", default="few-labels", help=f"in {CONFIGS.name}/, or a TOML file (few-labels)")
    parser.add_argument("--tier", choices=tuple(TIERS), required=True)
    parser.add_argument("--data", type=Path, required=True, help="data in the layout")
    parser.add_argument("--test", type=Path, help="data whose test objects the comparison is on (default: --data)")
    parser.add_argument(
        "--unlabelled", type=Path, action="append", default=[], help="more to pretrain on; may be given again"
    )
    parser.add_argument("--output", type=Path, required=True, help="directory of the runs and the page")
    parser.add_argument("--screen-only", action="store_true", help="make the screen, and no comparison")
    parser.add_argument(
        "--methods", help="compare these, a comma between them, and make no screen (ssl-m-1-0.25-noise)"
    )
    parser.add_argument("--best", type=int, default=2, help="how many of the screen to compare (default: 2)")
    parser.add_argument("--seeds", type=count, default=5, help="of the comparison (default: 5)")
    parser.add_argument(
        "--labels", type=float, nargs="+", default=list(LABELS), help="shares of the labels (default: 0.01 0.1 1)"
    )
    parser.add_argument(
        "--folds", action="store_true", help="compare on the folds of --data: the run of each seed leaves out its own"
    )
    parser.add_argument(
        "--longer",
        action="store_true",
        help=f"compare {LONGER}, too: the steps of pretraining and of training, {SCREENED * 100:g} %% of the labels",
    )
    parser.add_argument("--steps", type=count, help="of training (default: the tier's)")
    parser.add_argument("--pretraining-steps", type=count, help="default: the tier's, whatever --steps")
    options.add_arithmetic(parser)


def run(arguments: argparse.Namespace) -> int:
    """The subcommand."""
    options.use_machine(arguments)
    console = Console(stderr=True)
    bench = _bench(arguments, console)
    trials = _trials(arguments, bench)
    named = _named(arguments.methods, bench.experiment)
    methods: list[Method] = []
    try:
        if named is None:
            bench.make_all(screened(bench.experiment), "screen")
            _write(bench, trials, [], arguments)
        if not arguments.screen_only:
            methods = [Method(None), *(best(bench, arguments.best) if named is None else named)]
            methods += [Method(None, longer=True)] if arguments.longer else []
            compare(bench, methods, arguments.labels, arguments.seeds)
    except KeyboardInterrupt:
        console.print("interrupted; the same command goes on with it")
        return 1
    console.print(str(_write(bench, trials, methods, arguments)))
    return 0


def _write(bench: Bench, trials: Trials, methods: Sequence[Method], arguments: argparse.Namespace) -> Path:
    written: Path = arguments.output / PAGE
    written.write_text(page(bench, trials, methods, arguments.labels, arguments.seeds))
    return written


def _named(names: str | None, experiment: Experiment) -> list[Method] | None:
    """Methods of the grid. Raises InvalidData for a name that is none of them."""
    if names is None:
        return None
    known = {method.name: method for method in grid(experiment)}
    unknown = set(names.split(",")) - set(known)
    if unknown:
        raise InvalidData(f"no method {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
    return [known[name] for name in names.split(",")]


def _bench(arguments: argparse.Namespace, console: Console) -> Bench:
    """Raises InvalidData if the directory has runs of other options, or of other objects."""
    tier = TIERS[arguments.tier]
    experiment = Experiment.read(path_of(arguments.config)).at(tier)
    pretraining_steps = arguments.pretraining_steps or experiment.pretrained().training.steps
    experiment = experiment.trained(**options.given(arguments, ("steps", "precision")))
    dataset = Dataset.open(arguments.data)
    arguments.output.mkdir(parents=True, exist_ok=True)
    unlabelled = tuple(Dataset.open(each) for each in arguments.unlabelled)
    record(arguments.output / OBJECTS, tier, dataset, shorter={})
    settings = json.dumps(
        {
            "version": VERSION,
            "experiment": asdict(experiment),
            "pretraining_steps": pretraining_steps,
            "folds": arguments.folds,
            "unlabelled": [each.index().fingerprint for each in unlabelled],
        },
        indent=1,
    )
    path = arguments.output / _SETTINGS
    if path.exists() and path.read_text() != settings:
        raise InvalidData(f"{arguments.output} has runs of other options; name a new directory")
    path.write_text(settings)
    return Bench(
        directory=arguments.output,
        experiment=experiment,
        dataset=dataset,
        unlabelled=unlabelled,
        pretraining_steps=pretraining_steps,
        folds=arguments.folds,
        device=arguments.device,
        console=console,
    )


def _trials(arguments: argparse.Namespace, bench: Bench) -> Trials:
    """Of the classes that are trained on. Raises InvalidData for objects that are learned from, or too few folds."""
    if not arguments.folds:
        test = _trial(arguments.test or arguments.data, bench, fold=None)
        return dict.fromkeys(range(arguments.seeds), test)
    if arguments.test is not None:
        raise InvalidData("--folds names the objects to compare on, and so does --test")
    if arguments.seeds > FOLDS:
        raise InvalidData(f"there are {FOLDS} folds, fewer than --seeds {arguments.seeds}")
    return {fold: _trial(arguments.data, bench, fold=fold) for fold in range(arguments.seeds)}


def _trial(directory: Path, bench: Bench, *, fold: int | None) -> Selection:
    """The test objects, or those of a fold."""
    index = bench.dataset.index()
    classes = sorted(set(index.class_id[index.split == "train"].tolist()) - {UNKNOWN_CLASS})
    test = Selection.of(directory, split="test" if fold is None else None, fold=fold, classes=classes)
    chosen = select(index, left_out=fold, labels=None)
    learned = [index.object_id[chosen.train | chosen.validation]]
    if directory != bench.dataset.directory:  # of the data's own test objects, pretraining sees to it itself
        learned += [each.index().object_id for each in bench.unlabelled]
    seen = np.isin(test.index.object_id[test.chosen], np.concatenate(learned))
    if seen.any():
        raise InvalidData(f"{seen.sum()} objects to compare on are among those to learn from")
    return test

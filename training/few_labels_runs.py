"""The runs of ``few-labels``: pretrained one way or another, trained on a share of the labels, and what each came to.

What outlives a run's weights is what the page is made of: a line in ``outcomes.jsonl`` and, of what is compared, the
answers about test objects. A directory that has these goes on without the rest.
"""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from models.classifier import DESCRIPTION
from models.self_supervision import SelfSupervision
from training import answers, predictions, pretrained
from training.claims import shared
from training.data.layout import Dataset
from training.errors import Diverged
from training.experiment import Experiment
from training.loop import CHECKPOINT, DIVERGED, LOG
from training.predictions import AGES, Selection
from training.pretrain import pretrain
from training.pretrained import Pretrained
from training.processes import World
from training.selected import selection_of
from training.trainer import train

COMPARED = AGES[-1]
"""Days after the first alert of the light curves that methods are compared on: whole ones."""

OUTCOMES = "outcomes.jsonl"
_TOLD = ("objects", "sources", "validation")
"""What an outcome keeps of what pretraining says of itself."""

SCRATCH, LONGER = "scratch", "scratch-for-longer"


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

    @property
    def name(self) -> str:
        """Of its directory."""
        return f"{self.variant}-{self.seed}"

    @property
    def claim(self) -> str:
        """Of the one process that makes it: runs that start from the same pretrained weights are its, too."""
        return self.name if self.method.self_supervision is None else f"{self.method.name}-{self.seed}"


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    score: float
    """The best mean of the views' macro F1 on validation objects; less than any where training diverged."""
    pretraining: Mapping[str, Any] | None = None
    """What it started from, in ``_TOLD``'s words; None for random weights."""
    diverged: str = ""
    """Why training, or pretraining before it, came to no end; trying again would change nothing."""

    def told(self, run: Run) -> str:
        """A line of ``outcomes.jsonl``."""
        score = None if math.isinf(self.score) else self.score
        return json.dumps({"run": run.name, **asdict(self), "score": score}) + "\n"

    @classmethod
    def read(cls, path: Path) -> dict[str, "Outcome"]:
        """By name of run, of a file's whole lines: another process may be writing one more.

        A line that a full disk has cut short tells of nothing. A run that was made again, for its weights, has come to
        what it came to first, by which others were chosen.
        """
        found: dict[str, Outcome] = {}
        for line in path.read_text().split("\n")[:-1] if path.exists() else ():
            try:
                told = json.loads(line)
            except ValueError:
                continue
            name, score = told.pop("run"), told.pop("score")
            found.setdefault(name, cls(-math.inf if score is None else score, **told))
        return found


Trials = Mapping[int, Selection]
"""What the runs of a seed are compared on."""


@dataclass(frozen=True)
class Bench:
    """A directory of runs on one data set. A run that is there is not made again."""

    directory: Path
    experiment: Experiment
    dataset: Dataset
    unlabelled: tuple[Dataset, ...]
    trials: Trials
    pretraining_steps: int
    folds: bool
    """Whether each seed leaves out the fold of its number, to be tried on."""
    device: str
    console: Console

    def make(self, runs: Sequence[Run], purpose: str, *, compared: bool) -> None:
        """Those that are not there; ``compared`` ones answer about their trial, too."""

        def is_left(run: Run) -> bool:
            return not (self.has_answered(run) or self.has_diverged(run) if compared else self.is_tried(run))

        self.console.print(f"{purpose}: {len(runs) - sum(map(is_left, runs))} of {len(runs)} runs are done")
        for run in shared(runs, self.directory, self.console, is_left=is_left):
            if not (self.is_tried(run) and (self._model(run) / DESCRIPTION).exists()):
                self._make(run)
            if compared and self.is_done(run):
                self._answer(run)

    # --- what there is ----------------------------------------------------------------------------------------------

    def outcome(self, run: Run) -> Outcome | None:
        """What a run came to, if it has."""
        return self.outcomes().get(run.name)

    def outcomes(self) -> dict[str, Outcome]:
        """By name of run."""
        return Outcome.read(self.directory / OUTCOMES)

    def is_tried(self, run: Run) -> bool:
        """Whether it came to anything."""
        return self.outcome(run) is not None

    def has_diverged(self, run: Run) -> bool:
        """Whether it came to no end."""
        outcome = self.outcome(run)
        return outcome is not None and bool(outcome.diverged)

    def is_done(self, run: Run) -> bool:
        """Whether it came to an end."""
        outcome = self.outcome(run)
        return outcome is not None and not outcome.diverged

    def score(self, run: Run) -> float:
        """By which it is chosen, of a run that is tried."""
        outcome = self.outcome(run)
        return -math.inf if outcome is None else outcome.score

    def has_answered(self, run: Run) -> bool:
        """Whether it has been asked about its trial."""
        return self._answers(run).exists()

    def answers(self, run: Run) -> answers.Run:
        """What it answered."""
        return answers.Run.read(self._answers(run))

    def n_labels(self, run: Run) -> int:
        """How many labels a run learns from."""
        training = self._at(run.seed).trained(labels=run.labels).training
        return int(selection_of(self.dataset, training).train.sum())

    @property
    def n_validation(self) -> int:
        """How many objects choose, at the first seed."""
        return int(selection_of(self.dataset, self._at(0).training).validation.sum())

    # --- making it --------------------------------------------------------------------------------------------------

    def _make(self, run: Run) -> None:
        try:
            outcome = self._trained(run)
        except Diverged as error:
            self.console.print(f"left out: {error}")
            outcome = Outcome(-math.inf, diverged=str(error))
        with (self.directory / OUTCOMES).open("a") as file:
            file.write(outcome.told(run))
        # Until here, a killed process would have gone on from it.
        (self._model(run).parent / CHECKPOINT).unlink(missing_ok=True)

    def _trained(self, run: Run) -> Outcome:
        steps = self.experiment.training.steps + (self.pretraining_steps if run.method.longer else 0)
        experiment = self._at(run.seed).trained(labels=run.labels, learning_rate=run.learning_rate, steps=steps)
        output = self._model(run).parent
        init = self._pretrained(run.method, run.seed)
        train(
            experiment,
            self.dataset,
            output,
            features_directory=None,
            minutes=None,
            resume=(output / CHECKPOINT).exists(),
            init=init,
            world=World.alone(self.device),
            console=self.console,
        )
        with (output / LOG).open() as file:
            score = max(map(_mean_f1, csv.DictReader(file)))
        return Outcome(score, None if init is None else {name: init.provenance[name] for name in _TOLD})

    def _pretrained(self, method: Method, seed: int) -> Pretrained | None:
        if method.self_supervision is None:
            return None
        weights = self.directory / "pretrained" / f"{method.name}-{seed}" / self.experiment.name
        diverged = weights.parent / DIVERGED
        if diverged.exists():
            raise Diverged(diverged.read_text())
        if not pretrained.is_done(weights):
            try:
                self._pretrain(method.self_supervision, weights.parent, seed)
            except Diverged as error:  # as it would for every run that starts from it
                diverged.write_text(f"pretraining: {error}")
                raise
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

    def _answer(self, run: Run) -> None:
        model, trial = self._model(run), self.trials[run.seed]
        found = predictions.of_model(model, trial, None, ages=(COMPARED,), alerts=False, device=self.device)
        told = answers.Run.of(model, found, named=(run.variant, run.seed))
        told.write(self._answers(run).parent)

    def _model(self, run: Run) -> Path:
        return self.directory / "runs" / run.name / self.experiment.name

    def _answers(self, run: Run) -> Path:
        return self.directory / "answers" / f"{run.name}{answers.SUFFIX}"


def _mean_f1(row: Mapping[str, str]) -> float:
    found = [float(value) for name, value in row.items() if name.startswith("F1 ")]
    return sum(found) / len(found)

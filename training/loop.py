"""The loop of every run: steps drawn ahead, judged now and then, the best weights kept; resumed exactly."""

import csv
import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Generic, NoReturn, Protocol, Self, TypeVar, cast

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.errors import Diverged, InvalidData
from training.experiment import TrainingConfig
from training.files import replacing
from training.interruption import heard
from training.processes import World

CHECKPOINT = "checkpoint.pt"
LOG = "log.csv"
DIVERGED = "diverged.txt"
"""Beside them, of a run that came to no end: why."""
_AGREED_STEPS = 20
_CHECKPOINT_SECONDS = 60.0
_SHOW_SECONDS = 1.0

_DROPOUT = 2
"""Tells the numbers of dropout from those of draws."""


class Movable(Protocol):
    """What a step learns from."""

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        ...


Model = TypeVar("Model", bound=nn.Module)
Drawn = TypeVar("Drawn", bound=Movable)


@dataclass(frozen=True)
class Judgement:
    """How good weights are."""

    score: float
    """The greater, the better."""
    figures: Mapping[str, float]
    """For the log, by name."""


class Loop(ABC, Generic[Model, Drawn]):
    """One run in one directory.

    All that a step depends on, besides the weights, follows from the seed and the step's number.
    """

    def __init__(self, name: str, model: Model, config: TrainingConfig, directory: Path, world: World) -> None:
        self.name = name
        self.config = config
        self.directory = directory
        self.world = world
        self.model = model.to(world.device)
        self._forward = world.shared(self.model)
        self.average = AveragedModel(self.model, multi_avg_fn=_moving_average(config.ema))
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self.step = 0
        self.seconds = 0.0
        self.best_score = -math.inf
        self.best_weights: dict[str, Tensor] = {}
        self.best_step = 0
        self.history: list[dict[str, float]] = []
        self._loss = torch.zeros((), device=world.device)
        self._loss_steps = 0

    # --- what a kind of run adds ------------------------------------------------------------------------------------

    @abstractmethod
    def drawn(self, step: int) -> Drawn:
        """What a step learns from, on the CPU."""

    @abstractmethod
    def loss(self, drawn: Drawn) -> Tensor:
        """What is minimised."""

    @abstractmethod
    def judge(self, model: Model) -> Judgement:
        """How good a model in evaluation is."""

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What a resumed run must share with the one that it goes on with."""

    # --- the loop ---------------------------------------------------------------------------------------------------

    def run(self, *, minutes: float | None, console: Console) -> None:
        """Train until steps, patience or minutes run out, showing progress and what time is left.

        Raises Diverged, and KeyboardInterrupt when the step at which it came is in the checkpoint.
        """
        limit = math.inf if minutes is None else 60 * minutes
        started = time.monotonic() - self.seconds
        saved = shown = time.monotonic()
        with _progress(console, self.name) as progress, self._drawn_ahead() as drawn, heard() as interrupted:
            while not self._out_of_patience():
                if self._must_leave(interrupted):
                    self._leave(progress.console)
                self.seconds = time.monotonic() - started
                done = max(self.step / self.config.steps, self.seconds / limit)
                if minutes is not None:  # clocks differ, and all processes must stop at the same step
                    done = self.world.agreed(done)
                if done >= 1:
                    break
                self._take_step(done, next(drawn))
                if time.monotonic() - shown > _SHOW_SECONDS:
                    shown = time.monotonic()
                    progress.update(
                        TaskID(0), completed=done, step=self.step, loss=float(self._loss) / self._loss_steps
                    )
                if self.step % self.config.evaluate_every == 0:
                    self._evaluate(progress.console)
                if self.world.leads and time.monotonic() - saved > _CHECKPOINT_SECONDS:
                    self.save_checkpoint()
                    saved = time.monotonic()
            if not self.history or self.history[-1]["step"] != self.step:
                self._evaluate(progress.console)
            if interrupted.is_set():  # while it was judged for the last time
                self._leave(progress.console)

    def _must_leave(self, interrupted: threading.Event) -> bool:
        """Several processes hear of it at different steps, and must leave at the same one: at times they agree."""
        if self.world.size == 1:
            return interrupted.is_set()
        return self.step % _AGREED_STEPS == 0 and self.world.agreed(interrupted.is_set())

    def _leave(self, console: Console) -> NoReturn:
        if self.world.leads:
            self.save_checkpoint()
            console.print(f"interrupted at step {self.step}, where resuming goes on")
        raise KeyboardInterrupt

    def take_step(self) -> None:
        """One step of the run, by itself."""
        with self._drawn_ahead() as drawn:
            self._take_step(self.step / self.config.steps, next(drawn))

    def _take_step(self, progress: float, drawn: Drawn) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * _schedule(self.config, self.step, progress)
        torch.manual_seed(_seed(self.config.seed, _DROPOUT, self.step, self.world.rank))
        self.model.train()
        with torch.autocast(self.world.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            loss = self.loss(drawn)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), max_norm=1.0)
        self.optimizer.step()
        if self.config.ema:
            self.average.update_parameters(self.model)
        self._loss += loss.detach()
        self._loss_steps += 1
        self.step += 1

    @contextmanager
    def _drawn_ahead(self) -> Iterator[Iterator[Drawn]]:
        """What the steps from this one on learn from, the next one's being drawn while one is learned from."""
        with ThreadPoolExecutor(1) as thread:

            def every() -> Iterator[Drawn]:
                waiting: Future[Drawn] = thread.submit(self.drawn, self.step)
                for number in range(self.step + 1, self.config.steps + 1):
                    drawn = waiting.result()
                    waiting = thread.submit(self.drawn, number)
                    yield drawn.to(self.world.device)

            yield every()

    def _out_of_patience(self) -> bool:
        evaluations_since = (self.step - self.best_step) // self.config.evaluate_every
        return evaluations_since >= self.config.patience and bool(self.history)

    # --- evaluation -------------------------------------------------------------------------------------------------

    def _evaluate(self, console: Console) -> None:
        if self.world.leads:
            self._keep_if_best(console)
            self.save_checkpoint()
        self.best_step, self.history = self.world.agreed((self.best_step, self.history))

    def _keep_if_best(self, console: Console) -> None:
        model = self.model if self.config.ema == 0 else cast(Model, self.average.module)
        judgement = self.judge(model)
        loss = float(self._loss) / max(self._loss_steps, 1)
        if not (math.isfinite(loss) and math.isfinite(judgement.score)):
            raise Diverged(f"by step {self.step} training has diverged: the loss is {loss}")
        rate = self.optimizer.param_groups[0]["lr"]
        row = {"step": self.step, "minutes": self.seconds / 60, "learning_rate": rate, "loss": loss}
        self.history = [*self.history, {**row, **judgement.figures}]
        self._loss.zero_()
        self._loss_steps = 0
        if judgement.score > self.best_score:
            self.best_score, self.best_step = judgement.score, self.step
            self.best_weights = {name: tensor.to("cpu", copy=True) for name, tensor in model.state_dict().items()}
        _write_log(self.directory / LOG, self.history)
        told = "  ".join(f"{name} {value:.3f}" for name, value in judgement.figures.items())
        console.print(f"step {self.step}  {self.seconds / 60:.1f} min  loss {loss:.3f}  {told}")

    # --- checkpoints ------------------------------------------------------------------------------------------------

    def save_checkpoint(self) -> None:
        """Everything that the next step depends on, so that a resumed run takes the same steps."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best_weights": self.best_weights,
            "experiment": self.identity(),
            "progress": {
                "step": self.step,
                "seconds": self.seconds,
                "best_score": self.best_score,
                "best_step": self.best_step,
                "history": self.history,
                "_loss": self._loss,
                "_loss_steps": self._loss_steps,
            },
        }
        with replacing(self.directory / CHECKPOINT) as unfinished:
            torch.save(state, unfinished)

    def resume(self) -> None:
        """Go on from the directory's checkpoint. Raises InvalidData if it has none, or one of another experiment."""
        try:
            state = torch.load(self.directory / CHECKPOINT, weights_only=True, map_location=self.world.device)
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
        except FileNotFoundError as error:
            raise InvalidData(f"{self.directory} has no checkpoint to resume from") from error
        except (OSError, UnpicklingError, RuntimeError, KeyError, ValueError) as error:
            raise InvalidData(f"{self.directory}: cannot resume: {error}") from error
        if state["experiment"] != self.identity():
            raise InvalidData(f"{self.directory}: cannot resume: its run has other options, or other objects")
        self.best_weights = {name: tensor.cpu() for name, tensor in state["best_weights"].items()}
        for name, value in state["progress"].items():
            setattr(self, name, value)


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


Tensors = tuple[Tensor, ...] | list[Tensor]


def _moving_average(decay: float) -> Callable[[Tensors, Tensors, Tensor | int], None]:
    """Exponential, of so long a memory once there is as much to remember: what training started from is soon gone."""
    steady = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    def average(averaged: Tensors, current: Tensors, n_averaged: Tensor | int) -> None:
        n = float(n_averaged)
        early = (1 + n) / (10 + n)
        update = steady if decay <= early else get_ema_multi_avg_fn(early)  # type: ignore[no-untyped-call]
        update(averaged, current, n_averaged)

    return average


def _schedule(config: TrainingConfig, step: int, progress: float) -> float:
    """Factor on the learning rate: the warm-up, then constant or a cosine down to 1 %."""
    warm_up = min(1.0, (step + 1) / (config.warm_up + 1))
    if config.schedule == "constant":
        return warm_up
    return warm_up * (0.01 + 0.99 * (1 + math.cos(math.pi * min(progress, 1.0))) / 2)


def _write_log(path: Path, history: list[dict[str, float]]) -> None:
    with replacing(path) as unfinished, unfinished.open("w", newline="") as file:
        rows = csv.DictWriter(file, fieldnames=list(history[0]))
        rows.writeheader()
        rows.writerows(history)


@contextmanager
def _progress(console: Console, name: str) -> Iterator[Progress]:
    columns = (
        *(TextColumn("[progress.description]{task.description}"), BarColumn(), TaskProgressColumn()),
        *(TextColumn("step {task.fields[step]}"), TimeRemainingColumn(), TextColumn("loss {task.fields[loss]:.3f}")),
    )
    with Progress(*columns, console=console) as progress:
        progress.add_task(name, total=1.0, step=0, loss=math.nan)
        yield progress

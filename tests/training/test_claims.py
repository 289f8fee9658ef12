"""Processes that are given the same runs share them."""

import multiprocessing
import os
import time
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path

from rich.console import Console

from training.claims import shared


@dataclass(frozen=True)
class _Run:
    """Made by leaving a file."""

    variant: str
    seed: int

    @property
    def claim(self) -> str:
        return self.variant

    def made(self, directory: Path) -> Path:
        return directory / f"{self.variant}-{self.seed}"


RUNS = [_Run(variant, seed) for variant in ("one", "two", "three") for seed in (0, 1)]


def _make_all(directory: Path) -> None:
    console = Console(quiet=True)
    for run in shared(RUNS, directory, console, is_left=lambda run: not run.made(directory).exists()):
        time.sleep(0.3)
        with run.made(directory).open("x") as file:  # refuses to be made twice
            file.write(str(os.getpid()))


def test_each_run_is_made_once_and_all_processes_wait_for_the_last(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(2)
    processes = [context.Process(target=_make_all_together, args=(tmp_path, together)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
        assert all(run.made(tmp_path).exists() for run in RUNS)
    assert len({run.made(tmp_path).read_text() for run in RUNS}) == 2


def test_what_a_killed_process_had_claimed_is_free_again(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_claim_and_hang, args=(tmp_path,))
    process.start()
    while not (tmp_path / "hangs").exists():
        assert process.is_alive()
        time.sleep(0.02)
    process.kill()
    process.join(60)
    _make_all(tmp_path)
    assert all(run.made(tmp_path).read_text() == str(os.getpid()) for run in RUNS)


def _make_all_together(directory: Path, together: Barrier) -> None:
    together.wait(60)
    _make_all(directory)


def _claim_and_hang(directory: Path) -> None:
    for _ in shared(RUNS, directory, Console(quiet=True), is_left=lambda _: True):
        (directory / "hangs").touch()
        time.sleep(600)

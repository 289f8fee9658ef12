"""Options that several commands have in common."""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

import torch

from models.selection import Precision
from training.arguments import positive, workers
from training.errors import InvalidData
from training.loop import CHECKPOINT


def add_run(parser: argparse.ArgumentParser) -> None:
    """Those of a single run."""
    parser.add_argument("--minutes", type=positive, help="stop, with the schedule finished, after this long")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --output")
    add_arithmetic(parser)


def add_arithmetic(parser: argparse.ArgumentParser, *, device: str = "cpu") -> None:
    """Where, and how exactly, networks are trained."""
    parser.add_argument("--precision", choices=get_args(Precision), help="of the networks' matrix products")
    add_machine(parser, device=device)


def add_machine(parser: argparse.ArgumentParser, *, device: str = "cpu") -> None:
    """What a network runs on, ``device`` unless it is told."""
    parser.add_argument("--device", choices=("cpu", "cuda"), default=device, help="default: %(default)s")
    add_threads(parser)


def add_threads(parser: argparse.ArgumentParser) -> None:
    """How many cores arithmetic may take."""
    parser.add_argument("--threads", type=workers, help="threads of arithmetic (default: PyTorch's)")


def use_machine(arguments: argparse.Namespace) -> None:
    """The device and the threads that were asked for. Raises InvalidData where there is no such device."""
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise InvalidData("--device cuda: PyTorch sees no GPU")
    use_threads(arguments)


def use_threads(arguments: argparse.Namespace) -> None:
    """As many as were asked for."""
    if arguments.threads:
        torch.set_num_threads(arguments.threads)


def given(arguments: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    """The values of those that were given."""
    values = {name: getattr(arguments, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def must_not_hold_a_run(output: Path, *, resume: bool) -> None:
    """Raises InvalidData for a directory whose run would be written over."""
    if (output / CHECKPOINT).exists() and not resume:
        raise InvalidData(f"{output} holds a run already; --resume goes on with it")

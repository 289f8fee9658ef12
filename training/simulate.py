"""``python -m training simulate``: a simulated survey, as the data layout or as ELAsTiCC alerts in Avro files."""

import argparse
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import track

from training.data import layout
from training.survey import alerts, survey
from training.survey.survey import MAX_OBJECTS, MAX_SEED, SHARD, Simulated


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommand's options."""
    cores = os.cpu_count() or 1
    parser.add_argument("--objects", type=_up_to(MAX_OBJECTS, least=1), required=True, help="how many the survey finds")
    parser.add_argument("--seed", type=_up_to(MAX_SEED), default=0, help="the same seed gives the same objects")
    parser.add_argument("--output", type=Path, required=True, help="new directory for the Parquet shards or the alerts")
    parser.add_argument("--alerts", action="store_true", help="write ELAsTiCC alerts (v0_9_1) and truth.csv instead")
    parser.add_argument("--processes", type=_up_to(1024, least=1), default=cores, help=f"default {cores}, one a core")


def run(arguments: argparse.Namespace) -> int:
    """The subcommand."""
    console = Console(stderr=True)
    made = survey.simulate(arguments.objects, seed=arguments.seed, processes=arguments.processes)
    shown = track(made, description="objects", total=-(-arguments.objects // SHARD), console=console)
    if arguments.alerts:
        n_alerts = alerts.write(arguments.output, alerts.stream(shown))
        console.print(f"{n_alerts} alerts of {arguments.objects} objects in {arguments.output}")
    else:
        layout.write(arguments.output, _objects(shown))
        console.print(f"{arguments.objects} objects in {arguments.output}")
    return 0


def _objects(shards: Iterable[Simulated]) -> Iterator[layout.Objects]:
    return (part.objects for part in shards)


def _up_to(most: int, *, least: int = 0) -> Callable[[str], int]:
    """The type of an option that is an integer within these bounds."""

    def integer(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{value} is not from {least} to {most}")
        return value

    return integer

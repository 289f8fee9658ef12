"""``python -m training simulate``: a simulated survey, as the data layout or as ELAsTiCC alerts in Avro files."""

import argparse
import os
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.progress import track

from training.arguments import up_to, workers
from training.data import layout
from training.errors import InvalidData
from training.survey import alerts, survey
from training.survey.release import Fingerprint, Release
from training.survey.survey import MAX_OBJECTS, MAX_SEED, SHARD, Simulated


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommand's options."""
    cores = os.cpu_count() or 1
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--objects", type=up_to(MAX_OBJECTS, least=1), help="how many the survey finds")
    what.add_argument("--release", help="a frozen survey (elasticc-like-v1) instead, as OUTPUT/train and OUTPUT/test")
    parser.add_argument(
        "--seed",
        type=up_to(MAX_SEED),
        help="the same seed gives the same objects (default 0); of a release, another draw of its test part alone",
    )
    parser.add_argument("--output", type=Path, required=True, help="new directory for the Parquet shards or the alerts")
    parser.add_argument("--alerts", action="store_true", help="write ELAsTiCC alerts (v0_9_1) and truth.csv instead")
    parser.add_argument("--processes", type=workers, default=cores, help=f"default {cores}, one a core")


def run(arguments: argparse.Namespace) -> int:
    """The subcommand. Exit code 1 if a release comes out other than it was frozen."""
    console = Console(stderr=True)
    if arguments.release is not None:
        return _release(arguments, console)
    made = survey.simulate(arguments.objects, seed=arguments.seed or 0, processes=arguments.processes)
    shown = _tracked(made, arguments.objects, "objects", console)
    if arguments.alerts:
        n_alerts = alerts.write(arguments.output, alerts.stream(shown))
        console.print(f"{n_alerts} alerts of {arguments.objects} objects in {arguments.output}")
    else:
        layout.write(arguments.output, (part.objects for part in shown))
        console.print(f"{arguments.objects} objects in {arguments.output}")
    return 0


def _release(arguments: argparse.Namespace, console: Console) -> int:
    if arguments.alerts:
        raise InvalidData("a release is written in the data layout; --alerts goes with --objects")
    release = Release.read(arguments.release)
    if arguments.seed is not None:
        return _drawn_again(release, arguments, console)
    for part in ("train", "test"):  # of both, before the first takes its time
        layout.must_be_free(arguments.output / part)
    same = True
    for part, total in (("train", release.training_objects), ("test", release.test_objects)):
        made = _tracked(release.part(part, processes=arguments.processes), total, part, console)
        fingerprint = Fingerprint()
        layout.write(arguments.output / part, fingerprint.of(shard.objects for shard in made))
        is_frozen = fingerprint.hexdigest() == release.hashes.get(part)
        same = same and is_frozen
        verdict = "as frozen" if is_frozen else f"not as frozen, which was {release.hashes.get(part)}"
        console.print(f"{total} objects in {arguments.output / part}: {fingerprint.hexdigest()}, {verdict}")
    return 0 if same else 1


def _drawn_again(release: Release, arguments: argparse.Namespace, console: Console) -> int:
    """Test objects that nothing can have been chosen by."""
    again = release.with_test_seed(arguments.seed)
    made = _tracked(again.part("test", processes=arguments.processes), again.test_objects, "test", console)
    layout.write(arguments.output / "test", (shard.objects for shard in made))
    console.print(f"{again.test_objects} objects in {arguments.output / 'test'}: the test part, drawn anew")
    return 0


def _tracked(made: Iterable[Simulated], total: int, what: str, console: Console) -> Iterable[Simulated]:
    return track(made, description=what, total=-(-total // SHARD), console=console)

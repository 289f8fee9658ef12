"""``python -m training import``: other people's data into the data layout.

Each source (a pair of files, an archive, a directory) becomes one shard, named after it, or one line that says why
not. An import that was interrupted goes on when the same command is given again: what is done stays.
"""

import argparse
import functools
import hashlib
import json
import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from models.taxonomy import CLASS_NAMES
from training.arguments import seed_number, up_to, workers
from training.data import alerts, layout, plasticc, snana, stripe82
from training.data.imported import Imported, Source
from training.data.layout import Dataset
from training.data.splits import SPLITS
from training.errors import InvalidData
from training.interruption import resumable

Read = Callable[[Source], Imported]

_SETTINGS, _FINGERPRINT, _ACCOUNT = "import", "import_source", "import_account"
"""Notes on a shard: how it was imported, from which files, and what was left out."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommand's options."""
    cores = os.cpu_count() or 1
    formats = parser.add_subparsers(dest="format", required=True, metavar="FORMAT")
    tables = formats.add_parser("snana", help="SNANA's FITS pairs (ELAsTiCC, PLAsTiCC, DES) or text files")
    tables.add_argument("source", type=Path, metavar="SRC", help="a directory to search, a HEAD file or an archive")
    tables.add_argument(
        "--numbering", choices=tuple(snana.NUMBERINGS), default="elasticc", help="whose numbers of types (elasticc)"
    )
    tables.add_argument("--processes", type=workers, default=cores, help=f"default {cores}, one a core")
    kaggle = formats.add_parser("plasticc", help="the PLAsTiCC training set, Kaggle's CSV or the same as Parquet")
    kaggle.add_argument("source", type=Path, metavar="SRC", help="directory with its light curves and its metadata")
    stars = formats.add_parser("stripe82", help="the RR Lyrae of SDSS Stripe 82 (Sesar et al. 2010), table 1")
    stars.add_argument("source", type=Path, metavar="SRC", help="the tar archive of their light curves")
    packets = formats.add_parser("alerts", help="ELAsTiCC or Rubin alerts in Avro files")
    packets.add_argument("source", type=Path, metavar="SRC", help="a file, or a directory to search for .avro(.gz)")
    packets.add_argument("--truth", type=Path, help="CSV (or .csv.gz) of diaObjectId and gentype, or classId")
    for each in (tables, kaggle, stars, packets):
        each.add_argument("--output", type=Path, required=True, help="directory for the Parquet shards")
        each.add_argument("--seed", type=seed_number, default=0, help="of the split into train, validation and test")
        each.add_argument(
            "--test-per-class",
            type=up_to(10**9),
            metavar="N",
            help="N test objects of each class, half of it at most; 0 for none (default: a fifth of all)",
        )


def run(arguments: argparse.Namespace) -> int:
    """The subcommand."""
    console = Console(stderr=True)
    if not arguments.source.exists():
        raise InvalidData(f"{arguments.source}: no such file or directory")
    sources, read, options = _job(arguments)
    settings = {
        "format": arguments.format,
        "source": str(arguments.source.resolve()),
        "seed": arguments.seed,
        "test_per_class": arguments.test_per_class,
        **options,
    }
    todo = _todo(sources, arguments.output, settings)
    if len(todo) < len(sources):
        console.print(f"{len(sources) - len(todo)} of {len(sources)} sources are imported already")
    arguments.output.mkdir(parents=True, exist_ok=True)
    unfinished = arguments.output / layout.UNFINISHED
    unfinished.touch()
    make = functools.partial(_shard, read=read, output=arguments.output, settings=json.dumps(settings))
    outcomes = _each(make, todo, getattr(arguments, "processes", 1))
    failed = False
    with resumable(console):
        for error in track(outcomes, description="sources", total=len(todo), console=console):
            if error is not None:
                failed = True
                console.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
    if any(arguments.output.glob("*.parquet")):
        if arguments.test_per_class is not None:
            layout.resplit(arguments.output, test_per_class=arguments.test_per_class, seed=arguments.seed)
        failed |= _report(arguments.output, console)
    unfinished.unlink()
    return int(failed)


def _job(arguments: argparse.Namespace) -> tuple[list[Source], Read, dict[str, str]]:
    """What to read, how, and the settings that are the format's own."""
    if arguments.format == "snana":
        read = functools.partial(snana.read, numbering=arguments.numbering, seed=arguments.seed)
        return snana.sources(arguments.source), read, {"numbering": arguments.numbering}
    whole = [Source(arguments.format, (arguments.source,))]
    if arguments.format == "plasticc":
        return whole, functools.partial(plasticc.read, seed=arguments.seed), {}
    if arguments.format == "stripe82":
        return whole, functools.partial(stripe82.read, seed=arguments.seed), {}
    truth = arguments.truth
    told = {"truth": str(truth)}
    if truth is not None:  # by its bytes: with other classes it is another import
        told["truth_sha256"] = hashlib.sha256(truth.read_bytes()).hexdigest()
    return whole, functools.partial(alerts.read, truth=truth, seed=arguments.seed), told


def _todo(sources: Sequence[Source], output: Path, settings: Mapping[str, object]) -> list[Source]:
    """The sources without a shard. Raises InvalidData if the directory holds anything but shards of this import."""
    done = {}
    expected = {source.name for source in sources}
    for path in sorted(output.glob("*.parquet")):
        notes = layout.notes_of(path)
        if _SETTINGS not in notes:
            raise InvalidData(f"{output} already holds data; name a new directory")
        others = json.loads(notes[_SETTINGS])
        differing = [name for name in settings if others.get(name) != settings[name]]
        if differing:
            told = ", ".join(f"{name} {others.get(name)}" for name in differing)
            raise InvalidData(f"{output} already holds data, imported with {told}; name a new directory")
        if path.stem not in expected:
            raise InvalidData(f"{output} already holds {path.name}, of which {settings['source']} has no source")
        done[path.stem] = notes[_FINGERPRINT]
    return [source for source in sources if done.get(source.name) != json.dumps(source.fingerprint())]


def _each(make: Callable[[Source], str | None], todo: Sequence[Source], processes: int) -> Iterator[str | None]:
    """Writes the shards, in as many processes; a line for each source that cannot be read, while the others go on."""
    if min(processes, len(todo)) <= 1:
        yield from map(make, todo)
        return
    # Spawned, not forked: this process may run other threads. Ctrl-C is this process's to see.
    spawned = multiprocessing.get_context("spawn")
    ignore = (signal.SIGINT, signal.SIG_IGN)
    with ProcessPoolExecutor(min(processes, len(todo)), spawned, signal.signal, ignore) as workers:
        futures = [workers.submit(make, source) for source in todo]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise InvalidData("a process of the import died, perhaps for want of memory: --processes") from error
        finally:
            workers.shutdown(cancel_futures=True)


def _shard(source: Source, *, read: Read, output: Path, settings: str) -> str | None:
    """Writes a source's shard; returns what is wrong with the source instead, if anything."""
    fingerprint = json.dumps(source.fingerprint())
    try:
        imported = read(source)
    except InvalidData as invalid:
        return str(invalid)
    account = {"dropped": imported.dropped, "noted": imported.noted, "failures": imported.failures}
    notes = {_SETTINGS: settings, _FINGERPRINT: fingerprint, _ACCOUNT: json.dumps(account)}
    layout.write_shard(output / f"{source.name}.parquet", imported.objects, notes=notes)
    return None


def _report(output: Path, console: Console) -> bool:
    """Say what the shards hold, what was left out of them, and which files failed; True if one did."""
    dataset = Dataset.open(output, unfinished=True)
    index = dataset.index()
    accounts = [json.loads(layout.notes_of(shard.path)[_ACCOUNT]) for shard in dataset.shards]
    failures = [line for account in accounts for line in account["failures"]]
    for line in failures:
        console.print(f"error: {line}", markup=False, highlight=False, soft_wrap=True)
    for heading, kind in (("left out", "dropped"), ("of note", "noted")):
        counts: Counter[str] = Counter()
        for account in accounts:
            counts.update(account[kind])
        if kind == "noted" and (repeated := len(index) - len(np.unique(index.object_id))):
            counts["objects with the id of another"] = repeated
        console.print(f"{heading}:{'' if counts else ' nothing'}")
        for reason, count in sorted(counts.items()):
            console.print(f"  {count:>10,} {reason}", markup=False, highlight=False, soft_wrap=True)
    console.print(_summary(index))
    return bool(failures)


def _summary(index: layout.Index) -> Table:
    title = f"{len(index)} objects, {index.lengths.sum():,} points; fluxes in FLUXCAL (AB zero point 27.5)"
    table = Table("class", "objects", *SPLITS, "points, mean", title=title)
    counts = Counter(zip(index.class_id.tolist(), index.split.tolist(), strict=True))
    for class_id in np.unique(index.class_id).tolist():
        splits = [counts[class_id, split] for split in SPLITS]
        points = index.lengths[index.class_id == class_id].mean()
        table.add_row(CLASS_NAMES.get(class_id, "unknown"), *map(str, (sum(splits), *splits)), f"{points:.0f}")
    return table

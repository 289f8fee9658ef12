"""``python -m training import``: other people's data into the data layout."""

import argparse
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from models.taxonomy import CLASS_NAMES
from training.data import layout, plasticc
from training.data.layout import Objects


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommand's options."""
    formats = parser.add_subparsers(dest="format", required=True, metavar="FORMAT")
    kaggle = formats.add_parser("plasticc", help="the PLAsTiCC training set, Kaggle's CSV or the same as Parquet")
    kaggle.add_argument("source", type=Path, metavar="SRC", help="directory with its light curves and its metadata")
    for parser_of_format in (kaggle,):
        parser_of_format.add_argument("--output", type=Path, required=True, help="new directory for the Parquet shards")
        parser_of_format.add_argument(
            "--seed", type=int, default=0, help="of the split into train, validation and test"
        )


def run(arguments: argparse.Namespace) -> int:
    """The subcommand."""
    objects = plasticc.objects(arguments.source, seed=arguments.seed)
    layout.write(arguments.output, [objects])
    Console(stderr=True).print(_summary(objects))
    return 0


def _summary(objects: Objects) -> Table:
    table = Table(
        "class", "objects", *layout.SPLITS, "points", title=f"{len(objects)} objects, fluxes in FLUXCAL (AB 27.5)"
    )
    counts = Counter(zip(objects.class_id.tolist(), objects.split.tolist(), strict=True))
    lengths = objects.light_curves.lengths
    for class_id in sorted(set(objects.class_id.tolist())):
        splits = [counts[class_id, split] for split in layout.SPLITS]
        points = lengths[objects.class_id == class_id].mean()
        table.add_row(
            CLASS_NAMES.get(class_id, "unknown"), *map(str, (sum(splits), *splits)), f"{points:.0f} on average"
        )
    return table

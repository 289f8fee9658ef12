"""``python -m training import``: other people's data into the data layout."""

import argparse
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from models.taxonomy import CLASS_NAMES
from training.data import alerts, layout, plasticc
from training.data.layout import Objects


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommand's options."""
    formats = parser.add_subparsers(dest="format", required=True, metavar="FORMAT")
    kaggle = formats.add_parser("plasticc", help="the PLAsTiCC training set, Kaggle's CSV or the same as Parquet")
    kaggle.add_argument("source", type=Path, metavar="SRC", help="directory with its light curves and its metadata")
    packets = formats.add_parser("alerts", help="ELAsTiCC or Rubin alerts in Avro files")
    packets.add_argument("source", type=Path, metavar="SRC", help="a file, or a directory to search for .avro(.gz)")
    packets.add_argument("--truth", type=Path, help="CSV (or .csv.gz) of diaObjectId and gentype, or classId")
    for each in (kaggle, packets):
        each.add_argument("--output", type=Path, required=True, help="new directory for the Parquet shards")
        each.add_argument("--seed", type=int, default=0, help="of the split into train, validation and test")


def run(arguments: argparse.Namespace) -> int:
    """The subcommand."""
    console = Console(stderr=True)
    if arguments.format == "plasticc":
        objects = plasticc.objects(arguments.source, seed=arguments.seed)
    else:
        imported = alerts.objects(arguments.source, truth=arguments.truth, seed=arguments.seed)
        objects = imported.objects
        console.print(f"{imported.n_alerts} alerts; left out: {sum(imported.dropped.values())}")
        for reason, count in sorted(imported.dropped.items()):
            console.print(f"  {count} x {reason}")
    layout.write(arguments.output, [objects])
    console.print(_summary(objects))
    return 0


def _summary(objects: Objects) -> Table:
    title = f"{len(objects)} objects, fluxes in FLUXCAL (AB zero point 27.5)"
    table = Table("class", "objects", *layout.SPLITS, "points, mean", title=title)
    counts = Counter(zip(objects.class_id.tolist(), objects.split.tolist(), strict=True))
    lengths = objects.light_curves.lengths
    for class_id in sorted(set(objects.class_id.tolist())):
        splits = [counts[class_id, split] for split in layout.SPLITS]
        points = lengths[objects.class_id == class_id].mean()
        table.add_row(CLASS_NAMES.get(class_id, "unknown"), *map(str, (sum(splits), *splits)), f"{points:.0f}")
    return table

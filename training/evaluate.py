"""``python -m training evaluate``: a model and a data directory in, figures and pictures out.

Writes ``metrics.json``, ``classes.csv`` and ``confusion.png`` to the output directory, and prints the table.
"""

import argparse
import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from models.classifier import Classifier, InvalidArtifact
from models.inputs.light_curve import LightCurves
from models.taxonomy import Taxonomy
from training.data import layout, views
from training.data.layout import InvalidData, Objects
from training.metrics import confusion, summary

DETECTIONS = (1, 2, 5, 20)
"""The alerts that early classification is reported at, by number of detections so far."""


Results = dict[str, tuple[dict[str, Any], NDArray[np.int64]]]
"""Figures and confusion counts by view."""


def evaluate(classifier: Classifier, objects: Objects) -> Results:
    """Figures and confusion counts by view: whole light curves, every alert as sent, and the alert of a detection.

    The view of the n-th detection holds the objects that have so many; a whole light curve is the thesis's (4.2).
    """
    curves = objects.light_curves
    window = classifier.model.window_days
    results = {}
    for name, (rows, epoch) in _views(curves).items():
        cut = LightCurves.until if name == "full" else LightCurves.as_sent
        seen = cut(curves.take(rows), epoch, window_days=window)
        has_metadata = np.ones(len(rows), dtype=np.bool_)
        probabilities = classifier.predict(seen, objects.metadata[rows], has_metadata).probabilities
        labels = classifier.taxonomy.places(objects.class_id[rows])
        predicted = probabilities.argmax(axis=1)
        figures = summary(labels, predicted, classifier.taxonomy)
        results[name] = (figures, confusion(labels, predicted, len(classifier.taxonomy)))
    return results


def _views(curves: LightCurves) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Rows and epochs by name of the view."""
    counts = views.detections(curves)
    everyone = np.arange(len(curves))
    chosen = {"full": (everyone, curves.last_detection_mjd())}
    each = np.repeat(everyone, counts)
    chosen["every alert"] = (each, curves.mjd[curves.detected])
    for number in DETECTIONS:
        rows = np.flatnonzero(counts >= number)
        if len(rows):
            epoch = views.epoch_of_detection(curves.take(rows), np.full(len(rows), number))
            chosen[f"detection {number}"] = (rows, epoch)
    return chosen


def known_to(classifier: Classifier, objects: Objects) -> Objects:
    """The labelled objects of the model's own classes that were ever detected. Raises InvalidData if there are none."""
    known = np.isin(objects.class_id, classifier.taxonomy.class_ids)
    chosen = objects.where(known & (views.detections(objects.light_curves) > 0))
    if not len(chosen):
        raise InvalidData(f"no object of the model's classes ({', '.join(classifier.taxonomy.names)})")
    return chosen


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommand's options."""
    parser.add_argument("--model", type=Path, required=True, help="directory of the model")
    parser.add_argument("--data", type=Path, required=True, help="data in the layout; for a forest, their features")
    parser.add_argument("--split", choices=(*layout.SPLITS, "all"), default="test", help="default: test")
    parser.add_argument("--output", type=Path, required=True, help="directory for the figures")
    parser.add_argument("--threads", type=int, help="threads of arithmetic (default: PyTorch's)")
    parser.add_argument(
        "--sources", type=Path, help="for a forest: the data that the features are of, to report each source apart, too"
    )


def run(arguments: argparse.Namespace) -> int:
    """The subcommand."""
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    try:
        classifier = Classifier.load(arguments.model)
    except InvalidArtifact as error:
        raise InvalidData(str(error)) from error
    if classifier.model.kind == "forest":
        results, left_out = _evaluate_forest(classifier, arguments)
    else:
        objects = layout.read(arguments.data)
        if arguments.split != "all":
            objects = objects.where(objects.split == arguments.split)
        chosen = known_to(classifier, objects)
        results, left_out = evaluate(classifier, chosen), len(objects) - len(chosen)
    arguments.output.mkdir(parents=True, exist_ok=True)
    figures = {name: figure for name, (figure, _) in results.items()}
    _write_json(arguments.output / "metrics.json", figures, classifier, left_out=left_out)
    _write_csv(arguments.output / "classes.csv", figures)
    whole = "full" if "full" in results else max(results, key=lambda view: results[view][0]["macro_f1"])
    title = f"{classifier.name}/{classifier.version}, {'whole light curves' if whole == 'full' else whole}"
    picture = plot_confusion(results[whole][1], classifier.taxonomy, title=title)
    picture.savefig(arguments.output / "confusion.png", dpi=120)
    console = Console()
    console.print(_table(figures))
    if left_out:
        console.print(f"{left_out} objects left out: not of the model's classes, or never detected")
    return 0


def _evaluate_forest(classifier: Classifier, arguments: argparse.Namespace) -> tuple[Results, int]:
    """From the table that ``python -m training features`` made: computing features takes a forest's time."""
    # Here, since forests need packages that ATAT does not.
    from models.random_forest import Forest  # noqa: PLC0415
    from training import features, forests  # noqa: PLC0415

    table = features.read(arguments.data)
    if arguments.split != "all":
        table = table.where(table.split == arguments.split)
    known = table.where(np.isin(table.class_id, classifier.taxonomy.class_ids))
    if not len(known):
        raise InvalidData(f"no object of the model's classes ({', '.join(classifier.taxonomy.names)})")
    left_out = len(np.unique(table.object_id)) - len(np.unique(known.object_id))
    forest = cast(Forest, classifier.model)
    results = forests.evaluate(forest, classifier.taxonomy, known)
    if arguments.sources is not None:
        objects = layout.read(arguments.sources)
        for source in np.unique(objects.source).tolist():
            part = known.where(np.isin(known.object_id, objects.object_id[objects.source == source]))
            each = forests.evaluate(forest, classifier.taxonomy, part)
            results |= {f"{view}, {source}": figures for view, figures in each.items()}
    return results, left_out


def _write_json(path: Path, figures: Mapping[str, Any], classifier: Classifier, *, left_out: int) -> None:
    report = {"model": f"{classifier.name}/{classifier.version}", "left_out": left_out, "views": figures}
    path.write_text(json.dumps(report, indent=1) + "\n")


def _write_csv(path: Path, figures: Mapping[str, Any]) -> None:
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["view", "class", "precision", "recall", "f1", "objects"])
        for view, figure in figures.items():
            for name, values in figure["classes"].items():
                rows.writerow([view, name, *(values[key] for key in ("precision", "recall", "f1", "objects"))])


def _table(figures: Mapping[str, Any]) -> Table:
    table = Table("", *(f"{view}\nF1 / recall" for view in figures))
    names = sorted({name for figure in figures.values() for name in figure["classes"]})
    for name in names:
        table.add_row(name, *(_cell(figure["classes"].get(name)) for figure in figures.values()))
    table.add_section()
    means = (f"{figure['macro_f1']:.3f} / {figure['macro_recall']:.3f}" for figure in figures.values())
    table.add_row("macro mean", *means)
    table.add_row("count", *(str(figure["objects"]) for figure in figures.values()))
    return table


def _cell(values: Mapping[str, float] | None) -> str:
    return "" if values is None else f"{values['f1']:.3f} / {values['recall']:.3f}"


def plot_confusion(counts: NDArray[np.int64], taxonomy: Taxonomy, *, title: str) -> Figure:
    """Rows are true classes, as shares of the row (thesis figure 4.4); a class without objects has an empty row."""
    totals = counts.sum(axis=1)
    shares = counts / np.maximum(totals, 1)[:, None]
    figure = Figure(figsize=(0.55 * len(taxonomy) + 3, 0.55 * len(taxonomy) + 2), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in zip(*np.nonzero(counts), strict=True):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, f"{shares[row, column]:.2f}", ha="center", va="center", fontsize=7, color=colour)
    rows = [f"{name} ({total})" for name, total in zip(taxonomy.names, totals, strict=True)]
    axes.set_xticks(range(len(taxonomy)), taxonomy.names, rotation=60, ha="right")
    axes.set_yticks(range(len(taxonomy)), rows)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class (objects)")
    axes.set_title(title)
    return figure

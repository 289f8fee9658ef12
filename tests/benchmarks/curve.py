"""``python -m tests.benchmarks.curve``: what more points, larger batches, more workers and longer histories cost.

Writes ``curve.json`` and ``curve.png``. Run it on an idle machine.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console

from models.classifier import Classifier
from models.inputs.alert_batch import AlertBatch
from models.inputs.metadata import COLUMNS
from models.selection import DEFAULT_ARTIFACT
from service.memory import give_back
from tests.benchmarks import history
from tests.benchmarks.memory import forget_peak, peak_mebibytes
from tests.benchmarks.stream import busy, save_thesis
from tests.benchmarks.whole import Alerts, Servers

POINTS = (5, 10, 20, 50, 100, 200, 390, 600, 1000)
"""Of an alert. Beyond 390 a light curve is thinned to 65 in each band."""
TOKENS = (32, 128, 512, 2048, 8192, 32_768)
"""Points of the alerts that are classified together."""
POINTS_WHILE_BATCHING = 20
WORKERS = (1, 2, 3, 4)
STORED = (10, 50, 200, 1000, 2000)
"""Points that are stored of each object. A usual alert has 20."""
STORED_OBJECTS = 2048
_TOKENS_A_POINT = 16_384
"""One batch of the service, whatever its alerts' length."""
_LEAST_SECONDS = 2.0

Curve = dict[str, list[float]]
"""Columns of equal length; the first is what is varied."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.curve", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="each number of workers; default: %(default)g")
    parser.add_argument("--output", type=Path, default=Path(), help="folder for the two files; default: this one")
    arguments = parser.parse_args()
    console = Console()
    curves: dict[str, Curve] = {}
    with tempfile.TemporaryDirectory(prefix="curve-") as directory:
        every = Alerts.read()
        thesis = Path(directory) / "thesis"
        save_thesis(thesis, every.batch)
        for name, model in (("thesis", thesis), ("shipped", DEFAULT_ARTIFACT)):
            console.print(f"{name}: points, tokens ...")
            classifier = Classifier.load(model)
            curves[f"{name}_points"] = by_points(classifier)
            curves[f"{name}_tokens"] = by_tokens(classifier)
        console.print("history ...")
        curves["history"] = by_stored_points()
        console.print("workers ...")
        curves["shipped_workers"] = by_workers(every, Path(directory), seconds=arguments.minutes * 60)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "curve.json").write_text(json.dumps(curves, indent=1) + "\n")
    picture(curves).savefig(arguments.output / "curve.png", dpi=120)
    console.print(f"{arguments.output / 'curve.json'}, {arguments.output / 'curve.png'}")


def made_up(alerts: int, points: int) -> AlertBatch:
    """Alerts of so many points each, evenly over the bands and a year."""
    table = np.random.default_rng(0).uniform(0, 1, (alerts, len(COLUMNS))).astype(np.float32)
    return replace(
        history.made_up(points, alerts),
        epoch=np.full(alerts, 60_365.0),
        metadata=table,
        has_metadata=np.ones(alerts, dtype=np.bool_),
        mjd=np.tile(np.linspace(60_000.0, 60_365.0, points), alerts),
        band=np.tile(np.arange(points) % 6, alerts).astype(np.int8),
    )


def by_points(classifier: Classifier) -> Curve:
    """Rate and memory by points an alert, in batches of as many tokens as the service's."""
    curve: Curve = {"points": [], "alerts_per_second": [], "points_per_second": [], "mebibytes_more": []}
    for points in POINTS:
        batch = made_up(max(_TOKENS_A_POINT // points, 1), points)
        give_back()
        forget_peak()
        before = peak_mebibytes()
        classifier.classify(batch)
        rate = _alerts_per_second(classifier, batch)
        _append(curve, points, rate, rate * points, peak_mebibytes() - before)
    return curve


def by_tokens(classifier: Classifier) -> Curve:
    """Rate by how many points are classified together."""
    curve: Curve = {"tokens": [], "alerts_per_second": []}
    for tokens in TOKENS:
        batch = made_up(max(tokens // POINTS_WHILE_BATCHING, 1), POINTS_WHILE_BATCHING)
        classifier.classify(batch)
        _append(curve, len(batch.mjd), _alerts_per_second(classifier, batch))
    return curve


def by_stored_points() -> Curve:
    """Objects a second and bytes a point by what is stored of each."""
    curve: Curve = {"points": [], "objects_per_second": [], "bytes_per_point": []}
    for points in STORED:
        found = history.measured(points=points, objects=STORED_OBJECTS)
        _append(curve, points, found["objects_per_second"], found["bytes_per_point"])
    return curve


def by_workers(alerts: Alerts, directory: Path, *, seconds: float) -> Curve:
    """End to end with the shipped model, the machine's cores shared among the workers and everything else."""
    curve: Curve = {"workers": [], "per_second": [], "service_cpu_microseconds": [], "mebibytes": []}
    for workers in WORKERS:
        with (
            Servers.started(directory / f"workers-{workers}") as servers,
            servers.serving(alerts, DEFAULT_ARTIFACT, workers=workers) as whole,
        ):
            found = busy(whole, seconds=seconds)
        _append(curve, workers, found["per_second"], found["service_cpu_microseconds"], workers * found["mebibytes"])
    return curve


def _alerts_per_second(classifier: Classifier, batch: AlertBatch) -> float:
    done, began = 0, time.monotonic()
    while (took := time.monotonic() - began) < _LEAST_SECONDS:
        classifier.classify(batch)
        done += len(batch)
    return done / took


def _append(curve: Curve, *values: float) -> None:
    for column, value in zip(curve.values(), values, strict=True):
        column.append(float(value))


def picture(curves: dict[str, Curve]) -> Figure:
    """Every curve."""
    figure = Figure(figsize=(12, 7), layout="constrained")
    (points, memory, tokens), (workers, stored, _) = axes = figure.subplots(2, 3)
    for name in ("thesis", "shipped"):
        by = curves[f"{name}_points"]
        _draw(points, by["points"], by["alerts_per_second"], name)
        _draw(memory, by["points"], by["mebibytes_more"], name)
        _draw(tokens, curves[f"{name}_tokens"]["tokens"], curves[f"{name}_tokens"]["alerts_per_second"], name)
    _draw(workers, curves["shipped_workers"]["workers"], curves["shipped_workers"]["per_second"], "shipped")
    _draw(stored, curves["history"]["points"], curves["history"]["objects_per_second"], "history")
    titles = {
        points: ("points an alert", "alerts/s in the model"),
        memory: ("points an alert", "MiB more at the peak of a batch"),
        tokens: ("points classified together, 20 an alert", "alerts/s in the model"),
        workers: ("workers on the same cores", "alerts/s end to end"),
        stored: ("points stored of an object", "objects/s of the history"),
    }
    for one, (x, y) in titles.items():
        one.set(xlabel=x, ylabel=y)
        one.set_xscale("linear" if one is workers else "log")
        if one in (workers, memory):
            one.set_ylim(bottom=0)
        else:
            one.set_yscale("log")
        one.grid(alpha=0.3)
        one.legend()
    axes[1][2].axis("off")
    return figure


def _draw(axes: Axes, x: Sequence[float], y: Sequence[float], label: str) -> None:
    axes.plot(x, y, "o-", label=label)


if __name__ == "__main__":
    main()

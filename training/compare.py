"""``python -m training compare``: how far a simulated survey is from real data, class by class.

Writes ``compare.json``, ``compare.csv`` and pictures: the distributions of what can be read off a light curve, and
sample light curves side by side. For each class a random forest is asked to tell simulated from real: an area under the
curve (AUC) of .5 means that it cannot, and what it finds most telling is named.

Half of the real objects, by a hash of their ids, are compared. The other half, which ``--rest`` writes to a directory,
is for one figure only: how well a model made from the simulation does on them. (Of the survey's constants some, its
dust, hosts, depths and detection, were read off all real alerts of ELAsTiCC, whatever their half; none off classes.)
"""

import argparse
import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

from models.arrays import FloatArray, IntArray
from models.inputs import ragged
from models.inputs.light_curve import FORCED_DELAY_DAYS, LightCurves
from models.inputs.metadata import COLUMNS
from models.inputs.photometry import BANDS
from models.taxonomy import CLASS_NAMES
from training.data import layout, views
from training.data.layout import UNKNOWN_CLASS, Objects
from training.data.splits import is_compared
from training.errors import InvalidData

LEAST_OBJECTS = 10
"""A class with fewer real objects is not compared."""

MOST_OBJECTS = 1000
"""Of a class, from either side."""

SAMPLES = 6
"""Light curves of a class to show, from either side."""

_NOISE = 1e-3
_COLOURS = ("#6a3d9a", "#33a02c", "#e31a1c", "#ff7f00", "#b15928", "#000000")


# --- what can be read off a light curve ------------------------------------------------------------------------


def photometry(curves: LightCurves) -> dict[str, FloatArray]:
    """By name, one number a light curve (N,); NaN where there is none. Times in days, fluxes as log10 FLUXCAL."""
    row = ragged.row_of_each(curves.offsets)
    snr = np.abs(curves.flux / curves.flux_err).astype(np.float64)
    size = np.abs(curves.flux).astype(np.float64)
    detected = curves.detected
    whole, of_detections = curves.offsets, ragged.keep(curves.offsets, detected)
    counts = np.diff(of_detections).astype(np.float64)
    found = {
        "points": np.log10(np.maximum(curves.lengths, 1)),
        "detections": np.log10(np.maximum(counts, 1)),
        "share detected": counts / np.maximum(curves.lengths, 1),
        "days of detections": np.log10(1 + curves.last_detection_mjd() - curves.first_detection_mjd()),
        "peak S/N": np.log10(np.maximum(ragged.reduced(np.maximum, whole, snr), _NOISE)),
        "median S/N of detections": np.log10(np.maximum(_median(of_detections, snr[detected]), _NOISE)),
        "peak flux": np.log10(np.maximum(ragged.reduced(np.maximum, whole, size), _NOISE)),
        "days to peak": _time_of_peak(curves, row, size) - curves.first_detection_mjd(),
        "share below template": ragged.means(of_detections, (curves.flux[detected] < 0).astype(np.float64)),
    }
    peaks = []
    for code, band in enumerate(BANDS):
        own = curves.band == code
        bright = own & detected
        flux, error = curves.flux[bright].astype(np.float64), curves.flux_err[own].astype(np.float64)
        peaks.append(ragged.reduced(np.maximum, ragged.keep(whole, bright), flux))
        found[f"error in {band}"] = np.log10(_median(ragged.keep(whole, own), error))
    for code in range(len(BANDS) - 1):
        ratio = np.maximum(peaks[code], _NOISE) / np.maximum(peaks[code + 1], _NOISE)
        known = np.isfinite(peaks[code]) & np.isfinite(peaks[code + 1])
        found[f"colour {BANDS[code]}-{BANDS[code + 1]}"] = np.where(known, -2.5 * np.log10(ratio), np.nan)
    return found


def _median(offsets: IntArray, values: FloatArray) -> FloatArray:
    return ragged.quantile(offsets, ragged.sorted_rows(offsets, values), 0.5)


def _time_of_peak(curves: LightCurves, row: IntArray, size: FloatArray) -> FloatArray:
    order = np.lexsort((size, row))
    last = curves.offsets[1:] - 1
    return np.where(curves.lengths > 0, curves.mjd[order][np.maximum(last, 0)], np.nan)


def metadata(objects: Objects) -> dict[str, FloatArray]:
    """The metadata columns by name."""
    return {name: objects.metadata[:, place].astype(np.float64) for place, name in enumerate(COLUMNS)}


# --- telling them apart ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """How well simulated and real are told apart by some columns."""

    auc: float
    telling: list[tuple[str, float, float]]
    """The three most telling columns, and their medians: simulated, real."""


def tell_apart(
    simulated: Mapping[str, FloatArray], real: Mapping[str, FloatArray], *, simulated_id: IntArray
) -> Verdict | None:
    """The cross-validated AUC of a random forest on these columns, each side weighing the same; None without any.

    Rows of one simulated object, by its id (N,), are in one fold: a forest knows again what it has learned by heart.
    """
    # A column that one side never has says nothing of the simulation: the other survey does not publish it.
    names = [name for name in simulated if np.isfinite(simulated[name]).any() and np.isfinite(real[name]).any()]
    if not names:
        return None
    table = np.vstack([_columns(side, names) for side in (simulated, real)]).astype(np.float32)
    sizes = [len(next(iter(side.values()))) for side in (simulated, real)]
    labels = np.repeat([0, 1], sizes)
    objects, place = np.unique(simulated_id, return_inverse=True)
    groups = np.concatenate([place, len(objects) + np.arange(sizes[1])])
    forest = RandomForestClassifier(200, class_weight="balanced", min_samples_leaf=3, random_state=0)
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    scores = cross_val_predict(forest, table, labels, groups=groups, cv=folds, method="predict_proba")[:, 1]
    importance = forest.fit(table, labels).feature_importances_
    telling = [
        (names[place], float(np.nanmedian(simulated[names[place]])), float(np.nanmedian(real[names[place]])))
        for place in np.argsort(-importance)[:3]
    ]
    return Verdict(auc=float(roc_auc_score(labels, scores)), telling=telling)


def _columns(side: Mapping[str, FloatArray], names: Sequence[str]) -> FloatArray:
    return np.stack([side[name] for name in names], axis=1)


# --- the job ---------------------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommand's options."""
    parser.add_argument("--simulated", type=Path, required=True, help="simulated objects, in the data layout")
    parser.add_argument("--real", type=Path, nargs="+", default=[], help="real ones: one directory a survey")
    parser.add_argument("--alerts", type=Path, nargs="+", default=[], help="real ones known by some of their alerts")
    parser.add_argument("--output", type=Path, required=True, help="directory for figures and pictures")
    parser.add_argument("--rest", type=Path, help="new directory for the real objects that are not compared")


def run(arguments: argparse.Namespace) -> int:
    """The subcommand."""
    if arguments.rest is not None:
        layout.must_be_free(arguments.rest)
    simulated = _whole(layout.read(arguments.simulated))
    arguments.output.mkdir(parents=True, exist_ok=True)
    rows, rest = [], []
    for directory in (*arguments.real, *arguments.alerts):
        everything = layout.read(directory)
        compared = is_compared(everything.object_id.tolist())
        rest.append(everything.where(~compared))
        real = _whole(everything.where(compared))
        for class_id in sorted(set(real.class_id.tolist()) - {UNKNOWN_CLASS}):
            theirs, ours = _of_class(real, class_id), _of_class(simulated, class_id)
            if directory in arguments.alerts:
                ours, theirs = as_alerts(ours, theirs)
            if min(len(theirs), len(ours)) < LEAST_OBJECTS:
                continue
            name = f"{directory.name}, {CLASS_NAMES[class_id]}"
            rows.append(_compared(name, ours, theirs))
            stem = f"{directory.name}-{class_id}"
            plot_distributions(name, ours, theirs).savefig(arguments.output / f"{stem}-distributions.png", dpi=80)
            plot_samples(name, ours, theirs).savefig(arguments.output / f"{stem}-samples.png", dpi=80)
    if not rows:
        raise InvalidData(f"no class has {LEAST_OBJECTS} objects on both sides")
    (arguments.output / "compare.json").write_text(json.dumps(rows, indent=1) + "\n")
    _write_csv(arguments.output / "compare.csv", rows)
    if arguments.rest is not None:
        layout.write(arguments.rest, rest)
    Console().print(_table(rows))
    return 0


def _whole(objects: Objects) -> Objects:
    """Objects that were detected, from 30 days before the first detection to the last: what every survey gives."""
    known = objects.where(objects.light_curves.detections > 0)
    curves = known.light_curves
    return replace(known, light_curves=curves.until(curves.last_detection_mjd(), window_days=np.inf))


def as_alerts(simulated: Objects, real: Objects) -> tuple[Objects, Objects]:
    """Simulated objects, each cut at the alert with as many detections as a real one has, and those real ones.

    Real alerts are of any age, and nobody knows by what rule some were published: only at the same number of detections
    do they say how good the simulation is. Left out are real ones that were published without their forced photometry,
    and those with more detections than any simulated one.
    """
    curves, numbers = simulated.light_curves, real.light_curves.detections
    most = curves.detections
    span = real.light_curves.last_detection_mjd() - real.light_curves.first_detection_mjd()
    whole = (real.light_curves.lengths > numbers) | (span < FORCED_DELAY_DAYS)
    real = real.where(whole & (numbers <= most.max(initial=0)))
    numbers = real.light_curves.detections
    rng = np.random.default_rng(0)
    # Any of those that send such an alert is as likely to be the one.
    rows = np.array([rng.choice(np.flatnonzero(most >= number)) for number in numbers], dtype=np.int64)
    found = simulated.take(rows)
    epoch = views.epoch_of_detection(found.light_curves, numbers)
    return replace(found, light_curves=found.light_curves.as_sent(epoch, window_days=np.inf)), real


def _of_class(objects: Objects, class_id: int) -> Objects:
    rows = np.flatnonzero(objects.class_id == class_id)
    return objects.take(np.sort(np.random.default_rng(0).permutation(rows)[:MOST_OBJECTS]))


def _compared(name: str, simulated: Objects, real: Objects) -> dict[str, Any]:
    columns = {
        "photometry": (photometry(simulated.light_curves), photometry(real.light_curves)),
        "metadata": (metadata(simulated), metadata(real)),
    }
    verdicts = {
        kind: tell_apart(ours, theirs, simulated_id=simulated.object_id) for kind, (ours, theirs) in columns.items()
    }
    row: dict[str, Any] = {"class": name, "simulated": len(simulated), "real": len(real)}
    for kind, verdict in verdicts.items():
        row[f"AUC, {kind}"] = None if verdict is None else verdict.auc
        telling = [] if verdict is None else verdict.telling
        row[f"telling, {kind}"] = "; ".join(f"{column} ({ours:.3g}, {theirs:.3g})" for column, ours, theirs in telling)
    return row


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, fieldnames=list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(f"{value:.2f}" if isinstance(value, float) else str(value) for value in row.values()))
    return table


def plot_distributions(title: str, simulated: Objects, real: Objects) -> Figure:
    """Histograms of every photometric number, simulated and real."""
    ours, theirs = photometry(simulated.light_curves), photometry(real.light_curves)
    figure = Figure(figsize=(16, 12), layout="constrained")
    panels = figure.subplots(4, 5).ravel()
    for panel, name in zip(panels, ours, strict=False):
        both = np.concatenate([ours[name], theirs[name]])
        if not np.isfinite(both).any():
            continue
        low, high = np.nanquantile(both, [0.005, 0.995])
        bins = np.linspace(low, max(high, low + 0.1), 25)
        for side, label in ((ours, "simulated"), (theirs, "real")):
            values = side[name][(side[name] >= bins[0]) & (side[name] <= bins[-1])]
            if len(values):
                panel.hist(values, bins=bins, density=True, histtype="step", label=label)
        panel.set_title(name, fontsize=9)
    panels[0].legend()
    figure.suptitle(title)
    return figure


def plot_samples(title: str, simulated: Objects, real: Objects) -> Figure:
    """Sample light curves, simulated above, real below."""
    figure = Figure(figsize=(20, 7), layout="constrained")
    panels = figure.subplots(2, SAMPLES)
    for line, (objects, label) in enumerate(((simulated, "simulated"), (real, "real"))):
        rows = np.random.default_rng(1).permutation(len(objects))[:SAMPLES]
        for panel, row in zip(panels[line], rows, strict=False):
            curve = objects.light_curves[int(row)]
            days = curve.mjd - curve.mjd[curve.detected][0]
            for code, band in enumerate(BANDS):
                own = curve.band == code
                style = {"color": _COLOURS[code], "ms": 3, "lw": 0.6}
                panel.errorbar(days[own], curve.flux[own], curve.flux_err[own], fmt=".", alpha=0.4, **style)
                panel.plot(days[own & curve.detected], curve.flux[own & curve.detected], "o", label=band, **style)
            panel.set_title(f"{label} {objects.object_id[int(row)]}", fontsize=8)
    panels[0, 0].legend(fontsize=7)
    figure.suptitle(f"{title}: FLUXCAL against days since the first detection")
    return figure

"""Pictures of figures: F1 against time and detections, confusion matrices, reliability."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from models.taxonomy import CLASS_NAMES
from training.data.alert_sample import BINS
from training.measure import ALERT_VIEWS, ALERTS, Measured, days_of
from training.metrics import Estimate

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c6d31")
"""Okabe and Ito's, told apart by colour-blind readers too."""
_MARKERS = "osD^vPX*"
_MTA = "-mta"


def _style(variants: Sequence[str], variant: str) -> dict[str, str]:
    """One colour for a variant with and without mask temporal augmentation, which is dashed (as in figure 4.3)."""
    families = list(dict.fromkeys(name.replace(_MTA, "") for name in variants))
    number = families.index(variant.replace(_MTA, ""))
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": _MARKERS[number % len(_MARKERS)],
        "linestyle": "--" if _MTA in variant else "-",
    }


def against_days(panels: Mapping[str, Sequence[Measured]]) -> Figure:
    """Macro F1 against days since the first alert (figure 4.3), with 95 % intervals; a panel a title."""
    columns = min(len(panels), 2)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(7.5 if columns == 1 else 12, 4.5 * rows), layout="constrained")
    names = list(dict.fromkeys(measured.variant for variants in panels.values() for measured in variants))
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for place, (title, variants) in zip(axes, panels.items(), strict=False):
        _against_days(place, variants, names, title)
    for place in axes[len(panels) :]:
        place.set_visible(False)
    return figure


def _against_days(axes: Axes, variants: Sequence[Measured], names: Sequence[str], title: str) -> None:
    ticks: set[float] = set()
    for measured in variants:
        days = {view: age for view in measured.views if (age := days_of(view)) is not None}
        estimates = [Estimate.of(measured.macro(view)) for view in days]
        _band(axes, list(days.values()), estimates, _style(names, measured.variant), measured.variant)
        ticks |= set(days.values())
    axes.set_xscale("log", base=2)
    axes.set_xticks(sorted(ticks), [f"{tick:.0f}" for tick in sorted(ticks)])
    axes.set_xlabel("days since the first alert")
    _finish(axes, title)


def against_detections(variants: Sequence[Measured]) -> Figure:
    """Macro F1 of alerts as sent, by the number of detections that they carry."""
    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.subplots()
    names = [measured.variant for measured in variants]
    for measured in variants:
        present = [view for view in ALERT_VIEWS[1:] if measured.present[measured.place(view)].any()]
        places = [float(ALERT_VIEWS.index(view) - 1) for view in present]
        estimates = [Estimate.of(measured.macro(view)) for view in present]
        _band(axes, places, estimates, _style(names, measured.variant), measured.variant)
    axes.set_xticks(range(len(BINS)), BINS)
    axes.set_xlabel("detections in the alert as sent")
    _finish(axes, "")
    return figure


def _band(axes: Axes, places: list[float], estimates: list[Estimate], style: dict[str, str], label: str) -> None:
    low, high = [each.low for each in estimates], [each.high for each in estimates]
    axes.plot(places, [each.value for each in estimates], label=label, markersize=4.5, linewidth=1.6, **style)  # type: ignore[arg-type]
    axes.fill_between(places, low, high, color=style["color"], alpha=0.12, linewidth=0)


def _finish(axes: Axes, title: str) -> None:
    axes.set_ylabel("macro F1")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    axes.set_title(title, loc="left", fontsize=11)


def confusion(measured: Measured, view: str) -> Figure:
    """Rows are true classes, as shares of the row (figure 4.4); classes that the view lacks have no row."""
    place = measured.place(view)
    rows = np.flatnonzero(measured.present[place])
    counts = measured.counts[place]
    columns = np.flatnonzero(counts.sum(axis=0) + measured.present[place] > 0)
    shares = counts[rows] / counts[rows].sum(axis=1, keepdims=True)
    figure = Figure(figsize=(0.5 * len(columns) + 3, 0.5 * len(rows) + 2), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares[:, columns], cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, column in zip(*np.nonzero(shares[:, columns] >= 0.005), strict=True):
        share = shares[row, columns[column]]
        text = f"{share:.2f}".lstrip("0")
        axes.text(column, row, text, ha="center", va="center", fontsize=7, color="white" if share > 0.5 else "black")
    names = [CLASS_NAMES[class_id] for class_id in measured.classes]
    totals = measured.objects[place]
    axes.set_xticks(range(len(columns)), [names[column] for column in columns], rotation=60, ha="right")
    axes.set_yticks(range(len(rows)), [f"{names[row]} ({totals[row]})" for row in rows])
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class (objects)")
    axes.set_title(f"{measured.variant}, {view}", loc="left", fontsize=11)
    return figure


def reliability(measured: Measured) -> Figure:
    """Confidence against accuracy of alerts as sent, all of them and by number of detections."""
    figure = Figure(figsize=(11, 7), layout="constrained")
    panels = figure.subplots(2, 3, sharex=True, sharey=True).ravel()
    for axes, view in zip(panels, ALERT_VIEWS, strict=True):
        axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        name = "all alerts" if view == ALERTS else f"detections: {view.removeprefix(ALERTS + ', ')}"
        axes.set_title(name, loc="left", fontsize=10)
        if view in measured.curves:
            curve = measured.curves[view]
            filled = curve.mass[0] > 0
            spread = [Estimate.of(curve.accuracy[:, place]) for place in np.flatnonzero(filled)]
            value = np.array([each.value for each in spread])
            bars = np.abs(np.array([[each.low for each in spread], [each.high for each in spread]]) - value)
            axes.errorbar(
                curve.confidence[0, filled], value, yerr=bars, fmt="o-", color=COLOURS[0], markersize=4, linewidth=1
            )
            ece = Estimate.of(measured.ece[view])
            axes.text(0.05, 0.9, f"ECE {100 * ece.value:.1f} %", transform=axes.transAxes)
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(alpha=0.25)
    figure.supxlabel("confidence: the largest probability")
    figure.supylabel("share that is right")
    figure.suptitle(f"{measured.variant}, alerts as sent", x=0.01, ha="left", fontsize=11)
    return figure

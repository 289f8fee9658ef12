"""``python -m training evaluate``: models and a data directory in, figures and pictures out.

Writes to the output directory ``report.html``, which has it all on one page but the sources apart, ``metrics.json``,
``classes.csv``, PNGs, and ``predictions/``, from which the same command makes the report again in seconds. Models in
directories VARIANT-SEED are seeds of one variant; all are compared on the objects whose classes every one of them has.
"""

import argparse
import csv
import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from models.arrays import FloatArray
from models.classifier import Description
from models.selection import PRIORS
from models.taxonomy import CLASS_NAMES
from training import figures, measure, options, predictions, report
from training.answers import Run, named_by
from training.arguments import count, positive
from training.data.splits import SPLITS
from training.errors import InvalidData
from training.measure import ALERT_VIEWS, ALERTS, Measured, Panel
from training.metrics import DRAWS, Estimate
from training.predictions import AGES, Ready, Selection

_FORMAT = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommand's options."""
    parser.add_argument(
        "--model", type=Path, action="append", required=True, help="directory of a model; may be given again"
    )
    parser.add_argument("--data", type=Path, required=True, help="data in the layout")
    parser.add_argument("--split", choices=(*SPLITS, "all"), default="test", help="default: test")
    parser.add_argument("--output", type=Path, required=True, help="directory for the report")
    parser.add_argument(
        "--days",
        type=positive,
        nargs="+",
        default=list(AGES),
        help="days after the first alert (default: 1, 2, 4 ... 2048)",
    )
    add_common_arguments(parser)
    parser.add_argument(
        "--by-source",
        action="store_true",
        help="the objects of each source apart, too: in metrics.json and classes.csv",
    )


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """What every job that predicts may be given."""
    parser.add_argument(
        "--features",
        type=Path,
        nargs="+",
        default=[],
        help="the data's tables of features, one for each way that models cut light curves; what they lack is computed",
    )
    parser.add_argument(
        "--alert-features", type=Path, nargs="+", default=[], help="the same, by python -m training features --alerts"
    )
    parser.add_argument("--prior", help=f"{PRIORS} (default: each model's)")
    parser.add_argument("--draws", type=count, default=DRAWS, help=f"of the bootstrap (default: {DRAWS})")
    options.add_machine(parser)


def ready_of(arguments: argparse.Namespace) -> Ready:
    """The tables of features that were given."""
    return Ready(tuple(arguments.features), tuple(arguments.alert_features))


def run(arguments: argparse.Namespace) -> int:
    """The subcommand."""
    options.use_machine(arguments)
    split = None if arguments.split == "all" else arguments.split
    descriptions = {model: predictions.describe(model) for model in arguments.model}
    classes = set.intersection(*(set(description.taxonomy.class_ids) for description in descriptions.values()))
    selection = Selection.of(arguments.data, split=split, classes=sorted(classes))
    arguments.output.mkdir(parents=True, exist_ok=True)
    _must_go_together(arguments.model, descriptions, arguments.prior)
    ready = ready_of(arguments)
    runs = []
    for number, model in enumerate(arguments.model):
        found = predictions.of_model(
            model,
            selection,
            arguments.output / "predictions" / f"{number}-{model.name}",
            ages=arguments.days,
            ready=ready,
            device=arguments.device,
        )
        runs.append(Run.of(model, found, prior=arguments.prior))
    variants = measure.by_variant(runs)
    panel = Panel.of(runs, draws=arguments.draws)
    measured = [panel.measure(seeds) for seeds in variants.values()]
    sources = {}
    if arguments.by_source:
        for source in np.unique(runs[0].by_age.source).tolist():
            part = Panel.of(runs, source=source, draws=arguments.draws)
            sources[source] = [part.measure(seeds) for seeds in variants.values()]
    notes = {
        "data": arguments.data.name,
        "split": arguments.split,
        "objects": len(panel),
        "left_out": int(Selection.of(arguments.data, split=split).chosen.sum()) - len(panel),
        "draws": arguments.draws,
    }
    write(arguments.output, measured, notes, models=_models(runs), sources=sources)
    console = Console()
    console.print(_table(measured))
    if notes["left_out"]:
        console.print(f"{notes['left_out']} objects left out: not of the models' classes, or never detected")
    console.print(f"{arguments.output / 'report.html'}")
    return 0


def _must_go_together(models: Sequence[Path], descriptions: Mapping[Path, Description], prior: str | None) -> None:
    """Raises InvalidData for what scoring would find out only in the end."""
    names = [named_by(model, descriptions[model]) for model in models]
    for variant, seed in names:
        if names.count((variant, seed)) > 1:
            raise InvalidData(f"two of the models are called {variant}: in directories VARIANT-SEED they are its seeds")
    if prior is not None:
        for model, description in descriptions.items():
            predictions.under(description.calibration, prior, description.taxonomy, told=str(model))


def _models(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Names and versions by variant."""
    return {variant: [run.model for run in seeds] for variant, seeds in measure.by_variant(runs).items()}


# --- the report -----------------------------------------------------------------------------------------------------


def write(
    directory: Path,
    variants: Sequence[Measured],
    notes: Mapping[str, Any],
    *,
    models: Mapping[str, Sequence[str]],
    sources: Mapping[str, Sequence[Measured]],
) -> None:
    """The report of an evaluation, in every form."""
    directory.mkdir(parents=True, exist_ok=True)
    told = {
        measured.variant: {
            "models": models[measured.variant],
            "seeds": len(measured.seeds),
            "prior": measured.prior,
            "views": {
                **views_of(measured),
                **{
                    f"{view}, {source}": found
                    for source, parts in sources.items()
                    for part in parts
                    if part.variant == measured.variant
                    for view, found in views_of(part).items()
                },
            },
            "calibration": _calibration(measured),
            "seconds": {**measured.seconds, "where": measured.machine},
        }
        for measured in variants
    }
    differences = [
        {"first": one.variant, "second": two.variant, "view": view}
        | _estimate("macro_f1_points", measure.difference(one, two, view))
        for place, two in enumerate(variants)
        for one in variants[place + 1 :]
        for view in one.views
        if one.present[one.place(view)].any()
    ]
    text = json.dumps({"format": _FORMAT, **notes, "models": told, "differences": differences}, indent=1)
    (directory / "metrics.json").write_text(text + "\n")
    _write_csv(directory / "classes.csv", told)
    pictures = pictures_of(variants)
    for name, picture in pictures.items():
        picture.savefig(directory / name, dpi=110)
    lead = html.escape(f"{notes['objects']} objects of {notes['data']} (split: {notes['split']}). Models: ")
    lead += "; ".join(html.escape(f"{variant} ({', '.join(names)})") for variant, names in models.items()) + "."
    title = f"{', '.join(models)} on {notes['data']}"
    (directory / "report.html").write_text(report.page(title, lead, variants, pictures))


def pictures_of(variants: Sequence[Measured]) -> dict[str, Figure]:
    """By file name."""
    found = {
        "f1_by_days.png": figures.against_days({"": variants}),
        "f1_by_detections.png": figures.against_detections(variants),
    }
    for measured in variants:
        whole = [view for view in measured.views if view not in ALERT_VIEWS][-1]
        found[f"confusion-{measured.variant}.png"] = figures.confusion(measured, whole)
        found[f"reliability-{measured.variant}.png"] = figures.reliability(measured)
    return found


def views_of(measured: Measured) -> dict[str, Any]:
    """Figures by view, as JSON holds them; of a view that holds nothing there are none."""
    found = {}
    for place, view in enumerate(measured.views):
        if not measured.present[place].any():
            continue
        found[view] = {
            "objects": int(measured.objects[place].sum()),
            "weight": float(measured.counts[place].sum()),
            **_estimate("macro_f1", Estimate.of(measured.macro(view))),
            **_estimate("macro_precision", Estimate.of(measured.macro(view, of="precision"))),
            **_estimate("macro_recall", Estimate.of(measured.macro(view, of="recall"))),
            **_estimate("accuracy", Estimate.of(measured.accuracy[:, place])),
            "classes": {
                CLASS_NAMES[class_id]: {
                    **_estimate("precision", Estimate.of(measured.precision[:, place, column])),
                    **_estimate("recall", Estimate.of(measured.recall[:, place, column])),
                    **_estimate("f1", Estimate.of(measured.f1[:, place, column])),
                    "objects": int(measured.objects[place, column]),
                }
                for column, class_id in enumerate(measured.classes)
                if measured.present[place, column]
            },
            "confusion": measured.counts[place].round(2).tolist(),
        }
    return found


def _calibration(measured: Measured) -> dict[str, Any]:
    return {
        view: {
            **_estimate("ece", Estimate.of(draws)),
            "cross_entropy": measured.cross_entropy[view],
            **_estimate("ece_alike", Estimate.of(measured.ece_alike[view])),
            "cross_entropy_alike": measured.cross_entropy_alike[view],
            "bins": {
                name: _told(getattr(measured.curves[view], name)[0]) for name in ("mass", "confidence", "accuracy")
            },
        }
        for view, draws in measured.ece.items()
    }


def _told(values: FloatArray) -> list[float | None]:
    """As JSON can say it: null where there is nothing to tell."""
    return [value if np.isfinite(value) else None for value in values.tolist()]


def _estimate(name: str, estimate: Estimate) -> dict[str, Any]:
    return {name: estimate.value, f"{name}_interval": [estimate.low, estimate.high]}


def _write_csv(path: Path, told: Mapping[str, Any]) -> None:
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        names = ("precision", "recall", "f1")
        intervals = [f"{name}_{end}" for name in names for end in ("low", "high")]
        rows.writerow(["model", "view", "class", *names, "objects", *intervals])
        for variant, of_variant in told.items():
            for view, figure in of_variant["views"].items():
                for name, values in figure["classes"].items():
                    ends = [end for each in names for end in values[f"{each}_interval"]]
                    rows.writerow([variant, view, name, *(values[each] for each in names), values["objects"], *ends])


def _table(variants: Sequence[Measured]) -> Table:
    table = Table("macro F1", *(measured.variant for measured in variants))
    for view in variants[0].views:
        cells = []
        for measured in variants:
            estimate = Estimate.of(measured.macro(view)) if measured.present[measured.place(view)].any() else None
            cells.append(
                "" if estimate is None else f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"
            )
        table.add_row(view, *cells)
    table.add_section()
    for view in ALERT_VIEWS:
        cells = [f"{100 * measured.ece[view][0]:.1f} %" if view in measured.ece else "" for measured in variants]
        table.add_row(f"ECE, {'all ' if view == ALERTS else ''}{view}", *cells)
    return table

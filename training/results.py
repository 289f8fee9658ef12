"""``python -m training results``: every check of the experiments in one table, made anew from what was trained.

A directory holds a model a variant and seed, VARIANT-SEED (``lc-md-mta-0``); what has been predicted of the test set is
kept in each one's ``predictions/``, so that only what is missing is computed. Writes ``RESULTS.md`` and its pictures.
"""

import argparse
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from models.classifier import DEFAULT_ARTIFACT, Description
from models.random_forest import GROUPS
from models.taxonomy import CLASS_NAMES
from training import evaluate, figures, measure, predictions
from training.data.alert_sample import BINS
from training.data.layout import InvalidData
from training.measure import ALERT_VIEWS, ALERTS, Measured, Panel, Run, difference
from training.metrics import Estimate
from training.predictions import Ready, Selection

FloatArray = NDArray[np.float64]

# --- names: what the experiments call their variants ----------------------------------------------------------------

MTA = "-mta"
LC, LC_MD, MD_FEATURES, ALL = "lc", "lc-md", "md-features", "lc-md-features"
ATAT = LC_MD + MTA
"""The thesis's model: light curves and metadata, with mask temporal augmentation."""
SINUSOID, NO_TOKENIZER = "-sinusoid", f"{ATAT}-no-quantiles"
ATAT2, BHRF, FLAT, LIGHTGBM = "atat2", "bhrf", "flat", "lightgbm"

PANELS = {
    "the best, and the forest": (ATAT, ALL + MTA, BHRF, LIGHTGBM, ATAT2),
    "light curves": (LC, LC + MTA),
    "tables": ("md", "features", MD_FEATURES, "features" + MTA, MD_FEATURES + MTA),
    "light curves and tables": (LC_MD, ATAT, ALL, ALL + MTA),
}
"""Figure 4.3."""
CONFUSED = (ATAT, ALL + MTA, BHRF, ATAT2)
"""Figure 4.4, and table 4.1."""

FULL, EARLY = "2048 days", "8 days"
PERIODIC = GROUPS["periodic"]

_FOLD = re.compile(r"(?P<variant>.+)-fold(?P<fold>\d)(-(?P<seed>\d+))?")
TRIED = "tried.md"
"""Beside the pictures: what was tried for the rows that fail, by hand; it ends the page."""


# --- checks ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One check."""

    check: str
    thesis: str
    asked: str
    found: str = ""
    tier: str = ""
    seeds: str = ""
    verdict: str = "not run"


@dataclass(frozen=True)
class Book:
    """The variants of one directory on one panel, all of one tier."""

    tier: str
    variants: Mapping[str, Measured]

    def difference(
        self,
        check: str,
        thesis: str,
        asked: str,
        pair: tuple[str, str],
        passes: Callable[[Estimate], bool],
        *,
        view: str = FULL,
    ) -> Row:
        """How many points of macro F1 the first variant is above the second."""
        if not all(name in self.variants for name in pair):
            return self._absent(Row(check, thesis, asked), *pair)
        first, second = (self.variants[name] for name in pair)
        estimate = difference(first, second, view)
        return self.row(Row(check, thesis, asked), pair, _told(estimate), passes=passes(estimate))

    def row(self, asked: Row, names: Sequence[str], found: str, *, passes: bool) -> Row:
        """A check that was made."""
        seeds = ", ".join(str(len(self.variants[name].seeds)) for name in names)
        verdict = "pass" if passes else "FAIL"
        return Row(asked.check, asked.thesis, asked.asked, found, self.tier, seeds, verdict)

    def _absent(self, asked: Row, *names: str) -> Row:
        absent = ", ".join(name for name in names if name not in self.variants)
        return Row(asked.check, asked.thesis, asked.asked, f"no {absent}", self.tier)


def _told(estimate: Estimate) -> str:
    return f"{estimate.value:+.1f} ({estimate.low:+.1f} to {estimate.high:+.1f})"


def _percent(estimate: Estimate) -> str:
    return f"{estimate.value:.1f} ({estimate.low:.1f} to {estimate.high:.1f})"


def _at_least(least: float) -> Callable[[Estimate], bool]:
    return lambda estimate: estimate.value >= least


def _surely_above(least: float = 0.0) -> Callable[[Estimate], bool]:
    return lambda estimate: estimate.value >= least and estimate.low > 0


def _above(estimate: Estimate) -> bool:
    return estimate.value > 0


def checks(book: Book) -> list[Row]:
    """Every check on the simulated survey's test objects but that of calibration."""
    best = "LC + MD + MTA minus BHRF"
    return [
        book.difference(f"{best}, full", "+5.0", ">= +2, interval above 0", (ATAT, BHRF), _surely_above(2)),
        book.difference("BHRF minus the flat forest, full", "", ">= -2", (BHRF, FLAT), _at_least(-2)),
        book.difference(f"{best}, 8 days", "~ +11", ">= +5", (ATAT, BHRF), _at_least(5), view=EARLY),
        _every_length(book, "LC + MD minus LC, every length", (LC_MD, LC)),
        _every_length(book, "LC + MD + MTA minus LC + MTA, every length", (ATAT, LC + MTA)),
        book.difference("LC + MD minus MD + Features, full", "+2", "> 0", (LC_MD, MD_FEATURES), _above),
        book.difference(
            "LC + MD + MTA minus MD + Features + MTA, full", "+2", "> 0", (ATAT, MD_FEATURES + MTA), _above
        ),
        book.difference("MTA's effect on LC + MD, 8 days", "+15", ">= +8", (ATAT, LC_MD), _at_least(8), view=EARLY),
        book.difference("MTA's effect on LC + MD, full", "~0", ">= -2", (ATAT, LC_MD), _at_least(-2)),
        _features_added(book),
        book.difference("time modulation v a fixed sinusoid, full", "+6", "> 0", (ATAT, ATAT + SINUSOID), _above),
        book.difference(
            "time modulation v a fixed sinusoid, LC alone, full", "+11", "> 0", (LC + MTA, LC + MTA + SINUSOID), _above
        ),
        book.difference("QFT v none, full", "+2.5", "> 0", (ATAT, NO_TOKENIZER), _above),
        book.difference("`atat2` minus ATAT, full", "ATCAT: +6", ">= +4", (ATAT2, ATAT), _at_least(4)),
        book.difference("`atat2` minus ATAT, 8 days", "more", ">= +4", (ATAT2, ATAT), _at_least(4), view=EARLY),
        *(
            book.difference(
                f"`atat2` minus LightGBM, {name}", "", "interval above 0", (ATAT2, LIGHTGBM), _surely_above(), view=view
            )
            for name, view in (("full", FULL), ("8 days", EARLY), ("per alert as sent", ALERTS))
        ),
    ]


def _every_length(book: Book, check: str, pair: tuple[str, str]) -> Row:
    asked = Row(check, "+20 to +30", ">= +12 at each")
    if not all(name in book.variants for name in pair):
        return book.difference(asked.check, asked.thesis, asked.asked, pair, _above)
    first, second = (book.variants[name] for name in pair)
    by_view = {view: difference(first, second, view) for view in first.views if figures.days_of(view) is not None}
    least = min(by_view, key=lambda view: by_view[view].value)
    most = max(by_view, key=lambda view: by_view[view].value)
    found = f"least {_told(by_view[least])} at {least}; most {by_view[most].value:+.1f} at {most}"
    return book.row(asked, pair, found, passes=by_view[least].value >= 12)


def _features_added(book: Book) -> Row:
    pair = (ALL + MTA, ATAT)
    asked = Row("features added to LC + MD + MTA, full", "+.2 to +.9", "within 1.5, periodic classes up")
    if not all(name in book.variants for name in pair):
        return book.difference(asked.check, asked.thesis, asked.asked, pair, _above)
    first, second = (book.variants[name] for name in pair)
    every, periodic = difference(first, second, FULL), difference(first, second, FULL, classes=PERIODIC)
    passes = abs(every.value) <= 1.5 and periodic.value > 0
    return book.row(asked, pair, f"{_told(every)}; periodic {_told(periodic)}", passes=passes)


def calibration_checks(shipped: Book) -> list[Row]:
    """Of the one model in the book."""
    ((name, measured),) = shipped.variants.items()
    found = {view: Estimate.of(draws).times(100) for view, draws in measured.ece.items()}
    worst = max((view for view in found if view != ALERTS), key=lambda view: found[view].value)
    every = Row(f"ECE of the shipped model ({name}), all alerts", "", "<= 2 %")
    each = Row("ECE of the shipped model, each detection bin", "", "<= 4 %")
    return [
        shipped.row(every, [name], _percent(found[ALERTS]), passes=found[ALERTS].value <= 2),
        shipped.row(
            each,
            [name],
            f"most {_percent(found[worst])} at {worst.removeprefix(ALERTS + ', ')}",
            passes=found[worst].value <= 4,
        ),
    ]


def plasticc_checks(book: Book) -> list[Row]:
    """On PLAsTiCC, from out-of-fold predictions."""
    rows = [
        book.difference(
            "PLAsTiCC, five folds: `atat2` minus LightGBM, full",
            "LightGBM .747",
            "interval above 0",
            (ATAT2, LIGHTGBM),
            _surely_above(),
        )
    ]
    asked = Row("PLAsTiCC, five folds: macro F1 of `atat2`, full", "a trial .81 to .82", ">= .84")
    if ATAT2 not in book.variants:
        return [*rows, asked]
    score = Estimate.of(book.variants[ATAT2].macro(FULL))
    found = f"{score.value:.3f} ({score.low:.3f} to {score.high:.3f})"
    return [*rows, book.row(asked, [ATAT2], found, passes=score.value >= 0.84)]


# --- what was trained -----------------------------------------------------------------------------------------------


def runs_of(
    directory: Path, data: Path, ready: Ready, *, split: str | None, device: str = "cpu", prior: str | None = None
) -> list[Run]:
    """Every model VARIANT-SEED of a directory, or VARIANT, on the objects whose classes all of them have."""
    models = _models(directory)
    if not models:
        return []
    classes = set.intersection(*(set(_description(model).taxonomy.class_ids) for model in models))
    selection = Selection.of(data, split=split, classes=sorted(classes))
    runs = []
    for model in models:
        found = predictions.of_model(model, selection, model / "predictions", ready=ready, device=device)
        runs.append(Run.of(model, found, named=measure.seed_of(model) or (model.name, None), prior=prior))
    return runs


def folds_of(directory: Path, data: Path, ready: Ready, *, device: str = "cpu") -> list[Run]:
    """Every variant VARIANT-foldK, or VARIANT-foldK-SEED, each fold's model on the fold that it has not seen; pooled.

    Raises InvalidData for a variant that lacks a fold which another has.
    """
    parts: dict[tuple[str, int | None], dict[int, Run]] = {}
    for model in _models(directory):
        named = _FOLD.fullmatch(model.name)
        if named is None:
            continue
        fold, seed = int(named["fold"]), None if named["seed"] is None else int(named["seed"])
        selection = Selection.of(data, split=None, fold=fold, classes=_description(model).taxonomy.class_ids)
        found = predictions.of_model(model, selection, model / "predictions", ready=ready, device=device)
        run = Run.of(model, found, named=(named["variant"], seed))
        parts.setdefault((named["variant"], seed), {})[fold] = run
    every = set().union(*parts.values())
    for (variant, _), folds in parts.items():
        if set(folds) != every:
            lacking = ", ".join(map(str, sorted(every - set(folds))))
            raise InvalidData(f"{directory}: {variant} lacks fold {lacking}, which another variant has")
    return [Run.pooled(list(folds.values())) for folds in parts.values()]


def _models(directory: Path) -> list[Path]:
    """The directories that hold a model, in order of name."""
    if not directory.is_dir():
        raise InvalidData(f"{directory} is no directory of trained models")
    found = []
    for path in sorted(each for each in directory.iterdir() if each.is_dir()):
        try:
            predictions.find_artifact(path)
        except InvalidData:
            continue
        found.append(path)
    return found


def _description(model: Path) -> Description:
    return Description.read(predictions.find_artifact(model))


def book_of(runs: Sequence[Run], tier: str, *, draws: int) -> Book:
    """The runs, measured on the objects that they have in common."""
    panel = Panel.of(runs, draws=draws) if runs else None
    variants = {} if panel is None else {name: panel.measure(seeds) for name, seeds in measure.by_variant(runs).items()}
    return Book(tier, variants)


# --- the command ----------------------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommand's options."""
    parser.add_argument("runs", type=Path, metavar="DIR", help="what python -m training experiments made")
    parser.add_argument("--data", type=Path, required=True, help="the simulated survey's test part")
    parser.add_argument("--full", type=Path, help="the same, in the full tier")
    parser.add_argument("--shipped", type=Path, default=DEFAULT_ARTIFACT, help="the model that ships")
    parser.add_argument("--plasticc", type=Path, help="what was trained on PLAsTiCC's folds, VARIANT-foldK each")
    parser.add_argument("--plasticc-data", type=Path, help="PLAsTiCC in the layout")
    parser.add_argument("--plasticc-features", type=Path, nargs="+", default=[], help="its tables of features")
    parser.add_argument("--elasticc", type=Path, help="what is to be tried on real ELAsTiCC alerts, VARIANT-SEED each")
    parser.add_argument("--elasticc-data", type=Path, help="those alerts in the layout, of objects not trained on")
    parser.add_argument(
        "--elasticc-features", type=Path, nargs="+", default=[], help="their tables of features, by features --alerts"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(__file__).parent,
        help="directory for RESULTS.md (default: that of the jobs)",
    )
    evaluate.add_common_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """The subcommand."""
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    ready, draws, device = evaluate.ready_of(arguments), arguments.draws, arguments.device
    tiers = []
    for directory in (arguments.runs, arguments.full):
        if directory is not None:
            runs = runs_of(directory, arguments.data, ready, split="test", device=device, prior=arguments.prior)
            tiers.append(book_of(runs, _tier_of(directory), draws=draws))
    shipped = _shipped(arguments, ready)
    plasticc, elasticc = Book("", {}), Book("", {})
    if arguments.plasticc is not None and arguments.plasticc_data is not None:
        own = Ready(by_age=tuple(arguments.plasticc_features))
        plasticc = book_of(folds_of(arguments.plasticc, arguments.plasticc_data, own, device=device), "", draws=draws)
    if arguments.elasticc is not None and arguments.elasticc_data is not None:
        own = Ready(by_alert=tuple(arguments.elasticc_features))
        runs = runs_of(arguments.elasticc, arguments.elasticc_data, own, split=None, device=device)
        elasticc = book_of(runs, "", draws=draws)
    rows = [row for book in tiers for row in checks(book) if book is tiers[0] or row.verdict != "not run"]
    rows += calibration_checks(shipped) + plasticc_checks(plasticc) + [_real(elasticc)]
    pictures = arguments.output / "results"
    pictures.mkdir(parents=True, exist_ok=True)
    names = _draw(pictures, tiers[0], shipped)
    text = page(rows, tiers, shipped, plasticc, elasticc, pictures=names, tried=pictures / TRIED)
    (arguments.output / "RESULTS.md").write_text(text)
    (pictures / "checks.json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    console = Console()
    for row in rows:
        console.print(f"{row.verdict:8} {row.check}: {row.found or row.asked}", highlight=False)
    console.print(f"{arguments.output / 'RESULTS.md'}")
    return 0


def _tier_of(directory: Path) -> str:
    """As ``python -m training experiments`` has recorded it."""
    path = directory / "objects.json"
    return str(json.loads(path.read_text())["tier"]) if path.exists() else "no tier"


def _shipped(arguments: argparse.Namespace, ready: Ready) -> Book:
    classes = _description(arguments.shipped).taxonomy.class_ids
    selection = Selection.of(arguments.data, split="test", classes=classes)
    cache = arguments.runs / "shipped-predictions"
    found = predictions.of_model(arguments.shipped, selection, cache, ready=ready, device=arguments.device)
    run = Run.of(arguments.shipped, found, named=(_description(arguments.shipped).name, None), prior=arguments.prior)
    return book_of([run], "shipped", draws=arguments.draws)


def _real(book: Book) -> Row:
    asked = Row("real ELAsTiCC alerts, recall by class and detections", "", "reported")
    if not book.variants:
        return asked
    seeds = ", ".join(str(len(measured.seeds)) for measured in book.variants.values())
    return Row(asked.check, "", asked.asked, f"below, of {', '.join(book.variants)}", "", seeds, "reported")


def _draw(directory: Path, book: Book, shipped: Book) -> dict[str, str]:
    """Pictures by what they show; returns their file names."""
    panels = {
        title: [book.variants[name] for name in names if name in book.variants] for title, names in PANELS.items()
    }
    panels = {title: variants for title, variants in panels.items() if variants}
    drawn = {}
    if panels:
        drawn["f1_by_days"] = figures.against_days(panels)
    shown = {name: book.variants[name] for name in CONFUSED if name in book.variants} | dict(shipped.variants)
    if shown:
        drawn["f1_by_detections"] = figures.against_detections(list(shown.values()))
    for name, measured in shown.items():
        drawn[f"confusion-{name}"] = figures.confusion(measured, FULL)
    for name, measured in shipped.variants.items():
        drawn[f"reliability-{name}"] = figures.reliability(measured)
    for name, picture in drawn.items():
        picture.savefig(directory / f"{name}.png", dpi=80)
    return {name: f"results/{name}.png" for name in drawn}


# --- the page -------------------------------------------------------------------------------------------------------


def page(
    rows: Sequence[Row],
    tiers: Sequence[Book],
    shipped: Book,
    plasticc: Book,
    elasticc: Book,
    *,
    pictures: Mapping[str, str],
    tried: Path,
) -> str:
    """RESULTS.md."""
    parts = [
        "# Results",
        "Made by `python -m training results` from the models of every variant and seed: not edited by hand. Figures "
        "are macro F1 on the test part of elasticc-like-v1, which is not ELAsTiCC, unless they say otherwise; "
        "differences are in points of a hundred, on the same objects and light curves. Intervals hold 95 % of a "
        "bootstrap over the objects of each class and over the seeds of each variant.",
        "## Checks",
        markdown(
            ["check", "thesis", "pass", "found", "tier", "seeds", ""],
            [[row.check, row.thesis, row.asked, row.found, row.tier, row.seeds, _strong(row.verdict)] for row in rows],
        ),
    ]
    for book in tiers:
        if book.variants:
            parts += _tier(book)
    parts += [f"![{name}]({path})" for name, path in pictures.items()]
    everything = [measured for book in (*tiers, shipped) for measured in book.variants.values()]
    parts += [
        "## Calibration",
        "Expected calibration error of alerts as sent, in per cent, under the named prior."
        " Drawing objects anew adds noise to each bin, so that intervals reach too high.",
    ]
    parts.append(
        markdown(
            ["model", "prior", "all alerts", *BINS, "cross-entropy"],
            [
                [m.variant, m.prior, *(_ece(m, view) for view in ALERT_VIEWS), f"{m.cross_entropy[ALERTS]:.3f}"]
                for m in everything
            ],
        )
    )
    parts += ["## Time a whole light curve", "Milliseconds (table 4.2)."]
    parts.append(
        markdown(
            ["model", "inference", "features", "where"],
            [[m.variant, _milliseconds(m, "inference"), _milliseconds(m, "features"), m.machine] for m in everything],
        )
    )
    if plasticc.variants:
        parts += ["## PLAsTiCC, five folds", _by_view(list(plasticc.variants.values()))]
    if elasticc.variants:
        parts += ["## Real ELAsTiCC alerts as sent", "Recall, by the number of detections that an alert carries."]
        parts.append(_recalls(list(elasticc.variants.values())))
    if tried.exists():
        parts.append(tried.read_text().strip())
    return "\n\n".join(parts) + "\n"


def _tier(book: Book) -> list[str]:
    variants = list(book.variants.values())
    shown = [book.variants[name] for name in CONFUSED if name in book.variants]
    parts = [f"## F1 by days since the first alert, {book.tier}", _by_view(variants)]
    if shown:
        parts += [f"## Classes, {FULL}, {book.tier}", "Precision / recall / F1 (table 4.1)."]
        parts.append(markdown(["class", *(m.variant for m in shown)], _by_class(shown)))
    return parts


def _by_view(variants: Sequence[Measured]) -> str:
    days = [view for view in variants[0].views if figures.days_of(view) is not None]
    views = (*days, *ALERT_VIEWS)
    head = [*(f"{figures.days_of(view):.0f}" for view in days), "alerts", *BINS]
    rows = []
    for measured in variants:
        present = [measured.present[measured.place(view)].any() for view in views]
        cells = [f"{measured.macro(view)[0]:.3f}" if there else "" for view, there in zip(views, present, strict=True)]
        full = Estimate.of(measured.macro(FULL)) if FULL in days else None
        spread = "" if full is None else f"{full.low:.3f} to {full.high:.3f}"
        rows.append([measured.variant, str(len(measured.seeds)), *cells, spread])
    return markdown(["model", "seeds", *head, "interval, full"], rows)


def _by_class(variants: Sequence[Measured]) -> list[list[str]]:
    first = variants[0]
    place = first.place(FULL)
    rows = [
        [CLASS_NAMES[class_id], *(_three(m, lambda m, of, c=column: getattr(m, of)[0, place, c]) for m in variants)]  # type: ignore[misc]
        for column, class_id in enumerate(first.classes)
        if first.present[place, column]
    ]
    return [*rows, ["**macro**", *(_three(m, lambda m, of: m.macro(FULL, of=of)[0]) for m in variants)]]


def _three(measured: Measured, value: Callable[[Measured, str], float]) -> str:
    return " / ".join(f"{value(measured, of):.2f}".lstrip("0") for of in ("precision", "recall", "f1"))


def _recalls(variants: Sequence[Measured]) -> str:
    rows = []
    for measured in variants:
        for column, class_id in enumerate(measured.classes):
            cells = []
            for view in ALERT_VIEWS:
                place = measured.place(view)
                estimate = Estimate.of(measured.recall[:, place, column])
                told = f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"
                cells.append(f"{told}, {measured.objects[place, column]}" if measured.present[place, column] else "")
            if any(cells):
                rows.append([measured.variant, str(len(measured.seeds)), CLASS_NAMES[class_id], *cells])
    return markdown(["model", "seeds", "class", "all alerts: recall, objects", *BINS], rows)


def _ece(measured: Measured, view: str) -> str:
    return _percent(Estimate.of(measured.ece[view]).times(100)) if view in measured.ece else ""


def _milliseconds(measured: Measured, step: str) -> str:
    return f"{1000 * measured.seconds[step]:.2f}" if step in measured.seconds else ""


def _strong(verdict: str) -> str:
    return f"**{verdict}**" if verdict == "FAIL" else verdict


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)

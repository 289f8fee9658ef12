"""RESULTS.md, and the pictures it shows."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from models.taxonomy import CLASS_NAMES
from training import figures
from training.checks import CONFUSED, FULL, PANELS, Book, Row, percent
from training.data.alert_sample import BINS
from training.measure import ALERT_VIEWS, ALERTS, Measured
from training.metrics import Estimate


def draw(directory: Path, book: Book, shipped: Book) -> dict[str, str]:
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
        folds = list(plasticc.variants.values())
        parts += ["## PLAsTiCC, five folds", _by_view(folds), *_classes(folds)]
    if elasticc.variants:
        parts += [
            "## Real ELAsTiCC alerts as sent",
            "Recall, by the number of detections that an alert carries. A variant that ends in `-told` was told which "
            "classes there are.",
        ]
        parts.append(_recalls(list(elasticc.variants.values())))
    if tried.exists():
        parts.append(tried.read_text().strip())
    return "\n\n".join(parts) + "\n"


def _tier(book: Book) -> list[str]:
    variants = list(book.variants.values())
    shown = [book.variants[name] for name in CONFUSED if name in book.variants]
    parts = [f"## F1 by days since the first alert, {book.tier}", _by_view(variants)]
    if shown:
        parts += [f"## Classes, {book.tier}", *_classes(shown)]
    if len(shown) < len(variants):
        parts += [f"F1 of every model at {FULL}.", _by_class(variants, ("f1",))]
    return parts


def _classes(variants: Sequence[Measured]) -> list[str]:
    return [f"Precision / recall / F1 at {FULL} (table 4.1).", _by_class(variants, ("precision", "recall", "f1"))]


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


def _by_class(variants: Sequence[Measured], figures_of: Sequence[str]) -> str:
    """By class, and their mean, the named figures of each variant where the whole light curve is known."""
    first = variants[0]
    place = first.place(FULL)
    rows = [
        [CLASS_NAMES[class_id], *(_told(getattr(m, of)[0, place, column] for of in figures_of) for m in variants)]
        for column, class_id in enumerate(first.classes)
        if first.present[place, column]
    ]
    rows.append(["**macro**", *(_told(m.macro(FULL, of=of)[0] for of in figures_of) for m in variants)])
    return markdown(["class", *(measured.variant for measured in variants)], rows)


def _told(values: Iterable[float]) -> str:
    return " / ".join(f"{value:.2f}".lstrip("0") for value in values)


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
    return percent(Estimate.of(measured.ece[view]).times(100)) if view in measured.ece else ""


def _milliseconds(measured: Measured, step: str) -> str:
    return f"{1000 * measured.seconds[step]:.2f}" if step in measured.seconds else ""


def _strong(verdict: str) -> str:
    return f"**{verdict}**" if verdict == "FAIL" else verdict


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)

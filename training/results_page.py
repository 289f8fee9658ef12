"""RESULTS.md, and the pictures it shows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from models.arrays import FloatArray
from models.inputs import features
from models.random_forest import ForestConfig
from models.taxonomy import CLASS_NAMES
from training import figures
from training.checks import (
    ATAT,
    COMPARED,
    CONFUSED,
    FIRST,
    FULL,
    PANELS,
    Book,
    Row,
    change_rows,
    change_rows_of_atat,
    percent,
)
from training.data.alert_sample import BINS
from training.experiment import CONFIGS, TIERS
from training.experiments import VARIANTS
from training.forests import ForestExperiment
from training.measure import ALERT_VIEWS, ALERTS, ENOUGH, Measured, days_of, few, worst_bin
from training.metrics import Estimate
from training.pages import markdown
from training.times import Times

_BY_DAYS, _BY_DETECTIONS = "f1_by_days", "f1_by_detections"
"""Pictures."""


def _rows(forest: ForestConfig) -> str:
    return f"{min(forest.per_class.values()):,} to {max(forest.per_class.values()):,}"


def _words() -> str:
    small, full = TIERS["small"], TIERS["full"]
    steps = small.training["steps"]
    bhrf, thesis = (ForestExperiment.read(CONFIGS / f"{tier.forests['bhrf']}.toml").forest for tier in (small, full))
    return f"""\
**Words.** *LC*: the light curve as sent. *MD*: the 64 columns of metadata (host galaxy, redshifts, dust). *Features*:
engineered ones of the light curve, a period search's among them (thesis 4.4.2). *MTA*: mask temporal augmentation,
training on shortened light curves (4.3.5). *QFT*: quantile feature tokenizer (4.3.3). *BHRF*: balanced hierarchical
random forest, the thesis's baseline, but of {bhrf.trees} and {bhrf.transient_trees} trees (there {thesis.trees}
and {thesis.transient_trees}), each grown on {_rows(bhrf)} rows a class (there {_rows(thesis)}), with
{bhrf.max_features:.0%} of the columns at a split; `flat` one forest of all classes, which the thesis does not have.
*Alerts as sent*: as a broker knows them that has kept what the object's earlier alerts carried.
`atat2`: what goes past the thesis, a causal ATAT; *ATCAT* is a published successor of ATAT. *Full*: 2048 days after
the first alert, of which, as always, the last 395 are looked at, as in a broker. *As one*: an ensemble.
*Tier* `{small.name}`: {small.objects:,} training objects, at most {small.max_points} points of a light
curve, networks of widths {small.d_lc} and {small.d_tab}, which learn for {steps:,} steps at a rate that falls
from {small.training["learning_rate"]:g} by a cosine (at the thesis's 2e-4 they would hardly have begun), the best
of {steps // small.training["evaluate_every"]} looks at validation objects being kept (the thesis's patience of 3
would end some before they have begun). Networks see the {small.features} features that tell most, forests all
{len(features.NAMES)}. Forests learn from light curves of 8, 128 and 2048 days, `lightgbm-alerts` from alerts as sent
too, and `atat2` from every prefix. *ECE*: expected calibration error; over all alerts errors of opposite sign cancel,
so that it may be below that of each bin."""


_ABOUT_SHIPPED = """\
What `service` answers with by default. It has learned from more objects than those of a tier, and its card says how; so
it is not to be compared with them."""
_ABOUT_CALIBRATION = """\
Expected calibration error of alerts as sent, by the number of detections, in per cent. The named prior is of objects,
each of which counts with all its alerts, as they would come: most alerts are of the stars and nuclei that send for
years. *Alike*: as if each class sent as many alerts of the view, so that supernovae count for as much as they do in
macro F1. Drawing objects anew adds noise to each bin, so that intervals reach too high. Not all are calibrated alike:
networks that see no features on one alert as sent of each validation object, classes counting alike, those that do and
forests so on light curves of 8, 128 and 2048 days, which is why they are far off at few detections; ensembles not at
all beyond what their members are, which makes them too cautious; the shipped model on alerts as they come, as its card
says."""
_ABOUT_REAL = """\
Recall, by the number of detections that an alert carries, and precision at the shares that the classes have here, where
kilonovae are rare. Probabilities are under a uniform prior: whoever wants fewer false kilonovae chooses another
(`--prior`). A variant that ends in `-told` was told which classes there are. Of the objects these are the half that
`compare` has not set beside the simulation. It is no stranger to them all the same: its dust, hosts, photometric
redshifts, depths and detection probabilities are fitted to all alerts, though not to their classes."""
_ABOUT_FOLDS = """\
Kaggle's training set, or what of its 7,848 objects there was, scored by models that have not seen their fold. `atat2`
is started from the shipped model, which has learned from the simulated survey; LightGBM has seen PLAsTiCC alone. The
survey's laws of 91bg are fitted to light curves of this set, and some of Iax chosen by them: by way of these `atat2`
has learned a little of the objects that it is tried on: a row has the difference without the two classes. Which models
are joined, and at what weights, was chosen by these very objects, so that the best is somewhat flattered."""


def draw(directory: Path, book: Book, shipped: Book) -> list[str]:
    """Pictures of a tier and of the shipped model, each in a file of its name; returns their names."""
    panels = {
        f"{title}, {book.tier}": [book.variants[name] for name in names if name in book.variants]
        for title, names in PANELS.items()
    }
    panels = {title: variants for title, variants in panels.items() if variants}
    drawn = {}
    if panels:
        drawn[_BY_DAYS] = figures.against_days(panels)
    compared = [book.variants[name] for name in COMPARED if name in book.variants]
    if compared:
        drawn[_BY_DETECTIONS] = figures.against_detections(compared)
    for name in CONFUSED:
        if name in book.variants:
            drawn[f"confusion-{name}"] = figures.confusion(_named(book.variants[name], book), FULL)
    for name, measured in shipped.variants.items():
        drawn[f"confusion-{name}"] = figures.confusion(_named(measured, shipped), FULL)
        drawn[f"reliability-{name}"] = figures.reliability(measured)
    for name, picture in drawn.items():
        picture.savefig(directory / f"{name}.png", dpi=80)
    return list(drawn)


def _named(measured: Measured, book: Book) -> Measured:
    """Called by its tier, too."""
    return replace(measured, variant=f"{measured.variant} ({book.tier})")


def _shown(drawn: Sequence[str], captions: Mapping[str, str]) -> list[str]:
    """Those of the pictures that have been drawn, each under what it shows."""
    return [f"{caption}\n\n![{caption}](results/{name}.png)" for name, caption in captions.items() if name in drawn]


def page(
    rows: Sequence[Row],
    further: Sequence[Row],
    tiers: Sequence[Book],
    *,
    changes: Book,
    shipped: Book,
    plasticc: Book,
    elasticc: Book,
    pictures: Sequence[str],
    times: Times | None,
    tried: Path,
) -> str:
    """RESULTS.md."""
    parts = [
        "# Results",
        "Made by `python -m training results` from what each model of the tables answered, but for the last section. "
        "Figures are macro F1 on the test part of elasticc-like-v1, which is not ELAsTiCC, unless they say otherwise; "
        "differences are in points of a hundred, on the same objects and light curves. Intervals hold 95 % of a "
        "bootstrap over the objects of each class and over the seeds of each variant; where there is one seed, over "
        "objects alone, and of two or three they are still somewhat short. This page is about chapter 4 of the thesis; "
        "[chapter 3](results/chapter3/findings.md) and "
        "[chapter 5](README.md#chapter-5-what-pretraining-gains-where-few-labels-are-known) have their own.",
        _words(),
        *_not_run(tiers),
        "## Checks",
        "What these models were asked to show before any was trained. *Within noise*: the interval holds the bound.",
        _verdicts(rows),
        "What was asked of them besides, later.",
        _verdicts(further),
    ]
    for book in tiers:
        if book.variants:
            parts += _tier(book, pictures if book is tiers[0] else ())
    if shipped.variants:
        models = list(shipped.variants.values())
        parts += ["## The shipped model", _ABOUT_SHIPPED, *_by_view(models), *_classes(models)]
    for name in shipped.variants:
        matrix = {f"confusion-{name}": f"Which class `{name}` takes for which, at {FULL}."}
        parts += _shown(pictures, matrix | {f"reliability-{name}": f"How right `{name}` is at each confidence."})
    everything = [measured for book in (*tiers, shipped) for measured in book.variants.values()]
    parts += [
        "## Calibration",
        _ABOUT_CALIBRATION,
    ]
    parts.append(
        markdown(
            ["model", "prior", "all alerts", *BINS, "cross-entropy", "alike: all", "most of a bin", "cross-entropy"],
            [_calibration(measured) for measured in everything],
        )
    )
    parts += [*_time(times), *_changes(changes)]
    if plasticc.variants:
        folds = list(plasticc.variants.values())
        tried_on = f"**{int(folds[0].objects[folds[0].place(FULL)].sum()):,} objects.**"
        parts += ["## PLAsTiCC, five folds", f"{tried_on} {_ABOUT_FOLDS}", *_by_view(folds), *_classes(folds)]
    if elasticc.variants:
        parts += [
            "## Real ELAsTiCC alerts as sent",
            _ABOUT_REAL,
        ]
        parts.append(_recalls(list(elasticc.variants.values())))
    if tried.exists():
        parts.append(tried.read_text().strip())
    return "\n\n".join(parts) + "\n"


def _not_run(tiers: Sequence[Book]) -> list[str]:
    """Whole tiers that no figure is of."""
    absent = [f"`{name}`" for name in TIERS if name not in {book.tier for book in tiers if book.variants}]
    told = "has not been run: it is for a GPU. No figure here is of the thesis's size"
    return [f"**Tier {', '.join(absent)}** {told}."] if absent else []


def _tier(book: Book, pictures: Sequence[str]) -> list[str]:
    variants = list(book.variants.values())
    shown = [book.variants[name] for name in CONFUSED if name in book.variants]
    absent = [name for name in VARIANTS if name not in book.variants]
    parts = [
        f"## F1, {book.tier}",
        *([f"Not run: {', '.join(absent)}; no check rests on them."] if absent else []),
        *_by_view(variants),
        *_shown(pictures, {_BY_DAYS: "By days since the first alert.", _BY_DETECTIONS: "Alerts as sent."}),
    ]
    if shown:
        matrices = {f"confusion-{m.variant}": f"Which class `{m.variant}` takes for which, at {FULL}." for m in shown}
        parts += [f"## Classes, {book.tier}", *_classes(shown), *_shown(pictures, matrices)]
    if len(shown) < len(variants):
        parts += [f"F1 of every model at {FULL}.", _by_class(variants, ("f1",))]
    return parts


def _time(times: Times | None) -> list[str]:
    """Table 4.2."""
    if times is None:
        return []
    steps = ("inference", "features")
    rows = [
        [variant, *(f"{1000 * spent[step]:.2f}" if step in spent else "" for step in steps)]
        for variant, spent in times.seconds.items()
    ]
    return [
        "## Time a whole light curve",
        f"Milliseconds (table 4.2), all models in one sitting (`results --time`): {times.machine}. `make bench` times "
        f"the shipped model in the service. {times.notes}".strip(),
        markdown(["model", *steps], rows),
    ]


def _changes(book: Book) -> list[str]:
    """What each thing that ``atat2`` has beyond the thesis is worth, and some of them to ATAT."""
    parts: list[str] = []
    for rows, base, title, told in (
        (
            change_rows(book),
            FIRST,
            "What each change of atat2 is worth",
            "what is lost without each thing that it has, and gained by each that was added, in points. Two change the "
            "draws as well: what prefixes are worth by themselves is at the end of the page",
        ),
        (change_rows_of_atat(book), ATAT, "What some changes are worth to ATAT", "what is gained by each, in points"),
    ):
        if rows:
            first = book.variants[base]
            parts += [
                f"## {title}",
                f"From `{base}`, which has macro F1 {first.macro(FULL)[0]:.3f} here ({book.tier}): {told}. "
                f"Seeds: {len(first.seeds)}. Intervals of one seed are over objects alone.",
                markdown(["change", "full", "8 days", "alerts as sent"], rows),
            ]
    return parts


def _classes(variants: Sequence[Measured]) -> list[str]:
    return [f"Precision / recall / F1 at {FULL} (table 4.1).", _by_class(variants, ("precision", "recall", "f1"))]


def _by_view(variants: Sequence[Measured]) -> list[str]:
    """Macro F1 by days since the first alert, and as alerts were sent."""
    days = [view for view in variants[0].views if days_of(view) is not None]
    return [
        "By days since the first alert" + _without(variants[0], days) + ":",
        _macro(variants, days, [f"{days_of(view):.0f} d" for view in days], spread_of=days[-1]),
        "Alerts as sent, by the number of detections that they carry" + _without(variants[0], ALERT_VIEWS) + ":",
        _macro(variants, ALERT_VIEWS, ["all", *BINS], spread_of=ALERTS),
    ]


def _without(measured: Measured, views: Sequence[str]) -> str:
    """Which classes a mean leaves out."""
    told = [
        f"{view.removeprefix(ALERTS + ', ')} without {', '.join(names)}" for view, names in few(measured, views).items()
    ]
    return f" ({'; '.join(told)}: fewer than {ENOUGH} objects)" if told else ""


def _macro(variants: Sequence[Measured], views: Sequence[str], head: Sequence[str], *, spread_of: str) -> str:
    rows = []
    for measured in variants:
        present = [measured.present[measured.place(view)].any() for view in views]
        cells = [f"{measured.macro(view)[0]:.3f}" if there else "" for view, there in zip(views, present, strict=True)]
        spread = Estimate.of(measured.macro(spread_of))
        rows.append([measured.variant, str(len(measured.seeds)), *cells, f"{spread.low:.3f} to {spread.high:.3f}"])
    return markdown(["model", "seeds", *head, f"interval, {spread_of}"], rows)


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
                right = Estimate.of(measured.precision[:, measured.place(ALERTS), column])
                named = [measured.variant, str(len(measured.seeds)), CLASS_NAMES[class_id]]
                rows.append([*named, f"{right.value:.3f} ({right.low:.3f} to {right.high:.3f})", *cells])
    head = ["model", "seeds", "class", "called so, and so: precision", "all alerts: recall, objects", *BINS]
    return markdown(head, rows)


def _calibration(measured: Measured) -> list[str]:
    return [
        measured.variant,
        measured.prior,
        *(_ece(measured.ece, view) for view in ALERT_VIEWS),
        f"{measured.cross_entropy[ALERTS]:.3f}",
        _ece(measured.ece_alike, ALERTS),
        _worst(measured.ece_alike),
        f"{measured.cross_entropy_alike[ALERTS]:.3f}",
    ]


def _ece(errors: Mapping[str, FloatArray], view: str) -> str:
    return percent(Estimate.of(errors[view]).times(100)) if view in errors else ""


def _worst(errors: Mapping[str, FloatArray]) -> str:
    view, detections = worst_bin(errors)
    return f"{_ece(errors, view)} at {detections}"


def _verdicts(rows: Sequence[Row]) -> str:
    return markdown(
        ["check", "thesis, or other reference", "asked", "found", "tier", "seeds", "verdict"],
        [[row.check, row.thesis, row.asked, row.found, row.tier, row.seeds, _strong(row.verdict)] for row in rows],
    )


def _strong(verdict: str) -> str:
    return f"**{verdict}**" if verdict == "FAIL" else verdict

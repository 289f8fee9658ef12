"""The checks of the experiments, and the words they use: what is compared with what, and when that passes."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from models.taxonomy import CLASS_NAMES, GROUPS
from training.answers import Run
from training.measure import ALERTS, Measured, Panel, by_variant, days_of, difference, worst_bin
from training.metrics import Estimate

# --- names: what the experiments call their variants ----------------------------------------------------------------

MTA = "-mta"
LC, LC_MD, MD_FEATURES, ALL = "lc", "lc-md", "md-features", "lc-md-features"
ATAT = LC_MD + MTA
"""The thesis's model: light curves and metadata, with mask temporal augmentation."""
SINUSOID, NO_TOKENIZER = "-sinusoid", f"{ATAT}-no-quantiles"
ATAT2, BHRF, FLAT, LIGHTGBM = "atat2", "bhrf", "flat", "lightgbm"
LIGHTGBM_OF_ALERTS = f"{LIGHTGBM}-alerts"
"""Which learns from alerts as sent, too."""
ENSEMBLE = f"{ATAT2}+{LIGHTGBM}"
"""Both as one (``python -m training ensemble``)."""
SEEDS_ENSEMBLE = f"{ATAT2}s+{LIGHTGBM}"
"""Three seeds of atat2 as one, and that and LightGBM as one."""

FIRST = f"{ATAT2}-first"
"""What ``atat2`` was before the changes that are counted from it."""
TAKEN_BACK = {
    f"{ATAT2}-raw-flux": "asinh flux, signal-to-noise and log error; without: flux and error as they are",
    f"{ATAT2}-no-running-scale": "flux over the largest so far, beside it",
    f"{ATAT2}-not-causal": "points see those before them, and every prefix is learned from; without: all see all, and "
    "draws are cut at random alerts",
    f"{ATAT2}-last-alert": "every prefix is learned from; without: the last of what is drawn, cut at random alerts",
    f"{ATAT2}-cut": "whole windows are drawn; without: they are cut at random alerts, as in the two above",
    f"{ATAT2}-balanced": "draws by roots of class sizes, and logit adjustment; without: class-balanced draws",
    f"{ATAT2}-no-smoothing": "label smoothing",
    f"{ATAT2}-no-ema": "a moving average of the weights",
    f"{ATAT2}-no-augmentation": "noise, flux and sparsity augmentation",
}
"""What ``atat2-first`` has beyond the thesis, by the variant that lacks it."""
ADDED = {
    f"{ATAT2}-sinusoid": "a fixed sinusoid in place of time modulation",
    f"{ATAT2}-statistics": "statistics of each band, and of change by the days between points",
    ATAT2: "both: `atat2`",
}
"""What ``atat2`` has beyond ``atat2-first``, by the variant that has it."""

TO_ATAT = {
    f"{ATAT}-asinh": "asinh flux, signal-to-noise and log error in place of flux and error as they are",
    f"{ATAT}-adjusted": "draws by roots of class sizes, and logit adjustment, in place of class-balanced draws",
    f"{ATAT}-200": "at most 200 points of a light curve in place of 64",
    f"{ATAT}-mended": "all three",
    ATAT + SINUSOID: "a fixed sinusoid in place of time modulation",
    f"{ATAT}-few-harmonics": "8 harmonics of time modulation in place of 64",
    f"{ATAT}-tokens": "a missing value as a token of its own in place of -9999",
    NO_TOKENIZER: "standardised columns in place of QFT, and such tokens",
}
"""What is tried on the thesis's ATAT, by the variant that has it."""

ROOT = "-root"
"""Ends the name of a variant with a scaling a class, which answers under the prior ``root``."""

PANELS = {
    "the best, and the forest": (ATAT, ALL + MTA, MD_FEATURES, BHRF, LIGHTGBM, ATAT2, ENSEMBLE),
    "light curves": (LC, LC + MTA),
    "tables": ("md", "features", MD_FEATURES, "features" + MTA, MD_FEATURES + MTA),
    "light curves and tables": (LC_MD, ATAT, ALL, ALL + MTA),
}
"""Figure 4.3."""
COMPARED = (*PANELS["the best, and the forest"], LIGHTGBM_OF_ALERTS)
"""By the detections of alerts as sent."""
CONFUSED = (ATAT, ALL + MTA, BHRF, ATAT2)
"""Figure 4.4, and table 4.1."""

FULL, EARLY = "2048 days", "8 days"
_COMPARED = (("full", FULL), ("8 days", EARLY), ("per alert as sent", ALERTS))
"""What models that go past the thesis are compared on."""
PERIODIC = GROUPS["periodic"]
_GAIN_ON_FOLDS = "PLAsTiCC, five folds: `atat2` (started from the simulation) minus LightGBM"
FITTED_TO_PLASTICC = (2226, 2225)
"""91bg and Iax, whose laws in ``training/survey`` are fitted to light curves of PLAsTiCC's training set, or chosen by
them.
"""


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
        judge: Callable[[Estimate], str],
        *,
        view: str = FULL,
        without: Collection[int] = (),
    ) -> Row:
        """How many points of macro F1 the first variant is above the second, over all classes or without some."""
        if not all(name in self.variants for name in pair):
            return self._absent(Row(check, thesis, asked), *pair)
        first, second = (self.variants[name] for name in pair)
        classes = [class_id for class_id in first.classes if class_id not in without]
        estimate = difference(first, second, view, classes=classes)
        return self.row(Row(check, thesis, asked), pair, told(estimate), judge(estimate))

    def row(self, asked: Row, names: Sequence[str], found: str, verdict: str) -> Row:
        """A check that was made."""
        seeds = ", ".join(str(len(self.variants[name].seeds)) for name in names)
        return Row(asked.check, asked.thesis, asked.asked, found, self.tier, seeds, verdict)

    def _absent(self, asked: Row, *names: str) -> Row:
        absent = ", ".join(name for name in names if name not in self.variants)
        return Row(asked.check, asked.thesis, asked.asked, f"no {absent}", self.tier)


def book_of(runs: Sequence[Run], tier: str, *, draws: int) -> Book:
    """The runs, measured on the objects that they have in common."""
    panel = Panel.of(runs, draws=draws) if runs else None
    variants = {} if panel is None else {name: panel.measure(seeds) for name, seeds in by_variant(runs).items()}
    return Book(tier, variants)


def told(estimate: Estimate) -> str:
    """A difference."""
    return f"{estimate.value:+.1f} ({estimate.low:+.1f} to {estimate.high:+.1f})"


def percent(estimate: Estimate) -> str:
    """A share, or a score in points of a hundred."""
    return f"{estimate.value:.1f} ({estimate.low:.1f} to {estimate.high:.1f})"


def _verdict(*, passes: bool, surely: bool = True) -> str:
    if not passes:
        return "FAIL"
    return "pass" if surely else "pass, within noise"


def _at_least(least: float) -> Callable[[Estimate], str]:
    return lambda estimate: _verdict(passes=estimate.value >= least, surely=estimate.low >= least)


def _at_most(most: float) -> Callable[[Estimate], str]:
    return lambda estimate: _verdict(passes=estimate.value <= most, surely=estimate.high <= most)


def _surely_above(least: float = 0.0) -> Callable[[Estimate], str]:
    return lambda estimate: _verdict(passes=estimate.value >= least and estimate.low > 0)


def _above(estimate: Estimate) -> str:
    return _verdict(passes=estimate.value > 0, surely=estimate.low > 0)


def checks(book: Book) -> list[Row]:
    """Every check on the simulated survey's test objects but that of calibration."""
    best = "LC + MD + MTA minus BHRF"
    return [
        book.difference(f"{best}, full", "+5.0", ">= +2, interval above 0", (ATAT, BHRF), _surely_above(2)),
        book.difference("BHRF minus the flat forest, full", "", ">= -2", (BHRF, FLAT), _at_least(-2)),
        book.difference(f"{best}, 8 days", "~ +11", ">= +5", (ATAT, BHRF), _at_least(5), view=EARLY),
        _every_length(book, "LC + MD minus LC, every length", (LC_MD, LC)),
        book.difference("LC + MD minus MD + Features, full", "+2", "> 0", (LC_MD, MD_FEATURES), _above),
        book.difference("MTA's effect on LC + MD, 8 days", "+15", ">= +8", (ATAT, LC_MD), _at_least(8), view=EARLY),
        book.difference("MTA's effect on LC + MD, full", "~0", ">= -2", (ATAT, LC_MD), _at_least(-2)),
        _features_added(book),
        book.difference("time modulation v a fixed sinusoid, full", "+6", "> 0", (ATAT, ATAT + SINUSOID), _above),
        book.difference("QFT v none, full", "+2.5", "> 0", (ATAT, NO_TOKENIZER), _above),
        book.difference("`atat2` minus ATAT, full", "ATCAT: +6", ">= +4", (ATAT2, ATAT), _at_least(4)),
        book.difference("`atat2` minus ATAT, 8 days", "more", ">= +4", (ATAT2, ATAT), _at_least(4), view=EARLY),
        *_above_at_each(book, "`atat2` minus LightGBM", (ATAT2, LIGHTGBM)),
    ]


def further_checks(book: Book, afresh: Book) -> list[Row]:
    """What else these models tell; ``afresh`` are some on test objects that were drawn when everything was chosen."""
    tables, alone = (ATAT, MD_FEATURES + MTA), (LC + MTA, LC + MTA + SINUSOID)
    then = [each for each in (ATAT2, LIGHTGBM) if _differs(afresh, book, each)]
    told_of = "".join(f", of {afresh.variants[each].model}" for each in then)
    drawn = f"`atat2` minus LightGBM on test objects drawn after all choices{told_of}"
    return [
        _every_length(book, "LC + MD + MTA minus LC + MTA, every length", (ATAT, LC + MTA)),
        book.difference("LC + MD + MTA minus MD + Features + MTA, full", "+2", "> 0", tables, _above),
        book.difference("time modulation v a fixed sinusoid, LC alone, full", "+11", "> 0", alone, _above),
        *_above_at_each(afresh, drawn, (ATAT2, LIGHTGBM)),
        *_above_at_each(book, "`atat2` minus LightGBM that learns from alerts, too", (ATAT2, LIGHTGBM_OF_ALERTS)),
        *_above_at_each(book, "`atat2` and LightGBM as one minus LightGBM", (ENSEMBLE, LIGHTGBM)),
        *_above_at_each(book, "`atat2` and LightGBM as one minus `atat2`", (ENSEMBLE, ATAT2)),
    ]


def _differs(book: Book, other: Book, variant: str) -> bool:
    """Whether both have a variant, of two versions."""
    found = [each.variants[variant].model for each in (book, other) if variant in each.variants]
    return len(set(found)) > 1


def _above_at_each(book: Book, what: str, pair: tuple[str, str]) -> list[Row]:
    return [
        book.difference(f"{what}, {name}", "", "interval above 0", pair, _surely_above(), view=view)
        for name, view in _COMPARED
    ]


def _every_length(book: Book, check: str, pair: tuple[str, str]) -> Row:
    asked = Row(check, "+20 to +30", ">= +12 at each")
    if not all(name in book.variants for name in pair):
        return book.difference(asked.check, asked.thesis, asked.asked, pair, _above)
    first, second = (book.variants[name] for name in pair)
    by_view = {view: difference(first, second, view) for view in first.views if days_of(view) is not None}
    least = min(by_view, key=lambda view: by_view[view].value)
    most = max(by_view, key=lambda view: by_view[view].value)
    found = f"least {told(by_view[least])} at {least}; most {by_view[most].value:+.1f} at {most}"
    return book.row(asked, pair, found, _at_least(12)(by_view[least]))


def _features_added(book: Book) -> Row:
    pair = (ALL + MTA, ATAT)
    asked = Row("features added to LC + MD + MTA, full", "+.2 to +.9", "within 1.5, periodic classes up")
    if not all(name in book.variants for name in pair):
        return book.difference(asked.check, asked.thesis, asked.asked, pair, _above)
    first, second = (book.variants[name] for name in pair)
    every, periodic = difference(first, second, FULL), difference(first, second, FULL, classes=PERIODIC)
    verdict = _verdict(
        passes=abs(every.value) <= 1.5 and periodic.value > 0,
        surely=every.low >= -1.5 and every.high <= 1.5 and periodic.low > 0,
    )
    return book.row(asked, pair, f"{told(every)}; periodic {told(periodic)}", verdict)


def calibration_checks(shipped: Book) -> list[Row]:
    """Of the one model in the book, if it has been tried."""
    every = Row("ECE of the shipped model, all alerts", "", "<= 2 %")
    each = Row("ECE of the shipped model, each detection bin", "", "<= 4 %")
    if not shipped.variants:
        return [every, each]
    ((name, measured),) = shipped.variants.items()
    found = {view: Estimate.of(draws).times(100) for view, draws in measured.ece.items()}
    worst, detections = worst_bin(measured.ece)
    most = f"most {percent(found[worst])} at {detections}"
    every = replace(every, check=f"ECE of the shipped model ({name}), all alerts")
    return [
        shipped.row(every, [name], percent(found[ALERTS]), _at_most(2)(found[ALERTS])),
        shipped.row(each, [name], most, _at_most(4)(found[worst])),
    ]


def plasticc_checks(book: Book) -> list[Row]:
    """On PLAsTiCC, from out-of-fold predictions."""
    pair, asked = (ATAT2, LIGHTGBM), "interval above 0"
    return [
        book.difference(f"{_GAIN_ON_FOLDS}, full (see below, too)", "LightGBM .747", asked, pair, _surely_above()),
        _plasticc_score(book, ATAT2, "`atat2`"),
    ]


def further_plasticc_checks(book: Book) -> list[Row]:
    """The same in other ways, and of models as one."""
    fitted = ", ".join(CLASS_NAMES[class_id] for class_id in FITTED_TO_PLASTICC)
    without = f"{_GAIN_ON_FOLDS}, without {fitted}, whose simulation was fitted to PLAsTiCC's"
    rooted = f"{_GAIN_ON_FOLDS}, with a scaling a class and the prior `root` for both"
    asked, root = "interval above 0", (ATAT2 + ROOT, LIGHTGBM + ROOT)
    as_one = "as one (joined so by these objects' figures)"
    return [
        book.difference(without, "", asked, (ATAT2, LIGHTGBM), _surely_above(), without=FITTED_TO_PLASTICC),
        book.difference(rooted, "", asked, root, _surely_above()),
        _plasticc_score(book, ENSEMBLE, f"`atat2` and LightGBM {as_one}"),
        _plasticc_score(book, SEEDS_ENSEMBLE, f"three seeds of `atat2`, and LightGBM, {as_one}"),
    ]


def _plasticc_score(book: Book, variant: str, called: str) -> Row:
    asked = Row(f"PLAsTiCC, five folds: macro F1 of {called}, full", "a trial .81 to .82", ">= .84")
    if variant not in book.variants:
        return asked
    measured = book.variants[variant]
    asked = replace(asked, check=f"{asked.check}{_of_another(measured, book)}")
    score = Estimate.of(measured.macro(FULL))
    found = f"{score.value:.3f} ({score.low:.3f} to {score.high:.3f})"
    return book.row(asked, [variant], found, _at_least(0.84)(score))


def _of_another(joined: Measured, book: Book) -> str:
    """That an ensemble is of another version of LightGBM than the one beside it."""
    alone = book.variants.get(LIGHTGBM)
    _, _, members = joined.model.partition(" of ")
    return f" (with {members})" if members and alone is not None and alone.model not in members.split(", ") else ""


def real_check(book: Book) -> Row:
    """Of real alerts: what is found is a table of its own."""
    asked = Row("real ELAsTiCC alerts, recall by class and detections", "", "reported")
    if not book.variants:
        return asked
    seeds = ", ".join(str(len(measured.seeds)) for measured in book.variants.values())
    return Row(asked.check, "", asked.asked, f"below, of {', '.join(book.variants)}", book.tier, seeds, "reported")


# --- one change at a time -------------------------------------------------------------------------------------------


def change_rows(book: Book) -> list[list[str]]:
    """What each change of atat2 brings, in points of macro F1: whole light curves, 8 days, and per alert as sent."""
    pairs = [
        *((text, FIRST, variant) for variant, text in TAKEN_BACK.items()),
        *((text, variant, FIRST) for variant, text in ADDED.items()),
    ]
    return _change_rows(book, pairs)


def change_rows_of_atat(book: Book) -> list[list[str]]:
    """The same of what was tried on the thesis's ATAT."""
    return _change_rows(book, [(text, variant, ATAT) for variant, text in TO_ATAT.items()])


def _change_rows(book: Book, pairs: Sequence[tuple[str, str, str]]) -> list[list[str]]:
    return [
        [text, *(told(difference(book.variants[first], book.variants[second], view)) for view in (FULL, EARLY, ALERTS))]
        for text, first, second in pairs
        if first in book.variants and second in book.variants
    ]

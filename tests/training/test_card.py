"""The shipped model's card says what the model answered, to the last figure."""

import itertools
from collections.abc import Iterator

import pytest

from models.classifier import DEFAULT_ARTIFACT
from models.taxonomy import CLASS_NAMES
from training import results
from training.checks import FULL, Book, book_of
from training.data.alert_sample import BINS
from training.measure import ALERTS, view_of

_KEPT = DEFAULT_ARTIFACT.parents[2] / "training" / "results" / results.SHIPPED


@pytest.fixture(scope="module")
def book() -> Book:
    """The shipped model's kept answers on the survey's test part."""
    return book_of(results.kept(_KEPT), results.SHIPPED, draws=1)


def _rows() -> Iterator[list[str]]:
    for line in (DEFAULT_ARTIFACT / "README.md").read_text().splitlines():
        if line.startswith("| "):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def _row(*begins: str) -> list[str]:
    """The cells after the first of the next row that begins so below a head that does."""
    rows = list(_rows())
    (place,) = (place for place, row in enumerate(rows) if row[0] == begins[0])
    return next(row for row in rows[place + 1 :] if row[0] == begins[1])[1:]


def test_the_card_has_the_scores_of_the_kept_answers(book: Book) -> None:
    (shipped,) = book.variants.values()
    by_days = [cell.split()[0] for cell in _row("days after the first alert", "macro F1")]
    asked = [view_of(days) for days in (1, 8, 32, 128, 2048)]
    assert by_days == [f"{shipped.macro(view)[0]:.3f}".lstrip("0") for view in asked]
    by_detections = _row("alerts as sent, by detections", "macro F1")
    asked = [*(f"{ALERTS}, {name}" for name in BINS), ALERTS]
    assert by_detections == [f"{shipped.macro(view)[0]:.3f}".lstrip("0") for view in asked]
    errors = _row("alerts as sent, by detections", "expected calibration error, 15 bins of equal mass")
    assert errors == [f"{100 * shipped.ece[view][0]:.1f} %" for view in asked]
    errors = _row("alerts as sent, by detections", "the same, if each class sent as many alerts")
    assert errors == [f"{100 * shipped.ece_alike[view][0]:.1f} %" for view in asked]


def test_the_card_has_the_f1_of_each_class(book: Book) -> None:
    (shipped,) = book.variants.values()
    told = {
        name: cell for row in _rows() for name, cell in itertools.pairwise(row) if name in set(CLASS_NAMES.values())
    }
    f1 = shipped.f1[0, shipped.place(FULL)]
    found = {CLASS_NAMES[each]: f"{value:.2f}".lstrip("0") for each, value in zip(shipped.classes, f1, strict=True)}
    assert told == found

"""The shipped model's card says what the model answered, to the last figure."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from models.classifier import Classifier
from models.selection import DEFAULT_ARTIFACT
from models.taxonomy import CLASS_NAMES
from tests.stored.make import STORED
from training import predictions, results
from training.checks import FULL, Book, book_of
from training.data import layout
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


def test_the_readme_has_the_scores_of_the_kept_answers(book: Book) -> None:
    (shipped,) = book.variants.values()
    readme = " ".join((DEFAULT_ARTIFACT.parents[2] / "README.md").read_text().split())
    young, whole = (f"{shipped.macro(view_of(days))[0]:.3f}".lstrip("0") for days in (8, 2048))
    assert f"macro F1 is {young} at 8 days after the first alert and {whole} with whole light curves" in readme
    by_detections = [f"{shipped.macro(f'{ALERTS}, {name}')[0]:.3f}".lstrip("0") for name in BINS]
    assert f"and {', '.join(by_detections)} for alerts as sent" in readme
    errors = (shipped.ece[ALERTS], shipped.ece[f"{ALERTS}, 1"], shipped.ece_alike[ALERTS])
    every, first, alike = (f"{100 * each[0]:.1f} %" for each in errors)
    assert f"expected calibration error is {every} there ({first} at the first detection; {alike} if" in readme


def test_the_readme_has_the_recalls_of_real_alerts() -> None:
    book = book_of(results.unseen(_KEPT.parent / results.ELASTICC), results.SHIPPED, draws=1)
    readme = " ".join((DEFAULT_ARTIFACT.parents[2] / "README.md").read_text().split())
    recalls, objects = {}, {}
    for name, measured in book.variants.items():
        for column, class_id in enumerate(measured.classes):
            key = (name, CLASS_NAMES[class_id])
            recalls[key] = f"{measured.recall[0, measured.place(ALERTS), column]:.2f}".lstrip("0")
            objects[key] = f"{measured.objects[measured.place(ALERTS), column]:,}"
    shipped, told, trained = "atat2-elasticc", "atat2-elasticc-told", "atat2-real"
    of_ia, of_ii = (f"{recalls[shipped, name]} of {objects[shipped, name]}" for name in ("Ia", "II"))
    assert f"it recalls {of_ia} of type Ia and {of_ii} of type II;" in readme
    assert f"classes occur, {recalls[told, 'Ia']} and {recalls[told, 'II']};" in readme
    assert f"half of all objects, {recalls[trained, 'Ia']} and {recalls[trained, 'II']}" in readme


def test_the_shipped_model_answers_as_when_it_was_measured() -> None:
    """Whatever changes a light curve's tensors changes its answer, too, and makes every published figure untrue."""
    (kept,) = results.kept(_KEPT)
    was = {key: row for row, key in enumerate(zip(kept.by_alert.object_id, kept.by_alert.carried, strict=True))}
    objects = layout.Dataset.open(STORED.parent).read()
    classifier = Classifier.load()
    scored = predictions.of_alerts(classifier, objects.take(np.arange(0, len(objects), 4)))
    rows = np.array([was[key] for key in zip(scored.object_id, scored.carried, strict=True)])
    probabilities = classifier.calibration.of_rows(scored.logits, scored.head, scored.detections)
    assert len(rows) > 100
    predicted = np.array(classifier.taxonomy.class_ids)[probabilities.argmax(axis=1)]
    np.testing.assert_array_equal(predicted, kept.by_alert.predicted[rows])
    np.testing.assert_allclose(probabilities.max(axis=1), kept.by_alert.confidence[rows], atol=1e-3)


def test_the_card_has_the_f1_of_each_class(book: Book) -> None:
    (shipped,) = book.variants.values()
    told = {
        name: cell for row in _rows() for name, cell in itertools.pairwise(row) if name in set(CLASS_NAMES.values())
    }
    f1 = shipped.f1[0, shipped.place(FULL)]
    found = {CLASS_NAMES[each]: f"{value:.2f}".lstrip("0") for each, value in zip(shipped.classes, f1, strict=True)}
    assert told == found

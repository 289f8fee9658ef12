"""What a model says of every object at every length, and of alerts as sent: computed once, kept as Parquet.

Logits are kept, not probabilities, so that a new calibration or another prior costs nothing.
"""

import functools
import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from models.arrays import BoolArray, IntArray
from models.calibration import Calibration, InvalidPrior
from models.classifier import DESCRIPTION, WEIGHTS, Classifier, Description, InvalidArtifact
from models.inputs.table import has_features, select
from models.scoring import Model, Scores
from models.taxonomy import Taxonomy
from training import features
from training.data import layout
from training.data.alert_sample import AlertSample
from training.data.layout import UNKNOWN_CLASS, Dataset, Index, Objects
from training.errors import InvalidData
from training.features import FeatureTable
from training.files import replacing
from training.rows import Rows
from training.seen import Seen

AGES = tuple(float(2**power) for power in range(12))
"""Days after the first alert that light curves are cut at, up to the whole of them (figure 4.3)."""

_VERSION = 1
_CHUNK = 500
_TIMED = 200
_NONE = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Scored(Rows):
    """M light curves of one model, row for row."""

    days: NDArray[np.float32]
    """After the first alert: the length that was asked for, or the alert's epoch."""
    detections: IntArray
    """How many the model was shown."""
    carried: IntArray
    """How many the alert as sent carries; as ``detections`` for a whole light curve."""
    weight: NDArray[np.float32]
    """Alerts that the row stands for; 1 for a whole light curve."""
    head: NDArray[np.str_]
    logits: NDArray[np.float32]
    """(M, C) of the head that answered."""


@dataclass(frozen=True)
class Predictions:
    """One model's, of one data set."""

    by_age: Scored
    by_alert: Scored
    """Of an ``AlertSample``."""
    seconds: dict[str, float]
    """Mean wall time a whole light curve: ``inference`` and, for a model that reads them, ``features``."""
    machine: str
    """Where that was."""


@dataclass(frozen=True)
class Selection:
    """The objects of a data set to predict: read only where something has to be computed."""

    dataset: Dataset
    index: Index
    chosen: BoolArray

    @classmethod
    def of(
        cls, directory: Path, *, split: str | None, fold: int | None = None, classes: Sequence[int] | None = None
    ) -> Self:
        """Labelled objects of one split or fold, and of some classes. Raises InvalidData if there are none."""
        dataset = Dataset.open(directory)
        index = dataset.index()
        chosen = index.class_id != UNKNOWN_CLASS
        if split is not None:
            chosen &= index.split == split
        if fold is not None:
            chosen &= index.fold == fold
        if classes is not None:
            chosen &= np.isin(index.class_id, classes)
        if not chosen.any():
            raise InvalidData(f"{directory} has no such objects: split {split or 'any'}, of the model's classes")
        return cls(dataset, index, chosen)

    def __len__(self) -> int:
        return int(self.chosen.sum())

    @property
    def fingerprint(self) -> str:
        """Tells one set of objects from another."""
        parts = (self.index.object_id, self.index.class_id, self.index.lengths)
        return hashlib.sha256(b"".join(part[self.chosen].tobytes() for part in parts)).hexdigest()

    def chunks(self) -> Iterator[Objects]:
        """The chosen objects that were ever detected, a few hundred at a time."""
        for piece in self.dataset.pieces():
            chosen = self.chosen[piece.start : piece.start + piece.rows]
            if chosen.any():
                objects = piece.read().where(chosen)
                objects = objects.where(objects.light_curves.detections > 0)
                for start in range(0, len(objects), _CHUNK):
                    yield objects.take(np.arange(start, min(start + _CHUNK, len(objects))))


@functools.cache
def _tables(paths: tuple[Path, ...]) -> tuple[FeatureTable, ...]:
    return tuple(map(features.read, paths))


@dataclass(frozen=True)
class Ready:
    """Tables of features that were computed before, of light curves by length and of alerts as sent.

    A model takes them from the table whose light curves were cut and thinned as its own are; they are read when the
    first one asks.
    """

    by_age: tuple[Path, ...] = ()
    by_alert: tuple[Path, ...] = ()


def of_model(
    directory: Path,
    selection: Selection,
    cache: Path | None,
    *,
    ages: Sequence[float] = AGES,
    alerts: bool = True,
    ready: Ready | None = None,
    device: str = "cpu",
    console: Console | None = None,
) -> Predictions:
    """From the cache, if there is one and it is of this very model and these objects; else computed, and left there.

    Without ``alerts``, of light curves by length alone. The data need not be read for what the cache holds.
    """
    artifact = find_artifact(directory)
    key = _key(artifact, selection, ages, alerts=alerts)
    kept = None if cache is None else _read(cache, key)
    if kept is None:
        console = console or Console(stderr=True)
        classifier = load(artifact, device=device)
        ready = ready or Ready()
        label = directory.name
        kept = predict(
            classifier, selection, ages=ages, alerts=alerts, ready=ready, device=device, label=label, console=console
        )
        if cache is not None:
            _write(cache, kept, key)
    return kept


def find_artifact(directory: Path) -> Path:
    """The artifact that a directory is, or the only one that lies in it. Raises InvalidData."""
    found = artifacts_in(directory)
    if len(found) != 1:
        raise InvalidData(f"{directory} holds {'no model' if not found else 'several models: name one'}")
    return found[0]


def artifacts_in(directory: Path) -> list[Path]:
    """The artifact that a directory is, or those that lie in it."""
    if (directory / DESCRIPTION).exists():
        return [directory]
    return sorted(path.parent for path in directory.glob(f"*/{DESCRIPTION}"))


def describe(directory: Path) -> Description:
    """What a model says of itself. Raises InvalidData if it is none."""
    try:
        return Description.read(find_artifact(directory))
    except InvalidArtifact as error:
        raise InvalidData(str(error)) from error


def load(directory: Path, *, device: str = "cpu") -> Classifier:
    """A model. Raises InvalidData if it is none."""
    try:
        return Classifier.load(find_artifact(directory), device=device)
    except InvalidArtifact as error:
        raise InvalidData(str(error)) from error


def under(calibration: Calibration, prior: str, taxonomy: Taxonomy, *, told: str) -> Calibration:
    """The same under another prior. Raises InvalidData, which begins with ``told``, for one that does not fit."""
    try:
        return calibration.under(prior, taxonomy)
    except InvalidPrior as error:
        raise InvalidData(f"{told}: {error}") from error


# --- computing ------------------------------------------------------------------------------------------------------


def predict(
    classifier: Classifier,
    selection: Selection,
    *,
    ages: Sequence[float],
    alerts: bool,
    ready: Ready,
    device: str,
    label: str,
    console: Console,
) -> Predictions:
    """Every object at every age, and, if asked for, its sampled alerts as sent."""
    asks = has_features(classifier.model.columns)
    age_tables, alert_tables = (_tables(paths) if asks else () for paths in (ready.by_age, ready.by_alert))
    by_age, by_alert = [], []
    total = -(-len(selection) // _CHUNK)
    for objects in track(selection.chunks(), description=label, total=total, console=console):
        by_age.append(of_ages(classifier, objects, ages, age_tables))
        by_alert.append(of_alerts(classifier, objects if alerts else objects.take(_NONE), alert_tables))
    if not by_age:
        raise InvalidData(f"{selection.dataset.directory}: none of the objects was ever detected")
    seconds = seconds_of(classifier.model, some_of(selection))
    return Predictions(Scored.joined(by_age), Scored.joined(by_alert), seconds=seconds, machine=machine_of(device))


def of_ages(
    classifier: Classifier, objects: Objects, ages: Sequence[float], tables: Sequence[FeatureTable] = ()
) -> Scored:
    """N objects at each age in turn (N * ages,); what no longer changes is scored once."""
    seen = Seen.of_ages(objects, ages, window_days=classifier.model.window_days)
    known = seen.light_curves
    ends = known.mjd[known.offsets[1:] - 1] if len(known.mjd) else np.zeros(len(known))
    row = np.tile(np.arange(len(objects)), len(ages))
    same = np.stack([row, known.lengths, ends], axis=1)  # a length and an end make a window of one light curve
    _, first, back = np.unique(same, axis=0, return_index=True, return_inverse=True)
    scored = _scored(classifier, seen.take(first), tables).take(back.ravel())
    return replace(scored, days=seen.days)


def of_alerts(
    classifier: Classifier, objects: Objects, tables: Sequence[FeatureTable] = (), *, per_bin: int = 1
) -> Scored:
    """The objects' ``AlertSample``."""
    sample = AlertSample.draw(objects.object_id, objects.light_curves, per_bin=per_bin)
    seen = Seen.of_alerts(objects, sample, window_days=classifier.model.window_days)
    scored = _scored(classifier, seen, tables)
    return replace(scored, carried=sample.detections, weight=sample.weight.astype(np.float32))


def scores_of(model: Model, seen: Seen, tables: Sequence[FeatureTable]) -> Scores:
    """What a model says; features are taken from the table that fits where it has them, and computed where not.

    Raises InvalidData if there are tables, but none of light curves as the model sees them.
    """
    has_metadata = np.ones(len(seen.object_id), dtype=np.bool_)
    if not tables or not has_features(model.columns):
        return model.score(seen.light_curves, seen.metadata, has_metadata)
    cut = (model.window_days, model.max_points)
    fitting = [each for each in tables if (each.window_days, each.max_points) == cut]
    if not fitting:
        told = "as they are" if model.max_points is None else f"thinned to {model.max_points} points"
        raise InvalidData(f"no table has features of {model.window_days:g} days, {told}, as the model sees them")
    found = fitting[0].find(seen.object_id, seen.days)
    columns = np.empty((len(found), len(model.columns)), dtype=np.float32)
    columns[found >= 0] = select(fitting[0].columns[found[found >= 0]], model.columns)
    absent = np.flatnonzero(found < 0)
    if len(absent):
        columns[absent] = model.table(seen.light_curves.take(absent), seen.metadata[absent])
    return model.score_table(seen.light_curves, columns, has_metadata)


def _scored(classifier: Classifier, seen: Seen, tables: Sequence[FeatureTable]) -> Scored:
    scores = scores_of(classifier.model, seen, tables)
    detections = seen.light_curves.detections
    return Scored(
        object_id=seen.object_id,
        class_id=seen.class_id,
        source=seen.source,
        days=seen.days,
        detections=detections,
        carried=detections,
        weight=np.ones(len(detections), dtype=np.float32),
        head=scores.head,
        logits=scores.answers(len(classifier.taxonomy)),
    )


def some_of(selection: Selection) -> Objects:
    """Objects to time models on: a few hundred from everywhere in the selection."""
    stride = -(-len(selection) // _TIMED)
    return layout.concatenated([chunk.take(np.arange(0, len(chunk), stride)) for chunk in selection.chunks()])


def seconds_of(model: Model, objects: Objects) -> dict[str, float]:
    """Table 4.2: mean seconds a whole light curve; the model's after it has warmed up."""
    curves = objects.light_curves
    whole = curves.until(curves.last_detection_mjd(), window_days=model.window_days)
    has_metadata = np.ones(len(whole), dtype=np.bool_)
    started = time.perf_counter()
    columns = model.table(whole, objects.metadata)
    spent = {"features": time.perf_counter() - started} if has_features(model.columns) else {}
    model.score_table(whole, columns, has_metadata)
    started = time.perf_counter()
    model.score_table(whole, columns, has_metadata)
    spent["inference"] = time.perf_counter() - started
    return {step: seconds / len(whole) for step, seconds in spent.items()}


def machine_of(device: str) -> str:
    """Where models are timed, in words."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}"


# --- the cache ------------------------------------------------------------------------------------------------------


def _key(artifact: Path, selection: Selection, ages: Sequence[float], *, alerts: bool) -> str:
    """Of weights, architecture, objects and light curves; calibration and notes may change."""
    objects = (selection.fingerprint, selection.dataset.contents)
    what = (_VERSION, tuple(ages), *objects, *(() if alerts else ("no alerts",)))
    digest = hashlib.sha256(" ".join(map(str, what)).encode())
    _add(digest, artifact, ("kind", "architecture", "classes"))
    return digest.hexdigest()


def _add(digest: "hashlib._Hash", artifact: Path, names: tuple[str, ...]) -> None:
    """A model's weights and these parts of its description, and what its members, if it has any, say as calibrated."""
    for path in sorted(artifact.iterdir()):
        if path.name in WEIGHTS:
            digest.update(path.name.encode() + path.read_bytes())
    description = json.loads((artifact / DESCRIPTION).read_text())
    digest.update(json.dumps([description.get(name) for name in names], sort_keys=True).encode())
    for member in sorted(artifact.glob(f"*/{DESCRIPTION}")):
        _add(digest, member.parent, ("kind", "architecture", "classes", "calibration"))


def _write(cache: Path, predictions: Predictions, key: str) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    timing = json.dumps({"seconds": predictions.seconds, "machine": predictions.machine})
    notes = {b"key": key.encode(), b"timing": timing.encode()}
    for name in ("by_age", "by_alert"):
        scored: Scored = getattr(predictions, name)
        columns: dict[str, Any] = {each.name: getattr(scored, each.name) for each in fields(scored)}
        logits = columns.pop("logits")
        for text in ("source", "head"):
            columns[text] = pa.array(columns[text].tolist(), type=pa.string()).dictionary_encode()
        columns["logits"] = pa.FixedSizeListArray.from_arrays(pa.array(logits.ravel()), logits.shape[1])
        with replacing(cache / f"{name}.parquet") as unfinished:
            pq.write_table(pa.table(columns).replace_schema_metadata(notes), unfinished, compression="zstd")


def _read(cache: Path, key: str) -> Predictions | None:
    """What is kept under this key, or None."""
    parts: dict[str, Scored] = {}
    timing: dict[str, Any] = {}
    for name in ("by_age", "by_alert"):
        try:
            table = pq.read_table(cache / f"{name}.parquet")
        except (OSError, pa.ArrowException):
            return None
        notes = table.schema.metadata or {}
        if notes.get(b"key") != key.encode():
            return None
        timing = json.loads(notes[b"timing"])
        parts[name] = _from_arrow(table.combine_chunks())
    return Predictions(parts["by_age"], parts["by_alert"], **timing)


def _from_arrow(table: pa.Table) -> Scored:
    columns: dict[str, Any] = {}
    for each in fields(Scored):
        column = table[each.name].combine_chunks()
        if each.name == "logits":
            columns[each.name] = column.flatten().to_numpy().reshape(len(table), column.type.list_size)
        elif each.name in ("source", "head"):
            names = np.array(column.dictionary.to_pylist(), dtype=np.str_)
            columns[each.name] = names[column.indices.to_numpy()]
        else:
            columns[each.name] = column.to_numpy()
    return Scored(**columns)

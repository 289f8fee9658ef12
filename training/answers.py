"""What a model answered, light curve by light curve: a file small enough to outlive the model.

Everything that is measured is measured on this, so that a figure is the same whether the model is at hand or only what
it had answered.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.arrays import BoolArray, FloatArray, IntArray
from models.classifier import Description, identity
from training.errors import InvalidData
from training.files import replacing
from training.predictions import Predictions, Scored, describe, under
from training.rows import Rows

SUFFIX = ".parquet"

_LEAST = 1e-12
"""Stands for a probability of 0 where there is a logarithm to take."""
_STEP = 1e-3
"""What confidence and surprise are rounded to, each on its own; means of many differ by far less."""

_SEEDED = re.compile(r"(?P<variant>.+)-(?P<seed>\d+)")
_NOTES = b"run"


@dataclass(frozen=True)
class Answers(Rows):
    """M light curves in order of object, row for row."""

    predicted: NDArray[np.int32]
    """The class that the model thought most probable."""


@dataclass(frozen=True)
class AgeAnswers(Answers):
    """M light curves cut some time after the first alert."""

    days: NDArray[np.float32]
    """After the first alert."""


@dataclass(frozen=True)
class AlertAnswers(Answers):
    """M alerts as sent."""

    carried: IntArray
    """Detections in the alert."""
    weight: NDArray[np.float32]
    """Alerts that the row stands for."""
    confidence: FloatArray
    """Probability of the predicted class."""
    surprise: FloatArray
    """Minus the logarithm of the true class's probability."""


AnyAnswers = TypeVar("AnyAnswers", bound=Answers)


@dataclass(frozen=True)
class Run:
    """One model and what it answered."""

    variant: str
    seed: int | None
    model: str
    """Its name and version, and those of an ensemble's members."""
    classes: tuple[int, ...]
    """That it tells apart, in the order of its outputs."""
    prior: str
    shares: tuple[float, ...]
    """Of the classes under the prior."""
    seconds: Mapping[str, float]
    """Mean wall time a whole light curve: ``inference`` and, for a model that reads them, ``features``."""
    machine: str
    """Where that was."""
    by_age: AgeAnswers
    by_alert: AlertAnswers

    @classmethod
    def of(
        cls,
        directory: Path,
        predictions: Predictions,
        *,
        named: tuple[str, int | None] | None = None,
        prior: str | None = None,
        among: Sequence[int] | None = None,
    ) -> Self:
        """By default variant and seed are those of a directory VARIANT-SEED, or the model's name and none.

        ``among`` are the classes that an object is known to be of, if that is known. Raises InvalidData for no model,
        or one to which the prior does not fit.
        """
        description = describe(directory)
        if prior is not None:
            calibration = under(description.calibration, prior, description.taxonomy, told=str(directory))
            description = description.calibrated(calibration)
        return cls.by(description, predictions, named=named or named_by(directory, description), among=among)

    @classmethod
    def by(
        cls,
        description: Description,
        predictions: Predictions,
        *,
        named: tuple[str, int | None],
        among: Sequence[int] | None = None,
    ) -> Self:
        """What the model of a description answered."""
        by_age, by_alert = predictions.by_age, predictions.by_alert
        probabilities = _calibrated(description, by_alert, among)
        lengths = AgeAnswers(**_what(description, by_age, _calibrated(description, by_age, among)), days=by_age.days)
        row = np.arange(len(by_alert))
        of_truth = probabilities[row, description.taxonomy.places(by_alert.class_id)]
        alerts = AlertAnswers(
            **_what(description, by_alert, probabilities),
            carried=by_alert.carried,
            weight=by_alert.weight,
            confidence=_rounded(probabilities.max(axis=1)),
            surprise=_rounded(-np.log(np.maximum(of_truth, _LEAST))),
        )
        return cls(
            *named,
            model=_called(description),
            classes=tuple(description.taxonomy.class_ids),
            prior=description.calibration.prior,
            shares=tuple(description.calibration.shares(len(description.taxonomy)).tolist()),
            seconds=predictions.seconds,
            machine=predictions.machine,
            by_age=_in_order(lengths, lengths.days),
            by_alert=_in_order(alerts, alerts.carried),
        )

    @classmethod
    def pooled(cls, runs: Sequence["Run"]) -> "Run":
        """One run of the out-of-fold answers of several."""
        first = runs[0]
        for name in ("classes", "prior", "model"):
            if len({getattr(run, name) for run in runs}) > 1:
                raise InvalidData(f"the folds of {first.variant} have no {name} in common")
        lengths = AgeAnswers.joined([run.by_age for run in runs])
        alerts = AlertAnswers.joined([run.by_alert for run in runs])
        return cls(
            **_notes(first),
            by_age=_in_order(lengths, lengths.days),
            by_alert=_in_order(alerts, alerts.carried),
        )

    def where(self, chosen: Callable[[Sequence[int]], BoolArray]) -> Self:
        """About the objects that are chosen (N,), by their ids (N,)."""
        return replace(self, by_age=_where(self.by_age, chosen), by_alert=_where(self.by_alert, chosen))

    @property
    def name(self) -> str:
        """Of its file."""
        return self.variant if self.seed is None else f"{self.variant}-{self.seed}"

    @property
    def objects(self) -> str:
        """Tells the objects that were asked about, and what they are, from others."""
        object_id, first = np.unique(self.by_age.object_id, return_index=True)
        return hashlib.sha256(object_id.tobytes() + self.by_age.class_id[first].tobytes()).hexdigest()

    def write(self, directory: Path) -> None:
        """Keep it in a file of its name."""
        directory.mkdir(parents=True, exist_ok=True)
        table = pa.concat_tables([_table(self.by_age), _table(self.by_alert)], promote_options="default")
        notes = {_NOTES: json.dumps(_notes(self)).encode()}
        with replacing(directory / f"{self.name}{SUFFIX}") as unfinished:
            pq.write_table(
                table.replace_schema_metadata(notes),
                unfinished,
                compression="zstd",
                compression_level=19,
                use_dictionary=["source", "predicted", "confidence", "surprise"],
                column_encoding={"object_id": "DELTA_BINARY_PACKED"},
            )

    @classmethod
    def read(cls, path: Path) -> Self:
        """The inverse of ``write``. Raises InvalidData for what is no such file."""
        try:
            table = pq.read_table(path)
            notes = json.loads(table.schema.metadata[_NOTES])
            of_alert = table["carried"].is_valid()
            by_age, by_alert = table.filter(pc.invert(of_alert)), table.filter(of_alert)
            return cls(
                **{**notes, "classes": tuple(notes["classes"]), "shares": tuple(notes["shares"])},
                by_age=AgeAnswers(**_columns(by_age, AgeAnswers)),
                by_alert=AlertAnswers(**_columns(by_alert, AlertAnswers)),
            )
        except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
            raise InvalidData(f"{path} holds no model's answers: {error!r}") from error


def named_by(directory: Path, description: Description) -> tuple[str, int | None]:
    """Variant and seed of a model, by its directory's name or the one above, or else the model's name and none."""
    return seed_of(directory.name) or seed_of(directory.parent.name) or (description.name, None)


def seed_of(name: str) -> tuple[str, int] | None:
    """Variant and seed by a directory's name; None for another name."""
    found = _SEEDED.fullmatch(name)
    return (found["variant"], int(found["seed"])) if found else None


def _called(description: Description) -> str:
    """Name and version of a model; of an ensemble, each of its members' once."""
    members = dict.fromkeys(_members(description.provenance))
    return f"{description.identity} of {', '.join(members)}" if members else description.identity


def _members(provenance: Mapping[str, Any]) -> Iterator[str]:
    for member in provenance.get("members", ()):
        within = list(_members(member["provenance"]))
        yield from within or [identity(member["name"], member["version"])]


def _notes(run: Run) -> dict[str, Any]:
    """All of a run but its answers."""
    return {each.name: getattr(run, each.name) for each in fields(run) if not each.name.startswith("by_")}


# --- from logits ----------------------------------------------------------------------------------------------------


def _calibrated(description: Description, scored: Scored, among: Sequence[int] | None) -> FloatArray:
    """(M, C) in the order of the model's classes."""
    probabilities = description.calibration.of_rows(scored.logits, scored.head, scored.detections)
    if among is None:
        return probabilities
    possible = np.where(np.isin(description.taxonomy.class_ids, among), probabilities, 0.0)
    return np.asarray(possible / possible.sum(axis=1, keepdims=True), dtype=np.float64)


def _what(description: Description, scored: Scored, probabilities: FloatArray) -> dict[str, Any]:
    """The fields of Answers."""
    outputs = np.array(description.taxonomy.class_ids, dtype=np.int32)
    told = {each.name: getattr(scored, each.name) for each in fields(Answers) if each.name != "predicted"}
    return {**told, "predicted": outputs[probabilities.argmax(axis=1)]}


def _rounded(values: FloatArray) -> FloatArray:
    return np.asarray(np.round(values / _STEP) * _STEP, dtype=np.float64)


def _where(answers: AnyAnswers, chosen: Callable[[Sequence[int]], BoolArray]) -> AnyAnswers:
    return answers.take(np.flatnonzero(chosen(answers.object_id.tolist())))


def _in_order(answers: AnyAnswers, then: NDArray[Any]) -> AnyAnswers:
    return answers.take(np.lexsort((then, answers.object_id)))


# --- the file -------------------------------------------------------------------------------------------------------

_IN_STEPS = ("confidence", "surprise")


def _table(answers: Answers) -> pa.Table:
    columns = dict(vars(answers))
    for name in set(columns).intersection(_IN_STEPS):
        columns[name] = np.round(columns[name] / _STEP).astype(np.uint16)
    return pa.table(columns)


def _columns(table: pa.Table, kind: type[Answers]) -> dict[str, Any]:
    columns: dict[str, Any] = {each.name: table[each.name].to_numpy() for each in fields(kind) if each.name != "source"}
    sources = table["source"].combine_chunks().dictionary_encode()  # few: to make each row's text takes seconds
    columns["source"] = np.array(sources.dictionary.to_pylist(), dtype=np.str_)[sources.indices.to_numpy()]
    return {name: values * _STEP if name in _IN_STEPS else values for name, values in columns.items()}

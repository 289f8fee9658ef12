"""Alert files -> the layout: one row an object, with every point that any of its alerts carried."""

import csv
import gzip
import io
import itertools
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from models.inputs import avro
from models.inputs.alert import alert_batch
from models.inputs.alert_batch import NO_OBJECT, AlertBatch, by_object, concatenated
from models.inputs.errors import InvalidAlert
from models.inputs.light_curve import merged
from models.taxonomy import CLASS_NAMES, GENTYPE_CLASS
from training.data.imported import Imported, Source
from training.data.layout import UNKNOWN_CLASS, Objects
from training.data.splits import fold_of, split_of
from training.errors import InvalidData

_SUFFIXES = (".avro", ".avro.gz")
_CHUNK = 4096


def read(source: Source, *, truth: Path | None, seed: int) -> Imported:
    """Every alert of a file, or of the Avro files of a directory; one that cannot be read to its end is a failure.

    ``truth`` is a CSV with ``diaObjectId`` and ``gentype`` (SNANA's) or ``classId``; without one, classes are unknown.
    Raises InvalidData if there is no alert at all, or the truth is no such table.
    """
    classes = {} if truth is None else _classes(truth)
    dropped: Counter[str] = Counter()
    failures: list[str] = []
    batches = list(_batches(source.paths[0], dropped, failures))
    n_alerts = sum(len(batch) for batch in batches)
    if not n_alerts:
        raise InvalidData(f"{source.paths[0]}: no alert could be read{_because(dropped)}")
    rows = by_object(concatenated(batches))
    object_id = np.where(rows.dia_object_id == NO_OBJECT, -rows.dia_source_id, rows.dia_object_id)
    class_id = np.array([classes.get(id_, UNKNOWN_CLASS) for id_ in object_id.tolist()], dtype=np.int32)
    unknown = int((class_id == UNKNOWN_CLASS).sum())
    return Imported(
        objects=Objects(
            object_id=object_id,
            class_id=class_id,
            source=np.full(len(rows), "alerts"),
            split=np.array(split_of(object_id.tolist(), seed=seed)),
            fold=fold_of(object_id.tolist(), seed=seed),
            metadata=rows.metadata,
            light_curves=merged(rows),
        ),
        dropped={f"alerts: {reason}": count for reason, count in dropped.items()},
        noted={"alerts": n_alerts, **({"objects of unknown class": unknown} if unknown else {})},
        failures=tuple(failures),
    )


def _batches(source: Path, dropped: Counter[str], failures: list[str]) -> Iterator[AlertBatch]:
    readings = (reading for path in _files(source) for reading in _readings(path, failures))
    while chunk := list(itertools.islice(readings, _CHUNK)):
        decoded = alert_batch(chunk)
        dropped.update(str(reason) for reason in decoded.invalid.values())
        yield decoded.alerts


def _readings(path: Path, failures: list[str]) -> Iterator[avro.Reading | InvalidAlert]:
    """Of one file; a line for the first that is wrong with it."""
    wrong = None
    try:
        for reading in avro.readings(path.read_bytes()):
            wrong = wrong or (reading if isinstance(reading, InvalidAlert) else None)
            yield reading
    except OSError as error:
        wrong = InvalidAlert(str(error))
    if wrong is not None:
        failures.append(f"{path.name}: {wrong}")


def _files(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    found = sorted(path for path in source.rglob("*") if path.name.endswith(_SUFFIXES))
    if not found:
        raise InvalidData(f"{source}: no {' or '.join(_SUFFIXES)} files")
    return found


def _because(dropped: Counter[str]) -> str:
    return "".join(f"; {count} alerts: {reason}" for reason, count in dropped.most_common(3))


def _classes(truth: Path) -> dict[int, int]:
    try:
        data = truth.read_bytes()
        text = (gzip.decompress(data) if truth.suffix == ".gz" else data).decode()
        table = csv.DictReader(io.StringIO(text))
        return {int(row["diaObjectId"]): _class(row) for row in table}
    except (OSError, EOFError, zlib.error, KeyError, TypeError, ValueError) as error:
        raise InvalidData(f"{truth}: no table of diaObjectId and gentype or classId ({error!r})") from error


def _class(row: Mapping[str, str]) -> int:
    if "gentype" in row:
        return GENTYPE_CLASS.get(int(row["gentype"]), UNKNOWN_CLASS)
    class_id = int(row["classId"])
    return class_id if class_id in CLASS_NAMES else UNKNOWN_CLASS

"""``python -m service classify``: alert files in, one JSON line an alert on standard output, in input order."""

import argparse
import itertools
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TextIO

import fastavro.schema
from fastavro.repository.base import SchemaRepositoryError
from fastavro.schema import SchemaParseException
from fastavro.types import Schema

from models.classifier import Classifier
from models.inputs import avro
from models.inputs.alert import alert_batch
from models.inputs.avro import Reading
from models.inputs.errors import InvalidAlert
from models.scoring import NoEmbedding
from models.selection import PRIORS
from service import model, pipeline
from service.errors import Misconfigured, RegistryUnavailable
from service.registry import Registry
from service.settings import Settings

BATCH_ALERTS = 1024
"""Alerts classified together."""

Placed = tuple[str, int, Reading | InvalidAlert]
"""An alert with the file it is from and its place there, counted from 0."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommand's options."""
    add_input_arguments(parser)
    parser.add_argument("--prior", help=f"{PRIORS} (default: MODEL_PRIOR, else the model's)")


def add_input_arguments(parser: argparse.ArgumentParser) -> None:
    """What is read, and which model reads it."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="Avro containers, messages or datums, gzipped or not")
    parser.add_argument(
        "--schema", type=Path, help="the Avro schema (.avsc) that messages without one are written with"
    )
    parser.add_argument("--model", type=Path, help="directory of the model (default: MODEL_DIR, else the shipped one)")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="where the model runs (default: DEVICE, else cpu)")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """The subcommand. Exit code 1 if an alert could not be classified, 2 if nothing could be tried."""
    return print_answers(arguments, settings, prior=arguments.prior or settings.model_prior)


def print_answers(arguments: argparse.Namespace, settings: Settings, *, prior: str | None, embed: bool = False) -> int:
    """Answer all files on standard output; returns the exit code. Raises Misconfigured if nothing can be tried."""
    try:
        schema = None if arguments.schema is None else read_schema(arguments.schema)
    except InvalidSchema as error:
        raise Misconfigured(str(error)) from error
    registry = Registry(settings.schema_registry_url)
    classifier = model.load(
        arguments.model or settings.model_dir,
        device=arguments.device or settings.device,
        precision=settings.model_precision,
        prior=prior,
    )
    try:
        if embed:
            classifier.must_embed()
        failures = classify_files(
            arguments.files,
            classifier,
            schema=schema,
            schema_by_id=registry.schema,
            output=sys.stdout,
            progress=sys.stderr,
            embed=embed,
        )
    except NoEmbedding as error:
        raise Misconfigured(str(error)) from error
    return 1 if failures else 0


def classify_files(
    files: Iterable[str],
    classifier: Classifier,
    *,
    schema: Schema | None,
    schema_by_id: Callable[[int], Schema | None],
    output: TextIO,
    progress: TextIO,
    embed: bool = False,
) -> int:
    """Write one line an alert to ``output``, with its embedding for its probabilities if so asked; returns how many
    failed.
    """
    infer = classifier.embed if embed else classifier.classify
    left_out = {"probabilities"} if embed else set()
    done = failures = 0
    placed = (item for file in files for item in read_file(file, schema=schema, schema_by_id=schema_by_id))
    while batch := list(itertools.islice(placed, BATCH_ALERTS)):
        decoded = alert_batch([reading for _, _, reading in batch])
        answers = pipeline.answer(classifier, decoded, infer=infer).results
        for (file, index, _), answer in zip(batch, answers, strict=True):
            if isinstance(answer, InvalidAlert):
                line = {"file": file, "index": index, "error": str(answer)}
                failures += 1
            else:
                line = {name: value for name, value in answer.items() if name not in left_out}
            output.write(json.dumps(line) + "\n")
        done += len(batch)
        if progress.isatty():
            progress.write(f"\r{done} alerts, {failures} failed")
    if progress.isatty():
        progress.write("\n")
    return failures


def read_file(file: str, *, schema: Schema | None, schema_by_id: Callable[[int], Schema | None]) -> Iterator[Placed]:
    """Every alert of a file, or the one reason that there is none."""
    try:
        data = Path(file).read_bytes()
    except OSError as error:
        yield file, 0, InvalidAlert(f"cannot be read: {error.strerror}")
        return
    try:
        for index, reading in enumerate(avro.readings(data, schema=schema, schema_by_id=schema_by_id)):
            yield file, index, reading
    except RegistryUnavailable as error:  # of a message, which is all that its file holds
        yield file, 0, InvalidAlert(str(error))


class InvalidSchema(ValueError):
    """A file that is no Avro schema."""


def read_schema(path: Path) -> Schema:
    """An ``.avsc``, with the types it names taken from files beside it. Raises InvalidSchema."""
    if not path.is_file():
        raise InvalidSchema(f"{path} is no file")
    try:
        schema: Schema = fastavro.schema.load_schema(str(path))
    except (OSError, ValueError, LookupError, TypeError, SchemaParseException, SchemaRepositoryError) as error:
        told = str(error) if isinstance(error, OSError | ValueError | SchemaParseException) else repr(error)
        raise InvalidSchema(f"{path} is no Avro schema: {' '.join(told.split())}") from error
    return schema

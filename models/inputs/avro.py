"""Avro bytes in any framing and schema version -> decoded records.

Four framings are told apart by their first bytes: gzip (unwrapped first), an Avro object container file ("Obj", 0x01;
one or many records, its own schema), Confluent's (0x00, schema id in 4 big-endian bytes, datum), and the bare datum.
A bare datum does not say what it was written with, so every bundled schema that consumes exactly all of its bytes is a
possible reading; ``alert`` chooses among them by what is plausible.
"""

import gzip
import io
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import fastavro
from fastavro.types import Schema

from models.inputs import schemas
from models.inputs.errors import InvalidAlert

Record = Mapping[str, Any]
Reading = Mapping[str, Record]
"""What one alert's bytes may say: records by the name of the schema that reads them. Nearly always one."""

MAX_UNCOMPRESSED_BYTES = 2**30
"""A gzip file that unpacks to more than this is refused before it fills the memory."""

_GZIP = b"\x1f\x8b"
_CONTAINER = b"Obj\x01"
_CONFLUENT_HEADER = struct.Struct(">BI")


def readings(data: bytes, *, schema: Schema | None = None) -> Iterator[Reading | InvalidAlert]:
    """Every alert in ``data``, in order; an InvalidAlert stands where one could not be read.

    ``schema``, parsed, is what bare and Confluent-framed datums were written with, where the caller knows it.
    A container that breaks off yields what came before the break, then one InvalidAlert.
    """
    plain = _unzipped(data)
    if isinstance(plain, InvalidAlert):
        yield plain
    elif plain.startswith(_CONTAINER):
        yield from _container(plain)
    else:
        yield message(plain, schema=schema)


def messages(data: bytes) -> Iterator[bytes | InvalidAlert]:
    """Every alert in a file's ``data`` as one message: a container's records as bare datums, anything else as it is.

    An InvalidAlert stands where a container breaks off.
    """
    plain = _unzipped(data)
    if isinstance(plain, InvalidAlert) or not plain.startswith(_CONTAINER):
        yield plain
        return
    try:
        reader = fastavro.reader(io.BytesIO(plain))
        for record in reader:
            stream = io.BytesIO()
            fastavro.schemaless_writer(stream, reader.writer_schema, record)
            yield stream.getvalue()
    except Exception as error:  # as in _container()
        yield InvalidAlert(f"the Avro container breaks off: {_told(error)}")


def message(
    data: bytes,
    *,
    schema: Schema | None = None,
    schema_by_id: Callable[[int], Schema | None] = schemas.rubin,
) -> Reading | InvalidAlert:
    """One alert in one message: Confluent-framed, with its schema from ``schema_by_id``, or bare.

    Raises whatever ``schema_by_id`` raises: a registry that cannot be reached says nothing about the alert.
    """
    if not data:
        return InvalidAlert("empty message")
    if schema is not None:
        return _with_schema(data, schema)
    framed = len(data) >= _CONFLUENT_HEADER.size and data[0] == 0
    if framed:
        _, schema_id = _CONFLUENT_HEADER.unpack_from(data)
        named = schema_by_id(schema_id)
        if named is not None:
            return _one(data[_CONFLUENT_HEADER.size :], named, f"schema id {schema_id}")
    possible: dict[str, Record] = {}
    for version, candidate in schemas.elasticc().items():
        try:
            possible[version] = datum(data, candidate)
        except InvalidAlert:
            continue
    if possible:
        return possible
    if framed:
        return InvalidAlert(
            f"schema id {schema_id} is not known here; Rubin's v7.0 to v11.1 need the extra 'rubin' (lsst-alert-packet)"
        )
    return InvalidAlert(f"{len(data)} bytes that no ELAsTiCC schema reads ({', '.join(schemas.elasticc())})")


def datum(data: bytes, schema: Schema) -> Record:
    """The record that ``schema`` reads from exactly these bytes.

    Raises InvalidAlert if it cannot, or if bytes are left over.
    """
    stream = io.BytesIO(data)
    try:
        record = fastavro.schemaless_reader(stream, schema)
    except Exception as error:  # arbitrary bytes raise nearly anything in a decoder; all of it means "not this schema"
        raise InvalidAlert(f"truncated or not of this schema: {_told(error)}") from error
    if stream.tell() != len(data):
        raise InvalidAlert(f"{len(data) - stream.tell()} bytes too many after the datum")
    if not isinstance(record, dict):
        raise InvalidAlert(f"a {type(record).__name__} where an alert record belongs")
    return record


def _with_schema(data: bytes, schema: Schema) -> Reading | InvalidAlert:
    bare = _one(data, schema, "the given schema")
    if isinstance(bare, InvalidAlert) and data[0] == 0:
        framed = _one(data[_CONFLUENT_HEADER.size :], schema, "the given schema")
        return bare if isinstance(framed, InvalidAlert) else framed
    return bare


def _one(data: bytes, schema: Schema, name: str) -> Reading | InvalidAlert:
    try:
        return {name: datum(data, schema)}
    except InvalidAlert as invalid:
        return InvalidAlert(f"{name}: {invalid}")


def _container(data: bytes) -> Iterator[Reading | InvalidAlert]:
    try:
        for record in fastavro.reader(io.BytesIO(data)):
            if not isinstance(record, dict):
                yield InvalidAlert(f"a {type(record).__name__} where an alert record belongs")
                continue
            yield {"container": record}
    except Exception as error:  # as in datum(): a broken file raises nearly anything
        yield InvalidAlert(f"the Avro container breaks off: {_told(error)}")


def _unzipped(data: bytes) -> bytes | InvalidAlert:
    if not data.startswith(_GZIP):
        return data
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            unpacked = stream.read(MAX_UNCOMPRESSED_BYTES + 1)
    except (OSError, EOFError, ValueError) as error:
        return InvalidAlert(f"broken gzip: {_told(error)}")
    if len(unpacked) > MAX_UNCOMPRESSED_BYTES:
        return InvalidAlert(f"unpacks to more than {MAX_UNCOMPRESSED_BYTES} bytes")
    return unpacked


def _told(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__

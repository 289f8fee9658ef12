"""Avro bytes in any framing and schema version -> decoded records.

Four framings are told apart by their first bytes: gzip (unwrapped first), an Avro object container file ("Obj", 0x01;
one or many records, its own schema), Confluent's (0x00, schema id in 4 big-endian bytes, datum), and the bare datum.
A bare datum does not say what it was written with, so every bundled schema that consumes exactly all of its bytes is a
possible reading; ``alert`` chooses among them by what is plausible.
"""

import bz2
import gzip
import io
import json
import lzma
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import fastavro
from fastavro.schema import parse_schema
from fastavro.types import Schema

from models.inputs import schemas
from models.inputs.errors import InvalidAlert, NotAnAlert, TooLarge

Record = Mapping[str, Any]
Reading = Mapping[str, Record]
"""What one alert's bytes may say: records by the name of the schema that reads them. Nearly always one."""

MAX_UNCOMPRESSED_BYTES = 2**30
"""A gzip file, or a container's blocks together, that unpack to more are refused before they fill the memory."""

_GZIP = b"\x1f\x8b"
_CONTAINER = b"Obj\x01"
_CONFLUENT_HEADER = struct.Struct(">BI")


def readings(
    data: bytes, *, schema: Schema | None = None, max_bytes: int = MAX_UNCOMPRESSED_BYTES
) -> Iterator[Reading | InvalidAlert]:
    """Every alert in ``data``, in order; an InvalidAlert stands where one could not be read.

    ``schema``, parsed, is what bare and Confluent-framed datums were written with, where the caller knows it.
    A container that breaks off yields what came before the break, then one InvalidAlert; so does one whose blocks
    unpack to more than ``max_bytes``, with TooLarge.
    """
    plain = _unzipped(data, max_bytes)
    if isinstance(plain, InvalidAlert):
        yield plain
    elif plain.startswith(_CONTAINER):
        yield from _container(plain, max_bytes)
    else:
        yield message(plain, schema=schema)


def messages(data: bytes) -> Iterator[bytes | InvalidAlert]:
    """Every alert in a file's ``data`` as one message: a container's records as bare datums, anything else as it is.

    An InvalidAlert stands where a container breaks off.
    """
    plain = _unzipped(data, MAX_UNCOMPRESSED_BYTES)
    if isinstance(plain, InvalidAlert) or not plain.startswith(_CONTAINER):
        yield plain
        return
    for record in _records(plain, MAX_UNCOMPRESSED_BYTES):
        yield record if isinstance(record, InvalidAlert) else record[0]


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
        return NotAnAlert("empty message")
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
        return NotAnAlert(
            f"schema id {schema_id} is not known here; Rubin's v7.0 to v11.1 need the extra 'rubin' (lsst-alert-packet)"
        )
    return NotAnAlert(f"{len(data)} bytes that no ELAsTiCC schema reads ({', '.join(schemas.elasticc())})")


def datum(data: bytes, schema: Schema) -> Record:
    """The record that ``schema`` reads from exactly these bytes.

    Raises InvalidAlert if it cannot, or if bytes are left over.
    """
    stream = io.BytesIO(data)
    try:
        record = fastavro.schemaless_reader(stream, schema)
    except Exception as error:  # arbitrary bytes raise nearly anything in a decoder; all of it means "not this schema"
        raise NotAnAlert(f"truncated or not of this schema: {_told(error)}") from error
    if stream.tell() != len(data):
        raise NotAnAlert(f"{len(data) - stream.tell()} bytes too many after the datum")
    if not isinstance(record, dict):
        raise NotAnAlert(f"a {type(record).__name__} where an alert record belongs")
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
        return NotAnAlert(f"{name}: {invalid}")


# --- containers ---------------------------------------------------------------------------------------------------


class _Unpacker(Protocol):
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


_SYNC_BYTES = 16
_XZ_BYTES = 2**27
"""What the unpacking of a block may need beside its result: xz's largest preset takes half of it."""

_CODECS: Mapping[str, Callable[[], _Unpacker]] = {
    "deflate": lambda: zlib.decompressobj(-zlib.MAX_WBITS),
    "bzip2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(memlimit=_XZ_BYTES),
}

_HEADER = parse_schema(
    {
        "type": "record",
        "name": "Header",
        "fields": [
            {"name": "magic", "type": {"type": "fixed", "name": "Magic", "size": len(_CONTAINER)}},
            {"name": "meta", "type": {"type": "map", "values": "bytes"}},
            {"name": "sync", "type": {"type": "fixed", "name": "Sync", "size": _SYNC_BYTES}},
        ],
    }
)
"""The head of an object container file (Avro 1.12 specification, "Object Container Files")."""


def _container(data: bytes, max_bytes: int) -> Iterator[Reading | InvalidAlert]:
    for one in _records(data, max_bytes):
        if isinstance(one, InvalidAlert):
            yield one
        elif isinstance(one[1], dict):
            yield {"container": one[1]}
        else:
            yield NotAnAlert(f"a {type(one[1]).__name__} where an alert record belongs")


def _records(data: bytes, max_bytes: int) -> Iterator[tuple[bytes, Any] | InvalidAlert]:
    """Each record of a container as bytes and as what they say; where it breaks off, the reason.

    fastavro's own reader unpacks whatever a block holds: a few kilobytes may become gigabytes.
    """
    stream = io.BytesIO(data)
    try:
        header: Any = fastavro.schemaless_reader(stream, _HEADER)
        schema = parse_schema(json.loads(header["meta"]["avro.schema"]))
        codec = header["meta"].get("avro.codec", b"null").decode()
        while stream.tell() < len(data):
            count, size = _long(stream), _long(stream)
            packed = stream.read(size)
            plain = packed if codec == "null" else _unpacked(packed, codec, max_bytes)
            max_bytes -= 0 if codec == "null" else len(plain)
            block = io.BytesIO(plain)
            for _ in range(count):
                start = block.tell()
                record = fastavro.schemaless_reader(block, schema)
                if block.tell() == start:
                    raise ValueError("a record of no bytes: a block may claim any number of those")
                yield plain[start : block.tell()], record
            if stream.read(_SYNC_BYTES) != header["sync"]:
                raise ValueError("a block does not end where it says")
    except TooLarge as error:
        yield error
    except Exception as error:  # as in datum(): a broken file raises nearly anything
        yield NotAnAlert(f"the Avro container breaks off: {_told(error)}")


def _long(stream: io.BytesIO) -> int:
    value: Any = fastavro.schemaless_reader(stream, "long")
    return int(value)


def _unpacked(packed: bytes, codec: str, max_bytes: int) -> bytes:
    if codec not in _CODECS:
        raise ValueError(f"codec {codec} is not read here: null, {', '.join(_CODECS)}")
    plain = _CODECS[codec]().decompress(packed, max_bytes + 1)
    if len(plain) > max_bytes:
        raise TooLarge("the Avro container unpacks to more than is allowed")
    return plain


def _unzipped(data: bytes, max_bytes: int) -> bytes | InvalidAlert:
    if not data.startswith(_GZIP):
        return data
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            unpacked = stream.read(max_bytes + 1)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        return NotAnAlert(f"broken gzip: {_told(error)}")
    if len(unpacked) > max_bytes:
        return TooLarge(f"unpacks to more than {max_bytes} bytes")
    return unpacked


def _told(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__

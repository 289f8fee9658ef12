"""Avro bytes in any framing and schema version -> decoded records.

Four framings are told apart by their first bytes: gzip (unwrapped first), an Avro object container file ("Obj", 0x01;
one or many records, its own schema), Confluent's (0x00, schema id in 4 big-endian bytes, datum), and the bare datum.
A bare datum does not say what it was written with, so every bundled schema that consumes exactly all of its bytes is a
possible reading; ``alert`` chooses among them by what is plausible.
"""

import bz2
import functools
import gzip
import io
import json
import lzma
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

import fastavro
from fastavro import _read_py as slow_reader
from fastavro.io.binary_decoder import BinaryDecoder
from fastavro.schema import parse_schema
from fastavro.types import Schema

from models.inputs import columnar, schemas
from models.inputs.errors import InvalidAlert, NotAnAlert, TooLarge
from models.inputs.readable import MAX_ALERT_BYTES, Readable, readable, remembered

Record = Mapping[str, Any]
Reading = Mapping[str, Record]
"""What one alert's bytes may say: records by the name of the schema that reads them. Nearly always one."""


@dataclass(frozen=True)
class Unread:
    """One alert's bytes, and the schemas that it may have been written with, by name: exactly one is to read it."""

    data: bytes
    schemas: Mapping[str, Schema]

    def read(self) -> Reading | InvalidAlert:
        """What it says, or why it says nothing."""
        if self.schemas is schemas.elasticc():
            return _bare(self.data)
        ((name, schema),) = self.schemas.items()
        return _one(self.data, schema, name)


MAX_UNCOMPRESSED_BYTES = 2**30
"""A gzip file, or a container's blocks together, that unpack to more are refused before they fill the memory."""

PART_BYTES = 2**17
"""Of alerts that are read at once, where memory matters: some ten of ELAsTiCC's."""

Framed = Unread | Reading | InvalidAlert
"""What is made of one message's bytes. Most are not read yet: many are read faster together."""

_GZIP = b"\x1f\x8b"
_CONTAINER = b"Obj\x01"
_CONFLUENT_HEADER = struct.Struct(">BI")
_RUBIN_ALERT = re.compile(r"lsst\.v(\d+)_(\d+)\.alert")
"""Its version is its id in Rubin's registry: 1101 is v11.1."""


def readings(
    data: bytes,
    *,
    schema: Schema | None = None,
    schema_by_id: Callable[[int], Schema | None] = schemas.rubin,
    max_bytes: int = MAX_UNCOMPRESSED_BYTES,
) -> Iterator[Reading | InvalidAlert]:
    """Every alert in ``data``, in order; an InvalidAlert stands where one could not be read.

    ``schema``, parsed, is what bare and Confluent-framed datums were written with, where the caller knows it; else
    ``schema_by_id`` knows those of framed ones. Raises whatever that raises.
    A container that breaks off yields what came before the break, then one InvalidAlert; so does one whose blocks
    unpack to more than ``max_bytes``, with TooLarge.
    """
    for _, reading in _sized(data, schema=schema, schema_by_id=schema_by_id, max_bytes=max_bytes):
        yield reading


def parts(
    data: bytes,
    *,
    schema_by_id: Callable[[int], Schema | None] = schemas.rubin,
    max_bytes: int = MAX_UNCOMPRESSED_BYTES,
) -> Iterator[list[Reading | InvalidAlert]]:
    """``readings`` a few at a time, for who makes something smaller of each part and drops it.

    What is read takes up to 200 times its bytes: a part is of PART_BYTES, or of one alert.
    """
    part: list[Reading | InvalidAlert] = []
    size = 0
    for length, reading in _sized(data, schema=None, schema_by_id=schema_by_id, max_bytes=max_bytes):
        if part and size + length > PART_BYTES:
            yield part
            part, size = [], 0
        part.append(reading)
        size += length
    if part:
        yield part


def _sized(
    data: bytes, *, schema: Schema | None, schema_by_id: Callable[[int], Schema | None], max_bytes: int
) -> Iterator[tuple[int, Reading | InvalidAlert]]:
    """``readings``, each with the number of its bytes."""
    plain = _unzipped(data, max_bytes)
    if isinstance(plain, InvalidAlert):
        yield 0, plain
    elif plain.startswith(_CONTAINER):
        for one in _records(plain, max_bytes):
            yield (0, one) if isinstance(one, InvalidAlert) else (len(one[0]), {"container": one[1]})
    else:
        yield len(plain), message(plain, schema=schema, schema_by_id=schema_by_id)


def messages(data: bytes) -> Iterator[bytes | InvalidAlert]:
    """Every alert in a file's ``data`` as one message, anything but a container as it is.

    A container's records are bare datums, Rubin's framed with their schema's id. An InvalidAlert stands where a
    container breaks off, and for a record that without its container nothing here could read.
    """
    plain = _unzipped(data, MAX_UNCOMPRESSED_BYTES)
    if isinstance(plain, InvalidAlert) or not plain.startswith(_CONTAINER):
        yield plain
        return
    for record in _records(plain, MAX_UNCOMPRESSED_BYTES):
        yield record if isinstance(record, InvalidAlert) else _alone(record[0], record[2])


def _alone(datum_: bytes, schema_name: str) -> bytes | InvalidAlert:
    """A container's record as a message that says what it is without the container's schema."""
    version = _RUBIN_ALERT.fullmatch(schema_name)
    framed = _CONFLUENT_HEADER.pack(0, 100 * int(version[1]) + int(version[2])) + datum_ if version else datum_
    reading = message(framed)
    if isinstance(reading, InvalidAlert):
        return NotAnAlert(f"a record of {schema_name} out of its container: {reading}")
    return framed


def message(
    data: bytes,
    *,
    schema: Schema | None = None,
    schema_by_id: Callable[[int], Schema | None] = schemas.rubin,
) -> Reading | InvalidAlert:
    """One alert in one message, read: see ``unread``. ``schema``, where the caller knows it, as in ``readings``."""
    if schema is not None:
        return _with_schema(data, schema) if data else NotAnAlert("empty message")
    framed = unread(data, schema_by_id=schema_by_id)
    return framed.read() if isinstance(framed, Unread) else framed


def unread(data: bytes, *, schema_by_id: Callable[[int], Schema | None] = schemas.rubin) -> Framed:
    """One alert in one message: Confluent-framed, with its schema from ``schema_by_id``, or bare.

    ``alert`` reads many together. Raises whatever ``schema_by_id`` raises: a registry that cannot be reached says
    nothing about the alert.
    """
    if not data:
        return NotAnAlert("empty message")
    if data[0] != 0 or len(data) < _CONFLUENT_HEADER.size:
        return Unread(data, schemas.elasticc())
    _, schema_id = _CONFLUENT_HEADER.unpack_from(data)
    named = schema_by_id(schema_id)
    if named is not None:
        return Unread(data[_CONFLUENT_HEADER.size :], {f"schema id {schema_id}": named})
    bare = _bare(data)  # of an alertId 0
    if isinstance(bare, NotAnAlert) and not isinstance(bare, TooLarge):
        return NotAnAlert(
            f"schema id {schema_id} is not known here (Rubin's v7.0 to v11.1 need the extra 'rubin', lsst-alert-packet)"
        )
    return bare


def _bare(data: bytes) -> Reading | InvalidAlert:
    if len(data) > MAX_ALERT_BYTES:
        return TooLarge(f"{len(data)} bytes, and an alert has at most {MAX_ALERT_BYTES}")
    possible: dict[str, Record] = {}
    why: dict[str, InvalidAlert] = {}
    for version, candidate in schemas.elasticc().items():
        try:
            possible[version] = datum(data, candidate)
        except InvalidAlert as invalid:
            why[version] = invalid
    if possible:
        return possible
    told = "; ".join(f"{version}: {invalid}" for version, invalid in why.items())
    return NotAnAlert(f"{len(data)} bytes that no ELAsTiCC schema reads ({told})")


def datum(data: bytes, schema: Schema) -> Record:
    """The record that ``schema`` reads from exactly these bytes.

    Raises InvalidAlert if it cannot, or if bytes are left over. What was found out of the schema is remembered.
    """
    stream = io.BytesIO(data)
    try:
        known = remembered(schema)
        if len(data) > known.max_bytes:
            raise TooLarge(f"{len(data)} bytes, and an alert has at most {known.max_bytes}")
        record: Any = fastavro.schemaless_reader(stream, known.form)
        if stream.tell() != len(data):
            raise NotAnAlert(f"{len(data) - stream.tell()} bytes too many after the datum")
        _must_be_exact(data, record, known)
    except InvalidAlert:
        raise
    except Exception as error:  # arbitrary bytes raise nearly anything in a decoder; all of it means "not this schema"
        raise NotAnAlert(_told(error)) from error
    return cast(Record, record)


_IS_HIGH = bytes(byte >= 0x80 for byte in range(256))
_LONG_RUN = b"\x01" * 9
_BEYOND_64_BITS = re.compile(rb"[\x80-\xff]{9}[^\x00\x01]|\xff{9}\x01")
"""What a number of more than 64 bits contains, and -2^63, a count whose negative has more. Neighbours may look so."""


def _must_be_exact(data: bytes, record: Record, known: Readable) -> None:
    """Raises ValueError for a number of more than 64 bits, of which fastavro's compiled reader loses the upper ones.

    It also takes an array of -2^63 items for an empty one: EOFError.
    What looks like one, as a long id behind a float easily does, is followed once more by a compiled program that
    keeps them, and what that refuses is read by fastavro's reader in Python, which names the fault.
    """
    if _LONG_RUN not in data.translate(_IS_HIGH):
        return
    others = data
    for value in record.values():
        if isinstance(value, bytes):  # a cutout looks like anything
            others = others.replace(value, b"", 1)
    if _BEYOND_64_BITS.search(others):
        checker = _checker(known)
        if checker is not None and checker.read([data]).read[0]:
            return
        named = {"writer": known.form["__named_schemas"], "reader": {}}
        slow_reader.read_data(_Exact(io.BytesIO(data)), known.form, named)  # type: ignore[no-untyped-call]


@functools.lru_cache(maxsize=64)
def _checker(known: Readable) -> columnar.Program | None:
    return columnar.checker(known.form, max_bytes=known.max_bytes)


class _Exact(BinaryDecoder):
    """fastavro's decoder in Python, for numbers of 64 bits only."""

    def read_long(self) -> int:
        value: int = super().read_long()  # type: ignore[no-untyped-call]
        if not -(2**63) <= value < 2**63:
            raise ValueError("a number of more than 64 bits")
        return value

    read_int = read_long


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
        return type(invalid)(f"{name}: {invalid}")


# --- containers ---------------------------------------------------------------------------------------------------


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...
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


def _records(data: bytes, max_bytes: int) -> Iterator[tuple[bytes, Record, str] | InvalidAlert]:
    """Each record of a container: its bytes, what they say, its schema's name; where it breaks off, the reason.

    fastavro's own reader unpacks whatever a block holds: a few kilobytes may become gigabytes.
    """
    stream = io.BytesIO(data)
    try:
        header: Any = fastavro.schemaless_reader(stream, _HEADER)
        if "avro.schema" not in header["meta"]:
            raise ValueError("its head names no schema")
        schema: Any = parse_schema(json.loads(header["meta"]["avro.schema"]))
        known = readable(schema)
        codec = header["meta"].get("avro.codec", b"null").decode()
        while stream.tell() < len(data):
            count, size = _long(stream), _long(stream)
            if count < 0 or size < 0:
                raise ValueError("a block of less than nothing")
            packed = stream.read(size)
            plain = packed if codec == "null" else _unpacked(packed, codec, max_bytes)
            max_bytes -= 0 if codec == "null" else len(plain)
            yield from ((*one, schema["name"]) for one in _of_block(plain, count, known))
            if stream.read(_SYNC_BYTES) != header["sync"]:
                raise ValueError("a block does not end where it says")
    except TooLarge as error:
        yield error
    except Exception as error:  # as in datum(): a broken file raises nearly anything
        yield NotAnAlert(f"the Avro container breaks off: {_told(error)}")


def _of_block(plain: bytes, count: int, known: Readable) -> Iterator[tuple[bytes, Record]]:
    """Its records, none of more than ``known.max_bytes``. Raises TooLarge, or whatever a reader does."""
    base, block = 0, io.BytesIO(plain[: known.max_bytes])
    while count > 0:
        start = block.tell()
        try:
            record: Any = fastavro.schemaless_reader(block, known.form)
        except Exception as error:
            has_ended = block.tell() == known.max_bytes  # what was looked at: else the record is broken
            if base + known.max_bytes >= len(plain) or not has_ended:
                raise
            if not start:
                raise TooLarge(f"an alert has at most {known.max_bytes} bytes") from error
            base += start  # the record may only be at the end of what was looked at: look at it from its beginning
            block = io.BytesIO(plain[base : base + known.max_bytes])
            continue
        if block.tell() == start:
            raise ValueError("a record of no bytes: a block may claim any number of those")
        datum_ = plain[base + start : base + block.tell()]
        _must_be_exact(datum_, record, known)
        yield datum_, record
        count -= 1
    if base + block.tell() != len(plain):
        raise ValueError(f"{len(plain) - base - block.tell()} bytes too many after the records of a block")


def _long(stream: io.BytesIO) -> int:
    value: Any = fastavro.schemaless_reader(stream, "long")
    return int(value)


def _unpacked(packed: bytes, codec: str, max_bytes: int) -> bytes:
    if codec not in _CODECS:
        raise ValueError(f"codec {codec} is not read here: null, {', '.join(_CODECS)}")
    unpacker = _CODECS[codec]()
    plain = unpacker.decompress(packed, max_bytes + 1)
    if len(plain) > max_bytes:
        raise TooLarge("the Avro container unpacks to more than is allowed")
    if not unpacker.eof:
        raise EOFError
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
    """What is wrong with bytes that a decoder failed on, in words for a person."""
    if isinstance(error, EOFError):
        return "truncated: it promises more than there is"
    if isinstance(error, UnicodeDecodeError):
        return f"a text that is not UTF-8 ({error.reason})"
    if isinstance(error, (KeyError, IndexError)):
        return f"a choice that the schema does not have ({_in_one_line(error)})"
    if isinstance(error, RecursionError):
        return "its schema nests too deep"
    return _in_one_line(error)


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__

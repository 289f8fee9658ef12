"""A second Avro decoder, written from the specification (1.12) and refusing whatever it does not allow.

It shares no code with fastavro. It is slow, and follows any schema: for checking what the real decoder has accepted.
Three things are let through as the real one lets them through, for they change no value that is used: a boolean that is
neither 0 nor 1 is true, an int may have 64 bits, and the size in bytes that a block may state is not compared.
"""

import json
import lzma
import struct
import zlib
from bz2 import BZ2Decompressor
from collections.abc import Callable, Iterator
from typing import Any

from fastavro.schema import parse_schema

Decode = Callable[[bytes, int], tuple[Any, int]]
"""Bytes and a place in them -> the value there, and the place behind it."""


class Wrong(Exception):
    """Bytes that the schema does not describe."""


def decoder(schema: Any) -> Decode:
    """The decoder of a schema as fastavro parses it. It raises Wrong."""
    return _decoder(schema, {}, schema.get("__named_schemas", {}) if isinstance(schema, dict) else {})


def decode(data: bytes, read: Decode) -> Any:
    """The value that all of ``data`` is. Raises Wrong."""
    value, end = read(data, 0)
    if end != len(data):
        raise Wrong(f"{len(data) - end} bytes are left")
    return value


def container(data: bytes) -> Iterator[Any]:
    """The records of an object container file. Raises Wrong where it breaks off."""
    header, place = _HEADER(data, 0)
    try:
        read = decoder(parse_schema(json.loads(header["meta"]["avro.schema"])))
        unpack = _CODECS[header["meta"].get("avro.codec", b"null").decode()]
    except Exception as error:
        raise Wrong("no schema, or no codec") from error
    while place < len(data):
        count, place = _long(data, place)
        size, place = _long(data, place)
        if size < 0:
            raise Wrong("a block of less than nothing")
        packed, place = data[place : place + size], place + size  # of one that breaks off, what there is
        try:
            plain = unpack(packed)
        except Exception as error:
            raise Wrong("a block that does not unpack") from error
        end = 0
        for _ in range(count):
            record, end = read(plain, end)
            yield record
        if end != len(plain) or count < 0:
            raise Wrong("a block of another size than its records")
        sync, place = _bytes_of(16)(data, place)
        if sync != header["sync"]:
            raise Wrong("no sync marker")


def _complete(unpacker: Any, packed: bytes) -> bytes:
    plain: bytes = unpacker.decompress(packed)
    if not unpacker.eof:
        raise Wrong("a block that breaks off")
    return plain


_CODECS: dict[str, Callable[[bytes], bytes]] = {
    "null": lambda packed: packed,
    "deflate": lambda packed: _complete(zlib.decompressobj(-15), packed),
    "bzip2": lambda packed: _complete(BZ2Decompressor(), packed),
    "xz": lambda packed: _complete(lzma.LZMADecompressor(), packed),
}


def _long(data: bytes, place: int) -> tuple[int, int]:
    raw = shift = 0
    while True:
        if place >= len(data):
            raise Wrong("a number breaks off")
        byte = data[place]
        place += 1
        raw |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    if raw >= 2**64:
        raise Wrong("a number of more than 64 bits")
    return (raw >> 1) ^ -(raw & 1), place


def _bytes_of(size: int) -> Decode:
    def read(data: bytes, place: int) -> tuple[bytes, int]:
        if size < 0 or place + size > len(data):
            raise Wrong(f"no {size} bytes are left")
        return data[place : place + size], place + size

    return read


def _bytes(data: bytes, place: int) -> tuple[bytes, int]:
    size, place = _long(data, place)
    value, place = _bytes_of(size)(data, place)
    return value, place


def _string(data: bytes, place: int) -> tuple[str, int]:
    value, place = _bytes(data, place)
    try:
        return value.decode("utf-8"), place
    except UnicodeDecodeError as error:
        raise Wrong("no UTF-8") from error


def _packed(form: str) -> Decode:
    pack = struct.Struct(form)

    def read(data: bytes, place: int) -> tuple[Any, int]:
        if place + pack.size > len(data):
            raise Wrong("a value breaks off")
        return pack.unpack_from(data, place)[0], place + pack.size

    return read


_boolean = _packed("<B")

_PRIMITIVES: dict[str, Decode] = {
    "null": lambda _, place: (None, place),
    "boolean": lambda data, place: ((read := _boolean(data, place))[0] != 0, read[1]),
    "int": _long,
    "long": _long,
    "float": _packed("<f"),
    "double": _packed("<d"),
    "bytes": _bytes,
    "string": _string,
}


def _blocks(data: bytes, place: int, read: Decode) -> tuple[list[Any], int]:
    items: list[Any] = []
    while True:
        count, place = _long(data, place)
        if count == 0:
            return items, place
        if count < 0:
            _, place = _long(data, place)
        for _ in range(abs(count)):
            item, place = read(data, place)
            items.append(item)


def _pick(data: bytes, place: int, choices: list[Any]) -> tuple[Any, int]:
    number, place = _long(data, place)
    if not 0 <= number < len(choices):
        raise Wrong(f"choice {number} of {len(choices)}")
    return choices[number], place


def _decoder(schema: Any, made: dict[str, Decode], named: dict[str, Any]) -> Decode:
    if isinstance(schema, list):
        branches = [_decoder(branch, made, named) for branch in schema]

        def union(data: bytes, place: int) -> tuple[Any, int]:
            read, place = _pick(data, place, branches)
            value: tuple[Any, int] = read(data, place)
            return value

        return union
    if isinstance(schema, str):
        if schema in _PRIMITIVES:
            return _PRIMITIVES[schema]
        if schema not in made:
            _decoder(named[schema], made, named)
        return lambda data, place: made[schema](data, place)  # noqa: PLW0108 - of a recursive one, not made yet
    return _of_dict(schema, made, named)


def _of_dict(schema: Any, made: dict[str, Decode], named: dict[str, Any]) -> Decode:
    kind = schema["type"]
    if kind == "array":
        items = _decoder(schema["items"], made, named)
        return lambda data, place: _blocks(data, place, items)
    if kind == "map":
        values = _decoder(schema["values"], made, named)

        def entry(data: bytes, place: int) -> tuple[Any, int]:
            key, place = _string(data, place)
            value, place = values(data, place)
            return (key, value), place

        return lambda data, place: (dict((read := _blocks(data, place, entry))[0]), read[1])
    if kind == "fixed":
        made[schema["name"]] = _bytes_of(schema["size"])
    elif kind == "enum":
        symbols = list(schema["symbols"])
        made[schema["name"]] = lambda data, place: _pick(data, place, symbols)
    elif kind == "record":
        fields: list[tuple[str, Decode]] = []

        def record(data: bytes, place: int) -> tuple[Any, int]:
            values = {}
            for name, read in fields:
                values[name], place = read(data, place)
            return values, place

        made[schema["name"]] = record
        fields += [(field["name"], _decoder(field["type"], made, named)) for field in schema["fields"]]
    else:
        return _decoder(kind, made, named)
    return made[schema["name"]]


_HEADER = decoder(
    parse_schema(
        {
            "type": "record",
            "name": "ReferenceHeader",
            "fields": [
                {"name": "magic", "type": {"type": "fixed", "name": "ReferenceMagic", "size": 4}},
                {"name": "meta", "type": {"type": "map", "values": "bytes"}},
                {"name": "sync", "type": {"type": "fixed", "name": "ReferenceSync", "size": 16}},
            ],
        }
    )
)

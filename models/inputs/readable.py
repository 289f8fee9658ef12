"""What a schema from outside may do to its reader: bounded in memory and depth, and read as the specification says.

fastavro trusts the schema. It follows a recursive one until the process's stack ends, reads an array of items of no
bytes for as long as the datum claims, and takes a negative number of a union's branch from the end of the list. A
Readable is a schema without these.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fastavro.types import Schema

from models.inputs.errors import NotAnAlert

MAX_ALERT_BYTES = 2**23
"""A longer datum is no alert: real packets have up to 140 KB, 100,000 points of ELAsTiCC's 5 MB."""

MAX_ALERT_MEMORY = 2**29
"""What one datum may become in memory. ELAsTiCC's and Rubin's schemas reach MAX_ALERT_BYTES before it."""

MAX_DEPTH = 32
"""Types within each other. Rubin's alerts have 6: alert, union, array, source, union, number."""


@dataclass(frozen=True, eq=False)
class Readable:
    """A schema and how to read with it; equal to itself only, as what is made of it is remembered by it."""

    schema: Schema
    """As it was given: while it is here, no other object has its id."""
    form: dict[str, Any]
    """For fastavro's reader. It looks up branches and symbols by number: in a dict a wrong number is not there."""
    max_bytes: int
    """A longer datum could need more than MAX_ALERT_MEMORY."""


def readable(schema: Schema) -> Readable:
    """A parsed schema, checked. Raises NotAnAlert if its datums cannot be read within bounds, or are no records."""
    if not isinstance(schema, dict) or schema.get("type") != "record":
        raise NotAnAlert("its schema describes no record, and an alert is one")
    named = schema.get("__named_schemas", {})
    size = _Sizes(named).of(schema)
    if size.memory > MAX_ALERT_MEMORY / 2:
        raise NotAnAlert("its schema describes more than fits into the memory")
    max_bytes = size.least + int((MAX_ALERT_MEMORY - size.memory) / max(size.rate, 1.0))
    form = _form(schema) | {"__named_schemas": {name: _form(kind) for name, kind in named.items()}}
    return Readable(schema, form, min(max_bytes, MAX_ALERT_BYTES))


_known: dict[int, Readable] = {}


def remembered(schema: Schema) -> Readable:
    """``readable``, worked out once: for schemas that are kept, such as bundled ones and a registry's."""
    known = _known.get(id(schema))
    if known is None:
        known = _known[id(schema)] = readable(schema)
    return known


# --- bounds -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Size:
    """A value of a type in n bytes needs at most ``memory + rate * (n - least)`` bytes of memory."""

    least: int
    memory: float
    rate: float
    height: int = 0
    """Types within it."""


# Measured with sys.getsizeof on 64-bit CPython, rounded up.
_REFERENCE = 9
_LIST, _DICT, _DICT_ENTRY = 100, 250, 60
_PRIMITIVES = {
    "null": _Size(0, 0, 0),
    "boolean": _Size(1, 0, 0),
    "int": _Size(1, 40, 1),
    "long": _Size(1, 40, 1),
    "float": _Size(4, 24, 0),
    "double": _Size(8, 24, 0),
    "bytes": _Size(1, 40, 1),
    "string": _Size(1, 64, 4),  # one character beyond the basic plane makes every other take 4 bytes
    "enum": _Size(1, 0, 0),
}
_KEY = _Size(1, _DICT_ENTRY + 64, 4)


class _Sizes:
    """The sizes of a schema's types."""

    def __init__(self, named: Mapping[str, Any]) -> None:
        self._named = named
        self._known: dict[str, _Size] = {}
        self._within: list[str] = []

    def of(self, kind: Any) -> _Size:
        """The size of a type. Raises NotAnAlert if it has no bounds."""
        size = self._of(kind)
        if size.height > MAX_DEPTH:
            raise NotAnAlert(f"its schema has more than {MAX_DEPTH} types within each other")
        return size

    def _of(self, kind: Any) -> _Size:
        if isinstance(kind, list):
            return _union([self.of(branch) for branch in kind])
        if isinstance(kind, str):
            return _PRIMITIVES[kind] if kind in _PRIMITIVES else self._by_name(kind, self._named[kind])
        name = kind["type"]
        if name == "fixed":
            return _Size(_not_negative(kind["size"]), 40 + kind["size"], 0)
        if name in ("array", "map"):
            return self._of_many(kind)
        return self._by_name(kind["name"], kind) if "fields" in kind else self.of(name)

    def _by_name(self, name: str, kind: Any) -> _Size:
        if "fields" not in kind:  # an enum or fixed
            return self._of(kind)
        if name in self._within:
            raise NotAnAlert(f"its schema's {name} contains itself: an alert ends somewhere")
        if name not in self._known:
            self._within.append(name)
            sizes = [self.of(field["type"]) for field in kind["fields"]]
            self._known[name] = _joined(sizes, _DICT + _DICT_ENTRY * len(sizes))
            self._within.pop()
        return self._known[name]

    def _of_many(self, kind: Any) -> _Size:
        """An array or a map: as much as its worst items, one beside the other."""
        is_map = kind["type"] == "map"
        values = kind["values" if is_map else "items"]
        branches = [_union([self.of(branch)]) for branch in values] if isinstance(values, list) else [self.of(values)]
        items = [_joined([_KEY, branch], 0) for branch in branches] if is_map else branches
        if not all(item.least for item in items):
            raise NotAnAlert("its schema has an array of items of no bytes: a datum may claim any number of those")
        rate = max((max((_REFERENCE + item.memory) / item.least, item.rate) for item in items), default=0.0)
        return _Size(1, _DICT if is_map else _LIST, rate, 1 + max((item.height for item in items), default=0))


def _not_negative(size: int) -> int:
    if size < 0:
        raise NotAnAlert("its schema has a fixed value of less than no bytes")
    return size


def _joined(sizes: Iterable[_Size], own: float) -> _Size:
    """One after the other, in a value that needs ``own`` memory itself."""
    together = list(sizes)
    return _Size(
        sum(size.least for size in together),
        own + sum(size.memory for size in together),
        max((size.rate for size in together), default=0.0),
        1 + max((size.height for size in together), default=0),
    )


def _union(branches: list[_Size]) -> _Size:
    """Any of them: a bound, and no tighter than it must be for a field that may be null."""
    return _Size(
        1 + min((size.least for size in branches), default=0),
        max((size.memory for size in branches), default=0.0),
        max((size.rate for size in branches), default=0.0),
        1 + max((size.height for size in branches), default=0),
    )


# --- the form for fastavro ----------------------------------------------------------------------------------------


def _form(kind: Any) -> Any:
    """The type for fastavro's reader: branches and symbols by number, and values as they are on the wire.

    Without logical types: nothing here uses them, and a decimal of a megabyte takes minutes to make.
    """
    if isinstance(kind, list):
        return {"type": "union", **{number: _form(branch) for number, branch in enumerate(kind)}}
    if not isinstance(kind, dict):
        return kind
    form = {name: value for name, value in kind.items() if name != "logicalType"}
    form |= {name: _form(form[name]) for name in ("type", "items", "values") if name in form}
    if "fields" in form:
        form["fields"] = [{**field, "type": _form(field["type"])} for field in form["fields"]]
    if "symbols" in form:
        form["symbols"] = dict(enumerate(form["symbols"]))
    return form

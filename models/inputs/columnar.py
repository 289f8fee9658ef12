"""Many Avro datums of one schema at once -> the few columns that are wanted of them.

A schema becomes a program of simple steps, and a compiled loop follows it through every datum, putting what is wanted
into arrays and stepping over the rest, which it checks as strictly. It says yes or no to a datum, never why not: one
that it refuses, and it refuses whatever is rare, is for a reader of records to read, or to name the fault of.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from models.arrays import BoolArray, FloatArray, IntArray
from models.inputs import ragged
from models.inputs.compiled import compiled
from models.inputs.readable import MAX_DEPTH

NO_WHOLE = -(2**63)
"""A whole number that a datum does not give."""


@dataclass(frozen=True)
class Sink:
    """A field to keep, and the column that it goes to.

    ``whole`` and ``flag`` go to the whole numbers, and so does ``code``, a text's place among the symbols.
    """

    kind: Literal["whole", "flag", "code", "number"]
    column: int
    nullable: bool = False
    """Whether it may be null, and its column then says NO_WHOLE, or NaN; if not, such a datum is refused."""
    optional: bool = False
    """Whether the schema need not have it, which is as if it were null."""
    of_row: bool = False
    """Whether it is the datum's own, though it stands in an item."""


@dataclass(frozen=True)
class Fields:
    """A record to look into: what is wanted of it, and whether each such record begins an item of the datum's list."""

    wanted: "Mapping[str, Sink | Fields]"
    item: int | None = None
    """A mark by which the item can be told from those of other lists."""
    present: int | None = None
    """Column of whole numbers that becomes 1 where the record is there."""
    many: bool = False
    """Whether it is an array of such records."""
    nullable: bool = False
    optional: bool = False


@dataclass(frozen=True)
class Columns:
    """N datums' values, and those of their items, which lie end to end; only rows that were ``read`` mean something."""

    read: BoolArray
    """(N,)"""
    whole: IntArray
    """(N, W)"""
    number: FloatArray
    """(N, F)"""
    known: BoolArray
    """(N, F), False where a number is null or absent."""
    offsets: IntArray
    """(N + 1,)"""
    mark: NDArray[np.int8]
    """(I,), which list each item is from."""
    item_whole: IntArray
    """(I, V)"""
    item_number: FloatArray
    """(I, G)"""


@dataclass(frozen=True)
class Program:
    """How to read datums of one schema."""

    steps: IntArray
    """(S, 4): what to do, and with which numbers."""
    branches: IntArray
    """Where the branches of the unions begin, one union after the other."""
    symbols: IntArray
    """(256,), the code of each text of one byte; -1 for one that is refused."""
    widths: tuple[int, int, int, int]
    """Columns: a row's whole and other numbers, an item's whole and other numbers."""
    max_bytes: int
    """A longer datum is refused."""

    def read(self, datums: Sequence[bytes]) -> Columns:
        """What each datum gives; one is ``read`` only if the schema reads exactly its bytes."""
        n = len(datums)
        data = np.frombuffer(b"".join(datums), dtype=np.uint8)
        starts = ragged.offsets_of(np.fromiter(map(len, datums), dtype=np.int64, count=n))
        whole = np.full((n, self.widths[0]), NO_WHOLE)
        number = np.full((n, self.widths[1]), np.nan)
        known = np.zeros(number.shape, dtype=np.bool_)
        counts = np.zeros(n, dtype=np.int64)
        read = np.zeros(n, dtype=np.bool_)
        room = _ITEMS_A_DATUM * n
        mark = np.empty(room, dtype=np.int8)
        item_whole = np.empty((room, self.widths[2]), dtype=np.int64)
        item_number = np.empty((room, self.widths[3]))
        row = items = 0
        while True:
            row, items = _follow(
                *(self.steps, self.branches, self.symbols, self.max_bytes, data, starts, row, items),
                *(read, whole, number, known, counts, mark, item_whole, item_number),
            )
            if row == n:
                break
            mark, item_whole, item_number = (_twice_as_long(array) for array in (mark, item_whole, item_number))
        return Columns(
            read=read,
            whole=whole,
            number=number,
            known=known,
            offsets=ragged.offsets_of(counts),
            mark=mark[:items],
            item_whole=item_whole[:items],
            item_number=item_number[:items],
        )


_ITEMS_A_DATUM = 64


def _twice_as_long(array: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([array, np.empty_like(array)])


# --- schema -> program ---------------------------------------------------------------------------------------------


class _Step(IntEnum):
    END = 0
    REFUSE = 1
    NUMBER = 2
    SKIP = 3
    BYTES = 4
    TEXT = 5
    CHOICE = 6
    UNION = 7
    JUMP = 8
    ARRAY = 9
    NEXT = 10
    ITEM = 11
    PRESENT = 12
    PUT_INTEGER = 13
    PUT_FLOAT = 14
    PUT_DOUBLE = 15
    PUT_FLAG = 16
    PUT_CODE = 17


_MAX_STEPS = 20_000

_SKIPPED = {"boolean": 1, "float": 4, "double": 8}
_INTEGERS = ("int", "long")
_COMPLEX = {"record", "error", "enum", "fixed", "array", "map"}


def program(
    form: Mapping[str, Any],
    fields: Fields,
    *,
    symbols: Mapping[str, int],
    widths: tuple[int, int, int, int],
    max_bytes: int,
) -> Program | None:
    """The program for a schema as ``readable`` gives it, or None for one too long to be spelled out.

    ``symbols`` are the codes of texts, of one ASCII character each.
    """
    writer = _Writer(form["__named_schemas"])
    try:
        writer.write(form, fields)
    except _TooLongError:
        return None
    writer.add(_Step.END)
    codes = np.full(256, -1, dtype=np.int64)
    for symbol, code in symbols.items():
        codes[ord(symbol)] = code
    return Program(
        steps=np.array(writer.steps, dtype=np.int64),
        branches=np.array(writer.branches or [0], dtype=np.int64),
        symbols=codes,
        widths=widths,
        max_bytes=max_bytes,
    )


def checker(form: Mapping[str, Any], *, max_bytes: int) -> Program | None:
    """The program that keeps nothing: it only says whether the schema reads exactly a datum's bytes."""
    return program(form, Fields({}), symbols={}, widths=(0, 0, 0, 0), max_bytes=max_bytes)


class _TooLongError(Exception):
    """A schema that names its types over and over."""


@dataclass
class _Writer:
    """Writes the steps for a type. A named one is spelled out wherever it is used."""

    named: Mapping[str, Any]
    steps: list[tuple[int, int, int, int]] = field(default_factory=list)
    branches: list[int] = field(default_factory=list)

    def add(self, step: _Step, a: int = 0, b: int = 0, c: int = 0) -> int:
        if len(self.steps) >= _MAX_STEPS:
            raise _TooLongError
        self.steps.append((step, a, b, c))
        return len(self.steps) - 1

    def write(self, kind: Any, wanted: Sink | Fields | None, *, item: bool = False) -> None:
        """The steps of a type; ``item`` says whether they are within an item of the list."""
        name = kind["type"] if isinstance(kind, dict) else kind
        if isinstance(name, dict):
            self.write(name, wanted, item=item)
        elif name == "union":
            self._union(kind, wanted, item=item)
        elif _is_by_name(kind, self.named):
            self.write(self.named[name], wanted, item=item)
        elif name == "null":
            if wanted is not None and not wanted.nullable:
                self.add(_Step.REFUSE)
        elif isinstance(wanted, Sink):
            self._put(name, wanted, item=item)
        elif isinstance(wanted, Fields):
            self._into(name, kind, wanted, item=item)
        else:
            self._over(name, kind)

    def _put(self, name: str, sink: Sink, *, item: bool) -> None:
        fits = {
            "whole": dict.fromkeys(_INTEGERS, _Step.PUT_INTEGER),
            "flag": {"boolean": _Step.PUT_FLAG},
            "code": {"string": _Step.PUT_CODE},
            "number": {"float": _Step.PUT_FLOAT, "double": _Step.PUT_DOUBLE},
        }[sink.kind]
        if name in fits:
            self.add(fits[name], int(item and not sink.of_row), sink.column)
        else:
            self.add(_Step.REFUSE)

    def _into(self, name: str, kind: Any, fields: Fields, *, item: bool) -> None:
        if name == "array" and fields.many:
            one = Fields(fields.wanted, item=fields.item)
            self._array(lambda: self.write(kind["items"], one, item=item))
        elif "fields" in kind and not fields.many:
            self._record(kind, fields, item=item)
        else:
            self.add(_Step.REFUSE)

    def _record(self, kind: Any, fields: Fields, *, item: bool) -> None:
        names = {one["name"] for one in kind["fields"]}
        if not all(wanted.optional for name, wanted in fields.wanted.items() if name not in names):
            self.add(_Step.REFUSE)
            return
        if fields.item is not None:
            self.add(_Step.ITEM, fields.item)
        if fields.present is not None:
            self.add(_Step.PRESENT, fields.present)
        for one in kind["fields"]:
            self.write(one["type"], fields.wanted.get(one["name"]), item=item or fields.item is not None)

    def _over(self, name: str, kind: Any) -> None:
        if name in _INTEGERS:
            self.add(_Step.NUMBER)
        elif name in _SKIPPED:
            self._skip(_SKIPPED[name])
        elif name == "bytes":
            self.add(_Step.BYTES)
        elif name == "string":
            self.add(_Step.TEXT)
        elif name == "fixed":
            self._skip(kind["size"])
        elif name == "enum":
            self.add(_Step.CHOICE, len(kind["symbols"]))
        elif name == "array":
            self._array(lambda: self.write(kind["items"], None))
        elif name == "map":
            self._array(lambda: self.write(kind["values"], None), keys=True)
        else:
            for one in kind["fields"]:
                self.write(one["type"], None)

    def _skip(self, size: int) -> None:
        if self.steps and self.steps[-1][0] == _Step.SKIP:  # no jump ends at a step behind a SKIP
            size += self.steps.pop()[1]
        self.add(_Step.SKIP, size)

    def _union(self, kind: Any, wanted: Sink | Fields | None, *, item: bool) -> None:
        branches = [kind[number] for number in range(len(kind) - 1)]
        base = len(self.branches)
        self.branches += [0] * len(branches)
        self.add(_Step.UNION, base, len(branches))
        jumps = []
        for number, branch in enumerate(branches):
            self.branches[base + number] = len(self.steps)
            self.write(branch, wanted, item=item)
            jumps.append(self.add(_Step.JUMP))
        for jump in jumps:
            self.steps[jump] = (_Step.JUMP, len(self.steps), 0, 0)

    def _array(self, write_item: Callable[[], None], *, keys: bool = False) -> None:
        self.add(_Step.ARRAY)
        next_ = self.add(_Step.NEXT)
        if keys:
            self.add(_Step.TEXT)
        write_item()
        self.add(_Step.JUMP, next_)
        self.steps[next_] = (_Step.NEXT, len(self.steps), 0, 0)


def _is_by_name(kind: Any, named: Mapping[str, Any]) -> bool:
    """Whether a type says another one's name, and not what it is itself: a record may be called ``array``."""
    if isinstance(kind, dict):
        return kind["type"] not in _COMPLEX and kind["type"] in named
    return kind in named


def record_of(kind: Any, named: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The one record that a type of ``readable``'s form is: itself, or the only branch beside null, or None."""
    while True:
        if isinstance(kind, str):
            if kind not in named:
                return None
            kind = named[kind]
        elif "fields" in kind:
            return cast(Mapping[str, Any], kind)
        elif kind["type"] == "union":
            branches = [kind[number] for number in range(len(kind) - 1) if kind[number] != "null"]
            if len(branches) != 1:
                return None
            kind = branches[0]
        elif isinstance(kind["type"], dict) or _is_by_name(kind, named):
            kind = kind["type"]
        else:
            return None


# --- the compiled loop ---------------------------------------------------------------------------------------------

# numba takes enumeration members for what they are only as plain numbers.
_END, _REFUSE, _NUMBER, _SKIP, _BYTES, _TEXT, _CHOICE, _UNION, _JUMP = (int(step) for step in list(_Step)[:9])
_ARRAY, _NEXT, _ITEM, _PRESENT, _INTEGER, _FLOAT, _DOUBLE, _FLAG, _CODE = (int(step) for step in list(_Step)[9:])


def _long_in(data: Any, place: int, end: int) -> tuple[int, int]:
    """A number of at most 64 bits, and where it ends; -1 there if it is none."""
    raw = np.uint64(0)
    shift = np.uint64(0)
    while place < end:
        byte = np.uint64(data[place])
        place += 1
        if shift == 63 and byte > 1:
            return 0, -1
        raw |= (byte & np.uint64(0x7F)) << shift
        if byte < 0x80:
            # Zigzag: an even number is half of itself, an odd one below zero.
            half: Any = np.int64(raw >> np.uint64(1))
            return (half if raw & np.uint64(1) == 0 else -half - 1), place
        shift += np.uint64(7)
    return 0, -1


_long = compiled(_long_in)


def _bits_in(data: Any, place: int, size: int) -> Any:
    bits = np.uint64(0)
    for number in range(size):
        bits |= np.uint64(data[place + number]) << np.uint64(8 * number)
    return bits


_bits = compiled(_bits_in)


def _follow_steps(  # noqa: PLR0912, PLR0915, PLR0917 - one loop: a call a step would cost more than the step
    steps: Any,
    branches: Any,
    symbols: Any,
    max_bytes: int,
    data: Any,
    starts: Any,
    row: int,
    items: int,
    read: Any,
    whole: Any,
    number: Any,
    known: Any,
    counts: Any,
    mark: Any,
    item_whole: Any,
    item_number: Any,
) -> tuple[int, int]:
    """From ``row`` on, as far as there is room for items; returns the next row and how many items there are."""
    left = np.zeros(MAX_DEPTH + 1, dtype=np.int64)  # no schema nests deeper, which compiled code does not look after
    while row < len(starts) - 1:
        place, end = starts[row], starts[row + 1]
        first, step, depth = items, 0, 0
        good = end - place <= max_bytes
        while good:
            what, a, b = steps[step, 0], steps[step, 1], steps[step, 2]
            step += 1
            if what == _UNION:
                choice, place = _long(data, place, end)
                if place < 0 or choice < 0 or choice >= b:
                    good = False
                else:
                    step = branches[a + choice]
            elif what == _JUMP:
                step = a
            elif what == _SKIP:
                good = a <= end - place
                place += a
            elif what == _NUMBER:
                _, place = _long(data, place, end)
                good = place >= 0
            elif what in (_FLOAT, _DOUBLE):
                size = 4 if what == _FLOAT else 8
                if size > end - place:
                    good = False
                else:
                    bits = _bits(data, place, size)
                    if what == _FLOAT:
                        value = np.float64(np.uint32(bits).view(np.float32))
                    else:
                        value = np.uint64(bits).view(np.float64)
                    place += size
                    if a:
                        item_number[items - 1, b] = value
                    else:
                        number[row, b] = value
                        known[row, b] = True
            elif what == _INTEGER:
                integer, place = _long(data, place, end)
                good = place >= 0 and integer != NO_WHOLE
                if a:
                    item_whole[items - 1, b] = integer
                else:
                    whole[row, b] = integer
            elif what == _FLAG:
                good = place < end
                if good:
                    item_whole[items - 1, b] = data[place] != 0
                    place += 1
            elif what == _CODE:
                length, place = _long(data, place, end)
                good = place >= 0 and length == 1 and place < end and symbols[data[place]] >= 0
                if good:
                    item_whole[items - 1, b] = symbols[data[place]]
                    place += 1
            elif what in (_BYTES, _TEXT):
                length, place = _long(data, place, end)
                good = place >= 0 and 0 <= length <= end - place
                if good and what == _TEXT:
                    for letter in range(place, place + length):
                        good = good and data[letter] < 0x80
                place += length
            elif what == _ARRAY:
                depth += 1
                left[depth] = 0
            elif what == _NEXT:
                if left[depth] == 0:
                    count, place = _long(data, place, end)
                    if place >= 0 and count < 0:
                        _, place = _long(data, place, end)
                        count = -count
                    good = place >= 0 and count >= 0
                    left[depth] = count
                if left[depth] == 0:
                    depth -= 1
                    step = a
                else:
                    left[depth] -= 1
            elif what == _ITEM:
                if items == len(mark):
                    break
                mark[items] = a
                item_whole[items] = NO_WHOLE
                item_number[items] = np.nan
                items += 1
            elif what == _PRESENT:
                whole[row, a] = 1
            elif what == _CHOICE:
                choice, place = _long(data, place, end)
                good = place >= 0 and 0 <= choice < a
            elif what == _END:
                read[row] = place == end
                break
            else:  # _REFUSE
                good = False
        if items == len(mark) and good and not read[row] and what == _ITEM:
            return row, first
        if not read[row]:
            items = first
        counts[row] = items - first
        row += 1
    return row, items


_follow = compiled(_follow_steps)

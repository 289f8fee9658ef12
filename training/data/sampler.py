"""Batches of a data set that need not fit in memory: shuffled, within a budget of points, class-balanced if wanted.

A batch is as many objects as have ``budget`` points together (design: batches are formed by tokens, not by a count).
Row groups are read in a shuffled order into a bounded buffer, and batches come from the shuffled buffer. Everything
follows from the seed and the number of the epoch, so a run can go on where it stopped.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.arrays import BoolArray, IntArray
from training.data.layout import Dataset, Objects, Piece, concatenated
from training.errors import InvalidData

BUFFER = 32_768
"""Objects to hold: 0.4 GB at 160 points each, with the copies made on the way."""


@dataclass(frozen=True)
class _Chosen:
    """What a row group holds of the chosen rows."""

    piece: Piece
    rows: IntArray
    """Places within the row group."""
    classes: frozenset[int]

    def read(self) -> Objects:
        return self.piece.read().take(self.rows)


class Sampler:
    """Draws batches from the chosen rows of a data set."""

    def __init__(
        self, dataset: Dataset, chosen: BoolArray, *, budget: int, seed: int = 0, buffer: int = BUFFER
    ) -> None:
        """``chosen`` (N,) is over the rows of ``dataset.index()``; ``budget`` is in points, ``buffer`` in objects.

        Raises InvalidData if no row is chosen, or one of them has more points than the budget.
        """
        index = dataset.index()
        if not chosen.any():
            raise InvalidData(f"{dataset.directory}: no object to draw from")
        longest = int(index.lengths[chosen].max())
        if longest > budget:
            raise InvalidData(f"{dataset.directory}: an object has {longest} points, more than the {budget} of a batch")
        self.budget, self.seed, self.buffer = budget, seed, buffer
        self.classes = np.unique(index.class_id[chosen])
        self._pieces = list(_with_rows(dataset, chosen, index.class_id))

    def __len__(self) -> int:
        """Objects of an epoch."""
        return sum(len(each.rows) for each in self._pieces)

    def epoch(self, number: int) -> Iterator[Objects]:
        """Every chosen object once."""
        rng = np.random.default_rng((self.seed, number))
        held: list[Objects] = []
        for part, is_last in self._parts(self._shuffled(rng)):
            pool = concatenated([*held, part])
            order = rng.permutation(len(pool))
            ends = self._ends(pool.light_curves.lengths[order])
            if not is_last:  # the other half is mixed with what is read next
                ends = ends[: np.searchsorted(ends, len(pool) // 2, side="right")]
            yield from _cut(pool, order, ends)
            held = [pool.take(order[ends[-1] :])]

    def balanced(self, number: int) -> Iterator[Objects]:
        """As many draws as there are objects, each independent: a class, all being equally likely, then one of it.

        The object is drawn from those of its class in the buffer, where no class takes more than its share of one
        half, kept at random; the other half is what was read last. So a class smaller than that share is drawn from
        whole once it has been read, and a larger one from a part of it that changes all the time.
        """
        rng = np.random.default_rng((self.seed, number))
        share = max(1, self.buffer // (2 * len(self.classes)))
        kept: list[Objects] = []
        for part, _ in self._parts(self._every_class_first(rng), every_class=True):
            pool = concatenated([*kept, part])
            order = np.argsort(pool.class_id, kind="stable")
            first = np.searchsorted(pool.class_id[order], self.classes)
            sizes = np.diff(np.append(first, len(pool)))
            class_ = rng.integers(len(self.classes), size=len(part))
            drawn = order[first[class_] + rng.integers(sizes[class_])]
            yield from _cut(pool, drawn, self._ends(pool.light_curves.lengths[drawn]))
            mixed = rng.permutation(len(pool))
            kept = [pool.take(mixed[pool.class_id[mixed] == id_][:share]) for id_ in self.classes]

    def _parts(self, pieces: list[_Chosen], *, every_class: bool = False) -> Iterator[tuple[Objects, bool]]:
        """Half a buffer of neighbouring pieces, read together; and whether they are the last.

        With ``every_class``, the first part holds all classes.
        """
        group: list[_Chosen] = []
        missing = set(self.classes.tolist()) if every_class else set()
        for place, each in enumerate(pieces):
            group.append(each)
            missing -= each.classes
            is_last = place == len(pieces) - 1
            if is_last or (not missing and sum(len(one.rows) for one in group) >= self.buffer // 2):
                yield concatenated([one.read() for one in group]), is_last
                group = []

    def _shuffled(self, rng: np.random.Generator) -> list[_Chosen]:
        return [self._pieces[place] for place in rng.permutation(len(self._pieces))]

    def _every_class_first(self, rng: np.random.Generator) -> list[_Chosen]:
        """Shuffled, but a piece with a class that no piece before it has comes early."""
        seen: set[int] = set()
        early: list[_Chosen] = []
        late: list[_Chosen] = []
        for each in self._shuffled(rng):
            (late if each.classes <= seen else early).append(each)
            seen |= each.classes
        return early + late

    def _ends(self, lengths: IntArray) -> IntArray:
        """Where the batches of consecutive objects end, beginning with 0; the last batch may be smaller."""
        points = np.cumsum(lengths)
        ends = [0]
        while ends[-1] < len(lengths):
            spent = points[ends[-1] - 1] if ends[-1] else 0
            ends.append(int(np.searchsorted(points, spent + self.budget, side="right")))
        return np.array(ends)


def _cut(pool: Objects, order: IntArray, ends: IntArray) -> Iterator[Objects]:
    for start, end in itertools.pairwise(ends.tolist()):
        yield pool.take(order[start:end])


def _with_rows(dataset: Dataset, chosen: BoolArray, class_id: NDArray[np.int32]) -> Iterator[_Chosen]:
    for piece in dataset.pieces():
        rows = np.flatnonzero(chosen[piece.start : piece.start + piece.rows])
        if len(rows):
            yield _Chosen(piece, rows, frozenset(class_id[piece.start + rows].tolist()))

"""Columns of equal length about light curves of known objects, row for row."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from models.arrays import IntArray
from models.inputs.light_curve import LightCurves


@dataclass(frozen=True)
class Rows:
    """M light curves. What else there is of each is said by those that are made from this."""

    object_id: IntArray
    class_id: NDArray[np.int32]
    """What they are."""
    source: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.object_id)

    def take(self, rows: IntArray) -> Self:
        """These rows, in this order."""
        return type(self)(*(_taken(getattr(self, each.name), rows) for each in fields(self)))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """One after the other."""
        return cls(*(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(cls)))


def _taken(column: Any, rows: IntArray) -> Any:
    return column.take(rows) if isinstance(column, LightCurves) else column[rows]

"""Class names and ids of DESC's ELAsTiCC taxonomy (version 0.9.1), and the order of a model's outputs."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from models.arrays import IntArray

NOT_CLASSIFIED = 300
"""The id with which a broker declines to classify an alert."""

CLASS_NAMES = {
    2221: "SN-like/Other",
    2222: "Ia",
    2223: "Ib/c",
    2224: "II",
    2225: "Iax",
    2226: "91bg",
    2232: "KN",
    2233: "M-dwarf Flare",
    2234: "Dwarf Novae",
    2235: "uLens",
    2242: "SLSN",
    2243: "TDE",
    2244: "ILOT",
    2245: "CART",
    2246: "PISN",
    2322: "Cepheid",
    2323: "RR Lyrae",
    2324: "Delta Scuti",
    2325: "EB",
    2326: "LPV/Mira",
    2332: "AGN",
}
"""The thesis's 20 classes, and LPV/Mira (in PLAsTiCC and the taxonomy, not in the thesis)."""

GENTYPE_CLASS = {
    10: 2222,
    11: 2226,
    12: 2225,
    **dict.fromkeys((20, 21, 25, 26, 27), 2223),
    **dict.fromkeys((30, 31, 32, 35, 36), 2224),
    37: 2221,
    40: 2242,
    42: 2243,
    45: 2244,
    46: 2245,
    50: 2232,
    51: 2232,
    59: 2246,
    60: 2332,
    80: 2323,
    82: 2233,
    83: 2325,
    84: 2234,
    87: 2235,
    88: 2235,
    89: 2235,
    90: 2322,
    91: 2324,
}
"""SNANA's GENTYPE -> class id, by DESC's table but for 37 (SN IIb): SN-like/Other by the thesis (4.4.1), II by DESC."""

GROUPS: Mapping[str, tuple[int, ...]] = {
    "transient": (2245, 2225, 2226, 2222, 2223, 2224, 2221, 2242, 2246, 2243, 2244, 2232),
    "stochastic": (2233, 2234, 2332, 2235),
    "periodic": (2324, 2323, 2322, 2325, 2326),
}
"""The top level of a hierarchy of classes (4.4.1); LPV/Mira, which the thesis does not have, is periodic."""


@dataclass(frozen=True)
class Taxonomy:
    """The classes of one model, in the order of its outputs."""

    class_ids: tuple[int, ...]

    def __post_init__(self) -> None:
        unknown = set(self.class_ids) - CLASS_NAMES.keys()
        if unknown:
            raise ValueError(f"not in the taxonomy: {sorted(unknown)}")
        if len(set(self.class_ids)) != len(self.class_ids):
            raise ValueError(f"a class stands twice in {self.class_ids}")

    def __len__(self) -> int:
        return len(self.class_ids)

    @property
    def names(self) -> tuple[str, ...]:
        """Names in output order."""
        return tuple(CLASS_NAMES[class_id] for class_id in self.class_ids)

    def index(self, class_id: int) -> int:
        """Place of a class among the outputs. Raises ValueError if the model does not have it."""
        return self.class_ids.index(class_id)

    def places(self, class_ids: ArrayLike) -> IntArray:
        """Places among the outputs (N,) of class ids (N,). Raises ValueError for one that the model does not have."""
        wanted = np.asarray(class_ids, dtype=np.int64)
        order = np.argsort(self.class_ids)
        found = order[np.searchsorted(self.class_ids, wanted, sorter=order) % len(self.class_ids)]
        foreign = wanted[np.asarray(self.class_ids)[found] != wanted]
        if len(foreign):
            raise ValueError(f"not among the model's classes: {sorted(set(foreign.tolist()))}")
        return found

"""Which objects are learned from, chosen by and tried on: splits and folds, by hashes of their ids.

The same on every machine, whatever else is in a set.
"""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from models.arrays import BoolArray, IntArray

SPLITS = ("train", "validation", "test")
FOLDS = 5
"""Thesis 4.2: five models, each leaving one fold of the objects outside the test set for validation."""


def split_of(object_ids: Iterable[int], *, seed: int = 0, test: float = 0.2, validation: float = 0.1) -> list[str]:
    """Each object's split, from a hash of its id."""
    return [_split_at(position_of(f"{seed}:{object_id}"), test=test, validation=validation) for object_id in object_ids]


def fold_of(object_ids: Iterable[int], *, seed: int = 0) -> NDArray[np.int8]:
    """Each object's fold (N,), from another hash of its id."""
    folds = [int(FOLDS * position_of(f"fold:{seed}:{object_id}")) for object_id in object_ids]
    return np.array(folds, dtype=np.int8)


def balanced_split(
    object_id: IntArray, class_id: NDArray[np.int32], *, test_per_class: int, seed: int = 0
) -> NDArray[np.str_]:
    """Splits (N,) with a test set of as many objects of each class (thesis 4.2: 1,000).

    Those of the smallest hash of their id, so the choice can be made again; but at most half of a class, so that one
    smaller than twice the number still has something to train on. Objects of unknown class, below 0, are no test
    objects. The rest are ``split_of``'s, without a test share.
    """
    split = np.array(split_of(object_id.tolist(), seed=seed, test=0.0))
    split = split.astype(f"U{max(map(len, SPLITS))}")
    position = np.array([position_of(f"test:{seed}:{id_}") for id_ in object_id.tolist()])
    for class_ in {one for one in class_id.tolist() if one >= 0}:
        members = np.flatnonzero(class_id == class_)
        chosen = np.argsort(position[members], kind="stable")[: min(test_per_class, len(members) // 2)]
        split[members[chosen]] = "test"
    return split


def _split_at(position: float, *, test: float, validation: float) -> str:
    if position < test:
        return "test"
    return "validation" if position < test + validation else "train"


def is_compared(object_ids: Sequence[int]) -> BoolArray:
    """The half of real objects (N,) that the simulation is compared with; the other half is for the domain shift."""
    return np.array([position_of(f"compare:{object_id}") < 0.5 for object_id in object_ids], dtype=np.bool_)


def position_of(text: str) -> float:
    """A number in [0, 1) that looks random and is a function of the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64

"""Which objects of a data set a run learns from and which it is judged by: a rule, not a list."""

from dataclasses import dataclass

import numpy as np

from models.arrays import BoolArray
from training.data.layout import UNKNOWN_CLASS, Index
from training.data.splits import position_of

VALIDATION_SHARE = 5
"""One object to validate for so many to train on, where objects are counted."""


@dataclass(frozen=True)
class Selection:
    """Over the rows of a data set (N,)."""

    train: BoolArray
    validation: BoolArray


def select(
    index: Index,
    *,
    objects: int | None = None,
    fold: int | None = None,
    left_out: int | None = None,
    labels: float | None = 1.0,
    seed: int = 0,
) -> Selection:
    """The labelled objects of the splits ``train`` and ``validation``; or of the other folds and of this one.

    Never a test object, nor one of the fold ``left_out``, which is what the model is to be tried on. ``labels`` is the
    share of those to train on that have a label to learn from, others for another ``seed``; None takes all objects,
    with or without a class, for what needs no labels.

    With ``objects``, so many to train on and a fifth as many to validate by, each class keeping its share: those of the
    smallest hash of their id, whatever the seed. So the scarce classes stay as scarce as they are, a smaller choice is
    part of a larger one, and every run of any model makes the same.
    """
    known = (index.class_id != UNKNOWN_CLASS) | (labels is None)
    if left_out is not None:
        known &= index.fold != left_out
    if fold is None:
        train, validation = known & (index.split == "train"), known & (index.split == "validation")
    else:
        seen = known & (index.split != "test")
        train, validation = seen & (index.fold != fold), seen & (index.fold == fold)
    if objects is not None:
        train = _stratified(index, train, objects, "subset")
        validation = _stratified(index, validation, objects // VALIDATION_SHARE, "subset")
    if labels is not None and labels < 1:
        train = _stratified(index, train, round(labels * int(train.sum())), f"labels {seed}")
    return Selection(train, validation)


def _stratified(index: Index, among: BoolArray, n: int, draw: str) -> BoolArray:
    """``n`` of the rows, from each class in proportion to its size, at least one; others for another draw."""
    chosen = among.copy()
    share = min(1.0, n / max(int(among.sum()), 1))
    for class_id in np.unique(index.class_id[among]):
        rows = np.flatnonzero(among & (index.class_id == class_id))
        position = np.array([position_of(f"{draw}:{object_id}") for object_id in index.object_id[rows].tolist()])
        kept = max(1, round(share * len(rows)))
        chosen[rows[np.argsort(position, kind="stable")[kept:]]] = False
    return chosen

"""What a run learns from and is judged by, as its configuration chooses it: objects, and their features."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from models.arrays import BoolArray
from models.taxonomy import CLASS_NAMES
from training import features
from training.data.layout import Dataset, Objects
from training.data.selection import Selection
from training.data.selection import select as select_objects
from training.data.unpacked import unpacked
from training.errors import InvalidData
from training.experiment import TIERS, Experiment, TrainingConfig
from training.features import FeatureTable


def selection_of(dataset: Dataset, config: TrainingConfig) -> Selection:
    """The rows that a run learns from and is judged by."""
    return select_objects(
        dataset.index(),
        objects=config.objects,
        fold=config.fold,
        left_out=config.left_out,
        labels=config.labels,
        seed=config.seed,
    )


def parts_of(dataset: Dataset, config: TrainingConfig, directory: Path) -> tuple[Objects, Objects]:
    """The training and the validation objects. Raises InvalidData if a class is missing from either."""
    selection = selection_of(dataset, config)
    parts = [unpacked(dataset, rows, directory=directory) for rows in (selection.train, selection.validation)]
    classes = [set(part.class_id.tolist()) for part in parts]
    for name, found in zip(("train", "validation"), classes, strict=True):
        absent = (classes[0] | classes[1]) - found
        if absent or not found:
            told = ", ".join(CLASS_NAMES.get(class_id, str(class_id)) for class_id in sorted(absent)) or "any"
            raise InvalidData(
                f"the {name} split has no object of class {told}: more objects, or fewer classes, are needed"
            )
    return parts[0], parts[1]


def with_features(
    experiment: Experiment, dataset: Dataset, directory: Path | None
) -> tuple[Experiment, FeatureTable | None]:
    """The features of a run's objects, if it sees any, and the run with no more of them than its tier has.

    Raises InvalidData for a table of light curves that are thinned otherwise.
    """
    shape = experiment.shape
    if not shape.feature_columns or directory is None:
        return experiment, None
    table = selected_features(dataset, experiment.training, directory)
    table.must_be_cut(directory, window_days=shape.window_days, max_points=shape.max_points, told=experiment.name)
    most = TIERS[experiment.tier].features if experiment.tier else None
    if most is None or len(shape.feature_columns) <= most:
        return experiment, table
    from training import forests  # noqa: PLC0415 - forests need packages that ATAT does not

    chosen = forests.most_telling(table.where(table.split == "train"), most)
    return replace(experiment, model={**experiment.model, "feature_columns": chosen}), table


def _detected(dataset: Dataset, rows: BoolArray) -> int:
    """How many of these rows (N,) have a detection."""
    parts = ((piece, rows[piece.start : piece.start + piece.rows]) for piece in dataset.pieces())
    return sum(int((piece.read().where(own).light_curves.detections > 0).sum()) for piece, own in parts if own.any())


def selected_features(dataset: Dataset, config: TrainingConfig, directory: Path) -> FeatureTable:
    """The features of the objects that a run learns from and is judged by, with the splits that it sees.

    Raises InvalidData for a table that lacks one of them, if it was ever detected.
    """
    selection, index = selection_of(dataset, config), dataset.index()
    chosen = selection.train | selection.validation
    table = features.read(directory, objects=index.object_id[chosen])
    lacking = chosen & ~np.isin(index.object_id, table.object_id)
    detected = _detected(dataset, lacking)
    if detected:
        raise InvalidData(f"{directory} lacks {detected} of the objects to learn from, or to be judged by")
    held_out = np.isin(table.object_id, index.object_id[selection.validation])
    return replace(table, split=np.where(held_out, "validation", "train"))

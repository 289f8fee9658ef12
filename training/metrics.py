"""How good probabilities are: per-class precision, recall and F1, their macro means, and the confusion matrix."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from models.taxonomy import Taxonomy


def macro_f1(labels: NDArray[np.int64], predicted: NDArray[np.int64]) -> float:
    """Mean F1 over the classes among the labels (places in the taxonomy)."""
    f1 = precision_recall_fscore_support(labels, predicted, labels=np.unique(labels), zero_division=0)[2]
    return float(np.mean(f1))


def per_class(
    labels: NDArray[np.int64], predicted: NDArray[np.int64], taxonomy: Taxonomy
) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and number of objects by class name, for the classes among the labels."""
    present = np.unique(labels)
    columns = precision_recall_fscore_support(labels, predicted, labels=present, zero_division=0)
    names = ("precision", "recall", "f1", "objects")
    return {
        taxonomy.names[place]: {name: float(column[row]) for name, column in zip(names, columns, strict=True)}
        for row, place in enumerate(present)
    }


def summary(labels: NDArray[np.int64], predicted: NDArray[np.int64], taxonomy: Taxonomy) -> dict[str, Any]:
    """Everything above for one set of objects, as JSON can hold it."""
    classes = per_class(labels, predicted, taxonomy)
    return {
        "objects": len(labels),
        "macro_f1": macro_f1(labels, predicted),
        "macro_precision": float(np.mean([row["precision"] for row in classes.values()])),
        "macro_recall": float(np.mean([row["recall"] for row in classes.values()])),
        "accuracy": float(np.mean(labels == predicted)),
        "classes": classes,
    }


def confusion(labels: NDArray[np.int64], predicted: NDArray[np.int64], n_classes: int) -> NDArray[np.int64]:
    """Counts (C, C): rows are true classes, columns predicted ones."""
    counts: NDArray[np.int64] = confusion_matrix(labels, predicted, labels=np.arange(n_classes))
    return counts

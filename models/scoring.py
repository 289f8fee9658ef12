"""What a Classifier asks of a model, whatever the model is made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from models.arrays import BoolArray, IntArray
from models.inputs.light_curve import LightCurves
from models.taxonomy import Taxonomy

BRANCHES = ("lc", "features", "md")
"""What a model may read of an alert: the light curve, its engineered features, metadata."""


@dataclass(frozen=True)
class Scores:
    """What a model says of N light curves before calibration, row for row."""

    logits: Mapping[str, Tensor]
    """(N, C) by head, on the CPU: log-probabilities, up to a constant a row."""
    head: NDArray[np.str_]
    """(N,), the head that answers each row."""
    branches: NDArray[np.str_]
    """(N,), what took part: of BRANCHES, in that order, with + between, such as ``lc+md``."""
    n_observations: IntArray
    """(N,), points that the model was fed."""
    embeddings: NDArray[np.float32] | None = None
    """(N, D), what the heads read; None if the model represents nothing as vectors."""

    def answers(self, n_classes: int) -> NDArray[np.float32]:
        """Logits (N, C) of the head that answers each row."""
        chosen = np.empty((len(self.head), n_classes), dtype=np.float32)
        for name, logits in self.logits.items():
            rows = self.head == name
            chosen[rows] = logits.numpy()[rows]
        return chosen


class NoEmbedding(ValueError):
    """The model does not represent what it reads as vectors: a forest."""


class Model(Protocol):
    """Light curves as cut by the caller and metadata in, scores out."""

    kind: str
    """Names the implementation in an artifact."""

    @property
    def n_classes(self) -> int:
        """C."""
        ...

    @property
    def taxonomy(self) -> Taxonomy | None:
        """Its classes, where it knows them; None if it knows their number alone."""
        ...

    @property
    def window_days(self) -> float:
        """How far back the model looks from an alert [days]."""
        ...

    @property
    def max_points(self) -> int | None:
        """To how many points light curves are thinned before it, or its features, see them; None if they are not."""
        ...

    def score(self, light_curves: LightCurves, metadata: NDArray[np.float32], has_metadata: BoolArray) -> Scores:
        """Light curves (N), metadata (N, 64) with NaN where missing, has_metadata (N,)."""
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """The features and metadata that it reads beside light curves, in order."""
        ...

    def table(self, light_curves: LightCurves, metadata: NDArray[np.float32]) -> NDArray[np.float32]:
        """``columns`` (N, K) of light curves and their metadata (N, 64)."""
        ...

    def score_table(self, light_curves: LightCurves, columns: NDArray[np.float32], has_metadata: BoolArray) -> Scores:
        """``score`` with the table (N, K) of ``columns``, of the same light curves, at hand."""
        ...

    @property
    def d_embedding(self) -> int | None:
        """Size of its embeddings; None if it has none."""
        ...

    @property
    def runs_on(self) -> frozenset[str]:
        """PyTorch's names of where its arithmetic is done, ``cpu`` or ``cuda``; of a model of several, maybe both."""
        ...

    def describe(self) -> dict[str, Any]:
        """The architecture, as JSON can hold it; with the weights it makes the model again."""
        ...

    def save(self, directory: Path) -> None:
        """Write the weights."""
        ...

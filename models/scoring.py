"""What a Classifier asks of a model, whatever the model is made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from models.inputs.light_curve import LightCurves


@dataclass(frozen=True)
class Scores:
    """What a model says of N light curves before calibration, row for row."""

    logits: Mapping[str, Tensor]
    """(N, C) by head, on the CPU: log-probabilities, up to a constant a row."""
    head: NDArray[np.str_]
    """(N,), the head that answers each row."""
    branches: NDArray[np.str_]
    """(N,), what took part: ``lc+md``, ``lc``, ``md``, ``features+md``."""
    n_observations: NDArray[np.int64]
    """(N,), points that the model was fed."""


class Model(Protocol):
    """Light curves as cut by the caller and metadata in, scores out."""

    kind: str
    """Names the implementation in an artifact."""

    @property
    def window_days(self) -> float:
        """How far back the model looks from an alert [days]."""
        ...

    def score(
        self, light_curves: LightCurves, metadata: NDArray[np.float32], has_metadata: NDArray[np.bool_]
    ) -> Scores:
        """Light curves (N), metadata (N, 64) with NaN where missing, has_metadata (N,)."""
        ...

    def describe(self) -> dict[str, Any]:
        """The architecture, as JSON can hold it; with the weights it makes the model again."""
        ...

    def save(self, directory: Path) -> None:
        """Write the weights."""
        ...

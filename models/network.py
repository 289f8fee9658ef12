"""ATAT as a Classifier's model: batches by token budget, on a device."""

from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.atat import ATAT, ATATConfig
from models.inputs.batch import pack, token_batches
from models.inputs.light_curve import LightCurves
from models.inputs.metadata import select
from models.scoring import Scores

MAX_TOKENS = 8192
"""Tokens of one forward pass: large enough for the arithmetic to dominate, small enough for the cache of two cores."""

_WEIGHTS = "weights.safetensors"


class Network:
    """An ATAT in evaluation, and where it runs."""

    kind: ClassVar[str] = "atat"

    def __init__(self, atat: ATAT, *, device: str = "cpu") -> None:
        self.device = torch.device(device)
        self.atat = atat.to(self.device).eval()

    @property
    def window_days(self) -> float:
        """How far back the model looks from an alert [days]."""
        return self.atat.config.window_days

    def score(
        self, light_curves: LightCurves, metadata: NDArray[np.float32], has_metadata: NDArray[np.bool_]
    ) -> Scores:
        """The heads that the model has; a row without metadata is answered by ``lc``, where there is one."""
        columns = select(metadata, self.atat.config.metadata_columns)
        n_observations = np.zeros(len(light_curves), dtype=np.int64)
        heads: dict[str, Tensor] = {}
        for rows in token_batches(light_curves.lengths, max_tokens=MAX_TOKENS):
            batch = pack(light_curves.take(rows), columns[rows], has_metadata[rows])
            n_observations[rows] = batch.lengths.numpy()
            with torch.inference_mode():
                outputs = self.atat(batch.to(self.device)).present()
            for name, logits in outputs.items():
                head = heads.setdefault(name, torch.empty(len(light_curves), logits.shape[1]))
                head[torch.from_numpy(rows)] = logits.float().cpu()
        return Scores(
            heads, self._choice(has_metadata, "mix", "lc", "tab"), n_observations, self._branches(has_metadata)
        )

    def _branches(self, has_metadata: NDArray[np.bool_]) -> NDArray[np.str_]:
        return self._choice(has_metadata, "lc+md", "lc", "md")

    def _choice(self, has_metadata: NDArray[np.bool_], both: str, lc: str, md: str) -> NDArray[np.str_]:
        """By row, what stands for the branches that take part."""
        config = self.atat.config
        if config.light_curve and config.metadata_columns:
            return np.where(has_metadata, both, lc)
        return np.full(len(has_metadata), lc if config.light_curve else md)

    def describe(self) -> dict[str, Any]:
        """The architecture, as JSON can hold it."""
        return self.atat.config.to_dict()

    def save(self, directory: Path) -> None:
        """Write ``weights.safetensors``."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.atat.state_dict().items()}
        save_file(tensors, directory / _WEIGHTS)

    @classmethod
    def load(cls, directory: Path, architecture: dict[str, Any], *, device: str) -> Self:
        """The inverse of ``describe`` and ``save``."""
        atat = ATAT(ATATConfig.from_dict(architecture))
        atat.load_state_dict(load_file(directory / _WEIGHTS))
        return cls(atat, device=device)

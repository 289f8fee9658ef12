"""Networks as a Classifier's model: batches by token budget, on a device."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.arrays import BoolArray, IntArray
from models.atat import ATAT, ATATConfig
from models.atat2 import ATAT2, ATAT2Config
from models.inputs.batch import Batch, token_batches
from models.inputs.light_curve import LightCurves
from models.inputs.sequence import Sequences
from models.inputs.table import FloatTable, table_of
from models.layers.narrow import narrowed
from models.scoring import Scores
from models.selection import Precision

MAX_TOKENS = 4096
"""Tokens of one forward pass on a CPU, those of tables among them: enough for the arithmetic to dominate. Twice as many
are a twentieth faster in the model alone; in a stream the C library finds no room for such blocks between others and
asks the system for more, until a worker has half as much memory again (deploy/PERFORMANCE.md)."""

_MAX_TOKENS_ELSEWHERE = 8192

_WEIGHTS = "weights.safetensors"

AnyATAT = ATAT | ATAT2


def max_tokens(device: torch.device) -> int:
    """Of one forward pass there."""
    return MAX_TOKENS if device.type == "cpu" else _MAX_TOKENS_ELSEWHERE


def build(kind: str, options: dict[str, Any]) -> AnyATAT:
    """A network with fresh weights. Raises TypeError or ValueError for options that it does not have."""
    config = config_of(kind, options)
    return ATAT2(config) if isinstance(config, ATAT2Config) else ATAT(config)


def config_of(kind: str, options: dict[str, Any]) -> ATATConfig | ATAT2Config:
    """What a network is made of. Raises as ``build`` does."""
    return ATAT2.Config.from_dict(options) if kind == "atat2" else ATAT.Config.from_dict(options)


class Network:
    """A network in evaluation, where it runs, and in what precision its matrices are multiplied."""

    def __init__(self, module: AnyATAT, *, device: str = "cpu", precision: Precision = "float32") -> None:
        self.device = torch.device(device)
        self.precision = precision
        self.module = module.to(self.device).eval()
        self.kind = module.kind
        on_cpu = self.device.type == "cpu"
        self._running = narrowed(self.module) if precision == "bfloat16" and on_cpu else self.module

    @property
    def n_classes(self) -> int:
        """C."""
        return self.module.config.n_classes

    @property
    def taxonomy(self) -> None:
        """None: it has an output for each class, whichever they are."""

    @property
    def max_points(self) -> int | None:
        """To how many points it thins light curves."""
        return self.module.config.max_points

    @property
    def window_days(self) -> float:
        """How far back the model looks from an alert [days]."""
        return self.module.config.window_days

    @property
    def columns(self) -> tuple[str, ...]:
        """The table that it reads, in order."""
        return self.module.config.columns

    def score(self, light_curves: LightCurves, metadata: NDArray[np.float32], has_metadata: BoolArray) -> Scores:
        """Every head that the network has, and by row the one that answers."""
        return self.score_table(light_curves, self.table(light_curves, metadata), has_metadata)

    def table(self, light_curves: LightCurves, metadata: FloatTable) -> FloatTable:
        """``columns`` (N, K) of light curves and their metadata (N, 64)."""
        return table_of(light_curves.thinned(self.max_points), metadata, self.columns)

    @torch.no_grad()
    def score_table(self, light_curves: LightCurves, columns: FloatTable, has_metadata: BoolArray) -> Scores:
        """``score`` with the table (N, K) of ``config.columns`` at hand: computing features takes most of its time."""
        light_curves = light_curves.thinned(self.max_points)
        n_observations = np.zeros(len(light_curves), dtype=np.int64)
        embeddings = np.empty((len(light_curves), self.d_embedding), dtype=np.float32)
        heads: dict[str, Tensor] = {}
        with self._precision():
            for rows, batch in self._batches(light_curves, columns, has_metadata):
                n_observations[rows] = batch.n_observations.numpy()
                embedding = self._running.embed(batch.to(self.device))  # type: ignore[arg-type]
                embeddings[rows] = embedding.float().cpu().numpy()
                for name, logits in self._running.answers(embedding).items():
                    head = heads.setdefault(name, torch.empty(len(light_curves), logits.shape[1]))
                    head[torch.from_numpy(rows)] = logits.float().cpu()
        return Scores(heads, *self.module.heads(has_metadata), n_observations=n_observations, embeddings=embeddings)

    @property
    def runs_on(self) -> frozenset[str]:
        """The device that it was put on."""
        return frozenset({self.device.type})

    @property
    def d_embedding(self) -> int:
        """Size of an embedding."""
        return self.module.d_embedding

    def _batches(
        self, light_curves: LightCurves, columns: FloatTable, has_metadata: BoolArray
    ) -> Iterator[tuple[IntArray, Batch | Sequences]]:
        """Rows that go together, and what the module takes of them, on the CPU."""
        limit, most_points = max_tokens(self.device), self.module.config.most_points
        lengths = light_curves.lengths if most_points is None else np.minimum(light_curves.lengths, most_points)
        for rows in token_batches(lengths, max_tokens=limit, row_tokens=self.module.row_tokens):
            yield rows, self.module.pack(light_curves.take(rows), columns[rows], has_metadata[rows])

    def _precision(self) -> torch.autocast:
        """Weights, sums along the blocks and normalisation stay in float32 whatever is chosen. A CPU has ``narrowed``.

        Entered once for all batches: it keeps the weights that it has brought to bfloat16 until it is left.
        """
        enabled = self.precision == "bfloat16" and self.device.type != "cpu"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    def describe(self) -> dict[str, Any]:
        """The architecture, as JSON can hold it."""
        return self.module.config.to_dict()

    def save(self, directory: Path) -> None:
        """Write ``weights.safetensors``."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.module.state_dict().items()}
        save_file(tensors, directory / _WEIGHTS)

    @classmethod
    def load(
        cls,
        directory: Path,
        kind: str,
        architecture: Mapping[str, Any],
        *,
        device: str,
        precision: Precision,
    ) -> Self:
        """The inverse of ``describe`` and ``save``. Raises ValueError for weights that are no numbers."""
        module = build(kind, dict(architecture))
        weights = load_file(directory / _WEIGHTS)
        broken = [name for name, tensor in weights.items() if not tensor.isfinite().all()]
        if broken:
            raise ValueError(f"weights that are not finite: {', '.join(sorted(broken))}")
        module.load_state_dict(weights)
        return cls(module, device=device, precision=precision)

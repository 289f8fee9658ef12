"""ATAT2: ATAT read causally. One pass answers every alert of an object, from the first detection on.

It departs from the thesis where that helps: fluxes enter as asinh, signal-to-noise and a share of the largest so far;
forced photometry and detections are one sequence in order of arrival, in which a token sees nothing later; the metadata
are its first token; and every prefix is trained on.
"""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.atat import FLUX_SCALE
from models.inputs import sequence
from models.inputs.light_curve import WINDOW_DAYS, LightCurves
from models.inputs.metadata import COLUMNS, must_be_known
from models.inputs.photometry import BANDS
from models.inputs.sequence import Sequences
from models.layers.quantile_tokenizer import QuantileTokenizer
from models.layers.time_modulation import TimeModulation, must_not_repeat
from models.layers.transformer import Transformer

N_VALUES = 6
"""Numbers that a point enters with, besides its time and band."""


@dataclass(frozen=True)
class ATAT2Config:
    """The shape of an ATAT2."""

    n_classes: int
    metadata_columns: tuple[str, ...] = COLUMNS
    """What the first token knows of the object, in order; empty for light curves alone."""
    d_model: int = 128
    d_metadata: int = 256
    """Width of the perceptron that reads the metadata."""
    n_heads: int = 4
    n_layers: int = 3
    ff_factor: int = 2
    dropout: float = 0.1
    harmonics: int = 64
    t_max: float = 1500.0
    """Period of time modulation [days]."""
    window_days: float = WINDOW_DAYS
    """How far back the model looks from an alert [days]; never more than ``t_max``."""

    def __post_init__(self) -> None:
        must_not_repeat(self.window_days, self.t_max)
        must_be_known(self.metadata_columns)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of ``to_dict``. Raises TypeError for a name that is no option."""
        return cls(**{**values, "metadata_columns": tuple(values.get("metadata_columns", COLUMNS))})

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        return asdict(self)


class ATAT2(nn.Module):
    """Sequences in, class logits out: (B + P, C), one row a token, the B first tokens before the points."""

    kind: ClassVar[str] = "atat2"
    Config: ClassVar[type[ATAT2Config]] = ATAT2Config

    def __init__(self, config: ATAT2Config) -> None:
        super().__init__()
        self.config = config
        self.time_modulation = TimeModulation(
            n_values=N_VALUES,
            d_model=config.d_model,
            n_bands=len(BANDS),
            harmonics=config.harmonics,
            t_max=config.t_max,
        )
        self.metadata = MetadataToken(config)
        self.transformer = Transformer(
            d_model=config.d_model,
            n_heads=config.n_heads,
            n_layers=config.n_layers,
            d_hidden=config.ff_factor * config.d_model,
            dropout=config.dropout,
        )
        self.head = nn.Sequential(nn.LayerNorm(config.d_model), nn.Linear(config.d_model, config.n_classes))

    def forward(self, batch: Sequences) -> Tensor:
        points = self.time_modulation(_values(batch), batch.time, batch.band)
        tokens = self.transformer(torch.cat([self.metadata(batch), points]), batch.layout)
        logits: Tensor = self.head(tokens)
        return logits

    # --- as a Network asks -----------------------------------------------------------------------------------------

    @staticmethod
    def pack(light_curves: LightCurves, metadata: NDArray[np.float32], has_metadata: NDArray[np.bool_]) -> Sequences:
        """What ``answers`` takes, on the CPU."""
        return sequence.pack(light_curves, metadata, has_metadata)

    def answers(self, batch: Sequences) -> dict[str, Tensor]:
        """Logits (B, C) of each row's last token."""
        logits = self(batch)
        return {"all": logits[batch.ends]}

    def heads(self, has_metadata: NDArray[np.bool_]) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
        """By row, the head that answers and the branches that take part."""
        reads_metadata = has_metadata & bool(self.config.metadata_columns)
        return np.full(len(has_metadata), "all"), np.where(reads_metadata, "lc+md", "lc")

    def fit_scales(self, metadata: NDArray[np.float32]) -> None:
        """Store the quantiles of the training rows (N, K). Call it before training."""
        if self.metadata.tokenizer is not None:
            self.metadata.tokenizer.fit(metadata)


class MetadataToken(nn.Module):
    """The first token (B, D): a perceptron over the columns' normal scores and over which of them are missing."""

    def __init__(self, config: ATAT2Config) -> None:
        super().__init__()
        n_columns = len(config.metadata_columns)
        self.nothing = nn.Parameter(torch.randn(config.d_model))
        self.tokenizer = QuantileTokenizer(n_columns=n_columns, d_model=1) if n_columns else None
        self.perceptron = nn.Sequential(
            nn.Linear(2 * n_columns, config.d_metadata),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.d_metadata, config.d_metadata),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.d_metadata, config.d_model),
        )

    def forward(self, batch: Sequences) -> Tensor:
        nothing = self.nothing.expand(len(batch), -1)
        if self.tokenizer is None:
            return nothing
        scores = torch.where(batch.missing, 0.0, self.tokenizer.transform(batch.metadata))
        known: Tensor = self.perceptron(torch.cat([scores, batch.missing.to(scores.dtype)], dim=1))
        return torch.where(batch.has_metadata[:, None], known, nothing)


def _values(batch: Sequences) -> Tensor:
    """A point's values (P, N_VALUES): each known when the point arrived."""
    return torch.stack(
        [
            torch.asinh(batch.flux / FLUX_SCALE),
            torch.asinh(batch.flux / batch.flux_err),
            torch.log10(batch.flux_err),
            batch.flux / batch.peak,
            batch.detected.float(),
            torch.log1p(batch.since_detection),
        ],
        dim=1,
    )

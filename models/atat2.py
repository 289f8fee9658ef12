"""ATAT2: ATAT read causally. One pass answers every alert of an object, from the first detection on.

It departs from the thesis where that helps: fluxes enter as asinh, signal-to-noise and a share of the largest so far,
beside statistics of each band up to then; forced photometry and detections are one sequence in order of arrival, in
which a token sees nothing later; the metadata are its first token; and every prefix is trained on.

One thing a token would owe to what is later: where a light curve has too many points, which of them are read, and
which become tokens, depends on how many there are. So light curves are cut before they are thinned, and of one that was
thinned nothing but the last token is asked: in service, in evaluation, and in training, which therefore cuts some of
the long ones short.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.arrays import BoolArray
from models.atat import encode_flux, n_flux_values
from models.choices import must_hold
from models.inputs import running, sequence
from models.inputs.batch import Layout
from models.inputs.light_curve import LightCurves
from models.inputs.photometry import BANDS
from models.inputs.sequence import Sequences
from models.layers.perceptron import perceptron
from models.layers.quantile_tokenizer import QuantileTokenizer
from models.layers.time_modulation import time_encoding
from models.layers.transformer import Transformer
from models.network_config import NetworkConfig


@dataclass(frozen=True, kw_only=True)
class ATAT2Config(NetworkConfig):
    """The shape of an ATAT2. What it has of its own can be switched back, to measure each change alone."""

    d_model: int = 128
    d_metadata: int = 256
    """Width of the perceptron that reads the metadata."""
    dropout: float = 0.1
    flux_encoding: Literal["raw", "asinh"] = "asinh"
    relative_flux: bool = True
    """Whether a point's flux over the largest so far is one of its values: a running scale of the object."""
    max_tokens: int | None = None
    """So many points, spread evenly over what has arrived, become tokens; the statistics are of all."""
    d_statistics: int = 0
    """Width of the perceptron that reads the running statistics of each band; 0 to leave them out."""
    causal: bool = True
    """Whether a token sees nothing that arrived later; if not, only a sequence's last token is to be asked."""

    def __post_init__(self) -> None:
        super().__post_init__()
        must_hold(self, "max_tokens", self.max_tokens is None or self.max_tokens >= 1, "1 or more")
        if self.feature_columns:
            raise ValueError("features are of a whole light curve: a model that answers every alert has none")

    @property
    def most_points(self) -> int:
        limits = (self.max_points, self.max_tokens, sequence.MAX_POINTS)
        return min(limit for limit in limits if limit is not None)


class ATAT2(nn.Module):
    """Sequences in, class logits out: (B + P, C), one row a token, the B first tokens before the points."""

    kind: ClassVar[str] = "atat2"
    Config: ClassVar[type[ATAT2Config]] = ATAT2Config

    def __init__(self, config: ATAT2Config) -> None:
        super().__init__()
        self.config = config
        self.time_modulation = time_encoding(
            config.time_encoding,
            n_values=n_flux_values(config) + 2,
            d_model=config.d_model,
            n_bands=len(BANDS),
            harmonics=config.harmonics,
            t_max=config.t_max,
        )
        self.statistics = (
            perceptron(len(running.NAMES), config.d_statistics, config.d_model, dropout=config.dropout)
            if config.d_statistics
            else None
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
        logits: Tensor = self.head(self.transformer(*self._tokens(batch)))
        return logits

    def _tokens(self, batch: Sequences) -> tuple[Tensor, Layout]:
        """(B + P, D), a row a token, and how they lie."""
        layout = batch.layout if self.config.causal else replace(batch.layout, causal=False)
        return torch.cat([self.first_tokens(batch), self.points(batch)]), layout

    def first_tokens(self, batch: Sequences) -> Tensor:
        """(B, D), before the points."""
        token: Tensor = self.metadata(batch)
        return token

    def points(self, batch: Sequences) -> Tensor:
        """A token a point (P, D)."""
        points: Tensor = self.time_modulation(_values(batch, self.config), batch.time, batch.band)
        points = points.to(self.metadata.nothing.dtype)  # under autocast, too, what the blocks add to
        return points if self.statistics is None else points + self.statistics(batch.statistics)

    # --- as a Network asks -----------------------------------------------------------------------------------------

    def pack(self, light_curves: LightCurves, metadata: NDArray[np.float32], has_metadata: BoolArray) -> Sequences:
        """What ``embed`` takes, on the CPU."""
        return sequence.pack(
            light_curves,
            metadata,
            has_metadata,
            max_tokens=self.config.max_tokens,
            with_statistics=self.statistics is not None,
        )

    @property
    def row_tokens(self) -> int:
        """How many tokens a light curve has beside its points."""
        return 1

    def answers(self, embedding: Tensor) -> dict[str, Tensor]:
        """Logits (B, C), from what ``embed`` gives."""
        return {"all": self.head(embedding)}

    @property
    def d_embedding(self) -> int:
        """Of one token."""
        return self.config.d_model

    def embed(self, batch: Sequences) -> Tensor:
        """The last token's last representation (B, D), which has read all the others."""
        return self.transformer.one(*self._tokens(batch), batch.ends)

    def heads(self, has_metadata: BoolArray) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
        """By row, the head that answers and the branches that take part."""
        reads_metadata = has_metadata & bool(self.config.metadata_columns)
        return np.full(len(has_metadata), "all"), np.where(reads_metadata, "lc+md", "lc")

    def fit_scales(self, metadata: NDArray[np.float32]) -> None:
        """Store the quantiles of the training rows (N, K). Raises ValueError for a column without any value."""
        if self.metadata.tokenizer is not None:
            self.metadata.tokenizer.fit(metadata, self.config.metadata_columns)


class MetadataToken(nn.Module):
    """The first token (B, D): a perceptron over the columns' normal scores and over which of them are missing."""

    def __init__(self, config: ATAT2Config) -> None:
        super().__init__()
        n_columns = len(config.metadata_columns)
        self.nothing = nn.Parameter(torch.randn(config.d_model))
        self.tokenizer, self.perceptron = None, None
        if n_columns:
            self.tokenizer = QuantileTokenizer(n_columns=n_columns, d_model=1)
            self.perceptron = perceptron(2 * n_columns, config.d_metadata, config.d_model, dropout=config.dropout)

    def forward(self, batch: Sequences) -> Tensor:
        nothing = self.nothing.expand(len(batch), -1)
        if self.tokenizer is None or self.perceptron is None:
            return nothing
        scores = torch.where(batch.missing, 0.0, self.tokenizer.transform(batch.metadata))
        known: Tensor = self.perceptron(torch.cat([scores, batch.missing.to(scores.dtype)], dim=1))
        return torch.where(batch.has_metadata[:, None], known.to(nothing.dtype), nothing)


def _values(batch: Sequences, config: ATAT2Config) -> Tensor:
    """A point's values (P, F): each known when the point arrived."""
    flux = encode_flux(batch.flux, batch.flux_err, batch.peak, config)
    return torch.cat([flux, torch.stack([batch.detected.float(), torch.log1p(batch.since_detection)], dim=1)], dim=1)

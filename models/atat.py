"""ATAT, the Astronomical Transformer for time series And Tabular data (thesis chapter 4, figure 4.1)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.arrays import BoolArray
from models.inputs.batch import Batch, pack
from models.inputs.light_curve import LightCurves
from models.inputs.photometry import BANDS, FLUX_SCALE
from models.inputs.sequence import Sequences
from models.layers.perceptron import perceptron
from models.layers.quantile_tokenizer import QuantileTokenizer, StandardTokenizer
from models.layers.time_modulation import time_encoding
from models.layers.transformer import Transformer
from models.network_config import NetworkConfig


@dataclass(frozen=True, kw_only=True)
class ATATConfig(NetworkConfig):
    """The shape of an ATAT. Defaults are the thesis's (4.3.6), but for ``missing``: there it is ``-9999``.

    Where its text and the released code differ, options choose the code instead: ``use_flux_err=False``,
    ``first_harmonic=0``, ``dropout=0``, ``d_tab=128``. ``flux_encoding="asinh"``, ``relative_flux`` and
    ``missing="token"`` are ours.
    """

    light_curve: bool = True
    """Whether there is a light-curve branch."""
    d_lc: int = 192
    d_tab: int = 144
    first_harmonic: int = 1
    table_encoding: Literal["quantile", "standard"] = "quantile"
    """How the table's columns are brought to one scale: by the thesis's tokenizer, or by mean and deviation."""
    missing: Literal["token", "-9999"] = "token"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.light_curve and not self.columns:
            raise ValueError("a model needs a light-curve branch, metadata or feature columns, or both")


@dataclass(frozen=True)
class Logits:
    """Unnormalised log-probabilities (B, C) of each head that the model has."""

    lc: Tensor | None
    tab: Tensor | None
    mix: Tensor | None

    def present(self) -> dict[str, Tensor]:
        """The heads there are, by name."""
        return {name: head for name in ("lc", "tab", "mix") if (head := getattr(self, name)) is not None}


class ATAT(nn.Module):
    """Light curves and tables in, class logits out, of each branch alone and of both together."""

    kind: ClassVar[str] = "atat"
    Config: ClassVar[type[ATATConfig]] = ATATConfig

    def __init__(self, config: ATATConfig) -> None:
        super().__init__()
        self.config = config
        self.lc = LightCurveBranch(config) if config.light_curve else None
        self.tab = TableBranch(config) if config.columns else None
        self.lc_head = _head(config.d_lc, config.n_classes) if self.lc else None
        self.tab_head = _head(config.d_tab, config.n_classes) if self.tab else None
        self.mix_head = _mix_head(config.d_lc + config.d_tab, config) if self.lc and self.tab else None

    def forward(self, batch: Batch) -> Logits:
        return self._logits(self.embed(batch))

    def _logits(self, embedding: Tensor) -> Logits:
        return Logits(
            lc=self.lc_head(embedding[:, -self.config.d_lc :]) if self.lc_head else None,
            tab=self.tab_head(embedding[:, : self.config.d_tab]) if self.tab_head else None,
            mix=self.mix_head(embedding) if self.mix_head else None,
        )

    # --- as a Network asks -----------------------------------------------------------------------------------------

    @staticmethod
    def pack(light_curves: LightCurves, metadata: NDArray[np.float32], has_metadata: BoolArray) -> Batch:
        """What ``embed`` takes, on the CPU."""
        return pack(light_curves, metadata, has_metadata)

    @property
    def row_tokens(self) -> int:
        """How many tokens a light curve has beside its points."""
        return (1 if self.lc else 0) + (1 + len(self.config.columns) if self.tab else 0)

    def answers(self, embedding: Tensor) -> dict[str, Tensor]:
        """Logits (B, C) of each head by name, from what ``embed`` gives."""
        return self._logits(embedding).present()

    @property
    def d_embedding(self) -> int:
        """Of the branches that there are, together."""
        return (self.config.d_tab if self.tab else 0) + (self.config.d_lc if self.lc else 0)

    def embed(self, batch: Batch) -> Tensor:
        """The class tokens' last representations (B, D), [tab, lc]: what the mix head reads.

        Where no metadata came, tab's is that of a row in which everything is missing.
        """
        return torch.cat([branch(batch) for branch in (self.tab, self.lc) if branch is not None], dim=1)

    def heads(self, has_metadata: BoolArray) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
        """By row, the head that answers and the branches that take part: ``lc`` for a row without metadata."""
        named = {"lc": self.lc is not None, "features": bool(self.config.feature_columns)}
        alone = "+".join(name for name, there in named.items() if there)
        if not self.config.metadata_columns:
            head = "lc" if self.tab is None else "mix" if self.lc else "tab"
            return np.full(len(has_metadata), head), np.full(len(has_metadata), alone)
        both = f"{alone}+md" if alone else "md"
        if self.lc is None:
            return np.full(len(has_metadata), "tab"), np.where(has_metadata, both, alone or "md")
        return np.where(has_metadata, "mix", "lc"), np.where(has_metadata, both, "lc")

    def fit_scales(self, metadata: NDArray[np.float32]) -> None:
        """Store the scales of the columns of training rows (N, K). Raises ValueError for a column without any value."""
        if self.tab is not None:
            self.tab.tokenizer.fit(metadata, self.config.columns)


class LightCurveBranch(nn.Module):
    """Time modulation, then a transformer; gives each light curve's class token (B, d_lc)."""

    def __init__(self, config: ATATConfig) -> None:
        super().__init__()
        self.config = config
        self.time_modulation = time_encoding(
            config.time_encoding,
            n_values=n_flux_values(config),
            d_model=config.d_lc,
            n_bands=len(BANDS),
            harmonics=config.harmonics,
            t_max=config.t_max,
            first_harmonic=config.first_harmonic,
        )
        self.class_token = nn.Parameter(torch.randn(config.d_lc))
        self.transformer = _transformer(config, config.d_lc)

    def forward(self, batch: Batch) -> Tensor:
        return self.transformer.one(torch.cat([self.first_tokens(batch), self.points(batch)]), batch.layout)

    def first_tokens(self, batch: Batch) -> Tensor:
        """(B, d_lc), before the points."""
        return self.class_token.expand(len(batch), -1)

    def points(self, batch: Batch) -> Tensor:
        """A token a point (P, d_lc)."""
        values = encode_flux(batch.flux, batch.flux_err, peak_of(batch), self.config)
        # Under autocast, too, what the blocks add to keeps the weights' precision.
        points: Tensor = self.time_modulation(values, batch.time, batch.band)
        return points.to(self.class_token.dtype)


class TableBranch(nn.Module):
    """Tokenizer, then a transformer; gives each table row's class token (B, d_tab)."""

    def __init__(self, config: ATATConfig) -> None:
        super().__init__()
        tokenizer = QuantileTokenizer if config.table_encoding == "quantile" else StandardTokenizer
        self.tokenizer = tokenizer(n_columns=len(config.columns), d_model=config.d_tab, missing=config.missing)
        self.class_token = nn.Parameter(torch.randn(config.d_tab))
        self.transformer = _transformer(config, config.d_tab)

    def forward(self, batch: Batch) -> Tensor:
        columns = self.tokenizer(batch.metadata, batch.missing)
        class_tokens = self.class_token.expand(len(batch), 1, -1)
        return self.transformer.one(torch.cat([class_tokens, columns], dim=1))


def encode_flux(flux: Tensor, flux_err: Tensor, peak: Tensor, config: NetworkConfig) -> Tensor:
    """A point's values (P, F) as the first linear layer sees them, from flux, error and the light curve's peak (P,).

    ``raw``: flux and error [FLUXCAL], as in the thesis. ``asinh``: asinh of flux over FLUX_SCALE, asinh of
    signal-to-noise, log10 of the error; fluxes span six decades, which one linear layer cannot.
    """
    if config.flux_encoding == "asinh":
        values = [torch.asinh(flux / FLUX_SCALE)]
        values += [torch.asinh(flux / flux_err), torch.log10(flux_err)] if config.use_flux_err else []
    else:
        values = [flux, flux_err] if config.use_flux_err else [flux]
    values += [flux / peak] if config.relative_flux else []
    return torch.stack(values, dim=1)


def peak_of(batch: Batch | Sequences) -> Tensor:
    """The largest absolute flux of each point's light curve (P,), as known: a later point is not in the batch."""
    row = torch.repeat_interleave(torch.arange(len(batch), device=batch.flux.device), batch.lengths)
    peaks = batch.flux.new_zeros(len(batch)).scatter_reduce(0, row, batch.flux.abs(), "amax")
    return peaks.clamp_min(torch.finfo(peaks.dtype).tiny)[row]


def n_flux_values(config: NetworkConfig) -> int:
    """How many values ``encode_flux`` makes of a point."""
    point = torch.ones(1)
    return encode_flux(point, point, point, config).shape[1]


def _transformer(config: ATATConfig, d_model: int) -> Transformer:
    return Transformer(
        d_model=d_model,
        n_heads=config.n_heads,
        n_layers=config.n_layers,
        d_hidden=config.ff_factor * d_model,
        dropout=config.dropout,
    )


def _head(d_model: int, n_classes: int) -> nn.Sequential:
    """Normalisation and one linear layer, as in the released code."""
    return nn.Sequential(nn.LayerNorm(d_model), nn.Linear(d_model, n_classes))


def _mix_head(d_model: int, config: ATATConfig) -> nn.Sequential:
    """A perceptron of three layers on the two class tokens, [tab, lc], as in the released code."""
    layers = perceptron(d_model, d_model, config.n_classes, dropout=config.dropout)
    return nn.Sequential(nn.LayerNorm(d_model), *layers)

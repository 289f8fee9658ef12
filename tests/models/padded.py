"""The plain padded ATAT of thesis 4.3.1: every light curve an L x B grid with a mask. What the packed one must equal.

It shares weights with a packed ATAT and nothing of its arrangement: no offsets, no segments, no class-token layout.
How a flux is encoded is written out here once more.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from models.atat import ATAT, ATATConfig, Logits
from models.inputs.light_curve import LightCurve
from models.inputs.photometry import BANDS
from models.layers.attention import SelfAttention
from models.layers.time_modulation import TimeModulation
from models.layers.transformer import Transformer


@dataclass(frozen=True)
class Padded:
    """B light curves as bands x L grids (B, 6, L), padded with flux 0, error 1 and time 0 where not ``observed``."""

    flux: Tensor
    flux_err: Tensor
    time: Tensor
    observed: Tensor

    def __getitem__(self, rows: slice) -> "Padded":
        return Padded(self.flux[rows], self.flux_err[rows], self.time[rows], self.observed[rows])


def padded(curves: Sequence[LightCurve], *, length: int | None = None) -> Padded:
    """Light curves as grids of ``length`` points a band, or as long as the longest band needs."""
    longest = length or max(int((curve.band == code).sum()) for curve in curves for code in range(len(BANDS)))
    return Padded(*(torch.stack(values) for values in zip(*(_grid(curve, longest) for curve in curves), strict=True)))


def forward(model: ATAT, grids: Padded, metadata: Tensor, missing: Tensor) -> Logits:
    """Logits of light curves and their metadata (B, K), 0 where ``missing`` (B, K)."""
    lc = None if model.lc is None else _light_curve_branch(model, grids)
    tab = None
    if model.tab is not None:
        tokens = model.tab.tokenizer(metadata, missing)
        tokens = torch.cat([model.tab.class_token.expand(len(tokens), 1, -1), tokens], dim=1)
        tab = _transformer(model.tab.transformer, tokens, None)[:, 0]
    return Logits(
        lc=None if model.lc_head is None or lc is None else model.lc_head(lc),
        tab=None if model.tab_head is None or tab is None else model.tab_head(tab),
        mix=None
        if model.mix_head is None or lc is None or tab is None
        else model.mix_head(torch.cat([tab, lc], dim=1)),
    )


def _light_curve_branch(model: ATAT, grids: Padded) -> Tensor:
    assert model.lc is not None
    flux, flux_err, time, observed = grids.flux, grids.flux_err, grids.time, grids.observed
    values = torch.where(observed[..., None], _encoded(flux, flux_err, model.config), 0.0)
    modulation = cast(TimeModulation, model.lc.time_modulation)
    harmonics = range(model.config.first_harmonic, model.config.first_harmonic + model.config.harmonics)
    frequencies = [2 * math.pi * number / model.config.t_max for number in harmonics]
    tokens = _modulated(modulation, values, time, frequencies).flatten(1, 2)
    tokens = torch.cat([model.lc.class_token.expand(len(flux), 1, -1), tokens], dim=1)
    mask = torch.cat([torch.ones(len(flux), 1, dtype=torch.bool), observed.flatten(1)], dim=1)
    return _transformer(model.lc.transformer, tokens, mask)[:, 0]


def _grid(curve: LightCurve, longest: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Flux, error, time and mask (B, L), zero-padded (error one-padded, so that its logarithm exists)."""
    flux, flux_err, time = (torch.full((len(BANDS), longest), fill) for fill in (0.0, 1.0, 0.0))
    observed = torch.zeros(len(BANDS), longest, dtype=torch.bool)
    for code in range(len(BANDS)):
        mine = curve.band == code
        n = int(mine.sum())
        flux[code, :n] = torch.from_numpy(curve.flux[mine])
        flux_err[code, :n] = torch.from_numpy(curve.flux_err[mine])
        time[code, :n] = torch.from_numpy((curve.mjd[mine] - curve.mjd[0]).astype("float32"))
        observed[code, :n] = True
    return flux, flux_err, time, observed


def _encoded(flux: Tensor, flux_err: Tensor, config: ATATConfig) -> Tensor:
    """Values (N, B, L, F) of points (N, B, L)."""
    peak = flux.abs().amax(dim=(1, 2), keepdim=True)
    if config.flux_encoding == "asinh":
        values = [torch.asinh(flux / 10), torch.asinh(flux / flux_err), torch.log10(flux_err)]
    else:
        values = [flux, flux_err]
    values = values if config.use_flux_err else values[:1]
    return torch.stack([*values, flux / peak] if config.relative_flux else values, dim=-1)


def _modulated(modulation: TimeModulation, values: Tensor, time: Tensor, frequencies: Sequence[float]) -> Tensor:
    """Eq. 4.1-4.2, term by term. Values (N, B, L, F), time (N, B, L)."""
    linear = modulation.linear(values)
    gammas: Tensor = linear.new_zeros(*time.shape, modulation.coefficients.shape[2])
    for h, frequency in enumerate(frequencies):
        phase = time[..., None] * frequency
        alpha = modulation.coefficients[:, h][None, :, None, :]
        beta = modulation.coefficients[:, len(frequencies) + h][None, :, None, :]
        gammas = gammas + alpha * torch.sin(phase) + beta * torch.cos(phase)
    scale, shift = gammas.chunk(2, dim=-1)
    modulated: Tensor = linear * scale + shift
    return modulated


def _transformer(transformer: Transformer, tokens: Tensor, mask: Tensor | None) -> Tensor:
    for block in transformer.blocks:
        tokens = tokens + _attention(block.attention, block.attention_norm(tokens), mask)  # type: ignore[arg-type,operator]
        tokens = tokens + block.feed_forward(tokens)  # type: ignore[operator]
    return tokens


def _attention(attention: SelfAttention, tokens: Tensor, mask: Tensor | None) -> Tensor:
    query, key, value = (
        part.unflatten(-1, (attention.n_heads, -1)).transpose(1, 2)
        for part in attention.project_in(tokens).chunk(3, dim=-1)
    )
    seen = None if mask is None else mask[:, None, None, :]
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
    output: Tensor = attention.project_out(mixed.transpose(1, 2).flatten(2))
    return output

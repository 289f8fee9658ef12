"""How a light curve's points become tokens that know when, and in which band, they were taken."""

import math
from typing import Literal

import torch
from torch import Tensor, nn


def must_not_repeat(window_days: float, t_max: float) -> None:
    """Raises ValueError for a window longer than the period of time modulation."""
    if window_days > t_max:
        raise ValueError(f"window_days {window_days} is beyond t_max {t_max}: time modulation would repeat")


def time_encoding(
    kind: Literal["modulation", "sinusoid"],
    *,
    n_values: int,
    d_model: int,
    n_bands: int,
    harmonics: int,
    t_max: float,
    first_harmonic: int = 1,
) -> "TimeModulation | FixedSinusoid":
    """The thesis's time modulation, or what it is compared with."""
    if kind == "sinusoid":
        return FixedSinusoid(n_values=n_values, d_model=d_model, n_bands=n_bands)
    return TimeModulation(
        n_values=n_values,
        d_model=d_model,
        n_bands=n_bands,
        harmonics=harmonics,
        t_max=t_max,
        first_harmonic=first_harmonic,
    )


class TimeModulation(nn.Module):
    """Thesis 4.3.2, eq. 4.1-4.2: TM(x, t) = LL(x) * gamma1_b(t) + gamma2_b(t), the gammas Fourier series a band.

    The gammas repeat after ``t_max`` days, so no light curve may be longer. ``first_harmonic`` is 1 in the text and 0
    in the released code, where a constant term replaces the highest harmonic.
    Values (P, F), time (P,) [days], band (P,); output (P, D).
    """

    frequency: Tensor

    def __init__(
        self, *, n_values: int, d_model: int, n_bands: int, harmonics: int, t_max: float, first_harmonic: int = 1
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(n_values, d_model)
        # One (2 H, 2 D) matrix a band: rows are sines then cosines, columns gamma1 then gamma2. The gammas begin with
        # unit variance and a pink spectrum: with a white one, neighbouring times begin as strangers, and training on
        # few light curves learns slower (PLAsTiCC, 600 steps: macro F1 .656 against .605).
        amplitude = torch.arange(1, harmonics + 1).rsqrt()
        amplitude = (amplitude / amplitude.square().sum().sqrt()).repeat(2)[:, None]
        self.coefficients = nn.Parameter(torch.randn(n_bands, 2 * harmonics, 2 * d_model) * amplitude)
        orders = torch.arange(first_harmonic, first_harmonic + harmonics, dtype=torch.float32)
        self.register_buffer("frequency", 2 * math.pi * orders / t_max, persistent=False)

    def forward(self, values: Tensor, time: Tensor, band: Tensor) -> Tensor:
        return self.modulate(self.linear(values), time, band)

    def modulate(self, tokens: Tensor, time: Tensor, band: Tensor) -> Tensor:
        """What is in LL(x)'s place (P, D), or the same (D,) for all points, modulated."""
        phase = time[:, None] * self.frequency
        waves = torch.cat([phase.sin(), phase.cos()], dim=1)
        gammas = waves @ self.coefficients[0] if len(self.coefficients) == 1 else self._by_band(waves, band)
        scale, shift = gammas.chunk(2, dim=1)
        return tokens * scale + shift

    def _by_band(self, waves: Tensor, band: Tensor) -> Tensor:
        """One matrix product a band, over the band's points together; then back to the order they came in."""
        order = band.argsort(stable=True)
        parts = torch.split(waves[order], torch.bincount(band, minlength=len(self.coefficients)).tolist())
        gammas = torch.cat([part @ matrix for part, matrix in zip(parts, self.coefficients, strict=True)])
        return gammas[order.argsort()]


class FixedSinusoid(nn.Module):
    """Vaswani's positional encoding of continuous time: LL(x) + PE(t) + a learned vector a band. As TimeModulation.

    The wavelengths go from 2 pi days to 10,000 times as long. The thesis compares it by figures alone, and does not say
    how it would know the band; without one it would be compared on less than time modulation sees.
    """

    frequency: Tensor

    def __init__(self, *, n_values: int, d_model: int, n_bands: int) -> None:
        super().__init__()
        self.linear = nn.Linear(n_values, d_model)
        self.band = nn.Embedding(n_bands, d_model)
        orders = torch.arange(0, d_model, 2, dtype=torch.float32)
        self.register_buffer("frequency", 10_000 ** (-orders / d_model), persistent=False)

    def forward(self, values: Tensor, time: Tensor, band: Tensor) -> Tensor:
        return self.modulate(self.linear(values), time, band)

    def modulate(self, tokens: Tensor, time: Tensor, band: Tensor) -> Tensor:
        """As TimeModulation's."""
        phase = time[:, None] * self.frequency
        encoding = torch.stack([phase.sin(), phase.cos()], dim=2).flatten(1)
        encoded: Tensor = tokens + encoding + self.band(band)
        return encoded

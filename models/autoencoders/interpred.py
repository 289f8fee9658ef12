"""Interpolation-prediction (Shukla and Marlin 2019; thesis 2.1.2) as pre-encoder."""

import math

import torch
from torch import Tensor, nn

from models.autoencoders.config import AutoencoderConfig
from models.autoencoders.points import Points, grid, regular, softmax_by_group

_WIDTH = 0.05
"""Of the low-pass kernel before training, as a share of the span."""


class InterPred(nn.Module):
    """Eq. 2.12-2.14: intensity, smooth trend over the bands, and what is quicker than it, of each band: 3 values each.

    Two errors of eq. 2.14 are mended: the trend mixes the bands' own sigma_kd', and (lambda, chi, tau) go on, as in
    figure 2.4. Weights are normalised as softmaxes, which far from every point do not become 0 / 0.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.n_bands = config.n_bands
        self.n_induction = config.n_induction
        self.kappa = config.kappa
        self.d_output = 3 * config.n_bands
        self.log_alpha = nn.Parameter(torch.full((config.n_bands,), -math.log(2 * _WIDTH**2)))
        self.rho = nn.Parameter(torch.eye(config.n_bands))

    def forward(self, points: Points) -> Points:
        distance = grid(self.n_induction, points.time.device) - points.time[:, None]
        exponent = -self.log_alpha.exp()[points.band][:, None] * distance.square()
        group = points.row * self.n_bands + points.band
        sigma, log_intensity = self._filtered(exponent, points, group)
        gamma, _ = self._filtered(self.kappa * exponent, points, group)
        shares = log_intensity.softmax(dim=1)
        chi = torch.einsum("de,bek->bdk", self.rho, shares * sigma)
        channels = torch.cat([log_intensity.exp(), chi, gamma - chi], dim=1)
        return regular(channels.transpose(1, 2))

    def _filtered(self, exponent: Tensor, points: Points, group: Tensor) -> tuple[Tensor, Tensor]:
        """Eq. 2.13 and the logarithm of eq. 2.12, both (B, bands, K); a band without points has a mean of 0."""
        n_groups = len(points) * self.n_bands
        weights, log_intensity = softmax_by_group(exponent, group, n_groups)
        means = weights.new_zeros(n_groups, self.n_induction).index_add(0, group, weights * points.values)
        by_band = (len(points), self.n_bands, self.n_induction)
        return means.view(by_band), log_intensity.view(by_band)

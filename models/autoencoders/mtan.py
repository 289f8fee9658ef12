"""Multi-time attention (Shukla and Marlin 2021; eq. 2.15-2.18), from points to a grid and from a grid to points.

Keys and queries have biases, as in mTAN's own code.
"""

import math

import torch
from torch import Tensor, nn

from models.autoencoders.config import AutoencoderConfig
from models.autoencoders.points import Points, grid, regular, softmax_by_group


class _TimeEmbedding(nn.Module):
    """phi: times (T,) -> (T, D), one of them linear and the others learned sinusoids, as in mTAN's own code."""

    def __init__(self, d_time: int) -> None:
        super().__init__()
        self.linear = nn.Linear(1, 1)
        self.periodic = nn.Linear(1, d_time - 1)

    def forward(self, time: Tensor) -> Tensor:
        time = time[:, None]
        return torch.cat([self.linear(time), self.periodic(time).sin()], dim=1)


class _Scores(nn.Module):
    """Eq. 2.15 with one head: how much each time (P,) has to do with each induction point, (P, K)."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.n_induction = config.n_induction
        self.embedding = _TimeEmbedding(config.d_mtan_time)
        self.of_points = nn.Linear(config.d_mtan_time, config.d_mtan)
        self.of_grid = nn.Linear(config.d_mtan_time, config.d_mtan)

    def forward(self, time: Tensor) -> Tensor:
        # In eight bits a time would be wrong by a quarter of an induction point's distance.
        with torch.autocast(time.device.type, enabled=False):
            induction = self.of_grid(self.embedding(grid(self.n_induction, time.device)))
            scores: Tensor = self.of_points(self.embedding(time)) @ induction.T
            return scores / math.sqrt(induction.shape[1])


class MTANPreEncoder(nn.Module):
    """Observed values, averaged at each induction point over the points of each band, then mixed without a bias."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.n_bands = config.n_bands
        self.d_output = config.d_mtan
        self.scores = _Scores(config)
        self.output = nn.Linear(config.n_bands, config.d_mtan, bias=False)

    def forward(self, points: Points) -> Points:
        scores = self.scores(points.time)
        group = points.row * self.n_bands + points.band
        n_groups = len(points) * self.n_bands
        weights, _ = softmax_by_group(scores, group, n_groups)
        means = weights.new_zeros(n_groups, scores.shape[1]).index_add(0, group, weights * points.values)
        channels = means.view(len(points), self.n_bands, -1).transpose(1, 2)
        return regular(self.output(channels))


class MTANPostDecoder(nn.Module):
    """Embeddings (B, K, D) at the induction points, averaged at each point's time and mixed without a bias: (P, D')."""

    def __init__(self, config: AutoencoderConfig, *, d_input: int) -> None:
        super().__init__()
        self.d_output = config.d_mtan
        self.scores = _Scores(config)
        self.output = nn.Linear(d_input, config.d_mtan, bias=False)

    def forward(self, embeddings: Tensor, points: Points) -> Tensor:
        weights = points.dense(self.scores(points.time).softmax(dim=1))
        mixed: Tensor = points.packed(weights @ self.output(embeddings))
        return mixed

"""Convolutions in BigGAN's residual blocks (Brock et al. 2019), over induction points, as encoder and as decoder.

The encoder's blocks are those of its discriminator (average pooling at their end), the decoder's those of its
generator (batch normalisation, lengthening first); without spectral normalisation, and without the last
normalisation of its generator.
"""

import math
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from models.autoencoders.config import AutoencoderConfig
from models.autoencoders.points import Points

_FIRST = 3
"""Places of the decoder's first feature maps, and about as many as the encoder ends with."""


class ResNetEncoder(nn.Module):
    """Points on a grid -> (B, D), the mean over the places that remain. It sees no times: they must be even."""

    sees_times: ClassVar[bool] = False

    def __init__(self, config: AutoencoderConfig, *, n_values: int) -> None:
        super().__init__()
        self.d_latent = config.feature_maps
        self.linear = nn.Linear(n_values, config.feature_maps)
        blocks = []
        places = config.n_induction
        while places >= _FIRST * config.scale:
            blocks.append(_Down(config))
            places = math.ceil(places / config.scale)
        self.blocks = nn.Sequential(*blocks)

    def forward(self, points: Points) -> Tensor:
        maps: Tensor = self.blocks(points.dense(self.linear(points.values)).transpose(1, 2))
        return maps.relu().mean(dim=2)


class ResNetDecoder(nn.Module):
    """(B, D) -> as many places of a grid as there are points (P, D'), the midst of a length that grows threefold."""

    sees_times: ClassVar[bool] = False

    def __init__(self, config: AutoencoderConfig, *, d_latent: int) -> None:
        super().__init__()
        self.d_output = config.feature_maps
        self.linear = nn.Linear(d_latent, config.feature_maps * _FIRST)
        blocks = []
        places = _FIRST
        while places < config.n_induction:
            blocks.append(_Up(config))
            places *= config.scale
        self.blocks = nn.Sequential(*blocks)

    def forward(self, latent: Tensor, points: Points) -> Tensor:
        maps: Tensor = self.blocks(self.linear(latent).view(len(latent), -1, _FIRST))
        places = int(points.lengths[0])
        # From its beginning on, half of the first feature maps would have no part in it.
        first = (maps.shape[2] - places) // 2
        return points.packed(maps.transpose(1, 2)[:, first : first + places])


class _Convolution(nn.Conv1d):
    """Of any kernel, keeping the length: an even one looks further back than ahead."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__(config.feature_maps, config.feature_maps, config.kernel)

    def forward(self, maps: Tensor) -> Tensor:
        reach = self.kernel_size[0] - 1
        return super().forward(F.pad(maps, (reach - reach // 2, reach // 2)))


class _Down(nn.Module):
    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.scale = config.scale
        self.change = nn.Sequential(nn.ReLU(), _Convolution(config), nn.ReLU(), _Convolution(config))
        self.shortcut = nn.Conv1d(config.feature_maps, config.feature_maps, 1)

    def forward(self, maps: Tensor) -> Tensor:
        # The last mean may be of fewer places: left out, the end of a light curve would hardly be seen.
        return F.avg_pool1d(self.change(maps) + self.shortcut(maps), self.scale, ceil_mode=True)


class _Up(nn.Module):
    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.change = nn.Sequential(
            nn.BatchNorm1d(config.feature_maps),
            nn.ReLU(),
            nn.Upsample(scale_factor=config.scale),
            _Convolution(config),
            nn.BatchNorm1d(config.feature_maps),
            nn.ReLU(),
            _Convolution(config),
        )
        self.shortcut = nn.Sequential(
            nn.Upsample(scale_factor=config.scale), nn.Conv1d(config.feature_maps, config.feature_maps, 1)
        )

    def forward(self, maps: Tensor) -> Tensor:
        longer: Tensor = self.change(maps) + self.shortcut(maps)
        return longer

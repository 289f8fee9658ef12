"""A perceptron of residual blocks as decoder (3.3.5): each point is decoded alone, from the latent vector and its time.

The blocks are those of BigBiGAN's discriminator (Donahue and Simonyan 2019), without spectral normalisation.
"""

from typing import ClassVar

from torch import Tensor, nn

from models.autoencoders.config import AutoencoderConfig
from models.autoencoders.modulation import Repeated
from models.autoencoders.points import Points


class MLPDecoder(nn.Module):
    """(B, D) -> (P, D')."""

    sees_times: ClassVar[bool] = True

    def __init__(self, config: AutoencoderConfig, *, d_latent: int) -> None:
        super().__init__()
        self.d_output = config.d_mlp
        self.repeated = Repeated(config, d_latent=d_latent, d_model=config.d_mlp)
        self.blocks = nn.Sequential(*(_Block(config.d_mlp) for _ in range(config.mlp_blocks)))

    def forward(self, latent: Tensor, points: Points) -> Tensor:
        decoded: Tensor = self.blocks(self.repeated(latent, points))
        return decoded


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.change = nn.Sequential(nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        changed: Tensor = tokens + self.change(tokens)
        return changed

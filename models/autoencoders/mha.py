"""Multi-head attention, one layer without a skip connection (3.3.1), as encoder and as decoder (3.3.5)."""

from typing import ClassVar

from torch import Tensor, nn

from models.autoencoders.config import AutoencoderConfig
from models.autoencoders.modulation import Modulation, Repeated
from models.autoencoders.points import Points
from models.layers.attention import SelfAttention


class MHAEncoder(nn.Module):
    """Time modulation, attention, mean: points -> (B, D). Induction points are modulated, too (3.3.2).

    Masked mean pooling (3.3.1) is done within attention, where there is nothing left to mask.
    """

    sees_times: ClassVar[bool] = True

    def __init__(self, config: AutoencoderConfig, *, n_values: int) -> None:
        super().__init__()
        self.d_latent = config.d_mha
        on_grid = config.pre_encoder is not None
        self.modulation = Modulation(config, n_values=n_values, d_model=config.d_mha, on_grid=on_grid)
        self.attention = SelfAttention(d_model=config.d_mha, n_heads=config.n_heads)

    def forward(self, points: Points) -> Tensor:
        tokens = self.modulation(points.values, points)
        return self.attention.mean(tokens, points.layout)


class MHADecoder(nn.Module):
    """The latent vector at each time, attending to itself at the others: (B, D) -> (P, D')."""

    sees_times: ClassVar[bool] = True

    def __init__(self, config: AutoencoderConfig, *, d_latent: int) -> None:
        super().__init__()
        self.d_output = config.d_mha
        self.repeated = Repeated(config, d_latent=d_latent, d_model=config.d_mha)
        self.attention = SelfAttention(d_model=config.d_mha, n_heads=config.n_heads)

    def forward(self, latent: Tensor, points: Points) -> Tensor:
        decoded: Tensor = self.attention(self.repeated(latent, points), points.layout)
        return decoded

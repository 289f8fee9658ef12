"""Time modulation of points, with the settings of chapter 3."""

from torch import Tensor, nn

from models.autoencoders.config import AutoencoderConfig
from models.autoencoders.points import Points
from models.layers.time_modulation import TimeModulation


class Modulation(nn.Module):
    """Eq. 3.5-3.6 of values at points' times and in their bands: (P, F) -> (P, D). A grid's points have no band."""

    def __init__(self, config: AutoencoderConfig, *, n_values: int, d_model: int, on_grid: bool) -> None:
        super().__init__()
        self.series = TimeModulation(
            n_values=n_values,
            d_model=d_model,
            n_bands=1 if on_grid else config.n_bands,
            harmonics=config.harmonics,
            t_max=config.t_max,
        )

    def forward(self, values: Tensor, points: Points) -> Tensor:
        tokens: Tensor = self.series(values, points.time, points.band)
        return tokens


class Repeated(nn.Module):
    """The latent vector (B, D) at every point, modulated by the point's time (3.3.4's dec-post-operation): (P, D')."""

    def __init__(self, config: AutoencoderConfig, *, d_latent: int, d_model: int) -> None:
        super().__init__()
        on_grid = config.post_decoder is not None
        self.modulation = Modulation(config, n_values=d_latent, d_model=d_model, on_grid=on_grid)

    def forward(self, latent: Tensor, points: Points) -> Tensor:
        series = self.modulation.series
        # A vector's linear layer once, not once a point.
        return series.modulate(series.linear(latent)[points.row], points.time, points.band)

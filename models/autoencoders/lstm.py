"""A long short-term memory (eq. 2.1-2.6), one layer without a skip connection, as encoder and as decoder."""

from typing import ClassVar

from torch import Tensor, nn

from models.autoencoders.config import AutoencoderConfig
from models.autoencoders.modulation import Modulation, Repeated
from models.autoencoders.points import Points


class LSTMEncoder(nn.Module):
    """Points -> (B, D), the mean of the hidden states.

    It sees the order of points but not their times, which are therefore modulated; induction points, evenly spaced,
    go through a linear layer instead (3.3.4).
    """

    sees_times: ClassVar[bool] = True

    def __init__(self, config: AutoencoderConfig, *, n_values: int) -> None:
        super().__init__()
        self.d_latent = config.d_lstm
        self.modulation = (
            Modulation(config, n_values=n_values, d_model=config.d_lstm, on_grid=False)
            if config.pre_encoder is None
            else None
        )
        self.linear = nn.Linear(n_values, config.d_lstm) if config.pre_encoder is not None else None
        self.lstm = nn.LSTM(config.d_lstm, config.d_lstm, batch_first=True)

    def forward(self, points: Points) -> Tensor:
        tokens = self.modulation(points.values, points) if self.modulation else points.values
        tokens = self.linear(tokens) if self.linear else tokens
        return points.mean(recurrent(self.lstm, tokens, points))


class LSTMDecoder(nn.Module):
    """The latent vector at each time, one after the other (Naul et al. 2018): (B, D) -> (P, D')."""

    sees_times: ClassVar[bool] = True

    def __init__(self, config: AutoencoderConfig, *, d_latent: int) -> None:
        super().__init__()
        self.d_output = config.d_lstm
        self.repeated = Repeated(config, d_latent=d_latent, d_model=config.d_lstm)
        self.lstm = nn.LSTM(config.d_lstm, config.d_lstm, batch_first=True)

    def forward(self, latent: Tensor, points: Points) -> Tensor:
        return recurrent(self.lstm, self.repeated(latent, points), points)


def recurrent(lstm: nn.LSTM, tokens: Tensor, points: Points) -> Tensor:
    """Hidden states (P, D) of tokens (P, D). What stands after the end of a sequence changes none before it."""
    hidden, _ = lstm(points.dense(tokens))
    return points.packed(hidden)

"""The autoencoder of figure 3.1: pre-encoder, encoder, one latent vector, decoder, post-decoder.

A new module is one file and one line here; what it must have is in ``parts``.
"""

import math
from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.autoencoders.config import AutoencoderConfig
from models.autoencoders.interpred import InterPred
from models.autoencoders.losses import LOSSES, Reconstruction
from models.autoencoders.lstm import LSTMDecoder, LSTMEncoder
from models.autoencoders.mha import MHADecoder, MHAEncoder
from models.autoencoders.mlp import MLPDecoder
from models.autoencoders.mtan import MTANPostDecoder, MTANPreEncoder
from models.autoencoders.parts import Decoder, Encoder, PostDecoder, PreEncoder
from models.autoencoders.points import Points, regular
from models.autoencoders.resnet import ResNetDecoder, ResNetEncoder

ENCODERS: Mapping[str, Callable[..., Encoder]] = {"mha": MHAEncoder, "lstm": LSTMEncoder, "resnet": ResNetEncoder}
PRE_ENCODERS: Mapping[str, Callable[..., PreEncoder]] = {"interpred": InterPred, "mtan": MTANPreEncoder}
DECODERS: Mapping[str, Callable[..., Decoder]] = {
    "mha": MHADecoder,
    "mlp": MLPDecoder,
    "lstm": LSTMDecoder,
    "resnet": ResNetDecoder,
}
POST_DECODERS: Mapping[str, Callable[..., PostDecoder]] = {"mtan": MTANPostDecoder}

LEAST_VARIANCE = 1e-4
"""No estimated variance is smaller. A noiseless light curve (class 0 of Syn-A) has no finite best likelihood."""


Module = TypeVar("Module")


class Autoencoder(nn.Module):
    """Points in, their distribution out, through one vector a light curve.

    Raises ValueError for a module that there is not, or one that sees no times without the grid that it needs.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        encoder = _named(ENCODERS, config.encoder, "encoder")
        decoder = _named(DECODERS, config.decoder, "decoder")
        loss = _named(LOSSES, config.loss, "loss")
        self.pre_encoder = (
            None if config.pre_encoder is None else _named(PRE_ENCODERS, config.pre_encoder, "pre-encoder")(config)
        )
        self.encoder = encoder(config, n_values=1 if self.pre_encoder is None else self.pre_encoder.d_output)
        self.decoder = decoder(config, d_latent=self.encoder.d_latent)
        if config.pre_encoder is None and not self.encoder.sees_times:
            raise ValueError(f"the encoder {config.encoder} needs a pre-encoder: it sees no times")
        if config.post_decoder is None and not self.decoder.sees_times:
            raise ValueError(f"the decoder {config.decoder} needs a post-decoder: it sees no times")
        self.post_decoder = (
            None
            if config.post_decoder is None
            else _named(POST_DECODERS, config.post_decoder, "post-decoder")(config, d_input=self.decoder.d_output)
        )
        # A grid knows no bands: each band then reads the embeddings for itself.
        self.n_readings = 1 if self.post_decoder is None else config.n_bands
        self.n_moments = 2 if loss.estimates_variance else 1
        d_output = self.decoder.d_output if self.post_decoder is None else self.post_decoder.d_output
        self.head = nn.Linear(d_output, self.n_readings * self.n_moments)

    @property
    def d_latent(self) -> int:
        """Width of the latent vector."""
        return self.encoder.d_latent

    def encode(self, points: Points) -> Tensor:
        """Each light curve's vector (B, D)."""
        with self._precision(points.values.device):
            latent = self.encoder(points if self.pre_encoder is None else self.pre_encoder(points))
        return latent.float()

    def decode(self, latent: Tensor, points: Points) -> Reconstruction:
        """What latent vectors (B, D) say of their points; of these only times and bands are looked at."""
        with self._precision(latent.device):
            decoded = self._decoded(latent, points)
        readings = self.head(decoded.float()).view(len(decoded), self.n_readings, self.n_moments)
        moments = readings[:, 0] if self.n_readings == 1 else readings[torch.arange(len(readings)), points.band]
        if self.n_moments == 1:
            return Reconstruction(moments[:, 0], None)
        least = math.log(LEAST_VARIANCE)
        return Reconstruction(moments[:, 0], least + F.softplus(moments[:, 1] - least))

    def _decoded(self, latent: Tensor, points: Points) -> Tensor:
        """What the head reads at each point (P, D)."""
        if self.post_decoder is None:
            return self.decoder(latent, points)
        k = self.config.n_induction
        on_grid = self.decoder(latent, regular(latent.new_zeros(len(latent), k, 1)))
        return self.post_decoder(on_grid.view(len(latent), k, -1), points)

    def _precision(self, device: torch.device) -> torch.autocast:
        return torch.autocast(device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16")

    def forward(self, points: Points) -> tuple[Tensor, Reconstruction]:
        latent = self.encode(points)
        return latent, self.decode(latent, points)


def _named(modules: Mapping[str, Module], name: str, what: str) -> Module:
    if name not in modules:
        raise ValueError(f"no {what} is called {name!r}: {', '.join(modules)}")
    return modules[name]

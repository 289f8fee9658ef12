"""What each part of an autoencoder must have, whatever it is inside."""

from typing import ClassVar, Protocol

from torch import Tensor

from models.autoencoders.points import Points


class PreEncoder(Protocol):
    """Points to points on a grid. Made with the configuration."""

    @property
    def d_output(self) -> int:
        """Values of each point on the grid."""
        ...

    def __call__(self, points: Points, /) -> Points: ...


class Encoder(Protocol):
    """Points to one vector a light curve (B, D). Made with the configuration and ``n_values`` of a point."""

    sees_times: ClassVar[bool]
    """Or else it needs a grid."""

    @property
    def d_latent(self) -> int:
        """Width of that vector."""
        ...

    def __call__(self, points: Points, /) -> Tensor: ...


class Decoder(Protocol):
    """Latent vectors (B, D) to what is read at each point (P, D), of which only times and bands are looked at.

    Made with the configuration and ``d_latent``.
    """

    sees_times: ClassVar[bool]
    """Or else it needs a grid."""

    @property
    def d_output(self) -> int:
        """Width of what is read."""
        ...

    def __call__(self, latent: Tensor, points: Points, /) -> Tensor: ...


class PostDecoder(Protocol):
    """What was decoded on a grid (B, K, D), brought to each point (P, D).

    Made with the configuration and ``d_input``.
    """

    @property
    def d_output(self) -> int:
        """Width of what is read."""
        ...

    def __call__(self, on_grid: Tensor, points: Points, /) -> Tensor: ...

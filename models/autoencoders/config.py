"""The shape of an autoencoder."""

from dataclasses import asdict, dataclass
from typing import Any

from models.selection import Precision


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    """Which modules, by their names in ``autoencoder``, and their sizes. Defaults are the thesis's (3.3.4)."""

    encoder: str = "mha"
    pre_encoder: str | None = None
    decoder: str = "mlp"
    post_decoder: str | None = None
    loss: str = "mse"
    n_bands: int = 1
    n_heads: int = 4
    d_head: int = 48
    d_lstm: int = 64
    feature_maps: int = 32
    """Of the ResNets."""
    kernel: int = 4
    scale: int = 3
    """By which each residual block shortens or lengthens a sequence."""
    d_mlp: int = 64
    mlp_blocks: int = 4
    n_induction: int = 128
    """Induction points, evenly from 0 to 1."""
    kappa: float = 10.0
    """How much narrower InterPred's high-pass kernel is."""
    d_mtan: int = 48
    d_mtan_time: int = 16
    harmonics: int = 64
    """Of time modulation. Chapter 3 names no number: chapter 4's."""
    t_max: float = 1.0
    """Period of time modulation, in spans of a light curve: of one that is not folded, its two ends look alike."""
    precision: Precision = "float32"
    """Of matrix products. Weights and reconstructions are float32; latent vectors are as precise as the encoder's last
    product, and handed on as float32."""

    @property
    def d_mha(self) -> int:
        """Width of multi-head attention."""
        return self.n_heads * self.d_head

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        return asdict(self)

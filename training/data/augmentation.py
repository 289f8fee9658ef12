"""Light curves as they might have been observed as well: fainter, noisier, sparser."""

from dataclasses import dataclass, replace

import numpy as np

from models.choices import must_be_typed
from models.inputs.light_curve import LightCurves


@dataclass(frozen=True)
class Augmentation:
    """How much to vary; zeros leave everything as it is."""

    flux: float = 0.0
    """Standard deviation of the natural logarithm of a factor on an object's fluxes and errors."""
    noise: float = 0.0
    """Noise added to every point, at most this multiple of its error (uniform, one an object); its error grows, too."""
    sparsity: float = 0.0
    """Share of the points that are not detections to leave out, at most (uniform, one an object)."""

    def __post_init__(self) -> None:
        """Raises ValueError for a value that makes no sense."""
        must_be_typed(self)
        if not (self.flux >= 0 and self.noise >= 0 and 0 <= self.sparsity <= 1):
            raise ValueError(f"flux and noise are 0 or more, and sparsity is a share: {self}")

    def __call__(self, curves: LightCurves, rng: np.random.Generator) -> LightCurves:
        """The same light curves (N), varied; an object's points all alike, but for its noise."""
        n, lengths = len(curves), curves.lengths
        factor = np.repeat(np.exp(self.flux * rng.standard_normal(n)), lengths)
        share = np.repeat(self.noise * rng.random(n), lengths)
        noise = share * curves.flux_err * rng.standard_normal(len(curves.mjd))
        varied = replace(
            curves,
            flux=((curves.flux + noise) * factor).astype(np.float32),
            flux_err=(curves.flux_err * np.sqrt(1 + share**2) * factor).astype(np.float32),
        )
        dropped = rng.random(len(curves.mjd)) < np.repeat(self.sparsity * rng.random(n), lengths)
        return varied.where(curves.detected | ~dropped)

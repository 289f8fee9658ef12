"""The dust of the Milky Way along a sight line; the law it follows is the models' own."""

import numpy as np

from models.inputs import extinction

per_reddening = extinction.per_reddening
MILKY_WAY = extinction.MILKY_WAY


def milky_way_reddening(rng: np.random.Generator, latitude: float) -> float:
    """E(B-V) [mag] on a sight line: a dusty disc seen at ``latitude`` [deg], patchy by a factor of 1.65."""
    thickness = 1 / max(abs(np.sin(np.radians(latitude))), 0.02)
    return float(min(0.02 * thickness * np.exp(0.5 * rng.standard_normal()), 2.0))

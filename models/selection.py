"""Which model, in which precision and under which prior: what is chosen of one before it, or torch, is loaded."""

from pathlib import Path
from typing import Literal

DEFAULT_ARTIFACT = Path(__file__).parent / "artifacts" / "atat2-elasticc"
"""The model that ships."""

Precision = Literal["float32", "bfloat16"]
"""What a network multiplies its matrices in."""

PRIORS = "uniform, training, root, or a JSON file of numbers by class"
"""What ``Calibration.under`` takes, for help texts."""

"""Small labelled sets for tests: transients that rise and fall beside variables that flicker."""

from pathlib import Path

import numpy as np

from models.inputs.light_curve import LightCurves
from models.inputs.metadata import COLUMNS
from models.inputs.ragged import offsets_of
from training.data import layout
from training.data.layout import Objects
from training.data.splits import fold_of, split_of

TRANSIENT, VARIABLE = 2222, 2323


def make(n: int, *, seed: int = 0) -> Objects:
    """``n`` objects of two classes in turn, every one with a detection."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(8, 30, n)
    offsets = offsets_of(lengths)
    row = np.repeat(np.arange(n), lengths)
    days = np.concatenate([np.sort(rng.uniform(0, 100, length)) for length in lengths])
    is_transient = (np.arange(n) % 2 == 0)[row]
    shape = np.where(is_transient, np.exp(-((days - 40) ** 2) / 200), np.sign(np.sin(days)))
    flux = 300 * shape + rng.normal(0, 5, len(days))
    detected = np.abs(flux) > 25
    detected[offsets[:-1]] = True
    metadata = np.full((n, len(COLUMNS)), np.nan, dtype=np.float32)
    metadata[:, COLUMNS.index("mwebv")] = rng.uniform(0, 0.3, n)
    metadata[::2, COLUMNS.index("hostgal_zphot")] = rng.uniform(0.05, 0.9, len(metadata[::2]))
    mjd = 60_000.0 + days
    return Objects(
        object_id=np.arange(1, n + 1) * 1001,
        class_id=np.where(np.arange(n) % 2 == 0, TRANSIENT, VARIABLE).astype(np.int32),
        source=np.full(n, "test"),
        split=np.array(split_of((np.arange(1, n + 1) * 1001).tolist(), validation=0.2)),
        fold=fold_of((np.arange(1, n + 1) * 1001).tolist()),
        metadata=metadata,
        light_curves=LightCurves(
            offsets=offsets,
            first_alert_mjd=mjd[offsets[:-1]],
            mjd=mjd,
            band=rng.integers(0, 6, len(mjd)).astype(np.int8),
            flux=flux.astype(np.float32),
            flux_err=np.full(len(mjd), 5, dtype=np.float32),
            detected=detected,
        ),
    )


def write(directory: Path, n: int = 120) -> Path:
    """``make(n)`` as a data directory."""
    layout.write(directory, [make(n)])
    return directory


CONFIG = """
name = "toy"
version = "7"
[model]
metadata_columns = ["mwebv", "hostgal_zphot"]
d_lc = 16
d_tab = 8
n_layers = 1
harmonics = 8
dropout = 0.1
flux_encoding = "asinh"
[training]
steps = 60
batch_size = 32
learning_rate = 5e-3
ema = 0.9
evaluate_every = 20
full = 0.5
class_power = 0.5
logit_adjustment = true
[augmentation]
noise = 0.2
"""

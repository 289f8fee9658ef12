"""The synthetic sets of thesis 3.4.1, eq. 3.7-3.8: two classes that differ in noise (A), ripple (B) or shape (C).

The text leaves open, and here is chosen: phi ~ U(0, 2 pi); A = .25 is A_g; w_2 = 30 multiplies w; N(0, 5) has a
standard deviation of 5, as numpy writes it, though 3.2 writes a variance there (of the variance 5, Syn-A's classes are
as easily told apart); the noise of Syn-C, which with N(0, 5) nobody could tell apart; that the saw blade has the sine's
period, not all of them one; and that nobody is told how large the noise is, so that eq. 3.4 is eq. 3.3 here: told,
Syn-A's classes would be told as well.
"""

from collections.abc import Mapping

import numpy as np

from models.arrays import BoolArray, FloatArray
from models.inputs import ragged
from training.data.curves import Curves

_CLASSES = {
    "syn-a": ("sine", "sine and noise"),
    "syn-b": ("sine", "sine with a ripple"),
    "syn-c": ("sine", "saw blade"),
}
NAMES = tuple(_CLASSES)

N_POINTS = 200
KEPT = 0.8
"""Share of the points that a light curve keeps, each by chance."""
FREQUENCY = (1.4, 3.0)
"""Uniform between these; eq. 3.7's max(w, 0) never acts."""
NOISE_A = 5.0
"""Standard deviation, class 1 of Syn-A."""
AMPLITUDE_B = 0.25
RIPPLE_B = 30.0
HARMONICS = 128
"""Of time modulation, for which chapter 3 names no number: the 64 of chapter 4 would end below most of Syn-B's ripples,
which have frequencies up to (1 + RIPPLE_B) * 3 = 93."""
NOISE_C = 0.96
"""Standard deviation, both classes of Syn-C: a likelihood-ratio classifier then reaches 99.5 %."""


def make(name: str, per_class: Mapping[str, int], *, seed: int, n_points: int = N_POINTS) -> Curves:
    """So many light curves of each class by split."""
    rng = np.random.default_rng([seed, NAMES.index(name)])
    label = np.concatenate([np.repeat([0, 1], number) for number in per_class.values()])
    split = np.repeat(list(per_class), [2 * number for number in per_class.values()])
    kept = rng.random((len(label), n_points)) < KEPT
    time = np.sort(rng.uniform(0, 1, kept.shape), axis=1)
    frequency = rng.uniform(*FREQUENCY, (len(label), 1))
    phase = rng.uniform(0, 2 * np.pi, (len(label), 1))
    value = _values(name, time, frequency, phase, second=label[:, None] == 1, rng=rng)
    return Curves(
        offsets=ragged.offsets_of(kept.sum(axis=1)),
        time=time[kept].astype(np.float32),
        band=np.zeros(kept.sum(), dtype=np.int8),
        value=value[kept].astype(np.float32),
        variance=np.zeros(kept.sum(), dtype=np.float32),
        label=label.astype(np.int64),
        split=split,
        owner=np.arange(len(label)),
        classes=_CLASSES[name],
        bands=("one",),
    )


def sine(time: FloatArray, frequency: FloatArray, phase: FloatArray) -> FloatArray:
    """Eq. 3.7 without noise."""
    return np.sin(2 * np.pi * frequency * time + phase)


def saw(time: FloatArray, frequency: FloatArray, phase: FloatArray) -> FloatArray:
    """A saw blade between -1 and 1, of the sine's period."""
    return 2 * np.mod(frequency * time + phase / (2 * np.pi), 1) - 1


def _values(
    name: str,
    time: FloatArray,
    frequency: FloatArray,
    phase: FloatArray,
    *,
    second: BoolArray,
    rng: np.random.Generator,
) -> FloatArray:
    wave = sine(time, frequency, phase)
    if name == "syn-a":
        return wave + second * rng.normal(0, NOISE_A, wave.shape)
    if name == "syn-b":
        return wave * (1 + second * AMPLITUDE_B * sine(time, RIPPLE_B * frequency, phase))
    return np.where(second, saw(time, frequency, phase), wave) + rng.normal(0, NOISE_C, wave.shape)

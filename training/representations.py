"""The runs behind tables 3.1 to 3.8: which autoencoder on which light curves, at which size, and what is kept of it."""

import functools
import hashlib
import json
import math
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from models.autoencoders.autoencoder import Autoencoder
from models.autoencoders.config import AutoencoderConfig
from models.selection import Precision
from training import autoencode
from training.data import curves, synthetic, variables
from training.data.curves import Curves
from training.errors import Diverged, InvalidData
from training.files import replacing
from training.probes import PATIENCE, Effort, n_batches

WHOLE = Effort(probe_epochs=1000, tuning_epochs=200, tuning_steps=20)
"""Of every size but the one that is only looked at."""
_GLIMPSE = Effort(probe_epochs=10, tuning_epochs=10, tuning_steps=1)


@dataclass(frozen=True)
class Size:
    """How much is learned from, and how long."""

    name: str
    per_class: Mapping[str, int]
    """Light curves of each class by split, or all there are."""
    most_epochs: int
    seeds: int
    least_steps: int
    """``most_epochs`` are at least so many steps: a set of few light curves may be gone through more often."""
    n_points: int = synthetic.N_POINTS
    """Of a synthetic light curve, before a fifth is left out."""
    n_induction: int = 128
    effort: Effort = WHOLE


_FULL = {"train": 5000, "validation": 550, "test": 2000}
_SMALL = {"train": 1000, "validation": 200, "test": 500}
_QUICK = {"train": 20, "validation": 10, "test": 20}
SIZES = {
    "full": Size("full", _FULL, most_epochs=1000, seeds=5, least_steps=300),
    "medium": Size("medium", _SMALL, most_epochs=200, seeds=3, least_steps=1500),
    "small": Size("small", _SMALL, most_epochs=30, seeds=3, least_steps=300),
    "quick": Size("quick", _QUICK, most_epochs=1, seeds=1, least_steps=1, n_points=24, n_induction=9, effort=_GLIMPSE),
}
"""``full`` is the thesis's on synthetic sets, and as much of real ones; ``medium`` learns longer from ``small``'s;
``quick`` only shows that everything runs."""

_FIGURES, _DIVERGED = "figures", "diverged"
"""What is kept of a run: one of them."""

PATIENCE_STEPS = 200
"""Without a better error before training stops, at least: what PATIENCE epochs of 10,000 light curves have. Of a
few hundred they would be over before the noise of single steps had evened out."""

VERSION = 5
"""Of how runs are made and measured. To be raised with whatever changes them: older ones are then made again."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The autoencoder of a row of a table."""

    encoder: str = "mha"
    pre_encoder: str | None = None
    decoder: str = "mlp"
    post_decoder: str | None = None
    loss: str = "cross-entropy"
    """Of eq. 3.4: where the noise is not known, the likelihood of eq. 3.3."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """From a TOML file with these options. Raises InvalidData for any that makes no autoencoder."""
        try:
            parts = cls(**tomllib.loads(path.read_text()))
            Autoencoder(AutoencoderConfig(**asdict(parts)))
        except (OSError, TypeError, ValueError) as error:
            raise InvalidData(f"{path}: {error}") from error
        return parts

    @property
    def is_needed(self) -> bool:
        """Whether the findings on synthetic light curves rest on it."""
        alone = self.pre_encoder is None and self.post_decoder is None
        return alone and self.encoder == "mha" and self.decoder in {"mha", "mlp"}

    @property
    def is_of_encoders(self) -> bool:
        """Whether its encoder alone sets it apart: a row of tables 3.6 to 3.8, the last of which is fine-tuned."""
        return self == Parts(encoder=self.encoder, pre_encoder=self.pre_encoder)


@dataclass(frozen=True)
class Cell:
    """One autoencoder on one set of light curves at one size."""

    data: str
    parts: Parts
    size: Size

    @property
    def name(self) -> str:
        """Of its files."""
        parts = self.parts
        modules = (parts.encoder, parts.pre_encoder or "none", parts.decoder, parts.post_decoder or "none", parts.loss)
        return "_".join((self.data, *modules, self.size.name))

    @property
    def rank(self) -> int:
        """The lower, the earlier it is run: by how many findings rest on it, and how heavily."""
        is_synthetic = self.data in synthetic.NAMES
        if is_synthetic and self.parts.is_needed:
            return 0
        if is_synthetic or self.parts.post_decoder is not None:
            return 3
        return 1 if self.parts.is_of_encoders else 2


class Run(NamedTuple):
    """A cell at a seed."""

    cell: Cell
    seed: int

    @property
    def variant(self) -> str:
        """All but the seed."""
        return self.cell.name

    @property
    def claim(self) -> str:
        """Of the one process that makes it."""
        return f"{self.cell.name}_{self.seed}"


def cell_of(data: str, parts: Parts, size: str | None) -> Cell:
    """At this size; without one, full for what the findings on synthetic sets need, and small for the rest."""
    chosen = size or ("full" if data in synthetic.NAMES and parts.is_needed else "small")
    return Cell(data, parts, SIZES[chosen])


@dataclass(frozen=True)
class Bench:
    """A directory of runs, and where the real light curves are. A run that is there is not made again."""

    directory: Path
    sources: Mapping[str, Path]
    device: torch.device
    precision: Precision = "float32"
    tunes_all: bool = False
    """Fine-tune every encoder, and not only those of table 3.8."""

    def figures(self, cell: Cell) -> dict[int, dict[str, float]]:
        """By seed, of those that have been run to their end."""
        found = {seed: self._stored(cell, seed) for seed in range(cell.size.seeds)}
        return {seed: stored[_FIGURES] for seed, stored in found.items() if stored and _FIGURES in stored}

    def diverged(self, cell: Cell) -> int:
        """How many seeds came to no end."""
        return sum(_DIVERGED in (self._stored(cell, seed) or ()) for seed in range(cell.size.seeds))

    def is_done(self, run: Run) -> bool:
        """Whether its figures are there, of these very settings, or it came to no end: it would not another time."""
        return self._stored(run.cell, run.seed) is not None

    def missing(self, cells: Sequence[Cell]) -> Iterator[Run]:
        """What has not been run: of each rank every cell's first seed, then every cell's second."""
        for rank in sorted({cell.rank for cell in cells}):
            own = [cell for cell in cells if cell.rank == rank]
            for seed in range(max((cell.size.seeds for cell in own), default=0)):
                for cell in own:
                    run = Run(cell, seed)
                    if seed < cell.size.seeds and not self.is_done(run):
                        yield run

    def run(self, cell: Cell, seed: int, *, until: float) -> dict[str, float]:
        """Train one autoencoder and keep its figures; of the first seed the weights, too.

        Raises Diverged, which is kept as well, and OutOfTime where not all was done when the clock was past ``until``;
        it goes on another time.
        """
        try:
            figures = self._measured(cell, seed, until=until)
        except Diverged as error:
            self._keep(cell, seed, {_DIVERGED: str(error)})
            raise
        self._keep(cell, seed, {_FIGURES: figures})
        return figures

    def _measured(self, cell: Cell, seed: int, *, until: float) -> dict[str, float]:
        light_curves = self.curves(cell, seed)
        config = self._config(cell, light_curves)
        trained = autoencode.train(
            config,
            light_curves,
            most_epochs=_at_least(cell.size.most_epochs, cell.size.least_steps, light_curves),
            patience=_at_least(PATIENCE, PATIENCE_STEPS, light_curves),
            seed=seed,
            device=self.device,
            checkpoint=self._checkpoint(cell, seed),
            until=until,
        )
        if seed == 0:
            weights = {name: tensor.cpu().contiguous() for name, tensor in trained.model.state_dict().items()}
            with replacing(self._path(cell, seed).with_suffix(".safetensors")) as unfinished:
                save_file(weights, unfinished)
        return autoencode.measure(
            trained,
            light_curves,
            cell.size.effort,
            seed=seed,
            device=self.device,
            fine_tune=self._tunes(cell),
            until=until,
        )

    def _keep(self, cell: Cell, seed: int, what: Mapping[str, object]) -> None:
        path = self._path(cell, seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as unfinished:
            unfinished.write_text(json.dumps({"settings": self._settings(cell), **what}, indent=1))
        self._checkpoint(cell, seed).unlink(missing_ok=True)

    def model(self, cell: Cell, light_curves: Curves) -> Autoencoder | None:
        """The autoencoder of the first seed; None where it has not been trained."""
        path = self._path(cell, 0).with_suffix(".safetensors")
        if _FIGURES not in (self._stored(cell, 0) or ()) or not path.exists():
            return None
        model = Autoencoder(self._config(cell, light_curves))
        model.load_state_dict(load_file(path))
        return model.to(self.device).eval()

    def curves(self, cell: Cell, seed: int) -> Curves:
        """Light curves of a cell: each seed draws synthetic ones anew, and splits and chooses real ones anew."""
        if cell.data in synthetic.NAMES:
            per_class = {split: number for split, number in cell.size.per_class.items() if split != "validation"}
            return synthetic.make(cell.data, per_class, seed=seed, n_points=cell.size.n_points)
        return self._real(cell.data).split_anew(seed).sampled(cell.size.per_class, seed=seed)

    def _real(self, name: str) -> Curves:
        """A real set, read once and kept: ASAS's periods take minutes to find."""
        source = self.sources[name]
        made_of = f"{_fingerprint(source)}, {VERSION}"
        path = self.directory / "data" / f"{name}.npz"
        if path.exists():
            with np.load(path) as stored:
                if str(stored["source"]) == made_of:
                    arrays = {key: stored[key] for key in stored.files if key != "source"}
                    classes, bands = (tuple(arrays.pop(key).tolist()) for key in ("classes", "bands"))
                    return Curves(**arrays, classes=classes, bands=bands)
        objects = variables.READERS[name](source)
        read = curves.prepared(objects, stretch=variables.STRETCHES.get(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f"{os.getpid()}.{path.name}")  # another process may be reading the set, too
        np.savez_compressed(unfinished, source=made_of, **vars(read))
        unfinished.replace(path)
        return read

    def _tunes(self, cell: Cell) -> bool:
        return cell.data not in synthetic.NAMES and (self.tunes_all or cell.parts.is_of_encoders)

    def _config(self, cell: Cell, light_curves: Curves) -> AutoencoderConfig:
        return AutoencoderConfig(
            **asdict(cell.parts),
            n_bands=len(light_curves.bands),
            n_induction=cell.size.n_induction,
            harmonics=harmonics_of(cell.data),
            precision=self.precision,
        )

    def _settings(self, cell: Cell) -> dict[str, object]:
        source = self.sources.get(cell.data)
        settings = {"version": VERSION, **asdict(cell), "precision": self.precision}
        if cell.data in synthetic.NAMES:
            settings["harmonics"] = harmonics_of(cell.data)
        return settings if source is None else {**settings, "source": _fingerprint(source)}

    def _path(self, cell: Cell, seed: int) -> Path:
        return self.directory / "cells" / f"{cell.name}_{seed}.json"

    def _checkpoint(self, cell: Cell, seed: int) -> Path:
        """Of training with these settings, so that another's is never taken up."""
        settings = json.dumps(self._settings(cell), sort_keys=True).encode()
        return self._path(cell, seed).with_suffix(f".{hashlib.sha256(settings).hexdigest()[:8]}.checkpoint")

    def _stored(self, cell: Cell, seed: int) -> dict[str, Any] | None:
        """What is kept of a run of these settings. Raises InvalidData where there is one of another precision."""
        path = self._path(cell, seed)
        if not path.exists():
            return None
        try:
            stored: dict[str, Any] = json.loads(path.read_text())
            settings = stored["settings"]
            is_tuned = _DIVERGED in stored or autoencode.FINE_TUNED in stored[_FIGURES]
        except (ValueError, KeyError) as error:
            raise InvalidData(f"{path}: not what was written ({error}); delete it to run it again") from error
        if settings.get("version") == VERSION and settings.get("precision") != self.precision:
            raise InvalidData(
                f"{path} is of a run in {settings.get('precision')}, not {self.precision}: name another directory"
            )
        if self._tunes(cell) and not is_tuned:
            return None
        # Of real light curves whose source is not named this time, whatever they were is told of.
        return stored if settings | self._settings(cell) == settings else None


def harmonics_of(data: str) -> int:
    """Of time modulation, for which chapter 3 names no number."""
    return synthetic.HARMONICS if data in synthetic.NAMES else AutoencoderConfig().harmonics


@functools.cache  # asked for with every run that is looked up
def _fingerprint(source: Path) -> str:
    """Of what is in a directory, by names and sizes: wherever it lies, the same light curves are the same."""
    files = sorted((str(path.relative_to(source)), path.stat().st_size) for path in source.rglob("*") if path.is_file())
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()[:16]


def _at_least(epochs: int, steps: int, light_curves: Curves) -> int:
    """So many epochs, or as many as have so many steps."""
    an_epoch = n_batches(int(np.count_nonzero(light_curves.split == "train")))
    return max(epochs, math.ceil(steps / an_epoch))

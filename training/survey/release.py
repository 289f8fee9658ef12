"""A frozen survey: its seeds and sizes, and a hash by which a copy made elsewhere is known to be the same."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from training.data.layout import Objects
from training.errors import InvalidData
from training.survey import survey
from training.survey.classes import CLASSES
from training.survey.population import TEST, TRAINING

RELEASES = Path(__file__).parent / "releases"


@dataclass(frozen=True)
class Release:
    """A named survey in two parts, each simulated by itself: ``train`` and ``test``."""

    name: str
    training_seed: int
    training_objects: int
    """In proportion to the classes' weights."""
    test_seed: int
    test_per_class: int
    """Half of them on sight lines that training does not hold."""
    hashes: dict[str, str]
    """SHA-256 by part, over ids, classes, splits and visits; not fluxes, whose last digits machines disagree on."""

    @classmethod
    def read(cls, name: str) -> Self:
        """Raises InvalidData if there is no such release."""
        path = RELEASES / f"{name}.json"
        if not path.exists():
            known = ", ".join(sorted(each.stem for each in RELEASES.glob("*.json")))
            raise InvalidData(f"no release {name}; there are: {known}")
        return cls(name=name, **json.loads(path.read_text()))

    def with_test_seed(self, seed: int) -> Self:
        """The same survey, other test objects. Raises InvalidData for a seed that it has."""
        if seed in (self.training_seed, self.test_seed):
            raise InvalidData(f"{self.name} has seed {seed} already")
        return replace(self, test_seed=seed, hashes={})

    @property
    def test_objects(self) -> int:
        """How many the test part holds."""
        return self.test_per_class * len(CLASSES)

    def part(self, name: str, *, processes: int) -> Iterator[survey.Simulated]:
        """The objects of ``train`` or ``test``, in shards."""
        if name == "train":
            made = survey.simulate(
                self.training_objects, seed=self.training_seed, population=TRAINING, processes=processes
            )
            return (replace(shard, objects=_without_test(shard.objects)) for shard in made)
        made = survey.simulate(self.test_objects, seed=self.test_seed, population=TEST, processes=processes)
        return (replace(shard, objects=_as_test(shard.objects)) for shard in made)


def _without_test(objects: Objects) -> Objects:
    """The test part is another: what the hash put there is for training, too."""
    return replace(objects, split=np.where(objects.split == "test", "train", objects.split))


def _as_test(objects: Objects) -> Objects:
    return replace(objects, split=np.full(len(objects), "test"))


class Fingerprint:
    """The hash of a part, taken while its shards pass by."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def of(self, shards: Iterable[Objects]) -> Iterator[Objects]:
        """The same shards."""
        for objects in shards:
            self._add(objects)
            yield objects

    def _add(self, objects: Objects) -> None:
        curves = objects.light_curves
        for numbers in (objects.object_id, objects.class_id, curves.lengths, curves.mjd, curves.band, curves.detected):
            self._hash.update(np.ascontiguousarray(numbers).astype(numbers.dtype.newbyteorder("<")).tobytes())
        self._hash.update("\n".join(objects.split.tolist()).encode())

    def hexdigest(self) -> str:
        """What to compare."""
        return self._hash.hexdigest()

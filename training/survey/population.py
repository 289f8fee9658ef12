"""Which classes and sight lines a survey's objects are drawn from."""

import functools
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from training.survey import cadence
from training.survey.cadence import Cadence
from training.survey.classes import CLASSES

Lines = Literal["all", "training", "held out"]
"""Sight lines by name."""

_CLASS_IDS = tuple(CLASSES)
_CLASS_SHARES = tuple(itertools.accumulate(each.weight for each in CLASSES.values()))


@dataclass(frozen=True)
class Population:
    """How an object's class and sight line follow from its number."""

    lines: tuple[Lines, ...] = ("all",)
    """Where the objects lie; more than one are taken in turn."""
    balanced: bool = False
    """Whether the classes come in turn, equally many of each, instead of at random by their weights."""

    def draw(self, rng: np.random.Generator, number: int) -> tuple[int, Lines]:
        """Class id of the object with this number, and the name of its sight lines."""
        if self.balanced:
            turn, place = divmod(number, len(_CLASS_IDS))
        else:
            turn = number
            place = int(np.searchsorted(_CLASS_SHARES, rng.random() * _CLASS_SHARES[-1], side="right"))
        return _CLASS_IDS[place], self.lines[turn % len(self.lines)]


EVERYTHING = Population()
TRAINING = Population(lines=("training",))
TEST = Population(lines=("training", "held out"), balanced=True)
"""Objects of every class, half of them on sight lines that training does not hold."""

SOURCES: Mapping[Lines, str] = {
    "all": "simulated",
    "training": "simulated",
    "held out": "simulated, held-out sight line",
}
"""How the layout's ``source`` names an object's sight lines."""


@functools.cache
def sight_lines(lines: Lines) -> Cadence:
    """The sight lines with this name."""
    return cadence.load() if lines == "all" else cadence.load().part(held_out=lines == "held out")

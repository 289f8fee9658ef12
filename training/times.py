"""How long models take an object: table 4.2 of the thesis."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from training import predictions
from training.data.layout import Objects
from training.errors import InvalidData

_TIMES = 3
"""How often each is timed: the fastest was disturbed least."""


@dataclass(frozen=True)
class Times:
    """Mean wall time a whole light curve, of models that were timed one after another on the same objects."""

    machine: str
    """Where that was."""
    seconds: Mapping[str, Mapping[str, float]]
    """By variant: ``inference`` and, for a model that reads them, ``features``."""
    notes: str = ""
    """What has changed of these models since."""

    @classmethod
    def of(cls, models: Mapping[str, Path], objects: Objects, *, device: str = "cpu") -> Self:
        """Time the model of each variant. Raises InvalidData for a directory that holds none."""
        seconds = {}
        for variant, directory in models.items():
            model = predictions.load(directory, device=device).model
            found = [predictions.seconds_of(model, objects) for _ in range(_TIMES)]
            seconds[variant] = {step: min(each[step] for each in found) for step in found[0]}
        return cls(predictions.machine_of(device), seconds)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """What was written, or None if nothing was. Raises InvalidData for anything else."""
        if not path.exists():
            return None
        try:
            return cls(**json.loads(path.read_text()))
        except (TypeError, ValueError) as error:
            raise InvalidData(f"{path}: {error}") from error

    def write(self, path: Path) -> None:
        """For ``read``."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

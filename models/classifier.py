"""Classifier: alerts -> probabilities; and the one artifact directory that a model is saved to and loaded from."""

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError

from models.calibration import Calibration
from models.inputs.alert import AlertBatch
from models.inputs.light_curve import LightCurves, merged
from models.inputs.photometry import BANDS
from models.scoring import Model
from models.taxonomy import Taxonomy

DEFAULT_ARTIFACT = Path(__file__).parent / "artifacts" / "atat-plasticc"
"""The model that ships."""

_KINDS = {
    "atat": ("models.network", "Network"),
    "atat2": ("models.network", "Network"),
    "forest": ("models.random_forest", "Forest"),
}
"""Where each kind of model is; imported when one is loaded, for a forest needs packages that ATAT does not."""

_FORMAT = 2
_DESCRIPTION = "model.json"


class InvalidArtifact(ValueError):
    """A directory that is not a model; its message says what is wrong."""


@dataclass(frozen=True)
class Predictions:
    """What a model says of N light curves, row for row."""

    probabilities: NDArray[np.float64]
    """(N, C) in the taxonomy's order; each row sums to 1."""
    n_observations: NDArray[np.int64]
    """(N,), points that the model was fed. A row with none has nothing to be classified by."""
    branches: NDArray[np.str_]
    """(N,), ``lc+md``, ``lc`` (no metadata came with the alert), ``md`` or ``features+md``."""


@dataclass(frozen=True)
class Classifications:
    """Alerts, and what was predicted of each: ids and probabilities are rows of the same object."""

    alerts: AlertBatch
    predictions: Predictions


class Classifier:
    """A model with all that it needs to turn alerts into probabilities; the service sees no tensor behind it."""

    def __init__(
        self,
        model: Model,
        *,
        taxonomy: Taxonomy,
        calibration: Calibration,
        name: str,
        version: str,
        provenance: Mapping[str, Any] | None = None,
        metrics: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.taxonomy = taxonomy
        self.calibration = calibration
        self.name = name
        self.version = version
        self.provenance = provenance or {}
        self.metrics = metrics or {}

    def classify(self, alerts: AlertBatch) -> Classifications:
        """Each alert by what was known when it was issued."""
        light_curves = merged(alerts).until(alerts.epoch, window_days=self.model.window_days)
        return Classifications(alerts, self.predict(light_curves, alerts.metadata, alerts.has_metadata))

    def predict(
        self, light_curves: LightCurves, metadata: NDArray[np.float32], has_metadata: NDArray[np.bool_]
    ) -> Predictions:
        """Light curves (N) as cut by the caller, metadata (N, 64) with NaN where missing."""
        scores = self.model.score(light_curves, metadata, has_metadata)
        probabilities = np.empty((len(light_curves), len(self.taxonomy)))
        for head, logits in scores.logits.items():
            rows = scores.head == head
            probabilities[rows] = self.calibration.probabilities(logits[torch.from_numpy(rows)], head).numpy()
        return Predictions(probabilities, scores.n_observations, scores.branches)

    def save(self, directory: Path) -> None:
        """Write the artifact: the model's weights and ``model.json``."""
        directory.mkdir(parents=True, exist_ok=True)
        self.model.save(directory)
        (directory / _DESCRIPTION).write_text(json.dumps(self.describe(), indent=1) + "\n")

    def describe(self) -> dict[str, Any]:
        """All there is to say of the model but its weights, as JSON can hold it."""
        return {
            "format": _FORMAT,
            "name": self.name,
            "version": self.version,
            "kind": self.model.kind,
            "classes": [
                {"id": class_id, "name": name}
                for class_id, name in zip(self.taxonomy.class_ids, self.taxonomy.names, strict=True)
            ],
            "bands": list(BANDS),
            "architecture": self.model.describe(),
            "calibration": {"temperatures": dict(self.calibration.temperatures), "prior": self.calibration.prior},
            "provenance": dict(self.provenance),
            "metrics": dict(self.metrics),
        }

    @classmethod
    def load(cls, directory: Path = DEFAULT_ARTIFACT, *, device: str = "cpu") -> Self:
        """Read an artifact. Raises InvalidArtifact for anything else."""
        try:
            description = json.loads((directory / _DESCRIPTION).read_text())
            if description["format"] != _FORMAT or description["bands"] != list(BANDS):
                raise InvalidArtifact(f"{directory}: format {description['format']} is not {_FORMAT}, or other bands")
            module, name = _KINDS[description["kind"]]
            kind = getattr(importlib.import_module(module), name)
            return cls(
                kind.load(directory, description["kind"], description["architecture"], device=device),
                taxonomy=Taxonomy(tuple(entry["id"] for entry in description["classes"])),
                calibration=Calibration(**description["calibration"]),
                name=description["name"],
                version=description["version"],
                provenance=description["provenance"],
                metrics=description["metrics"],
            )
        except ModuleNotFoundError as error:
            raise InvalidArtifact(f"{directory} needs the package {error.name}: install the extra forest") from error
        except (OSError, SafetensorError) as error:
            raise InvalidArtifact(f"{directory} is not a model: {error}") from error
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise InvalidArtifact(f"{directory} is not a model of this version: {error!r}") from error

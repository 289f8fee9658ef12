"""Classifier: alerts -> probabilities; and the one artifact directory that a model is saved to and loaded from."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.atat import ATAT, ATATConfig
from models.calibration import Calibration
from models.inputs.alert import AlertBatch
from models.inputs.batch import pack, token_batches
from models.inputs.light_curve import LightCurves, merged
from models.inputs.metadata import select
from models.inputs.photometry import BANDS
from models.taxonomy import Taxonomy

MAX_TOKENS = 8192
"""Tokens of one forward pass: large enough for the arithmetic to dominate, small enough for the cache of two cores."""

DEFAULT_ARTIFACT = Path(__file__).parent / "artifacts" / "atat-plasticc"
"""The model that ships."""

_FORMAT = 1
_WEIGHTS = "weights.safetensors"
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
    """(N,), ``lc+md``, ``lc`` (no metadata came with the alert) or ``md``."""


@dataclass(frozen=True)
class Classifications:
    """Alerts, and what was predicted of each: ids and probabilities are rows of the same object."""

    alerts: AlertBatch
    predictions: Predictions


class Classifier:
    """A model with all that it needs to turn alerts into probabilities; the service sees no tensor behind it."""

    def __init__(
        self,
        model: ATAT,
        *,
        taxonomy: Taxonomy,
        calibration: Calibration,
        name: str,
        version: str,
        provenance: Mapping[str, Any] | None = None,
        metrics: Mapping[str, Any] | None = None,
        device: str = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self.model = model.to(self.device).eval()
        self.taxonomy = taxonomy
        self.calibration = calibration
        self.name = name
        self.version = version
        self.provenance = provenance or {}
        self.metrics = metrics or {}

    def classify(self, alerts: AlertBatch) -> Classifications:
        """Each alert by what was known when it was issued."""
        light_curves = merged(alerts).until(alerts.epoch, window_days=self.model.config.window_days)
        return Classifications(alerts, self.predict(light_curves, alerts.metadata, alerts.has_metadata))

    def predict(
        self, light_curves: LightCurves, metadata: NDArray[np.float32], has_metadata: NDArray[np.bool_]
    ) -> Predictions:
        """Light curves (N) as cut by the caller, metadata (N, 64) with NaN where missing."""
        heads, n_observations = self.logits(light_curves, metadata, has_metadata)
        each = {name: self.calibration.probabilities(logits, name) for name, logits in heads.items()}
        if "mix" in each:
            best = torch.where(torch.from_numpy(has_metadata)[:, None], each["mix"], each["lc"])
        else:
            (best,) = each.values()
        return Predictions(best.numpy(), n_observations, self._branches(has_metadata))

    def logits(
        self, light_curves: LightCurves, metadata: NDArray[np.float32], has_metadata: NDArray[np.bool_]
    ) -> tuple[dict[str, Tensor], NDArray[np.int64]]:
        """Uncalibrated logits (N, C) by head, on the CPU, and the points (N,) that each row was fed."""
        columns = select(metadata, self.model.config.metadata_columns)
        n_observations = np.zeros(len(light_curves), dtype=np.int64)
        heads: dict[str, Tensor] = {}
        for rows in token_batches(light_curves.lengths, max_tokens=MAX_TOKENS):
            batch = pack(light_curves.take(rows), columns[rows], has_metadata[rows])
            n_observations[rows] = batch.lengths.numpy()
            with torch.inference_mode():
                outputs = self.model(batch.to(self.device)).present()
            for name, logits in outputs.items():
                head = heads.setdefault(name, torch.empty(len(light_curves), len(self.taxonomy)))
                head[torch.from_numpy(rows)] = logits.float().cpu()
        return heads, n_observations

    def _branches(self, has_metadata: NDArray[np.bool_]) -> NDArray[np.str_]:
        config = self.model.config
        if config.light_curve and config.metadata_columns:
            return np.where(has_metadata, "lc+md", "lc")
        return np.full(len(has_metadata), "lc" if config.light_curve else "md")

    def save(self, directory: Path) -> None:
        """Write the artifact: ``weights.safetensors`` and ``model.json``."""
        directory.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.model.state_dict().items()}
        save_file(tensors, directory / _WEIGHTS)
        (directory / _DESCRIPTION).write_text(json.dumps(self.describe(), indent=1) + "\n")

    def describe(self) -> dict[str, Any]:
        """All there is to say of the model but its weights, as JSON can hold it."""
        return {
            "format": _FORMAT,
            "name": self.name,
            "version": self.version,
            "classes": [
                {"id": class_id, "name": name}
                for class_id, name in zip(self.taxonomy.class_ids, self.taxonomy.names, strict=True)
            ],
            "bands": list(BANDS),
            "architecture": self.model.config.to_dict(),
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
            model = ATAT(ATATConfig.from_dict(description["architecture"]))
            model.load_state_dict(load_file(directory / _WEIGHTS))
            return cls(
                model,
                taxonomy=Taxonomy(tuple(entry["id"] for entry in description["classes"])),
                calibration=Calibration(**description["calibration"]),
                name=description["name"],
                version=description["version"],
                provenance=description["provenance"],
                metrics=description["metrics"],
                device=device,
            )
        except (OSError, SafetensorError) as error:
            raise InvalidArtifact(f"{directory} is not a model: {error}") from error
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise InvalidArtifact(f"{directory} is not a model of this version: {error!r}") from error

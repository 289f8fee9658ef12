"""Classifier: alerts -> probabilities; and the one artifact directory that a model is saved to and loaded from."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from models.arrays import BoolArray, FloatArray, IntArray
from models.calibration import Calibration
from models.inputs.alert_batch import AlertBatch
from models.inputs.light_curve import LightCurves, merged
from models.inputs.photometry import BANDS
from models.network import Network
from models.scoring import Model, NoEmbedding, Scores
from models.selection import DEFAULT_ARTIFACT, Precision
from models.taxonomy import Taxonomy

if TYPE_CHECKING:
    from models.ensemble import Ensemble
    from models.random_forest import Forest

DESCRIPTION = "model.json"
"""The file of an artifact that says what it is; written last."""

WEIGHTS = ("booster.txt", "trees.skops", "weights.safetensors")
"""What an artifact may have beside it, and its members in directories of their own."""

_FORMAT = 2
_TOLD_CHARACTERS = 300
_AS_THEY_ARE = ("kind", "architecture", "name", "version", "provenance", "metrics")


class InvalidArtifact(ValueError):
    """A directory that is not a model; its message says what is wrong."""


@dataclass(frozen=True)
class Predictions:
    """What a model says of N light curves, row for row."""

    probabilities: FloatArray
    """(N, C) in the taxonomy's order; each row sums to 1."""
    n_observations: IntArray
    """(N,), points that the model was fed. A row with none has nothing to be classified by."""
    branches: NDArray[np.str_]
    """(N,), what took part, as ``Scores`` has it: ``lc+md``, say, or ``lc`` where no metadata came with the alert."""
    embeddings: NDArray[np.float32] | None = None
    """(N, D), where they were asked for."""

    @property
    def best(self) -> IntArray:
        """(N,), the place of each row's most probable class in the taxonomy."""
        return np.asarray(self.probabilities.argmax(axis=1), dtype=np.int64)

    @property
    def is_finite(self) -> BoolArray:
        """(N,), whether all of a row's probabilities are numbers, as those of a sound model are."""
        return np.asarray(np.isfinite(self.probabilities).all(axis=1))

    @classmethod
    def joined(cls, parts: Sequence[Self], *, n_classes: int) -> Self:
        """The rows of all, one after the other; there may be none."""
        embeddings = [part.embeddings for part in parts if part.embeddings is not None]
        return cls(
            np.concatenate([np.empty((0, n_classes)), *(part.probabilities for part in parts)]),
            np.concatenate([np.empty(0, dtype=np.int64), *(part.n_observations for part in parts)]),
            np.concatenate([np.empty(0, dtype=np.str_), *(part.branches for part in parts)]),
            np.concatenate(embeddings) if embeddings else None,
        )

    def take(self, rows: IntArray) -> Self:
        """These rows, in this order."""
        embeddings = None if self.embeddings is None else self.embeddings[rows]
        return type(self)(self.probabilities[rows], self.n_observations[rows], self.branches[rows], embeddings)


@dataclass(frozen=True)
class Classifications:
    """Alerts, and what was predicted of each: ids and probabilities are rows of the same object."""

    alerts: AlertBatch
    predictions: Predictions

    def take(self, rows: IntArray) -> Self:
        """These rows, in this order."""
        return type(self)(self.alerts.take(rows), self.predictions.take(rows))


@dataclass(frozen=True)
class Description:
    """What ``model.json`` says of a model: all but its weights."""

    kind: str
    architecture: Mapping[str, Any]
    taxonomy: Taxonomy
    calibration: Calibration
    name: str
    version: str
    provenance: Mapping[str, Any]
    metrics: Mapping[str, Any]
    files: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of its weights by file; none of an artifact from before these were written."""

    @property
    def identity(self) -> str:
        """Its name and version, as answers tell them."""
        return identity(self.name, self.version)

    def calibrated(self, calibration: Calibration) -> Self:
        """The same, with another calibration."""
        return replace(self, calibration=calibration)

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Raises InvalidArtifact for what is no model's directory."""
        with _invalid_if_it_fails(directory):
            values = json.loads((directory / DESCRIPTION).read_text())
            if values["format"] != _FORMAT:
                raise InvalidArtifact(f"{directory} is of format {values['format']}, and {_FORMAT} is read here")
            if values["bands"] != list(BANDS):
                raise InvalidArtifact(f"{directory} is of the bands {values['bands']}, not {list(BANDS)}")
            return cls(
                taxonomy=Taxonomy(tuple(entry["id"] for entry in values["classes"])),
                calibration=Calibration.from_dict(values["calibration"]),
                files=dict(values.get("files", {})),
                **{name: values[name] for name in _AS_THEY_ARE},
            )

    def must_be_whole(self, directory: Path) -> None:
        """Raises InvalidArtifact where weights are not those that it was written with.

        To be asked before they are parsed: what reads trees may end the process on a file that was cut short.
        """
        for name, digest in self.files.items():
            if _digest(directory / name) != digest:
                raise InvalidArtifact(f"{directory}: {name} is not the file that {DESCRIPTION} was written with")


class Classifier:
    """A model with all that it needs to turn alerts into probabilities; the service sees no tensor behind it.

    Raises ValueError for a model or a calibration of other classes than the taxonomy's.
    """

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
        if model.n_classes != len(taxonomy):
            raise ValueError(f"the model has {model.n_classes} classes, the taxonomy {len(taxonomy)}")
        if model.taxonomy not in (None, taxonomy):
            raise ValueError("the model's classes are others than the taxonomy's, or in another order")
        calibration.must_be_of(len(taxonomy))
        self.model = model
        self.taxonomy = taxonomy
        self.calibration = calibration
        self.name = name
        self.version = version
        self.provenance = provenance or {}
        self.metrics = metrics or {}

    def classify(self, alerts: AlertBatch) -> Classifications:
        """Each alert by what was known when it was issued."""
        return Classifications(alerts, self.predict(self._known(alerts), alerts.metadata, alerts.has_metadata))

    @property
    def identity(self) -> str:
        """Its name and version, as answers tell them."""
        return identity(self.name, self.version)

    @property
    def d_embedding(self) -> int | None:
        """D, the size of an embedding; None if the model has none."""
        return self.model.d_embedding

    def embed(self, alerts: AlertBatch) -> Classifications:
        """As ``classify``, and each alert's embedding: the class tokens' last representations, D numbers.

        Alike alerts lie near each other, by the cosine of the angle between them; compare those of the same
        ``branches``. Raises NoEmbedding if the model has none.
        """
        self.must_embed()
        predictions = self.predict(self._known(alerts), alerts.metadata, alerts.has_metadata, embed=True)
        return Classifications(alerts, predictions)

    def must_embed(self) -> None:
        """Raises NoEmbedding if the model has none."""
        if self.d_embedding is None:
            raise NoEmbedding(f"{self.name} has no embeddings: no {self.model.kind} has any")

    def _known(self, alerts: AlertBatch) -> LightCurves:
        return merged(alerts).until(alerts.epoch, window_days=self.model.window_days)

    def predict(
        self,
        light_curves: LightCurves,
        metadata: NDArray[np.float32],
        has_metadata: BoolArray,
        *,
        embed: bool = False,
    ) -> Predictions:
        """Light curves (N) as cut by the caller, metadata (N, 64) with NaN where missing; embeddings if so asked."""
        scores = self.model.score(light_curves, metadata, has_metadata)
        embeddings = scores.embeddings if embed else None
        probabilities = self.probabilities(scores, light_curves)
        return Predictions(probabilities, scores.n_observations, scores.branches, embeddings)

    def probabilities(self, scores: Scores, light_curves: LightCurves) -> FloatArray:
        """(N, C), of what the model has said of these light curves."""
        return self.calibration.of_rows(scores.answers(len(self.taxonomy)), scores.head, light_curves.detections)

    def under_prior(self, prior: str) -> Self:
        """The same model under another prior. Raises InvalidPrior as ``Calibration.under`` does."""
        return type(self)(
            self.model,
            taxonomy=self.taxonomy,
            calibration=self.calibration.under(prior, self.taxonomy),
            name=self.name,
            version=self.version,
            provenance=self.provenance,
            metrics=self.metrics,
        )

    def save(self, directory: Path) -> None:
        """Write the artifact: the model's weights and ``model.json``."""
        directory.mkdir(parents=True, exist_ok=True)
        self.model.save(directory)
        self.save_description(directory)

    def save_description(self, directory: Path) -> None:
        """Write ``model.json`` alone, beside weights that have not changed."""
        files = {name: _digest(directory / name) for name in WEIGHTS if (directory / name).exists()}
        told = {**self.describe(), **({"files": files} if files else {})}
        (directory / DESCRIPTION).write_text(json.dumps(told, indent=1) + "\n")

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
            "calibration": self.calibration.to_dict(),
            "provenance": dict(self.provenance),
            "metrics": dict(self.metrics),
        }

    @classmethod
    def load(cls, directory: Path = DEFAULT_ARTIFACT, *, device: str = "cpu", precision: Precision = "float32") -> Self:
        """Read an artifact, to run there and so exactly (a forest does neither). Raises InvalidArtifact for anything
        else.
        """
        description = Description.read(directory)
        with _invalid_if_it_fails(directory):
            description.must_be_whole(directory)
            kind = _kind(description.kind)
            return cls(
                kind.load(directory, description.kind, description.architecture, device=device, precision=precision),
                taxonomy=description.taxonomy,
                calibration=description.calibration,
                name=description.name,
                version=description.version,
                provenance=description.provenance,
                metrics=description.metrics,
            )


@contextmanager
def _invalid_if_it_fails(directory: Path) -> Iterator[None]:
    """Turns whatever a directory's content makes its readers raise into InvalidArtifact, in one line."""
    try:
        yield
    except InvalidArtifact:  # of a member, too
        raise
    except ModuleNotFoundError as error:
        raise InvalidArtifact(f"{directory} needs the package {error.name}: install the extra forest") from error
    except (OSError, SafetensorError) as error:
        raise InvalidArtifact(f"{directory} is not a model: {error}") from error
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        told = " ".join(str(error).split())[:_TOLD_CHARACTERS]  # PyTorch's may have a page of its own stack
        raise InvalidArtifact(f"{directory} is not a model of this version: {type(error).__name__}: {told}") from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def identity(name: str, version: str) -> str:
    """How answers, and what is kept of them, tell which model they are of."""
    return f"{name}/{version}"


def _kind(name: str) -> "type[Network | Ensemble | Forest]":
    """What loads a model of this kind. A forest needs packages that ATAT does not, and an ensemble this module."""
    if name == "ensemble":
        from models.ensemble import Ensemble  # noqa: PLC0415

        return Ensemble
    if name == "forest":
        from models.random_forest import Forest  # noqa: PLC0415

        return Forest
    if name in {"atat", "atat2"}:
        return Network
    raise ValueError(f"no kind of model: {name}")

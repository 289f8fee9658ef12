"""What to train: one TOML file a variant, at one of two sizes."""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

from models.atat import ATATConfig
from models.atat2 import ATAT2Config
from models.choices import must_be_typed, must_hold
from models.network import config_of
from models.selection import Precision
from models.self_supervision import SelfSupervision
from training.data.augmentation import Augmentation
from training.errors import InvalidData

CONFIGS = Path(__file__).parent / "configs"

_SECTIONS = ("model", "training", "augmentation", "pretraining", "self_supervision")


@dataclass(frozen=True)
class TrainingConfig:
    """How to train. Defaults are the thesis's (4.3.6)."""

    steps: int = 1_000_000
    """At most; early stopping or ``--minutes`` comes first."""
    batch_size: int = 256
    learning_rate: float = 2e-4
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    warm_up: int = 0
    """Steps over which the learning rate rises to its value."""
    label_smoothing: float = 0.0
    class_power: float = 0.0
    """Classes are drawn in proportion to their size to this power: 0 is class-balanced, 1 leaves them as they are."""
    logit_adjustment: bool = False
    """Take the drawn classes' unequal shares back in the loss, so that the model's prior is uniform."""
    every_prefix: bool = True
    """Whether ATAT2 learns from every prefix of what is drawn, or from the whole alone, as ATAT does."""
    ema: float = 0.0
    """Decay a step of the moving average of the weights that is evaluated and saved; 0 for none."""
    evaluate_every: int = 20_000
    patience: int = 3
    """Evaluations without a better score before training stops."""
    crops: Literal["alerts", "mta", "windows", "none"] = "alerts"
    """Draws that are not whole light curves: alerts as sent, mask temporal augmentation (4.3.5), windows as long as the
    model sees, which end with the last detection or, of a longer life, at any time after, or there are none."""
    full: float = 0.0
    """Share of the draws with the whole light curve, from the first alert - 30 days to the last detection (4.2). ATAT2,
    which learns from every prefix of what is drawn, gives this share of the weight to the whole; and of windows with
    more points than it sees, this share is not cut short."""
    missing_metadata: float = 0.0
    """Share of the table's values to hide."""
    no_metadata: float = 0.0
    """Share of the objects to show without any."""
    precision: Precision = "float32"
    """Of the matrix products; what they are added to, and the weights, stay in float32."""
    objects: int | None = None
    """How many objects to train on, chosen within each class by a hash of the id; None for all."""
    labels: float = 1.0
    """Share of these whose labels are known, chosen within each class in the same way, one at least. Validation has all
    of its own."""
    fold: int | None = None
    """The fold to validate on, training on the others; None for the splits ``train`` and ``validation``."""
    left_out: int | None = None
    """The fold that is neither learned from nor validated on: the model is to be tried on it."""
    seed: int = 0
    """Of the weights, the draws, dropout, and which labels are known."""

    def __post_init__(self) -> None:
        """Raises ValueError for a value that makes no sense."""
        must_be_typed(self)
        for name in ("steps", "batch_size", "evaluate_every", "patience"):
            must_hold(self, name, getattr(self, name) >= 1, "1 or more")
        for name in ("weight_decay", "warm_up", "class_power"):
            must_hold(self, name, getattr(self, name) >= 0, "0 or more")
        for name in ("full", "missing_metadata", "no_metadata"):
            must_hold(self, name, 0 <= getattr(self, name) <= 1, "a share")
        for name in ("label_smoothing", "ema"):
            must_hold(self, name, 0 <= getattr(self, name) < 1, "at least 0 and less than 1")
        must_hold(self, "learning_rate", 0 < self.learning_rate < math.inf, "above 0")
        must_hold(self, "labels", 0 < self.labels <= 1, "above 0 and at most 1")


@dataclass(frozen=True)
class Tier:
    """A size at which every variant is trained and compared; each figure names its own."""

    name: str
    objects: int
    max_points: int | None
    d_lc: int
    d_tab: int
    training: Mapping[str, Any]
    """Options of training that are the same for every network."""
    features: int | None
    """How many features a table holds at most, the most telling ones (``forests.most_telling``)."""
    forests: Mapping[str, str]
    """Configurations of the baselines, by name."""

    def model(self, architecture: str) -> dict[str, Any]:
        """The options that it sets."""
        widths = {"d_model": self.d_lc} if architecture == "atat2" else {"d_lc": self.d_lc, "d_tab": self.d_tab}
        return {**widths, "max_points": self.max_points}


_FORESTS = {
    "flat": "forest-flat",
    "lightgbm": "forest-lightgbm",
    "lightgbm-alerts": "forest-lightgbm-alerts",
}
TIERS = {
    tier.name: tier
    for tier in (
        # Half an hour to an hour and a half on a core; a table of all 422 columns would take seven times as long a
        # step. At the thesis's learning rate so few steps would compare networks that have hardly begun: all take one
        # schedule.
        Tier(
            name="small",
            objects=20_000,
            max_points=64,
            d_lc=96,
            d_tab=72,
            training={
                "steps": 4_000,
                "evaluate_every": 250,
                "patience": 100,
                "learning_rate": 1e-3,
                "warm_up": 100,
                "schedule": "cosine",
            },
            features=64,
            forests={"bhrf": "forest-hierarchical-small", **_FORESTS},
        ),
        Tier(
            name="full",
            objects=100_000,
            max_points=None,
            d_lc=192,
            d_tab=144,
            training={"steps": 1_000_000, "evaluate_every": 20_000},
            features=None,
            forests={"bhrf": "forest-hierarchical", **_FORESTS},
        ),
    )
}


@dataclass(frozen=True)
class Experiment:
    """One TOML file. ``base`` names another beside it, whose options it changes."""

    name: str
    version: str
    architecture: Literal["atat", "atat2"] = "atat"
    model: Mapping[str, Any] = field(default_factory=dict)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    augmentation: Augmentation = field(default_factory=Augmentation)
    self_supervision: SelfSupervision = field(default_factory=SelfSupervision)
    pretraining: Mapping[str, Any] = field(default_factory=dict)
    """Options of training that are others while it is pretrained."""
    tier: str | None = None

    def __post_init__(self) -> None:
        must_be_typed(self)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises InvalidData for what is no experiment, naming the option."""
        try:
            values = _values(path)
            training = TrainingConfig(**values.pop("training", {}))
            augmentation = Augmentation(**values.pop("augmentation", {}))
            self_supervision = SelfSupervision(**values.pop("self_supervision", {}))
            experiment = cls(**values, training=training, augmentation=augmentation, self_supervision=self_supervision)
            experiment.pretrained()
            if training.every_prefix and not getattr(experiment.shape, "causal", True):
                raise ValueError("a model that is not causal has one answer a sequence: every_prefix = false")
        except (OSError, tomllib.TOMLDecodeError, TypeError, ValueError) as error:
            raise InvalidData(f"{path}: {error}") from error
        return experiment

    @property
    def shape(self) -> ATATConfig | ATAT2Config:
        """Of its network, for whatever number of classes. Raises TypeError or ValueError for no network."""
        return config_of(self.architecture, {"n_classes": 1, **self.model})

    def at(self, tier: Tier) -> Self:
        """The same variant at a tier. It keeps a number of points that it names itself."""
        training = replace(self.training, objects=tier.objects, **tier.training)
        own = {name: self.model[name] for name in ("max_points",) if name in self.model}
        model = {**self.model, **tier.model(self.architecture), **own}
        return replace(self, model=model, training=training, tier=tier.name)

    def pretrained(self) -> Self:
        """The run of pretraining that comes before it. Raises TypeError for an option that training does not have."""
        return self.trained(**self.pretraining)

    def supervised_by_itself(self, **options: Any) -> Self:
        """The same with other options of self-supervision. Raises InvalidData for those that make no sense."""
        try:
            return replace(self, self_supervision=replace(self.self_supervision, **options))
        except ValueError as error:
            raise InvalidData(str(error)) from error

    def trained(self, **options: Any) -> Self:
        """The same with other options of training."""
        return replace(self, training=replace(self.training, **options))


def _values(path: Path) -> dict[str, Any]:
    values = tomllib.loads(path.read_text())
    base = values.pop("base", None)
    if base is None:
        return values
    merged = _values(path.parent / f"{base}.toml")
    sections = {name: {**merged.get(name, {}), **values.get(name, {})} for name in _SECTIONS}
    return {**merged, **values, **sections}


def path_of(config: str) -> Path:
    """A TOML file, by its path or by the name of one that ships. Raises InvalidData for neither."""
    named = CONFIGS / f"{config}.toml"
    if not named.exists() and not Path(config).exists():
        shipped = ", ".join(sorted(path.stem for path in CONFIGS.glob("*.toml")))
        raise InvalidData(f"no configuration {config}; there are: {shipped}")
    return named if named.exists() else Path(config)


def is_forest(path: Path) -> bool:
    """Whether a TOML file is for a forest."""
    try:
        return "forest" in tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:  # no TOML, or no text at all
        raise InvalidData(f"{path}: {error}") from error

"""What the configurations of all networks share, and their way to JSON and back."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from models.choices import must_be_typed, must_look_at_something
from models.inputs import features
from models.inputs.light_curve import WINDOW_DAYS
from models.inputs.metadata import COLUMNS, must_be_known
from models.layers.time_modulation import must_not_repeat


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Shape and inputs of a network. Defaults are the thesis's (4.3.6)."""

    n_classes: int
    metadata_columns: tuple[str, ...] = COLUMNS
    """What it knows of the object, in order; empty for light curves alone."""
    feature_columns: tuple[str, ...] = ()
    """The engineered features that it sees beside the metadata, in order; computed from the light curve as cut."""
    n_heads: int = 4
    n_layers: int = 3
    ff_factor: int = 2
    dropout: float = 0.2
    time_encoding: Literal["modulation", "sinusoid"] = "modulation"
    harmonics: int = 64
    t_max: float = 1500.0
    """Period of time modulation [days]."""
    window_days: float = WINDOW_DAYS
    """How far back the model looks from an alert [days]; never more than ``t_max``."""
    max_points: int | None = None
    """A longer light curve is thinned evenly to so many points before anything looks at it."""
    flux_encoding: Literal["raw", "asinh"] = "raw"
    use_flux_err: bool = True
    relative_flux: bool = False
    """Whether a point's flux over the largest known of its light curve is one of its values, too."""

    def __post_init__(self) -> None:
        must_be_typed(self)
        must_look_at_something(self, window_days=self.window_days, max_points=self.max_points)
        must_not_repeat(self.window_days, self.t_max)
        must_be_known(self.metadata_columns)
        unknown = set(self.feature_columns) - set(features.NAMES)
        if unknown:
            raise ValueError(f"no such feature: {', '.join(sorted(unknown))}")

    @property
    def most_points(self) -> int | None:
        """Of a longer light curve not all points become tokens."""
        return self.max_points

    @property
    def columns(self) -> tuple[str, ...]:
        """The table that it sees: features, then metadata."""
        return (*self.feature_columns, *self.metadata_columns)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of ``to_dict``; columns may also be ``"all"``. Raises TypeError for a name that is no option."""
        named = {"metadata_columns": COLUMNS, "feature_columns": features.NAMES}
        columns = {name: _columns(values[name], every) for name, every in named.items() if name in values}
        return cls(**{**values, **columns})

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        return asdict(self)


def _columns(chosen: str | Sequence[str], every: tuple[str, ...]) -> tuple[str, ...]:
    return every if chosen == "all" else tuple(chosen)

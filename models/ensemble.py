"""Several models as one: what each thinks probable, averaged (the geometric mean of their probabilities).

Models of different kinds err on different objects: a network that reads light curves and trees that read features are
together better than either. It costs the time of all.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray

from models.arrays import BoolArray
from models.classifier import Classifier
from models.inputs.light_curve import LightCurves
from models.inputs.table import FloatTable, has_features, table_of
from models.scoring import BRANCHES, Scores
from models.selection import Precision
from models.taxonomy import Taxonomy

_LEAST_PROBABILITY = 1e-6
"""One member that rules a class out does not outvote all others."""


class Ensemble:
    """Calibrated members as a Classifier's model. It has no vectors of its own.

    Raises ValueError for members of different classes, windows or priors, or whose features are of light curves
    thinned differently.
    """

    HEAD: ClassVar[str] = "ensemble"

    def __init__(self, members: Sequence[Classifier]) -> None:
        if len(members) < 2:
            raise ValueError("an ensemble has two members or more")
        shared: dict[str, set[Any]] = {
            "classes": {member.taxonomy.class_ids for member in members},
            "windows": {member.model.window_days for member in members},
            "priors": {(member.calibration.prior, member.calibration.prior_shares) for member in members},
            "numbers of points behind features": {
                member.model.max_points for member in members if has_features(member.model.columns)
            },
        }
        for what, told in shared.items():
            if len(told) > 1:
                raise ValueError(f"members have different {what}: {', '.join(sorted(map(str, told)))}")
        self.kind = "ensemble"
        self.members = tuple(members)
        self.taxonomy: Taxonomy | None = members[0].taxonomy

    @property
    def n_classes(self) -> int:
        """C."""
        return len(self.members[0].taxonomy)

    @property
    def window_days(self) -> float:
        """How far back each member looks from an alert [days]."""
        return self.members[0].model.window_days

    @property
    def columns(self) -> tuple[str, ...]:
        """What any member reads, the first's first."""
        return tuple(dict.fromkeys(name for member in self.members for name in member.model.columns))

    @property
    def max_points(self) -> int | None:
        """To how many points light curves are thinned before features are computed."""
        return next((each.model.max_points for each in self.members if has_features(each.model.columns)), None)

    def score(self, light_curves: LightCurves, metadata: FloatTable, has_metadata: BoolArray) -> Scores:
        """One head."""
        return self.score_table(light_curves, self.table(light_curves, metadata), has_metadata)

    def table(self, light_curves: LightCurves, metadata: FloatTable) -> FloatTable:
        """``columns`` (N, K) of light curves and their metadata (N, 64), computed once for all members."""
        return table_of(light_curves.thinned(self.max_points), metadata, self.columns)

    def score_table(self, light_curves: LightCurves, columns: FloatTable, has_metadata: BoolArray) -> Scores:
        """``score`` with the table (N, K) of ``columns`` at hand."""
        place = {name: number for number, name in enumerate(self.columns)}
        told, branches, n_observations = [], [], []
        for member in self.members:
            own = columns[:, [place[name] for name in member.model.columns]]
            scores = member.model.score_table(light_curves, own, has_metadata)
            probabilities = member.probabilities(scores, light_curves)
            told.append(np.log(np.maximum(probabilities, _LEAST_PROBABILITY)))
            branches.append(scores.branches)
            n_observations.append(scores.n_observations)
        return Scores(
            logits={self.HEAD: torch.from_numpy(np.mean(told, axis=0))},
            head=np.full(len(light_curves), self.HEAD),
            branches=_joined(branches),
            n_observations=np.max(n_observations, axis=0),
        )

    @property
    def d_embedding(self) -> None:
        """None: what its members represent has no common space."""

    @property
    def runs_on(self) -> frozenset[str]:
        """Where its members do."""
        return frozenset().union(*(member.model.runs_on for member in self.members))

    def describe(self) -> dict[str, Any]:
        """Where its members are, in the artifact, and how light curves are thinned before features are computed."""
        return {"members": [f"member-{number}" for number in range(len(self.members))], "max_points": self.max_points}

    def save(self, directory: Path) -> None:
        """Write each member's artifact."""
        for name, member in zip(self.describe()["members"], self.members, strict=True):
            member.save(directory / name)

    @classmethod
    def load(
        cls, directory: Path, _: str, architecture: Mapping[str, Any], *, device: str, precision: Precision
    ) -> Self:
        """The inverse of ``describe`` and ``save``. Raises InvalidArtifact for a member that is none."""
        return cls(
            [Classifier.load(directory / name, device=device, precision=precision) for name in architecture["members"]]
        )


def _joined(branches: Sequence[NDArray[np.str_]]) -> NDArray[np.str_]:
    """(N,): what took part in any member."""
    rows = [{word for told in row for word in told.split("+")} for row in zip(*branches, strict=True)]
    return np.array(["+".join(word for word in BRANCHES if word in row) for row in rows], dtype=np.str_)

"""Forests on engineered features and metadata: the thesis's baseline (4.4.1), and two that are harder to beat.

Needs the extra ``forest``. Trees are stored without pickle: scikit-learn's by skops, which builds only the types named
here, and LightGBM's as its own text. Neither runs what it reads, but both follow its numbers in native code without
a check: a forest is for those who trust its maker.
"""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self

import lightgbm
import numpy as np
import skops.io
import torch
from imblearn.ensemble import BalancedRandomForestClassifier

from models.arrays import BoolArray, FloatArray, IntArray
from models.choices import must_be_typed, must_hold, must_look_at_something
from models.inputs.light_curve import WINDOW_DAYS, LightCurves
from models.inputs.table import ALL_COLUMNS, FloatTable, table_of
from models.scoring import Scores
from models.selection import Precision
from models.taxonomy import GROUPS, Taxonomy

Probabilities = FloatArray

_LEAST_PROBABILITY = 1e-6
"""Stands for a class that no tree voted for."""


@dataclass(frozen=True)
class ForestConfig:
    """The shape of a forest. Defaults are the thesis's where it names one (4.4.1)."""

    algorithm: Literal["hierarchical", "flat", "lightgbm"] = "hierarchical"
    columns: tuple[str, ...] = ALL_COLUMNS
    """What the trees see, in order: features by name, then metadata columns."""
    trees: int = 500
    transient_trees: int = 350
    transient_impurity: float = 3e-5
    """Least decrease of impurity by a split of the transients' forest."""
    per_class: Mapping[str, int] = field(
        default_factory=lambda: {"top": 5_000, "transient": 15_000, "periodic": 9_000, "stochastic": 3_900}
    )
    """Rows of a class that each forest of the hierarchy is trained on, drawn again where it has fewer. The thesis names
    none for the top level, whose three groups hold many classes each."""
    leaf: int = 1
    """Least number of rows in a leaf."""
    max_features: float | Literal["sqrt"] = "sqrt"
    """Columns that a split may choose from: their square root, or a share."""
    learning_rate: float = 0.05
    """Of LightGBM."""
    leaves: int = 31
    """Of a tree of LightGBM."""
    class_power: float = 0.0
    """Of LightGBM: a class weighs as its size to this power; what makes it likelier for that is taken back."""
    window_days: float = WINDOW_DAYS
    max_points: int | None = None
    """A longer light curve is thinned evenly to so many points before its features are computed."""

    def __post_init__(self) -> None:
        """Raises ValueError for a column that is not known, and for another option's value that makes no sense."""
        must_be_typed(self)
        must_look_at_something(self, window_days=self.window_days, max_points=self.max_points)
        for name in ("trees", "transient_trees", "leaf"):
            must_hold(self, name, getattr(self, name) >= 1, "1 or more")
        for name in ("transient_impurity", "class_power"):
            must_hold(self, name, getattr(self, name) >= 0, "0 or more")
        must_hold(self, "leaves", self.leaves >= 2, "2 or more")
        must_hold(self, "learning_rate", self.learning_rate > 0, "above 0")
        share = self.max_features == "sqrt" or 0 < self.max_features <= 1
        must_hold(self, "max_features", share, "sqrt, or a share above 0")
        unknown = set(self.columns) - set(ALL_COLUMNS)
        if unknown:
            raise ValueError(f"no such feature or metadata column: {', '.join(sorted(unknown))}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of ``to_dict``. Raises TypeError for no option, ValueError for a value that makes no sense."""
        return cls(**{**values, **({"columns": tuple(values["columns"])} if "columns" in values else {})})

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        return asdict(self)


class Estimator(Protocol):
    """Trees of one kind. Tables (N, K) with NaN where missing, labels (N,) as places in the taxonomy."""

    def fit(self, table: FloatTable, labels: IntArray) -> None:
        """Grow the trees."""
        ...

    def probabilities(self, table: FloatTable) -> Probabilities:
        """(N, C)"""
        ...

    def save(self, directory: Path) -> None:
        """Write the trees."""
        ...

    def restore(self, directory: Path) -> None:
        """Read the trees back. Raises ValueError for what are none, or are of other columns or classes."""
        ...


class Forest:
    """A forest as a Classifier's model: it computes its own features from what it is handed."""

    HEAD: ClassVar[str] = "features"

    def __init__(self, config: ForestConfig, taxonomy: Taxonomy, *, seed: int = 0, processes: int = 1) -> None:
        self.kind = "forest"
        self.config = config
        self.taxonomy = taxonomy
        self._estimator: Estimator = _ESTIMATORS[config.algorithm](config, taxonomy, seed=seed, processes=processes)

    @property
    def n_classes(self) -> int:
        """C."""
        return len(self.taxonomy)

    @property
    def max_points(self) -> int | None:
        """To how many points light curves are thinned before features are computed."""
        return self.config.max_points

    @property
    def window_days(self) -> float:
        """How far back the features look from an alert [days]."""
        return self.config.window_days

    @property
    def columns(self) -> tuple[str, ...]:
        """The table that it reads, in order."""
        return self.config.columns

    def fit(self, table: FloatTable, labels: IntArray) -> None:
        """Grow the trees from a table (N, K) of ``config.columns`` and labels (N,), places in the taxonomy."""
        self._estimator.fit(table, labels)

    def scores_of(self, table: FloatTable) -> torch.Tensor:
        """Log-probabilities (N, C) for a table (N, K) of ``config.columns``."""
        return torch.from_numpy(np.log(np.maximum(self._estimator.probabilities(table), _LEAST_PROBABILITY)))

    def score(self, light_curves: LightCurves, metadata: FloatTable, has_metadata: BoolArray) -> Scores:
        """One head; missing metadata is missing values."""
        return self.score_table(light_curves, self.table(light_curves, metadata), has_metadata)

    def table(self, light_curves: LightCurves, metadata: FloatTable) -> FloatTable:
        """``columns`` (N, K) of light curves and their metadata (N, 64)."""
        return table_of(light_curves.thinned(self.max_points), metadata, self.columns)

    def score_table(self, light_curves: LightCurves, columns: FloatTable, has_metadata: BoolArray) -> Scores:
        """``score`` with the table (N, K) of ``columns`` at hand: features take nearly all of its time."""
        seen = light_curves.thinned(self.max_points)
        return Scores(
            logits={self.HEAD: self.scores_of(columns)},
            head=np.full(len(light_curves), self.HEAD),
            n_observations=seen.lengths,
            branches=np.where(has_metadata, "features+md", "features"),
        )

    @property
    def d_embedding(self) -> None:
        """A forest has no vectors."""

    @property
    def runs_on(self) -> frozenset[str]:
        """The CPU, whatever is asked for."""
        return frozenset({"cpu"})

    def describe(self) -> dict[str, Any]:
        """The options, and the classes, which the hierarchy needs."""
        return {**self.config.to_dict(), "class_ids": list(self.taxonomy.class_ids)}

    def save(self, directory: Path) -> None:
        """Write the trees."""
        self._estimator.save(directory)

    @classmethod
    def load(
        cls,
        directory: Path,
        _: str,
        architecture: Mapping[str, Any],
        *,
        device: str,  # noqa: ARG003 - it runs on the CPU
        precision: Precision,  # noqa: ARG003 - and multiplies nothing
    ) -> Self:
        """The inverse of ``describe`` and ``save``."""
        options = dict(architecture)
        taxonomy = Taxonomy(tuple(options.pop("class_ids")))
        forest = cls(ForestConfig.from_dict(options), taxonomy)
        forest._estimator.restore(directory)
        return forest


# --- scikit-learn and imbalanced-learn -------------------------------------------------------------------------

_TRUSTED = {
    "imblearn.ensemble._forest.BalancedRandomForestClassifier",
    "imblearn.pipeline.Pipeline",
    "imblearn.under_sampling._prototype_selection._random_under_sampler.RandomUnderSampler",
    "sklearn.tree._tree.Tree",
}
_TREES = "trees.skops"


def _write_trees(trees: Any, directory: Path) -> None:
    skops.io.dump(trees, directory / _TREES)


def _read_trees(directory: Path) -> Any:
    """Raises ValueError for what are none."""
    path = directory / _TREES
    try:
        foreign = set(skops.io.get_untrusted_types(file=path)) - _TRUSTED
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path}: {error}") from error
    if foreign:
        raise ValueError(f"{path} holds types that no forest has: {', '.join(sorted(foreign))}")
    return skops.io.load(path, trusted=sorted(_TRUSTED))


class Hierarchical:
    """The balanced hierarchical forest of Sánchez-Sáez et al. (2021) as adapted in the thesis (4.4.1).

    A top forest tells transient, stochastic and periodic apart, and each of these has a forest of its own; a class's
    probability is the product. Every tree is grown on as many rows of each class, drawn anew.
    """

    def __init__(self, config: ForestConfig, taxonomy: Taxonomy, *, seed: int, processes: int) -> None:
        self._config = config
        self._seed = seed
        self._processes = processes
        self._n_classes = len(taxonomy)
        places = {
            name: [taxonomy.index(class_id) for class_id in class_ids if class_id in taxonomy.class_ids]
            for name, class_ids in GROUPS.items()
        }
        self._groups = {name: np.array(members) for name, members in places.items() if members}
        self._forests: dict[str, Any] = {}

    def fit(self, table: FloatTable, labels: IntArray) -> None:
        """Grow the four forests."""
        rng = np.random.default_rng(self._seed)
        group_of = np.empty(self._n_classes, dtype=np.int64)
        for number, members in enumerate(self._groups.values()):
            group_of[members] = number
        rows = _per_class(rng, labels, self._config.per_class["top"])
        self._forests = {"top": self._grown(table[rows], group_of[labels[rows]], self._config.trees, 0.0)}
        for name, members in self._groups.items():
            own = np.flatnonzero(np.isin(labels, members))
            rows = own[_per_class(rng, labels[own], self._config.per_class[name])]
            is_transient = name == "transient"
            trees = self._config.transient_trees if is_transient else self._config.trees
            impurity = self._config.transient_impurity if is_transient else 0.0
            if len(members) > 1:
                self._forests[name] = self._grown(table[rows], labels[rows], trees, impurity)

    def _grown(self, table: FloatTable, labels: IntArray, trees: int, impurity: float) -> Any:
        forest = _balanced_forest(self._config, trees, seed=self._seed, processes=self._processes)
        return forest.set_params(min_impurity_decrease=impurity).fit(table, labels)

    def probabilities(self, table: FloatTable) -> Probabilities:
        """P(class) = P(group) P(class | group)."""
        found = np.zeros((len(table), self._n_classes))
        groups = self._forests["top"].predict_proba(table)
        for number, (name, members) in enumerate(self._groups.items()):
            within = self._forests.get(name)  # none for a group of one class
            shares = 1.0 if within is None else within.predict_proba(table)
            found[:, members if within is None else within.classes_] = groups[:, [number]] * shares
        return found

    def save(self, directory: Path) -> None:
        """Write the four forests."""
        _write_trees(self._forests, directory)

    def restore(self, directory: Path) -> None:
        """Read the four forests."""
        self._forests = _read_trees(directory)
        for name, forest in self._forests.items():
            members = range(len(self._groups)) if name == "top" else self._groups[name].tolist()
            _must_fit(forest, n_columns=len(self._config.columns), classes=members)


def _must_fit(forest: Any, *, n_columns: int, classes: Sequence[int]) -> None:
    found = (forest.n_features_in_, forest.classes_.tolist())
    if found != (n_columns, list(classes)):
        raise ValueError(f"trees of {found[0]} columns and the classes {found[1]}, not {n_columns} and {list(classes)}")


def _per_class(rng: np.random.Generator, labels: IntArray, n: int) -> IntArray:
    """``n`` rows of every class, without repeats where it has so many."""
    drawn = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        drawn.append(rng.choice(rows, size=n, replace=len(rows) < n))
    return np.concatenate(drawn)


def _balanced_forest(config: ForestConfig, trees: int, *, seed: int, processes: int) -> BalancedRandomForestClassifier:
    """A forest whose every tree is grown on as many rows of each class, as many as the scarcest has, drawn anew."""
    return BalancedRandomForestClassifier(
        trees,
        sampling_strategy="all",
        replacement=True,
        bootstrap=False,
        min_samples_leaf=config.leaf,
        max_features=config.max_features,
        random_state=seed,
        n_jobs=processes,
    )


class Flat:
    """One balanced forest over all classes."""

    def __init__(self, config: ForestConfig, taxonomy: Taxonomy, *, seed: int, processes: int) -> None:
        self._n_classes = len(taxonomy)
        self._n_columns = len(config.columns)
        self._forest: Any = _balanced_forest(config, config.trees, seed=seed, processes=processes)

    def fit(self, table: FloatTable, labels: IntArray) -> None:
        """Grow the trees."""
        self._forest.fit(table, labels)

    def probabilities(self, table: FloatTable) -> Probabilities:
        """Means of the trees' leaves."""
        found = np.zeros((len(table), self._n_classes))
        found[:, self._forest.classes_] = self._forest.predict_proba(table)
        return found

    def save(self, directory: Path) -> None:
        """Write the forest."""
        _write_trees(self._forest, directory)

    def restore(self, directory: Path) -> None:
        """Read the forest."""
        self._forest = _read_trees(directory)
        _must_fit(self._forest, n_columns=self._n_columns, classes=range(self._n_classes))


# --- LightGBM --------------------------------------------------------------------------------------------------

_BOOSTER = "booster.txt"


class Boosted:
    """LightGBM's gradient-boosted trees: the stronger baseline.

    Where classes do not weigh the same, the logarithms of their shares stand beside the trees' sums while these are
    learned (logit adjustment), and not when they answer: the prior is uniform all the same.
    """

    def __init__(self, config: ForestConfig, taxonomy: Taxonomy, *, seed: int, processes: int) -> None:
        self._rounds = config.trees
        self._class_power = config.class_power
        self._n_classes = len(taxonomy)
        self._n_columns = len(config.columns)
        self._options = {
            "objective": "multiclass",
            "num_class": len(taxonomy),
            "learning_rate": config.learning_rate,
            "num_leaves": config.leaves,
            "min_data_in_leaf": config.leaf,
            "feature_fraction": max(0.3, min(1.0, 20 / len(config.columns))),
            "bagging_fraction": 0.7,
            "bagging_freq": 1,
            "max_bin": 127,
            "lambda_l2": 1.0,
            "seed": seed,
            "deterministic": True,
            "num_threads": processes,
            "verbosity": -1,
        }
        self._booster: Any = None

    def fit(self, table: FloatTable, labels: IntArray) -> None:
        """Boost for as many rounds as there are trees, one tree a class in each."""
        sizes = np.maximum(np.bincount(labels, minlength=self._n_classes), 1)
        shares = sizes**self._class_power / np.sum(sizes**self._class_power)
        weights = (shares / sizes)[labels] * len(labels)
        adjustment = np.repeat(np.log(shares), len(labels)) if self._class_power else None
        rows = lightgbm.Dataset(table, labels, weight=weights, init_score=adjustment)
        self._booster = lightgbm.train(self._options, rows, self._rounds)

    def gains(self) -> Probabilities:
        """By column (K,), what the splits on it gained."""
        found: Probabilities = self._booster.feature_importance("gain")
        return found

    def probabilities(self, table: FloatTable) -> Probabilities:
        """Softmax of the trees' sums."""
        found: Probabilities = self._booster.predict(table)
        return found

    def save(self, directory: Path) -> None:
        """Write the trees as LightGBM's text."""
        (directory / _BOOSTER).write_text(self._booster.model_to_string())

    def restore(self, directory: Path) -> None:
        """Read the trees."""
        try:
            self._booster = lightgbm.Booster(model_str=(directory / _BOOSTER).read_text())
        except lightgbm.basic.LightGBMError as error:
            raise ValueError(f"{directory / _BOOSTER}: {error}") from error
        found = (self._booster.num_feature(), self._booster.num_model_per_iteration())
        if found != (self._n_columns, self._n_classes):
            told = f"{self._n_columns} and {self._n_classes}"
            raise ValueError(f"trees of {found[0]} columns and {found[1]} classes, not {told}")


_ESTIMATORS: Mapping[str, Any] = {"hierarchical": Hierarchical, "flat": Flat, "lightgbm": Boosted}

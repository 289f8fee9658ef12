"""Logits -> probabilities one can bet on: a scaling a head, fitted on held-out alerts, and the prior it holds under."""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from models.arrays import FloatArray, IntArray
from models.taxonomy import Taxonomy

UNIFORM = "uniform over the classes"
"""The prior of a class-balanced fit."""


_OF_TRAINING = {"training": ("as common as in training", 1.0), "root": ("square roots of the shares in training", 0.5)}
"""What a prior is called, and the power of the classes' shares that it is in proportion to."""


class InvalidPrior(ValueError):
    """What is no prior over a model's classes; its message says why."""


@dataclass(frozen=True)
class Scaling:
    """Logits times a scale plus a bias a class (Guo et al. 2017: a temperature, or vector scaling), by detections."""

    detections: tuple[int, ...]
    """(K,), ascending from 0: the number of detections in a light curve from which each row below holds."""
    scale: tuple[tuple[float, ...], ...]
    """(K, C), or (K, 1) for the same scale of all classes: 1 / temperature."""
    bias: tuple[tuple[float, ...], ...]
    """(K, C), or (K, 1) for none."""

    def must_be_of(self, n_classes: int) -> None:
        """Raises ValueError for a scaling of other classes, without a row from 0 detections on, or by no numbers."""
        rows = {len(self.detections), len(self.scale), len(self.bias)}
        if len(rows) > 1 or self.detections[:1] != (0,) or list(self.detections) != sorted(set(self.detections)):
            raise ValueError(f"a scaling's rows are by ascending detections from 0, not by {self.detections}")
        if {len(row) for row in (*self.scale, *self.bias)} - {1, n_classes}:
            raise ValueError(f"a scaling is of {n_classes} classes, or the same for all")
        scales, biases = (np.array([*itertools.chain(*rows)], dtype=np.float64) for rows in (self.scale, self.bias))
        if not (np.isfinite(scales).all() and np.isfinite(biases).all() and (scales > 0).all()):
            raise ValueError("a scaling has scales above 0 and biases, all of them numbers")

    def __call__(self, logits: Tensor, detections: IntArray) -> Tensor:
        """Logits (N, C) of light curves with so many detections (N,), scaled."""
        row = torch.from_numpy(np.searchsorted(self.detections, detections, side="right") - 1)
        scale, bias = torch.tensor(self.scale, dtype=logits.dtype), torch.tensor(self.bias, dtype=logits.dtype)
        return logits * scale[row] + bias[row]

    @classmethod
    def temperature(cls, temperature: float) -> Self:
        """One temperature for every light curve."""
        return cls(detections=(0,), scale=((1 / temperature,),), bias=((0.0,),))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of ``dataclasses.asdict`` through JSON."""
        rows = {name: tuple(map(tuple, values[name])) for name in ("scale", "bias")}
        return cls(detections=tuple(values["detections"]), **rows)


@dataclass(frozen=True)
class Calibration:
    """How a model's logits become probabilities, and the class prior under which these hold."""

    temperatures: Mapping[str, float]
    """By head (``lc``, ``tab``, ``mix``)."""
    prior: str
    """In words."""
    scalings: Mapping[str, Scaling] = field(default_factory=dict)
    """By head, in place of its temperature where one was better."""
    prior_shares: tuple[float, ...] = ()
    """(C,), the prior in numbers; none for a uniform one."""
    training_shares: tuple[float, ...] = ()
    """(C,), the classes' shares of the objects that were trained on; none where that is not known."""
    shift: tuple[float, ...] = ()
    """(C,), added to scaled logits: log of this prior over the one that the scalings were fitted under."""

    def must_be_of(self, n_classes: int) -> None:
        """Raises ValueError for scalings or shares of other classes, or what is not to be computed with."""
        for scaling in self.scalings.values():
            scaling.must_be_of(n_classes)
        if {len(each) for each in (self.prior_shares, self.training_shares, self.shift)} - {0, n_classes}:
            raise ValueError(f"priors and shares are of {n_classes} classes")
        temperatures = np.array([*self.temperatures.values()], dtype=np.float64)
        shares = np.array([*self.prior_shares, *self.training_shares], dtype=np.float64)
        if not (np.isfinite(temperatures).all() and (temperatures > 0).all()):
            raise ValueError(f"temperatures are numbers above 0, not {dict(self.temperatures)}")
        if not (np.isfinite(shares).all() and (shares >= 0).all() and np.isfinite(self.shift).all()):
            raise ValueError("priors and shares are numbers from 0 on, and shifts are numbers")

    def probabilities(self, logits: Tensor, head: str, detections: IntArray) -> Tensor:
        """Logits (N, C) of one head, for light curves with so many detections (N,) -> probabilities (N, C) in float64.

        A head that was not fitted keeps its logits.
        """
        scaling = self.scalings.get(head, Scaling.temperature(self.temperatures.get(head, 1.0)))
        scaled = scaling(logits.double(), detections)
        if self.shift:
            scaled = scaled + torch.tensor(self.shift, dtype=scaled.dtype)
        return F.softmax(scaled, dim=1)

    def of_rows(self, logits: NDArray[np.float32], heads: NDArray[np.str_], detections: IntArray) -> FloatArray:
        """Probabilities (N, C) from logits (N, C), by the head that gave each row and the detections it saw."""
        found = np.empty(logits.shape)
        for head in np.unique(heads).tolist():
            rows = heads == head
            found[rows] = self.probabilities(torch.from_numpy(logits[rows]), head, detections[rows]).numpy()
        return found

    def shares(self, n_classes: int) -> FloatArray:
        """The prior in numbers, (C,)."""
        return np.array(self.prior_shares) if self.prior_shares else np.full(n_classes, 1 / n_classes)

    def under(self, prior: str, taxonomy: Taxonomy) -> Self:
        """The same under another prior, by Bayes: p_i times new over old, normalised.

        ``prior`` is ``uniform``, ``training`` (as common as among the objects that were trained on), ``root`` (in
        proportion to the square roots of these shares), or a JSON file of numbers by class name or id, in proportion.
        Raises InvalidPrior for anything else, a share of 0 included: what is never to be seen needs a model without it.
        """
        old = self.shares(len(taxonomy))
        if prior == "uniform":
            name, new = UNIFORM, np.full(len(taxonomy), 1 / len(taxonomy))
        elif prior in _OF_TRAINING:
            name, power = _OF_TRAINING[prior]
            new = np.array(self.training_shares) ** power
            if not len(new):
                raise InvalidPrior("the model does not say how common its classes were in training")
            if not new.all():
                raise InvalidPrior("a class of the model was never seen in training")
            new = new / new.sum()
        else:
            name, new = Path(prior).name, _shares(Path(prior), taxonomy)
        shift = np.log(new / old) + (np.array(self.shift) if self.shift else 0)
        return replace(self, prior=name, prior_shares=tuple(new.tolist()), shift=tuple(shift.tolist()))

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it; what is empty is left out."""
        values = {**asdict(self), "temperatures": dict(self.temperatures)}
        values["scalings"] = {head: asdict(scaling) for head, scaling in self.scalings.items()}
        return {name: value for name, value in values.items() if value or name in ("temperatures", "prior")}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of ``to_dict``. Raises TypeError for a name that it does not have."""
        scalings = {head: Scaling.from_dict(each) for head, each in values.get("scalings", {}).items()}
        shares = {name: tuple(values.get(name, ())) for name in ("prior_shares", "training_shares", "shift")}
        return cls(**{**values, "scalings": scalings, **shares})


def _shares(path: Path, taxonomy: Taxonomy) -> FloatArray:
    try:
        given = {str(key): float(value) for key, value in json.loads(path.read_text()).items()}
    except (OSError, ValueError, OverflowError, TypeError, AttributeError) as error:
        raise InvalidPrior(f"{path} is no JSON object of numbers by class: {error}") from error
    names = {str(class_id): name for class_id, name in zip(taxonomy.class_ids, taxonomy.names, strict=True)}
    found = {names.get(key, key): value for key, value in given.items()}
    odd = {"without": set(taxonomy.names) - set(found), "with": set(found) - set(taxonomy.names)}
    if any(odd.values()) or len(found) < len(given):
        told = "; ".join(f"{how} {', '.join(sorted(which))}" for how, which in odd.items() if which)
        raise InvalidPrior(f"{path}: each class of the model once, and no other: {told or 'one stands twice'}")
    shares = np.array([found[name] for name in taxonomy.names])
    if not (np.isfinite(shares).all() and (shares > 0).all()):
        raise InvalidPrior(f"{path}: a prior is numbers above 0")
    shares = shares / shares.max()  # before they are summed: the sum of large numbers is inf
    normalised: FloatArray = shares / shares.sum()
    if not normalised.all():
        raise InvalidPrior(f"{path}: a number is 0 beside the largest")
    return normalised


UNCALIBRATED = Calibration(temperatures={}, prior="as trained")


def fit_temperature(logits: Tensor, labels: Tensor, *, weights: Tensor) -> float:
    """The temperature that minimises the weighted cross-entropy of logits (N, C) against labels (N,).

    A search over a logarithmic grid from 1/20 to 20, then a finer one around its best: the loss has one minimum in 1/T.
    """
    low, high = -3.0, 3.0
    for _ in range(3):
        grid = torch.linspace(low, high, 41).exp()
        losses = torch.stack([weighted_loss(logits / temperature, labels, weights) for temperature in grid])
        best = grid[losses.argmin()].log().item()
        step = (high - low) / 40
        low, high = best - step, best + step
    return float(torch.tensor(best).exp())


def fit_scaling(
    logits: Tensor, labels: Tensor, detections: IntArray, *, weights: Tensor, starts: Sequence[int], by_class: bool
) -> Scaling:
    """The scaling that minimises the weighted cross-entropy of logits (N, C) against labels (N,).

    ``starts`` are the numbers of detections from which a row of its own holds; ``by_class`` gives each class a scale
    and a bias (vector scaling). Log scales and biases have a standard normal prior, so that what a few light curves
    say of a class counts for little.
    """
    row = np.searchsorted(starts, detections, side="right") - 1
    width = logits.shape[1] if by_class else 1
    scales, biases = [], []
    for place in range(len(starts)):
        own = torch.from_numpy(row == place)
        scale, bias = _fit_row(logits[own].double(), labels[own], weights[own].double(), width)
        scales.append(scale)
        biases.append(bias)
    return Scaling(detections=tuple(starts), scale=tuple(scales), bias=tuple(biases))


def _fit_row(
    logits: Tensor, labels: Tensor, weights: Tensor, width: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    log_scale = torch.zeros(width, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(width, dtype=torch.float64, requires_grad=True)
    parameters = [log_scale, bias] if width > 1 else [log_scale]
    # As many independent light curves as the weights are worth (Kish 1965).
    size = weights.sum().square() / weights.square().sum().clamp_min(1e-300)
    optimizer = torch.optim.LBFGS(parameters, max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        misfit = size * weighted_loss(logits * log_scale.exp() + bias, labels, weights)
        loss = misfit + 0.5 * sum((values.square().sum() for values in parameters), torch.zeros(()))
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    if len(labels):
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    return tuple(log_scale.detach().exp().tolist()), tuple(bias.detach().tolist())


def weighted_loss(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean of the cross-entropies of logits (N, C) against labels (N,)."""
    return (F.cross_entropy(logits, labels, reduction="none") * weights).sum() / weights.sum()

"""A table's columns become tokens of comparable scale: by the thesis's quantile transform, or a plain one."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.arrays import FloatArray

MISSING_VALUE = -9999.0
"""What the thesis writes for a missing value, before the quantile transform (4.3.6)."""

_MOST_DEVIATIONS = 1e6
"""So many standard deviations from its column's mean is as far as a value is taken to be: 1e38 would be no number."""

_BEYOND = 1e-7
"""Probability given to the ends of the range, so that the normal output stays within +-5.2 (as scikit-learn does)."""


class ColumnTokenizer(nn.Module, ABC):
    """One token a column: W_k s_k + b_k, s_k the column's value on a comparable scale.

    A missing value becomes a learned token of its column, or, with ``missing="-9999"``, the number the thesis uses.
    Values (B, K) with 0 where ``missing`` (B, K); output (B, K, D).
    """

    def __init__(self, *, n_columns: int, d_model: int, missing: str = "token") -> None:
        super().__init__()
        bound = 1 / math.sqrt(d_model)
        self.missing = missing
        self.weight = nn.Parameter(torch.empty(n_columns, d_model).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(n_columns, d_model).uniform_(-bound, bound))
        self.missing_token = nn.Parameter(torch.empty(n_columns, d_model).uniform_(-bound, bound))

    def fit(self, values: NDArray[np.float32], names: Sequence[str]) -> None:
        """Store each column's scale over the training rows (N, K), NaN where missing. Call it before training.

        Raises ValueError for columns that are missing everywhere, by their names (K,), unless -9999 stands for them.
        """
        table = values.astype(np.float64)
        if self.missing == "-9999":
            table = np.where(np.isnan(table), MISSING_VALUE, table)
        empty = [name for name, column in zip(names, table.T, strict=True) if np.isnan(column).all()]
        if empty:
            raise ValueError(f"no training row has a value of {', '.join(empty)}")
        self._fit(table)

    @abstractmethod
    def _fit(self, table: FloatArray) -> None: ...

    @abstractmethod
    def transform(self, values: Tensor) -> Tensor:
        """Values (B, K) -> comparable ones (B, K)."""

    def forward(self, values: Tensor, missing: Tensor) -> Tensor:
        if self.missing == "-9999":
            values = torch.where(missing, values.new_tensor(MISSING_VALUE), values)
        tokens = self.affine(self.transform(values))
        if self.missing == "token":
            tokens = torch.where(missing[:, :, None], self.missing_token, tokens)
        return tokens

    def affine(self, scores: Tensor) -> Tensor:
        """W_k s_k + b_k: comparable values (B, K) -> (B, K, D)."""
        return scores[:, :, None] * self.weight + self.bias


class QuantileTokenizer(ColumnTokenizer):
    """Thesis 4.3.3, eq. 4.3: QFT_k(f_k) = W_k QT_k(f_k) + b_k.

    QT_k maps a column's training distribution to a standard normal by interpolation between stored quantiles. A value
    that many training rows share lies on a flat stretch of quantiles and gets the stretch's middle; a value beyond the
    training range gets the end of it.
    """

    quantiles: Tensor

    def __init__(self, *, n_columns: int, d_model: int, n_quantiles: int = 1000, missing: str = "token") -> None:
        super().__init__(n_columns=n_columns, d_model=d_model, missing=missing)
        self.register_buffer("quantiles", torch.linspace(0, 1, n_quantiles).repeat(n_columns, 1))

    def _fit(self, table: FloatArray) -> None:
        quantiles = np.nanquantile(table, np.linspace(0, 1, self.quantiles.shape[1]), axis=0).T
        self.quantiles.copy_(torch.from_numpy(np.maximum.accumulate(quantiles, axis=1)))

    def transform(self, values: Tensor) -> Tensor:
        """QT: values (B, K) -> standard normal scores (B, K)."""
        rising = self._interpolated(values.T.contiguous(), self.quantiles)
        falling = 1 - self._interpolated(-values.T.contiguous(), -self.quantiles.flip(1))
        probability = ((rising + falling) / 2).clamp(_BEYOND, 1 - _BEYOND)
        scores: Tensor = torch.special.ndtri(probability).T.float()
        return scores

    def _interpolated(self, values: Tensor, quantiles: Tensor) -> Tensor:
        """The share of the distribution up to each value (K, B); on a flat stretch, the share at its upper end."""
        above = torch.searchsorted(quantiles, values, right=True).clamp(1, quantiles.shape[1] - 1)
        high, low = quantiles.gather(1, above), quantiles.gather(1, above - 1)
        slope = ((values - low) / (high - low)).clamp(0, 1)
        within = torch.where(high > low, slope, (values >= high).float())
        return (above - 1 + within.double()) / (quantiles.shape[1] - 1)


class StandardTokenizer(ColumnTokenizer):
    """Without the quantile transform: each column less its mean, over its standard deviation."""

    mean: Tensor
    scale: Tensor

    def __init__(self, *, n_columns: int, d_model: int, missing: str = "token") -> None:
        super().__init__(n_columns=n_columns, d_model=d_model, missing=missing)
        self.register_buffer("mean", torch.zeros(n_columns))
        self.register_buffer("scale", torch.ones(n_columns))

    def _fit(self, table: FloatArray) -> None:
        deviation = np.nanstd(table, axis=0)
        self.mean.copy_(torch.from_numpy(np.nanmean(table, axis=0)))
        self.scale.copy_(torch.from_numpy(np.where(deviation > 0, deviation, 1.0)))

    def transform(self, values: Tensor) -> Tensor:
        """Values (B, K) -> values of mean 0 and variance 1 (B, K)."""
        return ((values - self.mean) / self.scale).clamp(-_MOST_DEVIATIONS, _MOST_DEVIATIONS)

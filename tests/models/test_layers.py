"""The quantile tokenizer's transform, and time modulation's period."""

import numpy as np
import pytest
import torch
from sklearn.preprocessing import QuantileTransformer

from models.layers.quantile_tokenizer import QuantileTokenizer
from models.layers.time_modulation import TimeModulation


def _fitted(values: np.ndarray, *, missing: str = "token") -> QuantileTokenizer:
    tokenizer = QuantileTokenizer(n_columns=values.shape[1], d_model=8, missing=missing)
    tokenizer.fit(values.astype(np.float32))
    return tokenizer


def test_scores_are_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    train = np.stack([rng.lognormal(size=5000), rng.uniform(size=5000), rng.integers(0, 5, 5000)], axis=1)
    new = np.stack([rng.lognormal(size=300), rng.uniform(-0.2, 1.2, 300), rng.integers(1, 4, 300)], axis=1)
    reference = QuantileTransformer(n_quantiles=1000, output_distribution="normal", subsample=None).fit(train)
    scores = _fitted(train).transform(torch.from_numpy(new.astype(np.float32))).numpy()
    np.testing.assert_allclose(scores, reference.transform(new), atol=5e-3)


def test_a_value_that_many_rows_share_gets_the_middle_of_its_stretch() -> None:
    values = np.array([[0.0]] * 50 + [[1.0]] * 50)
    scores = _fitted(values).transform(torch.tensor([[0.0], [1.0]]))
    np.testing.assert_allclose(scores[:, 0], [-0.674, 0.674], atol=0.01)
    constant = _fitted(np.full((20, 1), 3.0)).transform(torch.tensor([[3.0]]))
    np.testing.assert_allclose(constant, 0.0, atol=0.01)


def test_a_value_beyond_the_training_range_gets_its_end() -> None:
    scores = _fitted(np.linspace(0, 1, 500)[:, None]).transform(torch.tensor([[-5.0], [0.0], [1.0], [9.0]]))[:, 0]
    assert scores[0] == scores[1] == pytest.approx(-5.2, abs=0.01)
    assert scores[2] == scores[3] == pytest.approx(5.2, abs=0.01)


def test_quantiles_ignore_missing_values_or_count_them_as_the_thesis_does() -> None:
    values = np.array([[np.nan]] * 50 + [[1.0], [2.0]] * 25)
    at_median = torch.tensor([[1.5]])
    np.testing.assert_allclose(_fitted(values).transform(at_median), 0.0, atol=0.01)
    assert _fitted(values, missing="-9999").transform(at_median) > 0.5


def test_a_missing_value_is_the_number_of_the_thesis_where_asked() -> None:
    tokenizer = _fitted(np.array([[-9999.0], [0.0], [1.0], [2.0]]), missing="-9999")
    written = tokenizer(torch.tensor([[-9999.0]]), torch.tensor([[False]]))
    assert torch.equal(tokenizer(torch.tensor([[0.0]]), torch.tensor([[True]])), written)


def test_a_column_without_values_cannot_be_fitted() -> None:
    with pytest.raises(ValueError, match="column 1 has no value"):
        _fitted(np.array([[1.0, np.nan]]))


def test_time_modulation_repeats_after_t_max() -> None:
    modulation = TimeModulation(n_values=2, d_model=6, n_bands=2, harmonics=4, t_max=100.0)
    values, band = torch.randn(3, 2), torch.tensor([0, 1, 1])
    early = modulation(values, torch.tensor([1.0, 2.0, 30.0]), band)
    late = modulation(values, torch.tensor([101.0, 102.0, 130.0]), band)
    torch.testing.assert_close(early, late, atol=1e-4, rtol=1e-4)
    other_band = modulation(values, torch.tensor([1.0, 2.0, 30.0]), 1 - band)
    assert not torch.allclose(early, other_band)

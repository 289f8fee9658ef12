"""What the layers promise: scales, periods, and attention that is the same packed or alone, forwards and backwards."""

import math
from typing import cast

import numpy as np
import pytest
import torch
from sklearn.preprocessing import QuantileTransformer
from torch import nn
from torch.nn import functional

from models.inputs.batch import layout_of
from models.layers.attention import SelfAttention
from models.layers.dropout import Dropout
from models.layers.narrow import NarrowLinear, narrowed
from models.layers.quantile_tokenizer import QuantileTokenizer, StandardTokenizer
from models.layers.time_modulation import FixedSinusoid, TimeModulation
from models.layers.transformer import Transformer


def _fitted(values: np.ndarray, *, missing: str = "token") -> QuantileTokenizer:
    tokenizer = QuantileTokenizer(n_columns=values.shape[1], d_model=8, missing=missing)
    tokenizer.fit(values.astype(np.float32), [f"column {place}" for place in range(values.shape[1])])
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
    with pytest.raises(ValueError, match="no training row has a value of column 1"):
        _fitted(np.array([[1.0, np.nan]]))


@pytest.mark.parametrize("rows", [1, 63, 64, 65, 100, 1025, 8191])
def test_a_narrow_layer_multiplies_as_bfloat16_does_whatever_the_number_of_rows(rows: int) -> None:
    layer = nn.Linear(36, 20)
    values = torch.randn(rows, 36)
    expected = functional.linear(values.bfloat16(), layer.weight.bfloat16(), layer.bias.bfloat16()).float()
    with torch.no_grad():
        torch.testing.assert_close(NarrowLinear(layer)(values), expected, rtol=1e-2, atol=1e-2)
        assert NarrowLinear(layer, output=torch.bfloat16)(values[None]).shape == (1, rows, 20)


def test_a_narrowed_transformer_is_a_copy_and_nearly_the_same() -> None:
    transformer = Transformer(d_model=24, n_heads=4, n_layers=3, d_hidden=48, dropout=0.0).eval()
    tokens = torch.randn(5, 11, 24)
    with torch.no_grad():
        expected = transformer.one(tokens)
        narrow = narrowed(transformer)
        found = narrow.one(tokens)
        assert torch.equal(transformer.one(tokens), expected)
    assert not torch.equal(found, expected)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.05)
    narrow_layers = [name for name, each in narrow.named_modules() if isinstance(each, NarrowLinear)]
    assert {name.split(".")[1] for name in narrow_layers} == {"0", "1"}
    assert len(narrow_layers) == 2 * 4


def test_time_modulation_repeats_after_t_max() -> None:
    modulation = TimeModulation(n_values=2, d_model=6, n_bands=2, harmonics=4, t_max=100.0)
    values, band = torch.randn(3, 2), torch.tensor([0, 1, 1])
    early = modulation(values, torch.tensor([1.0, 2.0, 30.0]), band)
    late = modulation(values, torch.tensor([101.0, 102.0, 130.0]), band)
    torch.testing.assert_close(early, late, atol=1e-4, rtol=1e-4)
    half = modulation(values, torch.tensor([51.0, 52.0, 80.0]), band)
    assert not torch.isclose(early, half, rtol=0.01).all(dim=1).any()
    other_band = modulation(values, torch.tensor([1.0, 2.0, 30.0]), 1 - band)
    assert not torch.allclose(early, other_band)


LENGTHS = (1, 3, 0, 9, 40, 2, 9)


@pytest.mark.parametrize(
    ("causal", "asked"), [(False, "all"), (True, "all"), (False, "first"), (False, "last"), (True, "last")]
)
def test_packed_sequences_give_the_answers_and_gradients_of_single_ones(causal: bool, asked: str) -> None:
    torch.manual_seed(0)
    transformer = Transformer(d_model=16, n_heads=4, n_layers=2, d_hidden=32, dropout=0.0)
    singles = [torch.randn(1 + length, 16) for length in LENGTHS]
    packed = torch.cat([*(single[:1] for single in singles), *(single[1:] for single in singles)])
    offsets = np.append(0, np.cumsum(LENGTHS))
    layout = layout_of(offsets, causal=causal)
    ends = torch.from_numpy(np.where(np.diff(offsets) > 0, len(LENGTHS) - 1 + offsets[1:], np.arange(len(LENGTHS))))

    def of_packed() -> torch.Tensor:
        if asked == "all":
            return cast(torch.Tensor, transformer(packed, layout))
        return transformer.one(packed, layout, ends if asked == "last" else None)

    results, gradients = [], []
    for together in (True, False):
        transformer.zero_grad()
        if together:
            output = of_packed()
        else:
            outputs = []
            for single in singles:
                alone = layout_of(np.array([0, len(single) - 1]), causal=causal)
                outputs.append(transformer(single, alone))
            heads = torch.cat([each[:1] for each in outputs])
            lasts = torch.cat([each[-1:] for each in outputs])
            everything = torch.cat([heads, *(each[1:] for each in outputs)])
            output = {"all": everything, "first": heads, "last": lasts}[asked]
        torch.autograd.backward(output.square().sum())
        results.append(output.detach())
        gradients.append([cast(torch.Tensor, parameter.grad) for parameter in transformer.parameters()])
    torch.testing.assert_close(results[0], results[1], atol=1e-5, rtol=1e-4)
    for one, two in zip(*gradients, strict=True):
        torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-3)
    with torch.inference_mode():  # by another way than in training
        again = of_packed()
    torch.testing.assert_close(again, results[0], atol=1e-5, rtol=1e-4)


def test_the_mean_of_attention_is_that_of_its_tokens_and_so_are_its_gradients() -> None:
    torch.manual_seed(0)
    attention = SelfAttention(d_model=16, n_heads=4)
    lengths = torch.tensor([1, 3, 9, 40, 2, 9])
    layout = layout_of(np.append(0, np.cumsum(lengths.numpy())), class_tokens=False)
    row = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    values = torch.randn(len(row), 16)

    def of_each(tokens: torch.Tensor) -> torch.Tensor:
        sums = torch.zeros(len(lengths), 16).index_add(0, row, attention(tokens, layout))
        return sums / lengths[:, None]

    found = []
    for mean in (of_each, lambda tokens: attention.mean(tokens, layout)):
        attention.zero_grad()
        tokens = values.clone().requires_grad_()
        pooled = mean(tokens)
        torch.autograd.backward((pooled * torch.arange(16)).square().sum())
        found.append([pooled, tokens.grad, *(parameter.grad for parameter in attention.parameters())])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.5])
def test_dropout_drops_its_share_anew_each_time_and_keeps_the_mean(rate: float) -> None:
    dropout = Dropout(rate)
    tokens = torch.ones(700, 97)
    one, two = dropout(tokens), dropout(tokens)
    assert (one == 0).float().mean() == pytest.approx(rate, abs=0.006)
    assert one.mean() == pytest.approx(1, abs=0.02)
    both = ((one == 0) & (two == 0)).float().mean()
    assert both == pytest.approx(rate**2, abs=0.006)
    neighbours = ((one[:, 1:] == 0) & (one[:, :-1] == 0)).float().mean()
    assert neighbours == pytest.approx(rate**2, abs=0.006)
    assert torch.equal(dropout.eval()(tokens), tokens)


def test_a_fixed_sinusoid_tells_times_and_bands_apart() -> None:
    encoding = FixedSinusoid(n_values=2, d_model=8, n_bands=6)
    tokens = encoding(torch.ones(3, 2), torch.tensor([0.0, 400.0, 0.0]), torch.tensor([1, 1, 2]))
    assert not torch.allclose(tokens[0], tokens[1])
    assert not torch.allclose(tokens[0], tokens[2])
    waves = [wave for i in range(4) for wave in (math.sin(400 / 10_000 ** (i / 4)), math.cos(400 / 10_000 ** (i / 4)))]
    at_zero = [0.0, 1.0] * 4
    torch.testing.assert_close(tokens[1] - tokens[0], torch.tensor(waves) - torch.tensor(at_zero), atol=1e-4, rtol=0)


def test_plain_scales_have_mean_0_and_variance_1_whatever_is_missing() -> None:
    values = np.random.default_rng(0).normal(20, 3, (400, 2)).astype(np.float32)
    values[::3, 1] = np.nan
    tokenizer = StandardTokenizer(n_columns=2, d_model=4)
    tokenizer.fit(values, ["one", "two"])
    scores = tokenizer.transform(torch.from_numpy(values)).numpy()
    np.testing.assert_allclose(np.nanmean(scores, axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(np.nanstd(scores, axis=0), 1, atol=1e-5)

"""The sampler: every object once an epoch, or the classes alike; always within the budget, never the whole set."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training import objects
from training.data import layout
from training.data.layout import Dataset, Objects
from training.data.sampler import Sampler
from training.errors import InvalidData

BUDGET = 100


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """160 objects in 13 shards; the two classes apart from each other, as surveys simulate them, one of them rare."""
    made = objects.make(300)
    rare = made.where(made.class_id == objects.VARIABLE).take(np.arange(10))
    common = made.where(made.class_id == objects.TRANSIENT)
    shards = [rare, *(common.take(np.arange(start, min(start + 13, len(common)))) for start in range(0, 150, 13))]
    directory = tmp_path_factory.mktemp("set")
    layout.write(directory, shards)
    return Dataset.open(directory)


def _sampler(dataset: Dataset, *, seed: int = 0, buffer: int = 40, share: float = 1.0) -> Sampler:
    chosen = np.random.default_rng(0).random(len(dataset)) < share
    return Sampler(dataset, chosen, budget=BUDGET, seed=seed, buffer=buffer)


def _ids(batches: list[Objects]) -> list[int]:
    return [object_id for batch in batches for object_id in batch.object_id.tolist()]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), number=st.integers(0, 1000), buffer=st.integers(2, 400), share=st.floats(0.1, 1.0))
def test_an_epoch_has_every_chosen_object_once_and_each_batch_keeps_the_budget(
    dataset: Dataset, seed: int, number: int, buffer: int, share: float
) -> None:
    sampler = _sampler(dataset, seed=seed, buffer=buffer, share=share)
    batches = list(sampler.epoch(number))
    chosen = np.random.default_rng(0).random(len(dataset)) < share
    assert sorted(_ids(batches)) == sorted(dataset.index().object_id[chosen].tolist())
    assert len(sampler) == chosen.sum()
    for batch in batches:
        assert 0 < batch.light_curves.lengths.sum() <= BUDGET


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32), number=st.integers(0, 1000))
def test_the_same_seed_gives_the_same_order_and_another_epoch_another(dataset: Dataset, seed: int, number: int) -> None:
    for draw in (Sampler.epoch, Sampler.balanced):
        first = _ids(list(draw(_sampler(dataset, seed=seed), number)))
        assert first == _ids(list(draw(_sampler(dataset, seed=seed), number)))
        assert first != _ids(list(draw(_sampler(dataset, seed=seed), number + 1)))


def test_batches_are_nearly_full(dataset: Dataset) -> None:
    points = [batch.light_curves.lengths.sum() for batch in _sampler(dataset).epoch(0)]
    longest = dataset.index().lengths.max()
    assert all(filled > BUDGET - longest for filled in points[:-1])


def test_an_epoch_mixes_the_shards(dataset: Dataset) -> None:
    order = _ids(list(_sampler(dataset, buffer=80).epoch(0)))
    place = {object_id: row for row, object_id in enumerate(dataset.index().object_id.tolist())}
    neighbours = np.abs(np.diff([place[object_id] for object_id in order]))
    assert np.median(neighbours) > 13


def test_an_object_is_the_same_however_it_is_read(dataset: Dataset) -> None:
    everything = dataset.read()
    row = {object_id: row for row, object_id in enumerate(everything.object_id.tolist())}
    for batch in _sampler(dataset).epoch(0):
        expected = everything.take(np.array([row[object_id] for object_id in batch.object_id.tolist()]))
        np.testing.assert_array_equal(batch.class_id, expected.class_id)
        np.testing.assert_array_equal(batch.light_curves.flux, expected.light_curves.flux)
        np.testing.assert_array_equal(batch.metadata, expected.metadata)


def test_balanced_draws_take_the_classes_alike_and_a_small_class_evenly(dataset: Dataset) -> None:
    batches = [batch for number in range(20) for batch in _sampler(dataset).balanced(number)]
    classes = Counter(class_id for batch in batches for class_id in batch.class_id.tolist())
    draws = classes.total()
    assert draws == 20 * len(dataset)
    assert classes[objects.VARIABLE] == pytest.approx(draws / 2, abs=3 * np.sqrt(draws / 4))
    drawn = Counter(_ids(batches))
    rare = np.array([drawn[id_] for id_ in dataset.index().object_id[:10].tolist()])
    expected = draws / 20
    assert ((rare - expected) ** 2 / expected).sum() < 28  # chi squared, 9 degrees of freedom: 1 in 1,000
    assert len(drawn) == len(dataset)
    assert all(batch.light_curves.lengths.sum() <= BUDGET for batch in batches)


def test_balanced_draws_are_independent_of_each_other(dataset: Dataset) -> None:
    """Drawing from a list that grows makes the first ones drawn again and again: half of them would be missing."""
    sampler = _sampler(dataset, buffer=1000)
    drawn = _ids(list(sampler.balanced(0)))
    common = {id_ for id_ in drawn if id_ in set(dataset.index().object_id[10:].tolist())}
    n = len(dataset) - 10
    assert len(common) == pytest.approx(n * (1 - np.exp(-len(dataset) / 2 / n)), abs=25)


def test_an_object_longer_than_a_batch_is_named_before_anything_is_drawn(dataset: Dataset) -> None:
    everything = np.ones(len(dataset), dtype=np.bool_)
    with pytest.raises(InvalidData, match="more than the 9 of a batch"):
        Sampler(dataset, everything, budget=9)
    with pytest.raises(InvalidData, match="no object to draw from"):
        Sampler(dataset, ~everything, budget=BUDGET)


def test_objects_without_a_point_are_drawn_too(tmp_path: Path) -> None:
    made = objects.make(5)
    curves = made.light_curves.where(np.zeros(len(made.light_curves.mjd), dtype=np.bool_))
    layout.write(tmp_path, [replace(made, light_curves=curves)])
    assert sorted(_ids(list(_sampler(Dataset.open(tmp_path)).epoch(0)))) == sorted(made.object_id.tolist())

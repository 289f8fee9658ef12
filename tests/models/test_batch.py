"""Packing: each point once, and nothing but points."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.inputs.batch import MAX_POINTS_PER_BAND, Batch, pack, token_batches
from models.inputs.light_curve import LightCurves
from models.inputs.ragged import offsets_of

lengths = st.lists(st.integers(0, 80), min_size=1, max_size=30)


def _curves(counts: list[int], *, bands: int = 6) -> LightCurves:
    offsets = offsets_of(np.array(counts, dtype=np.int64))
    n = int(offsets[-1])
    return LightCurves(
        offsets=offsets,
        first_alert_mjd=np.full(len(counts), 60_000.0),
        mjd=60_000.0 + np.arange(n, dtype=np.float64),
        band=(np.arange(n) % bands).astype(np.int8),
        flux=np.arange(n, dtype=np.float32),
        flux_err=np.ones(n, dtype=np.float32),
        detected=np.ones(n, dtype=np.bool_),
    )


def _pack(curves: LightCurves) -> Batch:
    return pack(curves, np.zeros((len(curves), 1), dtype=np.float32), np.ones(len(curves), dtype=np.bool_))


@given(lengths)
def test_each_token_has_one_place_in_the_rectangles(counts: list[int]) -> None:
    batch = _pack(_curves(counts))
    assert batch.lengths.tolist() == counts
    n_tokens = len(counts) + sum(counts)
    assert torch.equal(batch.layout.gather[batch.layout.place], torch.arange(n_tokens))
    assert len(batch.layout.gather) == sum(b * n for b, n in (segment.shape for segment in batch.layout.segments))


@given(lengths)
def test_a_row_of_a_rectangle_is_one_light_curve_in_order(counts: list[int]) -> None:
    curves = _curves(counts)
    layout = _pack(curves).layout
    sizes = [b * n for b, n in (segment.shape for segment in layout.segments)]
    for segment, flat in zip(layout.segments, torch.split(layout.gather, sizes), strict=True):
        observed = torch.ones(segment.shape, dtype=torch.bool) if segment.observed is None else segment.observed
        for tokens, real in zip(flat.view(segment.shape), observed, strict=True):
            row = int(tokens[0])
            assert (tokens[real][1:] - len(counts)).tolist() == list(range(*curves.offsets[row : row + 2]))
            assert (tokens[~real] == row).all()


@given(lengths, st.integers(1, 300), st.integers(1, 70))
def test_token_batches_hold_every_row_once_within_the_budget(
    counts: list[int], max_tokens: int, row_tokens: int
) -> None:
    array = np.array(counts, dtype=np.int64)
    batches = list(token_batches(array, max_tokens=max_tokens, row_tokens=row_tokens))
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(counts)))
    for rows in batches:
        assert len(rows) == 1 or (array[rows] + row_tokens).sum() <= max_tokens


def test_a_crowded_band_is_subsampled_evenly_and_keeps_its_ends() -> None:
    curves = _curves([200], bands=1)
    batch = _pack(curves)
    assert batch.lengths.tolist() == [MAX_POINTS_PER_BAND]
    assert batch.flux[[0, -1]].tolist() == [0.0, 199.0]
    assert batch.flux.diff().max() <= 4


def test_bands_within_the_cap_are_left_alone() -> None:
    batch = _pack(_curves([6 * MAX_POINTS_PER_BAND]))
    assert batch.lengths.tolist() == [6 * MAX_POINTS_PER_BAND]


def test_missing_metadata_is_a_mask_and_never_nan() -> None:
    metadata = np.array([[1.0, np.nan]], dtype=np.float32)
    batch = pack(_curves([1]), metadata, np.ones(1, dtype=np.bool_))
    assert batch.metadata.tolist() == [[1.0, 0.0]]
    assert batch.missing.tolist() == [[False, True]]

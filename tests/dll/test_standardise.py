"""Running standardisation against numpy over all rows at once."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from service.dll.standardise import Moments, scale, standardise, update
from service.state import moments as values
from service.state.moments import CLIP


def unseen(sensors: int) -> Moments:
    return Moments(*(torch.from_numpy(array) for array in values.unseen(sensors)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(0, 2**20))
def test_moments_in_any_batching_are_those_of_all_rows_at_once(sizes, seed):
    rng = np.random.default_rng(seed)
    rows = rng.normal([5.0, -1e4, 0.0], [1.0, 50.0, 1e-3], (sum(sizes), 3)).astype(np.float32)
    rows[rng.random(rows.shape) < 0.2] = np.nan
    moments, start = unseen(3), 0
    for size in sizes:
        moments = update(moments, torch.tensor(rows[start : start + size]))
        start += size
    present = ~np.isnan(rows)
    np.testing.assert_array_equal(moments.readings.numpy(), present.sum(0))
    for column in range(3):
        seen = rows[present[:, column], column].astype(np.float64)
        if len(seen):
            np.testing.assert_allclose(moments.mean[column], seen.mean(), rtol=1e-9, atol=1e-9)
            np.testing.assert_allclose(
                moments.squares[column], ((seen - seen.mean()) ** 2).sum(), rtol=1e-6, atol=1e-9
            )


def test_before_the_first_reading_the_declared_range_stands_in():
    s = scale(unseen(1), ((10.0, 22.0),), torch.float64)
    assert s.mean.item() == 16.0
    assert abs(s.deviation.item() - 12 / 12**0.5) < 1e-12


def test_a_range_declared_far_too_wide_is_forgotten():
    rows = torch.tensor(np.random.default_rng(0).normal(3.0, 0.5, (500, 1)), dtype=torch.float32)
    s = scale(update(unseen(1), rows), ((-1000.0, 1000.0),), torch.float64)
    assert 0.4 < s.deviation.item() < 0.65


def test_missing_becomes_the_mean_and_outliers_are_clipped():
    s = scale(unseen(2), ((0.0, 1.0), (0.0, 1.0)), torch.float32)
    z = standardise(torch.tensor([[float("nan"), 1e9], [0.5, -1e9]]), s)
    assert z.tolist() == [[0.0, CLIP], [0.0, -CLIP]]


def test_a_sensor_that_stood_still_does_not_divide_by_zero():
    s = scale(update(unseen(1), torch.full((100, 1), 4.0)), ((0.0, 10.0),), torch.float32)
    assert torch.isfinite(standardise(torch.tensor([[4.0], [4.1]]), s)).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**20), st.integers(0, 200))
def test_the_scale_of_the_exported_graph_is_that_of_the_rule(seed, count):
    rng = np.random.default_rng(seed)
    moments = unseen(3)
    if count:
        rows = rng.normal([5.0, -1e4, 0.0], [1.0, 50.0, 0.0], (count, 3)).astype(np.float32)
        moments = update(moments, torch.tensor(rows))
    ranges = ((0.0, 10.0), (-2e4, 0.0), (-1.0, 1.0))
    mine = values.scale(values.Moments(*(t.numpy() for t in moments)), ranges, np.dtype("float64"))
    for ours, theirs in zip(mine, scale(moments, ranges, torch.float64), strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-14)

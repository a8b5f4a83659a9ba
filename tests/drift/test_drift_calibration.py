"""The calibration against simulation and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.signal import lfilter

from service.drift.calibration import (
    autoregression,
    crossing_level,
    cycle_bound,
    lines,
    uneven_variance,
    window_noise,
)
from service.drift.thresholds import Watch
from service.drift.windows import BLOCK

WINDOWS = np.array([32, 128, 512, 2048])


def ar1(phi: float, rows: int, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=rows + 500) * math.sqrt(1 - phi**2)
    return lfilter([1.0], [1.0, -phi], drawn)[500:]


def ar1_mean_variance(phi: float, w: np.ndarray) -> np.ndarray:
    """Closed form for unit variance: (1 + phi) / (1 - phi) / w less the edges."""
    return ((1 + phi) / (1 - phi) - 2 * phi * (1 - phi**w) / (w * (1 - phi) ** 2)) / w


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
def test_variance_of_window_means_is_that_of_the_process(phi: float) -> None:
    noise = window_noise(ar1(phi, 10_000, seed=1), WINDOWS, BLOCK)
    expected = ar1_mean_variance(phi, WINDOWS.astype(float))
    np.testing.assert_allclose(noise.variance, expected, rtol=0.2)
    assert noise.long_run == pytest.approx((1 + phi) / (1 - phi), rel=0.2)


def test_change_from_block_to_block_is_the_triangles_slope_for_independent_rows() -> None:
    noise = window_noise(ar1(0.0, 10_000, seed=2), WINDOWS, BLOCK)
    np.testing.assert_allclose(noise.change, 2 * BLOCK / WINDOWS, rtol=0.05)


def test_change_agrees_with_windows_slid_over_a_long_ar1_series() -> None:
    series = ar1(0.9, 400_000, seed=3)
    noise = window_noise(series, WINDOWS[:3], BLOCK)
    total = np.r_[0.0, np.cumsum(series)]
    for w, change in zip(WINDOWS[:3], noise.change, strict=True):
        means = ((total[w:] - total[:-w]) / w)[::BLOCK]
        seen = np.mean(np.diff(means) ** 2) / np.var(means)
        assert change == pytest.approx(seen, rel=0.1)


def test_autoregression_finds_order_and_coefficients() -> None:
    rng = np.random.default_rng(4)
    series = lfilter([1.0], [1.0, -0.6, 0.3], rng.normal(size=50_000))
    phi, variance = autoregression(series)
    np.testing.assert_allclose(phi, [0.6, -0.3], atol=0.02)
    assert variance == pytest.approx(1, rel=0.03)


@pytest.mark.parametrize("phi", [0.0, 0.9])
def test_no_cycle_is_found_in_noise(phi: float) -> None:
    assert all(lines(ar1(phi, 10_000, seed), 32)[0] == [] for seed in range(5))


def test_a_cycle_is_found_and_taken_out() -> None:
    t = np.arange(10_000)
    series = 3 + np.sin(2 * np.pi * t / 1_440 + 1) + ar1(0.5, 10_000, seed=5)
    (line,), rest, mean = lines(series, 32)
    assert 1 / line.frequency == pytest.approx(1_440, rel=0.01)
    assert line.amplitude == pytest.approx(1, abs=0.15)
    assert np.var(rest) == pytest.approx(1, rel=0.1)
    assert mean == pytest.approx(3, abs=0.06)


def test_cycle_bound_is_what_windows_of_a_sinusoid_reach_and_vanishes_at_the_period() -> None:
    t = np.arange(20_000)
    series = np.sin(2 * np.pi * t / 2_000)
    (line,), _, _ = lines(series + ar1(0.0, 20_000, seed=6) * 1e-3, 32)
    bound = cycle_bound([line], np.array([64, 512, 2_000]))
    total = np.r_[0.0, np.cumsum(series)]
    for w, b in zip((64, 512), bound[:2], strict=True):
        assert np.abs((total[w:] - total[:-w]) / w).max() <= b * 1.001
        assert b < 1.03 * np.abs((total[w:] - total[:-w]) / w).max()
    assert bound[2] < 0.02


def test_variance_that_follows_the_cycle_is_seen_and_even_variance_is_not() -> None:
    t = np.arange(10_000)
    rate = 0.1 * (1 + np.sin(2 * np.pi * t / 2_000))
    errors = (np.random.default_rng(7).uniform(size=10_000) < rate).astype(float)
    found, rest, _ = lines(errors, 32)
    assert found
    assert uneven_variance(rest, found) > 1.4
    assert uneven_variance(ar1(0.0, 10_000, seed=8), found) == 1


@pytest.mark.parametrize("window", [64, 512])
def test_levels_are_crossed_as_often_as_stated(window: int) -> None:
    # At a rate high enough to be counted; a crossing is what the latch tells once.
    rate, blocks = 1e-3, 200_000
    sums = np.random.default_rng(9).normal(size=(blocks, 1)) * math.sqrt(BLOCK)
    level = crossing_level(rate, np.array([[2 * BLOCK / window]]))
    watch = Watch(np.array([window]), level / math.sqrt(window), two_sided=1)
    crossings = 0
    for _, crossed in watch.push(np.repeat(sums / BLOCK, BLOCK, axis=0)):
        watch.raised |= crossed
        crossings += 1
    assert crossings / blocks == pytest.approx(rate, rel=0.3)

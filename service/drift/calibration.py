"""How far the mean of a window may stray, learned from the line's own reference.

The mean of w rows of an autocorrelated series varies as if it had far fewer rows: its variance is
gamma_0 * tau_w / w, and w / tau_w is the effective sample size. An AR(p) model (Yule-Walker, order
by BIC) gives tau_w for every w at once; taking it from windows of the reference instead would rest
on a handful of long windows. A cycle is no noise: it is taken out before the model is fitted, and
what it alone can do to a window's mean is added to the threshold as a bound. A window as long as
the cycle does not see it, which is how a shift is told from a time of day.

Sources: Brockwell & Davis, Time Series: Theory and Methods, section 8.1 (Yule-Walker), 9.3 (BIC),
10.1 (lines in a periodogram); Leadbetter, Lindgren & Rootzen, Extremes and Related Properties
(1983), theorem 12.2.9 (the rate of high levels); Siegmund, Sequential Analysis (1985) (seen at
intervals only); Cornish & Fisher (1938) for the skewness term.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# A periodogram ordinate of a smooth spectrum exceeds its mean 25-fold with probability e^-25.
LINE_RATIO = 25.0
MOST_LINES = 4
# A reference must hold this many turns of a cycle before the cycle is believed.
FEWEST_TURNS = 3
# Cycles are not clockwork: the bound on a cycle's effect allows its frequency this much slack.
FREQUENCY_SLACK = 0.01
HIGHEST_ORDER = 24
# What stands in for a variance of nothing: its powers are still above zero.
LEAST = 1e-100


@dataclass(frozen=True, slots=True)
class Line:
    """A sinusoid in the reference: `frequency` in cycles per row, `amplitude` in series units."""

    frequency: float
    amplitude: float


def lines(series: Array, shortest_period: int) -> tuple[list[Line], Array, float]:
    """Cycles of `series` `(n,)`, what is left without them and the mean, and that mean.

    Only periods of at least `shortest_period` rows are looked for. A line is an ordinate of the
    periodogram more than `LINE_RATIO` times the level of its neighbours.
    """
    t = np.arange(len(series), dtype=np.float64)
    frequencies: list[float] = []
    columns = [np.ones(len(series))]
    weights = np.array([series.mean()])
    rest = series - weights[0]
    while len(frequencies) < MOST_LINES:
        frequency = _strongest_line(rest, shortest_period)
        if frequency is None:
            break
        frequencies.append(frequency)
        columns += [np.cos(2 * np.pi * frequency * t), np.sin(2 * np.pi * frequency * t)]
        design = np.stack(columns, axis=1)
        weights, *_ = np.linalg.lstsq(design, series, rcond=None)
        rest = series - design @ weights
    amplitudes = np.hypot(weights[1::2], weights[2::2])
    found = [Line(f, float(a)) for f, a in zip(frequencies, amplitudes, strict=True)]
    return found, rest, float(weights[0])


def _strongest_line(rest: Array, shortest_period: int) -> float | None:
    n = len(rest)
    power = np.abs(np.fft.rfft(rest)) ** 2
    last = min(n // shortest_period, len(power) - 1)
    if last < FEWEST_TURNS:
        return None
    level = _levels(power, FEWEST_TURNS, last)
    ratio = np.where(level > 0, power[FEWEST_TURNS : last + 1], 0) / np.maximum(level, LEAST)
    if ratio.max() <= LINE_RATIO:
        return None
    candidates = (FEWEST_TURNS + int(ratio.argmax()) + np.linspace(-0.75, 0.75, 31)) / n
    # From one candidate to the next by a product: an exponential of each costs ten times as much.
    t = -2j * np.pi * np.arange(n)
    turned, turn = np.exp(t * candidates[0]) * rest, np.exp(t * (candidates[1] - candidates[0]))
    heights = np.zeros(len(candidates))
    for k in range(len(candidates)):
        heights[k] = abs(turned.sum())
        turned *= turn
    return float(candidates[int(heights.argmax())])


def _levels(power: Array, first: int, last: int) -> Array:
    """The level around each of the ordinates ``first`` to ``last``, from ten on either side of it
    that are more than two away; the lowest ordinate is the mean's and does not count."""
    padded = np.r_[np.full(12, np.nan), np.nan, power[1:], np.full(12, np.nan)]
    near = np.lib.stride_tricks.sliding_window_view(padded, 25)[first : last + 1]
    near = np.delete(near, np.s_[10:15], axis=1)
    # The median of an exponential variable is ln 2 times its mean.
    return np.asarray(np.nanmedian(near, axis=1)) / math.log(2)


def cycle_bound(found: list[Line], windows: NDArray[np.int64]) -> Array:
    """The most that cycles can move the mean of each of `windows` `(W,)` rows; `(W,)`.

    A sinusoid of frequency f averages to amplitude * |sin(pi f w) / (w sin(pi f))| at its worst
    phase (the Dirichlet kernel).
    """
    bound = np.zeros(len(windows))
    for line in found:
        f = line.frequency * np.array([1 - FREQUENCY_SLACK, 1, 1 + FREQUENCY_SLACK])[:, None]
        response = np.abs(np.sin(np.pi * f * windows) / (windows * np.sin(np.pi * f)))
        bound += line.amplitude * response.max(axis=0)
    return bound


def uneven_variance(rest: Array, found: list[Line]) -> float:
    """How many times its mean the variance of `rest` `(n,)` reaches somewhere on the cycles.

    An error rate that follows the time of day is noisiest when it is highest. Fitted to rest^2 by
    the cycles and their doubles; 1 where there are none, or where the fit is no better than chance.
    """
    n = len(rest)
    square = rest**2 / max(float(np.mean(rest**2)), LEAST)
    # Four sd of an amplitude that is fitted to noise alone.
    chance = 4 * float(np.std(square)) * math.sqrt(2 / n)
    excess = 0.0
    for line in found:
        for f in (line.frequency, 2 * line.frequency):
            amplitude = 2 / n * abs(np.exp(-2j * np.pi * f * np.arange(n)) @ square)
            excess += amplitude if amplitude > chance else 0.0
    return 1 + excess


def autoregression(rest: Array) -> tuple[Array, float]:
    """Coefficients `(p,)` and innovation variance of the AR(p) that BIC prefers for `rest` `(n,)`.

    Levinson-Durbin on the sample autocovariances (Brockwell & Davis, section 5.1.1).
    """
    n = len(rest)
    spectrum = np.abs(np.fft.rfft(rest, 2 * n)) ** 2
    covariance = np.fft.irfft(spectrum)[: HIGHEST_ORDER + 1] / n
    if covariance[0] <= 0:
        return np.zeros(0), 0.0
    phi, variance = np.zeros(0), float(covariance[0])
    best, best_bic = (phi, variance), n * math.log(variance)
    for p in range(1, min(HIGHEST_ORDER, n // 20) + 1):
        reflection = (covariance[p] - phi @ covariance[p - 1 : 0 : -1]) / variance
        phi = np.append(phi - reflection * phi[::-1], reflection)
        variance *= 1 - reflection**2
        if variance <= 1e-12 * covariance[0]:
            break
        bic = n * math.log(variance) + p * math.log(n)
        if bic < best_bic:
            best, best_bic = (phi, variance), bic
    return best


@dataclass(frozen=True, slots=True)
class WindowNoise:
    """The noise in the means of W windows of one series.

    `variance` `(W,)` of the mean; `change` `(W,)`, the mean square by which it moves from one block
    to the next, in units of that variance; `skew` `(W,)`; `long_run`, the variance that one row
    contributes to a long sum.
    """

    variance: Array
    change: Array
    skew: Array
    long_run: float


def window_noise(rest: Array, windows: NDArray[np.int64], stride: int) -> WindowNoise:
    """Of a series `rest` `(n,)` without cycles, for `windows` `(W,)` evaluated every `stride` rows.

    From the fitted AR(p); where the reference's own windows vary far more than the model says (long
    memory, slow wandering), theirs is taken instead.
    """
    n = len(rest)
    phi, innovation = autoregression(rest)
    size = 1 << 15
    transfer = 1 - np.fft.rfft(np.r_[0.0, phi], size) if len(phi) else np.ones(size // 2 + 1)
    covariance = np.fft.irfft(innovation / np.abs(transfer) ** 2)
    lag = np.arange(1, int(windows.max()) + stride)
    inner = np.r_[0.0, np.cumsum(covariance[lag])]
    weighted = np.r_[0.0, np.cumsum(lag * covariance[lag])]

    def of_sum(rows: NDArray[np.int64]) -> Array:
        total: Array = rows * (covariance[0] + 2 * inner[rows - 1]) - 2 * weighted[rows - 1]
        return total

    # Sums over [0, w) and [k, w + k) differ by a mean square of 2 V(w) - V(w+k) - V(w-k) + 2 V(k).
    # Of a series that alternates the sums hardly move: rounding must not take them below zero.
    whole, step = np.maximum(of_sum(windows), 0.0), of_sum(np.array([stride]))
    apart = 2 * whole - of_sum(windows + stride) - of_sum(windows - stride) + 2 * step
    change = np.maximum(apart, 0.0) / np.maximum(whole, LEAST)
    variance = whole / windows.astype(np.float64) ** 2
    long_run = innovation / max(float(np.abs(transfer[0])) ** 2, LEAST)
    for i, length in enumerate(windows):
        independent = n / length
        if independent >= 8:
            seen = float(np.mean(_sliding(rest, int(length)) ** 2))
            # 2 / independent is the variance of a variance from that many windows.
            if seen > variance[i] * (1 + 4 * math.sqrt(2 / independent)):
                variance[i:] = np.maximum(variance[i:], seen * length / windows[i:])
                long_run = max(long_run, seen * length)
    return WindowNoise(variance, change, _window_skew(rest, windows, variance), long_run)


def _sliding(rest: Array, length: int) -> Array:
    total = np.r_[0.0, np.cumsum(rest)]
    means: Array = (total[length:] - total[:-length]) / length
    return means


def _window_skew(rest: Array, windows: NDArray[np.int64], variance: Array) -> Array:
    """Modulus of the skewness of the mean of each window.

    Of independent rows it falls with the root of their number. Rows in step with each other can be
    more skewed together than alone; the means of 64 rows tell, when they do so beyond chance.
    """
    n = len(rest)
    gamma = max(float(np.mean(rest**2)), LEAST)
    alone = abs(float(np.mean(rest**3))) / gamma**1.5
    skew = alone * np.sqrt(np.minimum(variance / gamma, 1))
    block = 64
    means = _sliding(rest, block)
    together = abs(float(np.mean(means**3))) / max(float(np.mean(means**2)), LEAST) ** 1.5
    # sqrt(6 / N) is the sd of the skewness of N normal values.
    if together > 2 * math.sqrt(6 * block / n):
        skew = np.maximum(skew, together * np.sqrt(block / np.maximum(windows, block)))
    found: Array = skew
    return found


_erf = np.frompyfunc(math.erf, 1, 1)


def crossing_level(rate_per_block: float, change: Array) -> Array:
    """The level that |a standardised window's mean| crosses `rate_per_block` times a block.

    `change` (any shape) is the mean's mean-square move from block to block (`WindowNoise`). A
    normal process with correlation 1 - change/2 a block up-crosses a high level h at a rate of
    h phi(h) change/2 nu(h sqrt(change)), where nu, for looking at block ends only, is Siegmund's
    (Sequential Analysis, 1985, chapter IV) in the approximation of Siegmund & Yakir (2007).

    >>> crossing_level(1e-6, np.array([0.05, 1.0])).round(2)
    array([4.65, 4.9 ])
    """
    # A mean that never moves crosses nothing, at any level.
    change = np.maximum(change, 1e-12)
    low, high = np.zeros(change.shape), np.full(change.shape, 40.0)
    for _ in range(40):
        h = (low + high) / 2
        x = h * np.sqrt(change)
        tail = 0.5 + 0.5 * _erf(x / math.sqrt(8)).astype(np.float64)
        density = np.exp(-x * x / 8) / math.sqrt(2 * math.pi)
        nu = (2 / x) * (tail - 0.5) / ((x / 2) * tail + density)
        rate = h * np.exp(-h * h / 2) / math.sqrt(2 * math.pi) * change * nu
        low, high = (
            np.where(rate > rate_per_block, h, low),
            np.where(rate > rate_per_block, high, h),
        )
    return high


def corrected_level(h: Array, skew: Array, freedom: Array) -> Array:
    """`h` widened for a skewed mean (Cornish-Fisher) and for a variance that was itself estimated.

    `skew` and `freedom` broadcast together: the skewness of the window's mean and the effective
    degrees of freedom behind its variance (the t quantile's expansion, Abramowitz & Stegun 26.7.5).
    """
    return h + (h * h - 1) / 6 * skew + (h**3 + h) / (4 * freedom)

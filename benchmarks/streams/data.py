"""The streams: public ones that need no network, and a line's own kind, made here.

`ImageSegments`, `Phishing`, `Bananas` and `Shuttle` come with River, digits and breast cancer with
scikit-learn; the rest are River's generators, with the concept drift that each line of `_synthetic`
says. Lines are autocorrelated and label in blocks, as a plant's do; public streams are not.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river import datasets
from river.datasets import synth
from scipy.signal import lfilter
from sklearn.datasets import load_breast_cancer, load_digits

SHORT = 10_000
"""Rows of a generated stream, and of Shuttle."""


@dataclass(frozen=True, eq=False)
class Stream:
    """Rows in their order: x (N, n) float32, NaN where missing; y (N,) class indices."""

    name: str
    x: NDArray[np.float32]
    y: NDArray[np.int64]
    kind: str = "public"

    @property
    def classes(self) -> int:
        return int(self.y.max()) + 1

    @property
    def ranges(self) -> tuple[tuple[float, float], ...]:
        """What an engineer would declare: the least and the largest reading, never equal."""
        low, high = np.nanmin(self.x, 0), np.nanmax(self.x, 0)
        return tuple(
            (float(a), float(b) if b > a else float(a) + 1.0)
            for a, b in zip(low, high, strict=True)
        )

    def head(self, rows: int) -> Stream:
        return Stream(self.name, self.x[:rows], self.y[:rows], self.kind)


def _of(name: str, pairs: Iterable[tuple[dict[Any, Any], Any]], rows: int = SHORT) -> Stream:
    taken = list(itertools.islice(pairs, rows))
    names = sorted({str(label) for _, label in taken})
    keys = list(taken[0][0])
    x = np.array([[float(row[k]) for k in keys] for row, _ in taken], np.float32)
    y = np.array([names.index(str(label)) for _, label in taken], np.int64)
    return Stream(name, x, y)


def _concepts(name: str, *concepts: Any) -> Stream:
    """One concept behind the other, equally long, abruptly."""
    each = SHORT // len(concepts)
    return _of(name, itertools.chain.from_iterable(itertools.islice(c, each) for c in concepts))


def _shuffled(name: str, loaded: Any, seed: int) -> Stream:
    order = np.random.default_rng(seed).permutation(len(loaded.target))
    x = loaded.data[order].astype(np.float32)
    return Stream(name, x, loaded.target[order].astype(np.int64))


PUBLIC = {
    "ImageSegments": lambda seed: _of("ImageSegments", datasets.ImageSegments()),
    "digits": lambda seed: _shuffled("digits", load_digits(), seed),
    "Phishing": lambda seed: _of("Phishing", datasets.Phishing()),
    "Bananas": lambda seed: _of("Bananas", datasets.Bananas()),
    "Shuttle": lambda seed: _of("Shuttle", datasets.Shuttle()),
    "BreastCancer": lambda seed: _shuffled("BreastCancer", load_breast_cancer(), seed),
    # Fifty centres of four classes, that move all the time.
    "RBF": lambda seed: _of(
        "RBF",
        synth.RandomRBFDrift(
            seed_model=seed,
            seed_sample=seed,
            n_classes=4,
            n_features=10,
            n_centroids=50,
            change_speed=1e-4,
            n_drift_centroids=50,
        ),
    ),
    # Four of its seven relevant attributes swap places halfway.
    "LED": lambda seed: _concepts(
        "LED",
        *(
            synth.LEDDrift(
                seed=seed + k,
                noise_percentage=0.1,
                irrelevant_features=True,
                n_drift_features=4 * k,
            )
            for k in range(2)
        ),
    ),
    "Agrawal": lambda seed: _concepts(
        "Agrawal",
        *(
            synth.Agrawal(classification_function=f, seed=seed, perturbation=0.05)
            for f in (0, 3, 6, 9)
        ),
    ),
    "SEA": lambda seed: _concepts(
        "SEA", *(synth.SEA(variant=v, seed=seed + v, noise=0.1) for v in range(4))
    ),
    "Sine": lambda seed: _concepts(
        "Sine",
        *(synth.Sine(classification_function=f, seed=seed + f, has_noise=True) for f in range(4)),
    ),
    "Hyperplane": lambda seed: _of(
        "Hyperplane",
        synth.Hyperplane(seed=seed, n_features=10, n_drift_features=5, mag_change=1e-3),
    ),
    "Waveform": lambda seed: _of("Waveform", synth.Waveform(seed=seed, has_noise=True)),
    "RandomTree": lambda seed: _concepts(
        "RandomTree",
        *(
            synth.RandomTree(
                seed_tree=seed + k,
                seed_sample=seed + k,
                n_num_features=8,
                n_cat_features=0,
                max_tree_depth=6,
                first_leaf_level=4,
            )
            for k in range(2)
        ),
    ),
}


def _walk(rng: np.random.Generator, rows: int, sensors: int, rho: float) -> NDArray[np.float64]:
    """Independent AR(1) sensors of unit variance."""
    noise = rng.normal(size=(rows, sensors)) * np.sqrt(1 - rho**2)
    noise[0] /= np.sqrt(1 - rho**2)
    return np.asarray(lfilter([1.0], [1.0, -rho], noise, axis=0))


def press_blocks(seed: int, rows: int = SHORT) -> Stream:
    """Twelve slow sensors; the state of the press holds for some 200 rows, and shifts four."""
    rng = np.random.default_rng(seed)
    x = _walk(rng, rows, 12, 0.995)
    lengths = rng.geometric(1 / 200, rows)
    y = np.repeat(rng.permutation(rows) % 3, lengths)[:rows]
    shifts = rng.normal(0, 1.2, (3, 4))
    x[:, :4] += shifts[y]
    x[:, 4] = np.round(x[:, 4])
    return Stream("press_blocks", x.astype(np.float32), y.astype(np.int64), "blocks")


def kiln_regimes(seed: int, rows: int = SHORT) -> Stream:
    """Twenty sensors on a daily course; good or bad depends on two products, in blocks of some 80
    rows; the recipe changes halfway, a fiftieth of the readings are missing, one sensor is a
    toggle and one sends an error code now and then."""
    rng = np.random.default_rng(seed)
    day = np.sin(np.arange(rows)[:, None] * 2 * np.pi / 1440 + rng.uniform(0, 6, 20))
    x = _walk(rng, rows, 20, 0.98) + day
    x[:, 7] = np.arange(rows) // 50 % 2
    first, second = x[:, 0] * x[:, 1], x[:, 2] * x[:, 3]
    score = np.where(np.arange(rows) < rows // 2, first, second) + 0.3 * x[:, 4]
    # A shift's verdict holds for the rows of its block.
    block = np.cumsum(rng.random(rows) < 1 / 80)
    mean = np.bincount(block, score) / np.maximum(np.bincount(block), 1)
    y = (mean[block] > np.median(score)).astype(np.int64)
    x[rng.random(rows) < 0.01, 9] = -999.0
    x[rng.random(x.shape) < 0.02] = np.nan
    return Stream("kiln_regimes", x.astype(np.float32), y, "blocks")


def bearing_faults(seed: int, rows: int = SHORT) -> Stream:
    """Eight vibration features; rare faults, 4 percent of the rows, each some 60 rows long."""
    rng = np.random.default_rng(seed)
    x = _walk(rng, rows, 8, 0.9)
    y = np.zeros(rows, np.int64)
    for start in np.flatnonzero(rng.random(rows) < 0.04 / 60):
        y[start : start + rng.geometric(1 / 60)] = 1
    direction = rng.normal(size=8)
    x += np.where(y[:, None] == 1, np.abs(x) * direction + 0.8 * direction, 0.0)
    return Stream("bearing_faults", x.astype(np.float32), y, "blocks")


BLOCKS = {
    "press_blocks": press_blocks,
    "kiln_regimes": kiln_regimes,
    "bearing_faults": bearing_faults,
}

LATE = ("ImageSegments", "RBF", "press_blocks", "kiln_regimes")
"""Of these the labels come `LATE_ROWS` rows later as well."""

LATE_ROWS = 200


def load(name: str, seed: int, folder: Path) -> Stream:
    """A stream as this seed draws it; of those that are files, seeds only move the networks. Kept
    in ``folder`` between two calls: generators are slow."""
    kept = folder / f"{name}.{seed}.npz"
    if kept.exists():
        with np.load(kept) as found:
            return Stream(name, found["x"], found["y"], str(found["kind"]))
    made = {**PUBLIC, **BLOCKS}[name]
    # River's generators take seeds of 32 bits.
    stream = made((seed * 7919 + zlib.crc32(name.encode())) % 2**31)
    np.savez(kept, x=stream.x, y=stream.y, kind=stream.kind)
    return stream

"""Every column that can be sent gets a reference, and takes nothing from the others."""

from __future__ import annotations

import json

import numpy as np
import pytest

from service.drift import Monitor, Reference

N = 2048
MAX = float(np.finfo(np.float32).max)
T = np.arange(N)


def with_codes(*codes):
    column = np.random.default_rng(1).normal(50, 5, N)
    column[:: N // len(codes)][: len(codes)] = codes
    return column


ODD = {
    "alternates": T % 2.0,
    "counts to 4": T % 4 + 1.0,
    "counts to 8": T % 8 + 1.0,
    "counts to 16": T % 16 + 1.0,
    "heartbeat": (T % 64 < 32).astype(float),
    "rare toggle": (T % 400 == 0).astype(float),
    "extremes": np.where(T % 2, MAX, -MAX),
    "denormals": (T % 2) * 1e-310,
    "denormals32": (T % 3) * float(np.float32(1e-42)),
    "constant": np.full(N, 7.5),
    "zero": np.zeros(N),
    "ramp": T * 1.0,
    "one step": (T > N // 2) * 1.0,
    "one flicker": (T == 700) * 1.0,
    "never": np.full(N, np.nan),
    "once": np.where(T == 5, 1.0, np.nan),
    "half missing": np.where(T % 2, 3.0, np.nan),
    "saw": (T % 1000) / 1000,
    "huge and constant": np.full(N, MAX),
    "code": with_codes(MAX),
    "codes": with_codes(*[-9999.0] * 4),
}


def good(rows, seed=0, shift=0.0):
    return np.random.default_rng(seed).normal(20 + shift, 2, rows)


def probabilities(rows):
    one = np.random.default_rng(3).uniform(0.2, 0.8, rows)
    return np.stack([one, 1 - one], axis=1)


@pytest.mark.parametrize("name", ODD)
@pytest.mark.filterwarnings("error")
def test_an_odd_sensor_has_a_reference_and_leaves_the_others_watched(name):
    x = np.stack([good(N), ODD[name]], axis=1).astype(np.float32)
    loss = (np.random.default_rng(4).random(N) < 0.1).astype(float)
    reference = Reference.of(x, ["good", "odd"], probabilities(N), loss)
    stored = json.loads(json.dumps(reference.to_dict(), allow_nan=False))
    monitor = Monitor(Reference.from_dict(stored))
    # Well as before: the same goes on.
    assert monitor.update(x, probabilities(N)) == []
    shifted = np.stack([good(N, 5, shift=2.0), ODD[name]], axis=1).astype(np.float32)
    told = monitor.update(shifted, probabilities(N))
    assert ("shift", "good") in {(alarm.kind, alarm.feature) for alarm in told}


def test_all_of_them_together():
    x = np.stack(list(ODD.values()), axis=1)
    monitor = Monitor(Reference.of(x, list(ODD)))
    assert monitor.update(x) == []


@pytest.mark.parametrize(
    "codes", [[MAX], [3.4e38, -3.4e38], [-9999.0] * 20, [65535.0], [1e6] * 10], ids=str
)
@pytest.mark.parametrize("rows", [1024, 10_000])
def test_error_codes_in_the_reference_do_not_blind_the_sensor(codes, rows):
    if len(codes) / rows > 0.01:
        pytest.skip("a hundredth of the readings is no glitch")
    x = np.random.default_rng(2).normal(50, 5, (rows, 1))
    plain = Reference.of(x, ["s"])
    x[:: rows // len(codes)][: len(codes), 0] = codes
    reference = Reference.of(x, ["s"])
    assert 0.9 < float(reference.features.scale[0] / plain.features.scale[0]) < 1.3
    monitor = Monitor(reference)
    fresh = np.random.default_rng(6).normal(50, 5, (2000, 1))
    assert monitor.update(fresh) == []
    assert [alarm.kind for alarm in monitor.update(fresh[:600] + 5)] == ["shift"]

"""The monitor: what it finds, what it calls it, how often, and that it says so once."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from scipy.signal import lfilter

from service.drift import Alarm, Monitor, Reference, ReferenceTooShortError
from service.drift.reference import SeriesStatistics

NAMES = ("temp_c", "pressure_bar", "flow_l_min")


def readings(rows: int, seed: int, phi: float = 0.5) -> np.ndarray:
    """`(rows, 3)` float32 of an AR(1) about 60, 2 and 0.1, with one decimal power of scale each."""
    drawn = np.random.default_rng(seed).normal(size=(rows + 500, 3)) * math.sqrt(1 - phi**2)
    unit = lfilter([1.0], [1.0, -phi], drawn, axis=0)[500:]
    return (np.array([60, 2, 0.1]) + unit * np.array([10, 1, 0.1])).astype(np.float32)


def sigmas(x: np.ndarray, shift: float) -> np.ndarray:
    """`x` with the last sensor moved by so many standard deviations."""
    moved = x.copy()
    moved[:, 2] += shift * 0.1
    return moved


@pytest.fixture(scope="module")
def reference() -> Reference:
    rng = np.random.default_rng(0)
    x = readings(10_000, seed=0)
    p = rng.beta(2, 2, size=10_000)
    return Reference.of(x, NAMES, np.stack([p, 1 - p], axis=1), rng.uniform(size=10_000) < 0.05)


def kinds(alarms: list[Alarm]) -> list[tuple[str, str | None]]:
    return [(alarm.kind, alarm.feature) for alarm in alarms]


def test_a_stable_line_is_quiet(reference: Reference) -> None:
    monitor = Monitor(reference)
    rng = np.random.default_rng(1)
    p = rng.beta(2, 2, size=20_000)
    loss = rng.uniform(size=20_000) < 0.05
    assert monitor.update(readings(20_000, seed=1), np.stack([p, 1 - p], axis=1), loss) == []


@pytest.mark.parametrize("phi", [0.0, 0.9])
def test_false_alarms_come_no_more_often_than_stated(phi: float) -> None:
    """Stated at one in 5,000 rows, a hundred times the usual, so that they can be counted."""
    count = 0
    for seed in range(5):
        monitor = Monitor(Reference.of(readings(10_000, seed, phi), NAMES), 5_000)
        count += len(monitor.update(readings(50_000, 100 + seed, phi)))
    # 50 are allowed, of which the inputs' share is 35.
    assert 5 <= count <= 50


def test_a_daily_cycle_is_no_drift_and_a_shift_on_it_is() -> None:
    t = np.arange(40_000)[:, None]
    x = np.random.default_rng(2).normal(size=(40_000, 2)) + np.sin(2 * np.pi * t / 2_000 + [0, 1])
    monitor = Monitor(Reference.of(x[:10_000], ["a", "b"]))
    assert monitor.update(x[10_000:35_000]) == []
    alarms = monitor.update(x[35_000:] + np.array([1, 0]))
    assert kinds(alarms)[0] == ("shift", "a")
    assert alarms[0].rows - 25_000 < 2_000


@pytest.mark.parametrize("shift", [1.0, -1.0, 2.0])
def test_a_shift_is_found_and_named(reference: Reference, shift: float) -> None:
    monitor = Monitor(reference)
    assert monitor.update(readings(4_000, seed=3)) == []
    (alarm, *_) = monitor.update(sigmas(readings(2_000, seed=4), shift))
    assert (alarm.question, alarm.kind, alarm.feature) == ("inputs", "shift", "flow_l_min")
    assert math.copysign(1, alarm.statistic) == math.copysign(1, shift)
    assert abs(alarm.statistic) > alarm.threshold > 0
    assert 4_000 < alarm.rows < 4_500
    assert alarm.sentence.startswith("flow_l_min shifted: mean ")


@pytest.mark.parametrize("factor", [2.0, 0.4])
def test_a_change_of_spread_is_called_variance(reference: Reference, factor: float) -> None:
    x = readings(2_000, seed=5)
    x[:, 0] = 60 + factor * (x[:, 0] - 60)
    assert kinds(Monitor(reference).update(x))[0] == ("variance", "temp_c")


def test_a_repeating_sensor_is_called_stuck_and_nothing_else(reference: Reference) -> None:
    monitor = Monitor(reference)
    monitor.update(readings(4_000, seed=6))
    x = readings(4_000, seed=7)
    x[:, 1] = 2.5
    alarms = monitor.update(x)
    assert kinds(alarms) == [("stuck", "pressure_bar")]
    assert alarms[0].rows <= 4_000 + 64


def test_a_sensor_that_only_dithers_is_called_stuck(reference: Reference) -> None:
    monitor = Monitor(reference)
    monitor.update(readings(4_000, seed=6))
    x = readings(1_000, seed=7)
    x[:, 1] = 2 + 0.01 * (x[:, 1] - 2)
    assert ("stuck", "pressure_bar") in kinds(monitor.update(x))


def test_a_coarsely_quantised_sensor_is_not_stuck() -> None:
    x = np.round(readings(30_000, seed=8, phi=0.9)[:, :1] / 10) * 10
    monitor = Monitor(Reference.of(x[:10_000], ["temp_c"]))
    assert (x[1:] == x[:-1]).mean() > 0.5
    assert monitor.update(x[10_000:]) == []


def test_a_sensor_that_goes_missing_is_called_missing(reference: Reference) -> None:
    monitor = Monitor(reference)
    x = readings(1_000, seed=9)
    x[np.random.default_rng(9).uniform(size=1_000) < 0.4, 0] = np.nan
    x[:, 2] = np.nan
    assert set(kinds(monitor.update(x))) == {("missing", "temp_c"), ("missing", "flow_l_min")}


def test_gaps_as_usual_are_no_alarm() -> None:
    x = readings(30_000, seed=10)
    x[np.random.default_rng(10).uniform(size=x.shape) < 0.1] = np.nan
    monitor = Monitor(Reference.of(x[:10_000], NAMES))
    assert monitor.update(x[10_000:]) == []


def test_one_wild_reading_is_no_drift(reference: Reference) -> None:
    x = readings(4_000, seed=11)
    x[2_000, 0] = 1e30
    assert Monitor(reference).update(x) == []


def test_a_setpoint_that_never_moved_is_quiet_until_it_does() -> None:
    x = np.hstack([readings(4_000, seed=12), np.full((4_000, 1), 850.0, dtype=np.float32)])
    monitor = Monitor(Reference.of(x, [*NAMES, "setpoint"]))
    fresh = np.hstack([readings(2_000, seed=13), np.full((2_000, 1), 850.0, dtype=np.float32)])
    assert monitor.update(fresh) == []
    fresh[:, 3] = 851
    assert kinds(monitor.update(fresh)) == [("shift", "setpoint")]


def test_a_rising_loss_is_the_concept_and_a_falling_one_is_not(reference: Reference) -> None:
    rng = np.random.default_rng(14)
    x = readings(4_000, seed=14)
    loss = (rng.uniform(size=4_000) < 0.25).astype(float)
    assert Monitor(reference).update(x, None, np.zeros(4_000)) == []
    (alarm,) = Monitor(reference).update(x, None, loss)
    assert (alarm.question, alarm.kind, alarm.feature) == ("concept", "concept", None)


def test_unlabelled_rows_do_not_count_for_the_concept(reference: Reference) -> None:
    loss = np.full(4_000, np.nan)
    loss[::10] = 1.0
    (alarm,) = Monitor(reference).update(readings(4_000, seed=15), None, loss)
    assert alarm.kind == "concept"
    assert alarm.rows <= 48


def test_another_mix_of_predictions_is_called_predictions(reference: Reference) -> None:
    p = np.random.default_rng(16).beta(3, 2, size=4_000)
    alarms = Monitor(reference).update(readings(4_000, seed=16), np.stack([p, 1 - p], axis=1))
    assert kinds(alarms) == [("predictions", None)]


def test_what_is_found_does_not_depend_on_how_rows_come(reference: Reference) -> None:
    x = np.concatenate([readings(1_500, seed=17), sigmas(readings(1_000, seed=18), 1)])
    whole = Monitor(reference).update(x)
    assert whole
    for size in (1, 7, 16, 100):
        monitor = Monitor(reference)
        parts = [monitor.update(x[i : i + size]) for i in range(0, len(x), size)]
        assert [alarm for part in parts for alarm in part] == whole


def test_an_alarm_is_told_once_and_taken_back_when_all_is_well_again(reference: Reference) -> None:
    monitor = Monitor(reference)
    assert kinds(monitor.update(sigmas(readings(2_000, seed=19), 2))) == [("shift", "flow_l_min")]
    assert monitor.update(sigmas(readings(2_000, seed=20), 2)) == []
    assert raised(monitor) == {("level", "flow_l_min")}
    assert monitor.update(readings(6_000, seed=21)) == []
    assert raised(monitor) == set()
    assert kinds(monitor.update(sigmas(readings(500, seed=22), 2))) == [("shift", "flow_l_min")]


def raised(monitor: Monitor) -> set[tuple[str, str | None]]:
    return {(s.series, s.feature) for s in monitor.statistics() if s.raised}


def test_renewing_takes_the_new_normal_for_normal(reference: Reference) -> None:
    monitor = Monitor(reference)
    assert monitor.update(sigmas(readings(2_000, seed=23), 2))
    monitor.renew(Reference.of(sigmas(readings(10_000, seed=24), 2), NAMES))
    assert raised(monitor) == set()
    assert monitor.update(sigmas(readings(5_000, seed=25), 2)) == []
    assert kinds(monitor.update(readings(1_000, seed=26))) == [("shift", "flow_l_min")]


def test_statistics_name_every_feature_and_question(reference: Reference) -> None:
    monitor = Monitor(reference)
    x = readings(4_000, seed=27)
    monitor.update(x, np.full((4_000, 2), 0.5), np.zeros(4_000))
    found = monitor.statistics()
    assert len({(s.question, s.series, s.feature) for s in found}) == len(found)
    assert {s.feature for s in found if s.question == "inputs"} == set(NAMES)
    assert {s.question for s in found} == {"inputs", "predictions", "concept"}
    assert all(math.isfinite(s.statistic) and math.isfinite(s.threshold) for s in found)
    assert all(s.threshold > 0 for s in found)


def test_a_reference_survives_json_and_judges_alike(reference: Reference) -> None:
    again = Reference.from_dict(json.loads(json.dumps(reference.to_dict())))
    assert len(json.dumps(reference.to_dict())) < 20_000
    x = sigmas(readings(2_000, seed=28), 1)
    before, after = Monitor(reference).update(x), Monitor(again).update(x)
    assert [(a.kind, a.feature, a.rows) for a in before] == [
        (a.kind, a.feature, a.rows) for a in after
    ]
    assert again.to_dict() == reference.to_dict()


def test_too_short_a_reference_is_refused_with_the_number_it_needs() -> None:
    with pytest.raises(ReferenceTooShortError, match="at least 512 rows, got 100"):
        Reference.of(readings(100, seed=0), NAMES)


def test_a_reference_with_few_labels_watches_no_concept() -> None:
    loss = np.full(2_000, np.nan)
    loss[:100] = 0.1
    reference = Reference.of(readings(2_000, seed=29), NAMES, loss=loss)
    assert reference.loss is None
    assert {s.question for s in Monitor(reference).statistics()} == {"inputs"}


def test_longer_autocorrelation_widens_the_threshold() -> None:
    bounds = [
        SeriesStatistics.of(readings(10_000, 30, phi)[:, :1].astype(float)).thresholds(1e-6)
        for phi in (0.0, 0.5, 0.9)
    ]
    assert (np.diff(np.stack(bounds), axis=0) > 0).all()


def test_a_replica_can_watch_with_numpy_alone() -> None:
    code = (
        "import sys, service.drift\n"
        "bad = {'torch', 'river', 'scipy', 'pandas', 'fastapi'} & set(sys.modules)\n"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

"""What a learner shows of a model to Prometheus."""

from __future__ import annotations

import contextlib
import math
import shutil
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Gauge

from model_store.snapshots.aliases import Alias
from service.config.process import Storage
from service.evaluation.baselines import FIGURES
from service.history.alarms import KINDS
from service.learner.model import LiveModel
from service.metrics.declared import Metrics
from service.state import Member


def disks(storage: Storage, metrics: Metrics) -> None:
    """Set how much of the disks of log and store is free."""
    for volume, place in (("log", storage.log), ("store", storage.store)):
        if not place.startswith("s3://"):
            disk = shutil.disk_usage(place)
            metrics.disk_free_ratio.labels(volume).set(disk.free / disk.total)


def measure(live: LiveModel, champion: Alias | None, metrics: Metrics) -> None:
    """Set the gauges that are read off a model at a scrape."""
    name, state = live.name, live.published
    for span, figures in live.prequential.summary().items():
        if figures["rows"] == 0:
            continue
        for score in ("accuracy", "macro_f1", "log_loss", "calibration_error", *FIGURES):
            if figures[score] is not None:
                metrics.score.labels(name, score, span).set(figures[score])
        for label, value in zip(live.schema.classes, figures["f1"], strict=True):
            if value is not None:
                metrics.class_f1.labels(name, label, span).set(value)
            else:
                # It was neither seen nor predicted in this span, so it has none any more.
                with contextlib.suppress(KeyError):
                    metrics.class_f1.remove(name, label, span)
    metrics.say(metrics.model_info, name, live.schema.display_name or name)
    metrics.durable_seq.labels(name).set(state.seq)
    metrics.snapshot_version.labels(name).set(live.snapshot)
    metrics.frozen.labels(name).set(state.frozen)
    opened = Counter(alarm.kind for alarm in live.alarms.opened())
    for kind in KINDS:
        metrics.alarms_open.labels(name, kind).set(opened[kind])
    metrics.step_size.labels(name).set(state.step_size)
    if champion is not None:
        metrics.champion_version.labels(name).set(champion.version)
    if live.last is not None:
        before, lesson = live.last
        networks = before.configuration.networks
        # None where torch is not installed.
        found = live.kernel.diagnose(before, lesson.event())
        for network, layers in zip(networks, found, strict=False):
            for layer, (error, update) in enumerate(zip(*layers, strict=True), 1):
                _show(metrics.local_error.labels(name, network.name, str(layer)), error)
                _show(metrics.update_ratio.labels(name, network.name, str(layer)), update)
    for network, member in zip(state.configuration.networks, state.members, strict=True):
        _measure_member(name, network.name, member, metrics)
    mixture = state.mixture if len(state.members) > 1 else np.ones(1)
    for network, weight in zip(state.configuration.networks, mixture, strict=True):
        _show(metrics.mixture_weight.labels(name, network.name), float(weight))


def _measure_member(model: str, name: str, member: Member, metrics: Metrics) -> None:
    synapses = member.synapses
    for layer, weight in enumerate(synapses.weights, 1):
        _show(metrics.weight_norm.labels(model, name, str(layer)), _length(weight))
    for layer, theta in enumerate(synapses.feedback, 2):
        # Skip connections have no feedback.
        weight = synapses.weights[layer - 1][:, : theta.shape[1]].astype(np.float64)
        lengths = max(_length(weight) * _length(theta), 1e-12)
        cosine = float(np.vdot(weight, theta.astype(np.float64))) / lengths
        _show(metrics.feedback_alignment.labels(model, name, str(layer)), cosine)
    for layer, blocks in enumerate(member.gains, 1):
        trace = sum(float(np.trace(p, axis1=-2, axis2=-1).sum(dtype=np.float64)) for p in blocks)
        _show(metrics.gain_trace.labels(model, name, str(layer)), trace)


def _length(array: NDArray[Any]) -> float:
    # In double precision: squares of float32 numbers overflow long before the numbers do.
    return float(np.linalg.norm(array.astype(np.float64)))


def _show(gauge: Gauge, value: float) -> None:
    """Set a gauge; what is no number leaves it as it was."""
    if math.isfinite(value):
        gauge.set(value)

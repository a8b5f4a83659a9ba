"""What a learner shows of a model to Prometheus."""

from __future__ import annotations

import numpy as np

from model_store.snapshots.aliases import Alias
from service.learner.model import LiveModel
from service.metrics import Metrics


def measure(live: LiveModel, champion: Alias | None, metrics: Metrics) -> None:
    """Set the gauges that are read off a model at a scrape."""
    name, state = live.name, live.published
    for span, figures in live.prequential.summary().items():
        if figures["rows"] == 0:
            continue
        for score in ("accuracy", "macro_f1", "log_loss"):
            metrics.score.labels(name, score, span).set(figures[score])
        for label, value in zip(live.schema.classes, figures["f1"], strict=True):
            if value is not None:
                metrics.class_f1.labels(name, label, span).set(value)
    metrics.durable_seq.labels(name).set(state.seq)
    metrics.snapshot_version.labels(name).set(live.snapshot)
    metrics.frozen.labels(name).set(state.frozen)
    metrics.step_size.labels(name).set(state.step_size)
    if champion is not None:
        metrics.champion_version.labels(name).set(champion.version)
    if live.last is not None:
        before, lesson = live.last
        found = live.kernel.diagnose(before, lesson.event())
        for layer, (error, update) in enumerate(zip(*found, strict=True), 1):
            metrics.local_error.labels(name, str(layer)).set(error)
            metrics.update_ratio.labels(name, str(layer)).set(update)
    synapses = state.synapses
    for layer, weight in enumerate(synapses.weights, 1):
        metrics.weight_norm.labels(name, str(layer)).set(float(np.linalg.norm(weight)))
    for layer, theta in enumerate(synapses.feedback, 2):
        weight = synapses.weights[layer - 1]
        lengths = float(np.linalg.norm(weight)) * float(np.linalg.norm(theta))
        cosine = float(np.vdot(weight, theta)) / max(lengths, 1e-12)
        metrics.feedback_alignment.labels(name, str(layer)).set(cosine)

"""What a configured model means to the learning core and to whoever sends rows."""

from __future__ import annotations

from service.config import Model
from service.schema import Schema, Sensor
from service.state import Configuration


def learning_configuration(spec: Model) -> Configuration:
    """The learning core's configuration of a configured model."""
    return Configuration(
        ranges=tuple(feature.range for feature in spec.features),
        classes=len(spec.classes),
        hidden=spec.hidden,
        feedback_rule=spec.feedback_rule,
        optimiser=spec.optimiser,
        step_size=spec.step_size,
        feedback_step=spec.feedback_step,
        feedback_scale=spec.feedback_scale,
        decay=spec.decay,
        max_update=spec.max_update,
        seed=spec.seed,
    )


def schema_of(spec: Model) -> Schema:
    """The schema of a configured model."""
    return Schema(
        [Sensor(f.name, f.unit, *f.range, f.out_of_range) for f in spec.features], spec.classes
    )

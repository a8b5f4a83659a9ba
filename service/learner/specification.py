"""What a configured model means to the learning core and to whoever sends rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.config import Model
from service.schema import Schema, Sensor
from service.state import Configuration

LEARNING = (
    "hidden",
    "feedback_rule",
    "optimiser",
    "step_size",
    "feedback_step",
    "feedback_scale",
    "decay",
    "max_update",
    "seed",
    "rows_per_step",
)
"""Keys of a model that the learning core has under the same name."""

BEFORE = {"rows_per_step": 0}
"""What keys meant before there were any: a request was one step."""


def learning_configuration(spec: Model, stored: Mapping[str, Any] | None = None) -> Configuration:
    """The learning core's configuration of a configured model.

    ``stored`` is that of its newest snapshot: a key that the file does not name is as it was then,
    so that another default makes no other network of a running one.
    """
    values = {key: getattr(spec, key) for key in LEARNING}
    if stored is not None:
        then = {**BEFORE, **stored}
        values |= {key: then[key] for key in LEARNING if key not in spec.model_fields_set}
    return Configuration(
        ranges=tuple(feature.range for feature in spec.features),
        classes=len(spec.classes),
        **{**values, "hidden": tuple(values["hidden"])},
    )


def schema_of(spec: Model) -> Schema:
    """The schema of a configured model."""
    return Schema(
        [Sensor(f.name, f.unit, *f.range, f.out_of_range) for f in spec.features], spec.classes
    )

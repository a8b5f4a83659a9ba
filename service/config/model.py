"""One model: its sensors, its classes, its networks, and how it learns and is kept."""

from __future__ import annotations

import math
import unicodedata
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from service.config.table import Positive, Table
from service.state.network import Network, members

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]

LARGEST_BOUND = 1.7e38
"""Of a sensor's range: half of what float32 holds, so that the width of a range is finite too."""

NARROWEST_RANGE = 1e-30
"""Least width of a range: deviations far below it are no normal float32 numbers any more."""

FINEST_STEPS = 256
"""Float32 numbers that a range must span: rows are float32, and finer readings are all one."""

ENSEMBLE = ("gain", "sgd", "linear")
"""What a model is made of that names neither its members nor a plain network's keys."""

PLAIN_KEYS = (
    "activation",
    "population_code",
    "skip",
    "feedback_rule",
    "optimiser",
    "step_size",
    "feedback_step",
    "feedback_scale",
    "decay",
    "max_update",
)
"""Keys that describe one network by itself. A new model that names one of them, and no members, is
that network, as it was before there were members."""

WIDEST_GAIN = 1024
"""Of the hidden layers under a gain, whose second moments grow with the square of it."""

LARGEST_GRAPH_BYTES = 64 * 2**20
"""What a replica accepts of a snapshot's ONNX file; `service.graph.check` says the same."""


FEWEST_VALUES, MOST_VALUES = 2, 64
"""Of one category."""

MOST_VALUES_IN_ALL = 1024
"""Of a model's categories: each is an input of its networks."""


TURNING = {*map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C))}
"""Characters that are not seen, and turn the text about them."""


class Feature(Table):
    """One sensor of a model: it measures, or says one of some values."""

    name: Annotated[str, Field(min_length=1, max_length=128)]
    unit: str = ""
    kind: Literal["number", "category"] = "number"
    range: tuple[float, float] | None = None
    values: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=128)], ...], Field(strict=False)
    ] = ()
    out_of_range: Literal["missing", "clip", "reject"] = "missing"

    @field_validator("range", mode="before")
    @classmethod
    def _pair(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @property
    def bounds(self) -> tuple[float, float]:
        """The range; of a category that of its values' indices."""
        return self.range or (0.0, float(len(self.values) - 1))

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.kind == "number":
            if self.values:
                raise ValueError('values: expected them with kind = "category" alone')
            if self.range is None:
                raise ValueError("range: expected [low, high], found none")
            return self._ordered(*self.range)
        if self.range is not None:
            raise ValueError("range: expected none of a category, which has values")
        if not FEWEST_VALUES <= len(self.values) <= MOST_VALUES:
            raise ValueError(
                f"values: expected {FEWEST_VALUES} to {MOST_VALUES} texts of a category, "
                f"found {len(self.values)}"
            )
        twice = {value for value in self.values if self.values.count(value) > 1}
        if twice:
            raise ValueError(f"values: expected distinct texts, found {sorted(twice)} twice")
        if self.out_of_range == "clip":
            raise ValueError('out_of_range: expected "missing" or "reject" of a category')
        return self

    def _ordered(self, low: float, high: float) -> Self:
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(
                f"expected a finite range [low, high] with low < high, found [{low}, {high}]"
            )
        if max(abs(low), abs(high)) > LARGEST_BOUND:
            raise ValueError(
                f"range: expected bounds within ±{LARGEST_BOUND:g}, since readings are float32, "
                f"found [{low:g}, {high:g}]"
            )
        finest = float(np.spacing(np.float32(max(abs(low), abs(high)))))
        narrowest = max(FINEST_STEPS * finest, NARROWEST_RANGE)
        if high - low < narrowest:
            raise ValueError(
                f"range: expected a width of at least {narrowest:g} "
                f"around {max(abs(low), abs(high)):g}, since readings are float32, found "
                f"[{low!r}, {high!r}]; send the sensor with an offset taken off"
            )
        return self


class Model(Table):
    """One network: what it reads, what it says, how it learns and when it is snapshotted."""

    name: Name
    display_name: Annotated[str, Field(max_length=100)] | None = None
    features: Annotated[tuple[Feature, ...], Field(min_length=1, max_length=1024, strict=False)]
    classes: Annotated[tuple[str, ...], Field(min_length=2, max_length=1024, strict=False)]
    hidden: Annotated[
        tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(max_length=16, strict=False)
    ] = (64,)
    members: (
        Annotated[
            tuple[Literal["plain", "gain", "sgd", "linear", "rehearsal"], ...],
            Field(min_length=1, strict=False),
        ]
        | None
    ) = None
    activation: Literal["tanh", "relu", "leaky_relu"] = "tanh"
    population_code: bool = False
    skip: bool = False
    feedback_rule: Literal["fixed", "hebbian", "energy", "kolen_pollack"] = "fixed"
    optimiser: Literal["sgd", "adam", "gain"] = "sgd"
    step_size: Annotated[Positive, Field(le=10)] | None = None
    feedback_step: Annotated[Positive, Field(le=10)] = 0.1
    feedback_scale: Annotated[Positive, Field(le=1000)] = 2.0
    decay: Annotated[float, Field(ge=0, le=1)] = 0.001
    max_update: Annotated[Positive, Field(le=1000)] = 1.0
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] = 0
    kernel: Literal["onnx", "torch"] = "onnx"
    rows_per_step: Annotated[int, Field(ge=0, le=4096)] = 1
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    class_weights: Annotated[
        tuple[Annotated[Positive, Field(le=1000)], ...], Field(strict=False)
    ] = ()
    reservoir: Annotated[int, Field(ge=1, le=65536)] = 512
    snapshot_every_rows: Annotated[int, Field(ge=1)] = 1000
    snapshot_every_updates: Annotated[int, Field(ge=1)] | None = None
    snapshot_every_s: Positive = 300.0
    score_window_rows: Annotated[int, Field(ge=1, le=100_000)] = 1000
    keep_snapshots: Annotated[int, Field(ge=2)] = 100
    keep_aliased_days: Annotated[float, Field(ge=0)] = 30.0
    promotion: Literal["gate", "manual", "immediate"] = "gate"
    probation_rows: Annotated[int, Field(ge=20)] = 500
    guard: Literal["rollback", "freeze", "alarm", "off"] = "rollback"
    guard_rows: Annotated[int, Field(ge=20)] = 300

    @field_validator("display_name")
    @classmethod
    def _shown(cls, value: str | None) -> str | None:
        if value is None:
            return None
        found = unicodedata.normalize("NFC", value)
        odd = next((c for c in found if not _printed(c)), None)
        if odd is not None or found != found.strip() or not found:
            what = f"U+{ord(odd):04X}" if odd is not None else repr(value)
            raise ValueError(
                "expected a name in any script, without control characters and without spaces "
                f"around it, found {what}"
            )
        return found

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        for what, names in (
            ("features", [f.name for f in self.features]),
            ("classes", list(self.classes)),
        ):
            twice = {name for name in names if names.count(name) > 1}
            if twice:
                raise ValueError(f"{what}: expected distinct names, found {sorted(twice)} twice")
        if sum(self.values) > MOST_VALUES_IN_ALL:
            raise ValueError(
                f"features: expected at most {MOST_VALUES_IN_ALL} values of all categories "
                f"together, found {sum(self.values)}"
            )
        if self.class_weights and len(self.class_weights) != len(self.classes):
            raise ValueError(
                f"class_weights: expected one for each of {len(self.classes)} classes, or none, "
                f"found {len(self.class_weights)}"
            )
        self._check_networks()
        if (
            self.promotion == "gate"
            and self.guard != "off"
            and (self.probation_rows <= self.guard_rows)
        ):
            raise ValueError(
                f"probation_rows: expected more than guard_rows ({self.guard_rows}), so that the "
                f"guard speaks before the gate, found {self.probation_rows}"
            )
        return self

    def made_of(self) -> tuple[str, ...]:
        """Its members at birth."""
        if self.members is not None:
            return self.members
        return ("plain",) if self.model_fields_set & set(PLAIN_KEYS) else ENSEMBLE

    @property
    def values(self) -> tuple[int, ...]:
        """How many values each feature has, 0 where it measures; empty where all do."""
        counts = tuple(len(feature.values) for feature in self.features)
        return counts if any(counts) else ()

    @property
    def wanted_step_size(self) -> float:
        """η of a plain network; of an ensemble the factor on its members' own."""
        if self.step_size is not None:
            return self.step_size
        return 0.05 if self.made_of() == ("plain",) else 1.0

    def _check_networks(self) -> None:
        names = self.made_of()
        if len(set(names)) < len(names) or ("plain" in names and len(names) > 1):
            raise ValueError(
                f"members: expected distinct members, or plain alone, found {list(names)}"
            )
        if self.members is not None and names != ("plain",):
            alone = sorted(self.model_fields_set & (set(PLAIN_KEYS) - {"step_size"}))
            if alone:
                raise ValueError(
                    f'{alone[0]}: expected it only where members is ["plain"], for each other '
                    f"member has its own, found members = {list(names)}"
                )
        gains = {"gain", "rehearsal"} & set(names) or self.optimiser == "gain"
        if gains and max(self.hidden, default=0) > WIDEST_GAIN:
            raise ValueError(
                f"hidden: expected widths of at most {WIDEST_GAIN} under a gain, "
                f"found {max(self.hidden)}"
            )
        if names == ("plain",):
            networks: tuple[Network, ...] = (
                Network(hidden=self.hidden, population_code=self.population_code, skip=self.skip),
            )
        else:
            networks = members(names, self.hidden, 0)
        hot = sum(self.values)
        sensors = sum(not feature.values for feature in self.features)
        shapes = [n.shapes(sensors, len(self.classes), hot) for n in networks]
        parameters = sum((width + 1) * out for each in shapes for out, width in each)
        # What stands beside the weights takes less than a thousandth of the file.
        if 4 * parameters > LARGEST_GRAPH_BYTES * 0.999:
            raise ValueError(
                f"hidden: expected a network of at most {LARGEST_GRAPH_BYTES // 2**20} MiB, as "
                f"replicas accept, found {4 * parameters / 2**20:.0f} MiB with {self.hidden}"
            )
        if self.feedback_rule == "kolen_pollack" and self.wanted_step_size * self.decay >= 2:
            raise ValueError(
                "decay: expected step_size · decay below 2, above which weights grow for ever, "
                f"found {self.wanted_step_size:g} · {self.decay:g}"
            )


def _printed(character: str) -> bool:
    category = unicodedata.category(character)
    return category not in ("Cc", "Cs", "Zl", "Zp") and character not in TURNING

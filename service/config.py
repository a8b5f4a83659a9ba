"""`apical.toml`: the one configuration object of a process."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from service.errors import ConfigurationError

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Feature(_Table):
    """One sensor of a model."""

    name: Annotated[str, Field(min_length=1, max_length=128)]
    unit: str = ""
    range: tuple[float, float]
    out_of_range: Literal["missing", "clip", "reject"] = "missing"

    @field_validator("range", mode="before")
    @classmethod
    def _pair(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        low, high = self.range
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(
                f"expected a finite range [low, high] with low < high, found [{low}, {high}]"
            )
        return self


class Model(_Table):
    """One network: what it reads, what it says, how it learns and when it is snapshotted."""

    name: Name
    features: Annotated[tuple[Feature, ...], Field(min_length=1, max_length=1024, strict=False)]
    classes: Annotated[tuple[str, ...], Field(min_length=2, max_length=1024, strict=False)]
    hidden: Annotated[
        tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(max_length=16, strict=False)
    ] = (64,)
    feedback_rule: Literal["fixed", "hebbian", "energy", "kolen_pollack"] = "fixed"
    optimiser: Literal["sgd", "adam"] = "sgd"
    step_size: Positive = 0.05
    feedback_step: Positive = 0.1
    feedback_scale: Positive = 2.0
    decay: Annotated[float, Field(ge=0, le=1)] = 0.01
    max_update: Positive = 1.0
    seed: int = 0
    snapshot_every_updates: Annotated[int, Field(ge=1)] = 1000
    snapshot_every_s: Positive = 300.0
    score_window_rows: Annotated[int, Field(ge=1, le=100_000)] = 1000
    keep_snapshots: Annotated[int, Field(ge=2)] = 100
    keep_aliased_days: Annotated[float, Field(ge=0)] = 30.0
    promotion: Literal["gate", "manual", "immediate"] = "gate"
    probation_rows: Annotated[int, Field(ge=20)] = 500
    guard: Literal["rollback", "freeze", "alarm", "off"] = "rollback"
    guard_rows: Annotated[int, Field(ge=20)] = 300

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        for what, names in (
            ("features", [f.name for f in self.features]),
            ("classes", list(self.classes)),
        ):
            twice = {name for name in names if names.count(name) > 1}
            if twice:
                raise ValueError(f"{what}: expected distinct names, found {sorted(twice)} twice")
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


class Server(_Table):
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080


class Storage(_Table):
    """Where durable bytes live. ``store`` is a directory or ``s3://bucket/prefix``."""

    store: str = "apical-data/store"
    log: str = "apical-data/log"


class Limits(_Table):
    rows_per_batch: Annotated[int, Field(ge=1, le=1_000_000)] = 4096
    body_bytes: Annotated[int, Field(ge=1024)] = 16 * 2**20
    queued_events: Annotated[int, Field(ge=1)] = 1024
    group_events: Annotated[int, Field(ge=1)] = 64
    group_ms: Annotated[float, Field(ge=0)] = 2.0
    idempotency_days: Positive = 7.0


class Drift(_Table):
    """How drift is watched, and what an alarm does."""

    reference_rows: Annotated[int, Field(ge=0)] = 10_000
    rows_per_false_alarm: Annotated[int, Field(ge=1000)] = 200_000
    metrics_max_features: Annotated[int, Field(ge=0)] = 50
    action: Literal["tell", "snapshot", "raise_step_size"] = "tell"
    raise_factor: Positive = 2.0
    raised_rows: Annotated[int, Field(ge=1)] = 2000

    @model_validator(mode="after")
    def _long_enough(self) -> Self:
        if 0 < self.reference_rows < 512:
            raise ValueError(
                f"reference_rows: expected 0 (do not watch) or at least 512, "
                f"found {self.reference_rows}"
            )
        return self


class Configuration(_Table):
    """A process: where it listens, where it stores, and its models."""

    server: Server = Server()
    storage: Storage = Storage()
    limits: Limits = Limits()
    drift: Drift = Drift()
    models: Annotated[tuple[Model, ...], Field(min_length=1, strict=False)]

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [model.name for model in self.models]
        if len(set(names)) < len(names):
            raise ValueError(f"models: expected distinct names, found {names}")
        return self

    def model(self, name: str) -> Model | None:
        return next((model for model in self.models if model.name == name), None)


def load(path: Path) -> Configuration:
    """Read and check a configuration file.

    Raises
    ------
    ConfigurationError
        The file is missing, no TOML, or a key is unknown, absent or out of bounds; the message
        names file, key, what was expected and what was found.
    """
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise ConfigurationError(
            f"{path}: expected a configuration file, found none; "
            "`apical init` writes one to start from"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{path}: expected a configuration file: {error}") from error
    return parse(text, str(path))


def parse(text: str, where: str = "apical.toml") -> Configuration:
    """`load` for a text in hand; ``where`` names it in errors."""
    try:
        return Configuration.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{where}: expected TOML, found {error}") from error
    except ValidationError as error:
        lines = []
        faults = error.errors()
        inside = {tuple(fault["loc"][: len(fault["loc"]) - 1]) for fault in faults}
        for fault in faults:
            # A list is "too short" for pydantic when its items are wrong; those are told.
            if fault["type"] == "too_short" and any(
                loc[: len(fault["loc"])] == fault["loc"] for loc in inside
            ):
                continue
            key = ".".join(str(part) for part in fault["loc"]) or "the file"
            found = (
                "" if fault["type"] in ("missing", "value_error") else f", found {fault['input']!r}"
            )
            lines.append(f"{where}: {key}: {fault['msg']}{found}")
        raise ConfigurationError("\n".join(lines)) from error

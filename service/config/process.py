"""A process: where it listens, where it stores, its limits, and its models."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from service.config.limits import Limits
from service.config.model import Model
from service.config.table import Positive, Table


class Server(Table):
    """Where it listens. ``allowed_hosts`` are names under which clients reach it, beside
    ``localhost``, ``host`` and addresses of numbers; ``root_path`` is where a proxy has put it.

    ``keys`` is the file of API keys; none: nobody is asked for one. ``tls_certificate`` and
    ``tls_key`` are PEM files; with both it speaks HTTPS."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    allowed_hosts: Annotated[tuple[str, ...], Field(strict=False)] = ()
    root_path: str = ""
    keys: str = ""
    tls_certificate: str = ""
    tls_key: str = ""


class Storage(Table):
    """Where durable bytes live. ``store`` is a directory or ``s3://bucket/prefix``."""

    store: str = "apical-data/store"
    log: str = "apical-data/log"


class Drift(Table):
    """How drift is watched, and what an alarm does."""

    reference_rows: Annotated[int, Field(ge=0)] = 10_000
    rows_per_false_alarm: Annotated[int, Field(ge=1000)] = 200_000
    metrics_max_features: Annotated[int, Field(ge=0)] = 50
    action: Literal["tell", "snapshot", "raise_step_size"] = "tell"
    raise_factor: Annotated[Positive, Field(le=100)] = 2.0
    raised_rows: Annotated[int, Field(ge=1)] = 2000

    @model_validator(mode="after")
    def _long_enough(self) -> Self:
        if 0 < self.reference_rows < 512:
            raise ValueError(
                f"reference_rows: expected 0 (do not watch) or at least 512, "
                f"found {self.reference_rows}"
            )
        return self


class Configuration(Table):
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

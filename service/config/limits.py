"""How much may be asked of a process at once."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from service.config.table import Positive, Table


class Limits(Table):
    """Of requests, and of the writer's queue. Those of a second hold for each key."""

    rows_per_batch: Annotated[int, Field(ge=1, le=1_000_000)] = 4096
    requests_per_s: Annotated[int, Field(ge=1)] = 1000
    rows_per_s: Annotated[int, Field(ge=1)] = 100_000
    connections: Annotated[int, Field(ge=1)] = 1000
    body_bytes: Annotated[int, Field(ge=1024)] = 16 * 2**20
    queued_events: Annotated[int, Field(ge=1)] = 1024
    group_events: Annotated[int, Field(ge=1)] = 64
    group_ms: Annotated[float, Field(ge=0)] = 2.0
    idempotency_days: Positive = 7.0

    @model_validator(mode="after")
    def _one_batch_passes(self) -> Self:
        if self.rows_per_s < self.rows_per_batch:
            raise ValueError(
                f"rows_per_s: expected at least rows_per_batch, {self.rows_per_batch}, "
                f"found {self.rows_per_s}"
            )
        return self

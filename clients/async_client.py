"""The client for asyncio; it differs from `clients.client` in nothing but ``await``."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import httpx

from clients.answers import Answer, LabelsAnswer, ModelInfo, Snapshot
from clients.calls import (
    TIMEOUT_S,
    Call,
    Columns,
    Rows,
    batch_call,
    connection,
    labels_call,
    model_path,
    read_answer,
    verb_call,
)
from clients.errors import Unreachable


class AsyncClient:
    """`Client` for asyncio; the methods are the same."""

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = TIMEOUT_S,
        key: str | None = None,
        ca: str | None = None,
    ) -> None:
        self._http = httpx.AsyncClient(timeout=timeout_s, **connection(url, key, ca))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def predict(
        self,
        model: str,
        rows: Rows | None = None,
        *,
        columns: Columns | None = None,
        batch_id: str | None = None,
        line: str | None = None,
        observed_at: str | None = None,
    ) -> Answer:
        """See `Client.predict`."""
        return Answer.of(
            await self._send(batch_call(model, rows, columns, None, batch_id, line, observed_at))
        )

    async def learn(
        self,
        model: str,
        rows: Rows | None = None,
        labels: Sequence[str | None] = (),
        *,
        columns: Columns | None = None,
        batch_id: str | None = None,
        line: str | None = None,
        observed_at: str | None = None,
    ) -> Answer:
        """See `Client.learn`."""
        return Answer.of(
            await self._send(batch_call(model, rows, columns, labels, batch_id, line, observed_at))
        )

    async def label(
        self,
        model: str,
        batch_id: str,
        labels: Sequence[str | None],
        *,
        rows: Rows | None = None,
        relabel: bool = False,
        line: str | None = None,
        observed_at: str | None = None,
    ) -> LabelsAnswer:
        """See `Client.label`."""
        return LabelsAnswer.of(
            await self._send(labels_call(model, batch_id, labels, rows, relabel, line, observed_at))
        )

    async def models(self) -> list[ModelInfo]:
        return [ModelInfo.of(m) for m in (await self._send(Call("GET", "/v1/models")))["models"]]

    async def model(self, model: str) -> ModelInfo:
        return ModelInfo.of(await self._send(Call("GET", model_path(model))))

    async def snapshots(self, model: str) -> list[Snapshot]:
        """See `Client.snapshots`."""
        found = await self._send(Call("GET", model_path(model, "/snapshots")))
        return [Snapshot.of(s) for s in found["snapshots"]]

    async def manifest(self, model: str, version: int) -> dict[str, Any]:
        """See `Client.manifest`."""
        return await self._send(Call("GET", model_path(model, f"/snapshots/{version}")))

    async def snapshot(
        self, model: str, *, reason: str | None = None, actor: str | None = None
    ) -> Snapshot:
        """See `Client.snapshot`."""
        return Snapshot.of(await self._send(verb_call(model, "snapshot", reason, actor)))

    async def rollback(
        self,
        model: str,
        version: int,
        *,
        reason: str,
        actor: str | None = None,
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """See `Client.rollback`."""
        return await self._send(
            verb_call(model, "rollback", reason, actor, dry_run=dry_run or None, version=version)
        )

    async def verb(
        self,
        model: str,
        verb: str,
        *,
        reason: str | None = None,
        actor: str | None = None,
        dry_run: bool = False,
        **values: Any,
    ) -> dict[str, Any]:
        """See `Client.verb`."""
        return await self._send(
            verb_call(model, verb, reason, actor, dry_run=dry_run or None, **values)
        )

    async def ask(self, model: str, what: str, **query: Any) -> dict[str, Any]:
        """See `Client.ask`."""
        return await self._send(Call("GET", model_path(model, f"/{what}"), query=query))

    async def ready(self) -> bool:
        """See `Client.ready`."""
        try:
            return (await self._http.get("/v2/health/ready")).is_success
        except httpx.TransportError:
            return False

    async def _send(self, call: Call) -> dict[str, Any]:
        try:
            return read_answer(
                await self._http.request(call.method, call.path, json=call.body, params=call.query)
            )
        except httpx.TransportError as error:
            raise Unreachable(
                f"no answer from {self._http.base_url} to {call.method} {call.path}: {error!r}"
            ) from error

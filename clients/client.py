"""The client, twice: `Client` and `AsyncClient` differ in nothing but ``await``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from clients.answers import Answer, LabelsAnswer, ModelInfo, Snapshot
from clients.errors import Rejected, TryAgain, Unreachable

Rows = Sequence[Mapping[str, float | None]]
Columns = Mapping[str, Sequence[float | None]]

TIMEOUT_S = 10.0


class _Call:
    """One request, ready to be sent: method, path, JSON body and query."""

    __slots__ = ("body", "method", "path", "query")

    def __init__(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        query: dict[str, Any] | None = None,
    ) -> None:
        self.query = query
        self.method = method
        self.path = path
        # Left out where None: the server tells "not sent" from null for its own defaults.
        self.body = None if body is None else {k: v for k, v in body.items() if v is not None}


def _model(model: str, tail: str = "") -> str:
    return f"/v1/models/{quote(model, safe='')}{tail}"


def _batch(
    model: str,
    rows: Rows | None,
    columns: Columns | None,
    labels: Sequence[str | None] | None,
    batch_id: str | None,
    line: str | None,
    observed_at: str | None,
) -> _Call:
    return _Call(
        "POST",
        _model(model, "/batches"),
        {
            "rows": None if rows is None else [dict(row) for row in rows],
            "columns": None if columns is None else {k: list(v) for k, v in columns.items()},
            "labels": None if labels is None else list(labels),
            "batch_id": batch_id,
            "line": line,
            "observed_at": observed_at,
        },
    )


def _labels(
    model: str,
    batch_id: str,
    labels: Sequence[str | None],
    rows: Rows | None,
    relabel: bool,
    line: str | None,
    observed_at: str | None,
) -> _Call:
    return _Call(
        "POST",
        _model(model, "/labels"),
        {
            "batch_id": batch_id,
            "labels": list(labels),
            "rows": None if rows is None else [dict(row) for row in rows],
            "relabel": relabel or None,
            "line": line,
            "observed_at": observed_at,
        },
    )


def _verb(model: str, verb: str, reason: str | None, actor: str | None, **values: Any) -> _Call:
    body = {"reason": reason, "actor": actor, **values}
    return _Call("POST", _model(model, f"/{verb}"), body)


def _read(response: httpx.Response) -> dict[str, Any]:
    if response.is_success:
        body: dict[str, Any] = response.json()
        return body
    try:
        problem = response.json()
    except ValueError:
        problem = {"title": response.reason_phrase, "detail": response.text[:500]}
    if response.status_code in (429, 503):
        wait = response.headers.get("retry-after", "1")
        raise TryAgain(response.status_code, problem, float(wait) if wait.isdigit() else 1.0)
    raise Rejected(response.status_code, problem)


class Client:
    """Talks to a learner or a replica.

    Parameters
    ----------
    url
        Such as ``http://127.0.0.1:8080``.
    timeout_s
        Seconds until an unanswered request raises `Unreachable`.

    Every method raises `Rejected`, `TryAgain` or `Unreachable`.
    """

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        # No proxy of the environment: a line's gateway talks to its own network.
        self._http = httpx.Client(base_url=url, timeout=timeout_s, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def predict(
        self,
        model: str,
        rows: Rows | None = None,
        *,
        columns: Columns | None = None,
        batch_id: str | None = None,
        line: str | None = None,
        observed_at: str | None = None,
    ) -> Answer:
        """Predict rows, or columns; with a ``batch_id`` the prediction is remembered."""
        return Answer.of(
            self._send(_batch(model, rows, columns, None, batch_id, line, observed_at))
        )

    def learn(
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
        """Predict rows and learn those whose label is not None; the reply was made before."""
        return Answer.of(
            self._send(_batch(model, rows, columns, labels, batch_id, line, observed_at))
        )

    def label(
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
        """Labels that arrive later, for the rows of ``batch_id``."""
        return LabelsAnswer.of(
            self._send(_labels(model, batch_id, labels, rows, relabel, line, observed_at))
        )

    def models(self) -> list[ModelInfo]:
        return [ModelInfo.of(m) for m in self._send(_Call("GET", "/v1/models"))["models"]]

    def model(self, model: str) -> ModelInfo:
        return ModelInfo.of(self._send(_Call("GET", _model(model))))

    def snapshots(self, model: str) -> list[Snapshot]:
        """All finished snapshots, oldest first."""
        found = self._send(_Call("GET", _model(model, "/snapshots")))
        return [Snapshot.of(s) for s in found["snapshots"]]

    def manifest(self, model: str, version: int) -> dict[str, Any]:
        """One snapshot's manifest."""
        return self._send(_Call("GET", _model(model, f"/snapshots/{version}")))

    def snapshot(
        self, model: str, *, reason: str | None = None, actor: str | None = None
    ) -> Snapshot:
        """Snapshot the live network now."""
        return Snapshot.of(self._send(_verb(model, "snapshot", reason, actor)))

    def rollback(
        self,
        model: str,
        version: int,
        *,
        reason: str,
        actor: str | None = None,
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """The learner's whole state becomes that of a snapshot."""
        return self._send(
            _verb(model, "rollback", reason, actor, dry_run=dry_run or None, version=version)
        )

    def verb(
        self,
        model: str,
        verb: str,
        *,
        reason: str | None = None,
        actor: str | None = None,
        dry_run: bool = False,
        **values: Any,
    ) -> dict[str, Any]:
        """Any other verb by name: freeze, thaw, promote, rebase, prune, …; see the OpenAPI page."""
        return self._send(_verb(model, verb, reason, actor, dry_run=dry_run or None, **values))

    def ask(self, model: str, what: str, **query: Any) -> dict[str, Any]:
        """Read one of the pages of a model: audit, live, verify, rebase, snapshots/3/diff/5."""
        return self._send(_Call("GET", _model(model, f"/{what}"), query=query))

    def ready(self) -> bool:
        """Whether requests may be sent now."""
        try:
            return self._http.get("/v2/health/ready").is_success
        except httpx.TransportError:
            return False

    def _send(self, call: _Call) -> dict[str, Any]:
        try:
            return _read(
                self._http.request(call.method, call.path, json=call.body, params=call.query)
            )
        except httpx.TransportError as error:
            raise Unreachable(
                f"no answer from {self._http.base_url} to {call.method} {call.path}: {error!r}"
            ) from error


class AsyncClient:
    """`Client` for asyncio; the methods are the same."""

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._http = httpx.AsyncClient(base_url=url, timeout=timeout_s, trust_env=False)

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
            await self._send(_batch(model, rows, columns, None, batch_id, line, observed_at))
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
            await self._send(_batch(model, rows, columns, labels, batch_id, line, observed_at))
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
            await self._send(_labels(model, batch_id, labels, rows, relabel, line, observed_at))
        )

    async def models(self) -> list[ModelInfo]:
        return [ModelInfo.of(m) for m in (await self._send(_Call("GET", "/v1/models")))["models"]]

    async def model(self, model: str) -> ModelInfo:
        return ModelInfo.of(await self._send(_Call("GET", _model(model))))

    async def snapshots(self, model: str) -> list[Snapshot]:
        """See `Client.snapshots`."""
        found = await self._send(_Call("GET", _model(model, "/snapshots")))
        return [Snapshot.of(s) for s in found["snapshots"]]

    async def manifest(self, model: str, version: int) -> dict[str, Any]:
        """See `Client.manifest`."""
        return await self._send(_Call("GET", _model(model, f"/snapshots/{version}")))

    async def snapshot(
        self, model: str, *, reason: str | None = None, actor: str | None = None
    ) -> Snapshot:
        """See `Client.snapshot`."""
        return Snapshot.of(await self._send(_verb(model, "snapshot", reason, actor)))

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
            _verb(model, "rollback", reason, actor, dry_run=dry_run or None, version=version)
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
            _verb(model, verb, reason, actor, dry_run=dry_run or None, **values)
        )

    async def ask(self, model: str, what: str, **query: Any) -> dict[str, Any]:
        """See `Client.ask`."""
        return await self._send(_Call("GET", _model(model, f"/{what}"), query=query))

    async def ready(self) -> bool:
        """See `Client.ready`."""
        try:
            return (await self._http.get("/v2/health/ready")).is_success
        except httpx.TransportError:
            return False

    async def _send(self, call: _Call) -> dict[str, Any]:
        try:
            return _read(
                await self._http.request(call.method, call.path, json=call.body, params=call.query)
            )
        except httpx.TransportError as error:
            raise Unreachable(
                f"no answer from {self._http.base_url} to {call.method} {call.path}: {error!r}"
            ) from error

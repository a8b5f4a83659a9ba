"""The client; `clients.generate` writes the one for asyncio from it."""

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
    labels_call,
    model_path,
    read_answer,
    taken,
    verb_call,
)
from clients.endpoint import Endpoint
from clients.errors import Unreachable
from clients.retrying import attempts


class Client:
    """Talks to a learner or a replica.

    Parameters
    ----------
    url
        Such as ``http://127.0.0.1:8080``.
    timeout_s
        Seconds until an unanswered request raises `Unreachable`.
    key
        An API key; by default that in the environment variable ``APICAL_KEY``, if there is one.
    ca
        A PEM file of certificates to trust, beside ``https`` with a certificate of one's own; by
        default that in ``APICAL_CA``, or those that are trusted everywhere.
    retry_for_s
        For how long what may be sent again is; see `clients.retrying`. By default it is not.

    Raises InvalidInput for a ``url`` that is none; every method `Rejected`, `TryAgain` or
    `Unreachable`.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = TIMEOUT_S,
        key: str | None = None,
        ca: str | None = None,
        retry_for_s: float = 0.0,
    ) -> None:
        self._retry_for_s = retry_for_s
        self._to = Endpoint(url, key, ca, timeout_s)
        self._http = httpx.HTTPTransport(**self._to.trust)
        self._closed = False

    @property
    def url(self) -> str:
        """Of the server."""
        return self._to.url

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
        """Let go of all connections; nothing can be asked any more."""
        self._closed = True
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
            self.send(batch_call(model, rows, columns, None, batch_id, line, observed_at))
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
            self.send(batch_call(model, rows, columns, labels, batch_id, line, observed_at))
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
        """Labels that arrive later, for the rows of ``batch_id``.

        Raises LabelsRefused where they came too late, or for a batch that is not known.
        """
        call = labels_call(model, batch_id, labels, rows, relabel, line, observed_at)
        return taken(LabelsAnswer.of(self.send(call)))

    def models(self) -> list[ModelInfo]:
        found = self.send(Call("GET", "/v1/models"))
        return [ModelInfo.of(m) for m in found["models"]]

    def model(self, model: str) -> ModelInfo:
        return ModelInfo.of(self.send(Call("GET", model_path(model))))

    def snapshots(self, model: str) -> list[Snapshot]:
        """All finished snapshots, oldest first."""
        found = self.send(Call("GET", model_path(model, "/snapshots")))
        return [Snapshot.of(s) for s in found["snapshots"]]

    def manifest(self, model: str, version: int) -> dict[str, Any]:
        """One snapshot's manifest."""
        return self.send(Call("GET", model_path(model, f"/snapshots/{version}")))

    def snapshot(
        self, model: str, *, reason: str | None = None, actor: str | None = None
    ) -> Snapshot:
        """Snapshot the live network now."""
        return Snapshot.of(self.send(verb_call(model, "snapshot", reason, actor)))

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
        return self.send(
            verb_call(model, "rollback", reason, actor, dry_run=dry_run or None, version=version)
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
        call = verb_call(model, verb, reason, actor, dry_run=dry_run or None, **values)
        return self.send(call)

    def ask(self, model: str, what: str, **query: Any) -> dict[str, Any]:
        """Read one of the pages of a model: audit, live, verify, rebase, snapshots/3/diff/5."""
        return self.send(Call("GET", model_path(model, f"/{what}"), query=query))

    def ready(self) -> bool:
        """Whether requests may be sent now."""
        try:
            said = self._exchanged(Call("GET", "/v2/health/ready"))
        except httpx.TransportError:
            return False
        return said.is_success

    def send(self, call: Call) -> dict[str, Any]:
        """One of `clients.calls`, and the body of its answer."""
        if self._retry_for_s <= 0:
            return self._once(call)
        for attempt in attempts(call, self._retry_for_s):
            with attempt:
                return self._once(call)
        raise AssertionError("every attempt returns or raises")

    def _once(self, call: Call) -> dict[str, Any]:
        try:
            return read_answer(self._exchanged(call))
        except httpx.TransportError as error:
            raise Unreachable(
                f"no answer from {self.url} to {call.method} {call.path}: {error!r}"
            ) from error

    def _exchanged(self, call: Call) -> httpx.Response:
        if self._closed:
            raise RuntimeError("the client is closed")
        response = self._http.handle_request(self._to.request(call))
        response.read()
        return response

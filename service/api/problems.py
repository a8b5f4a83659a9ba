"""Domain errors as RFC 9457 problem documents, in one table by class."""

from __future__ import annotations

import re
from typing import Any

import orjson
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import Scope

from model_store.errors import SnapshotMissing, StorageError
from service import errors
from service.api.paths import route_path

log = structlog.get_logger()

STATUS: dict[type[Exception], tuple[int, str]] = {
    errors.MalformedBody: (400, "Malformed body"),
    errors.TooLarge: (413, "Too large"),
    errors.InvalidRequest: (422, "Invalid request"),
    errors.Unauthenticated: (401, "Not authenticated"),
    errors.Forbidden: (403, "Forbidden"),
    errors.UnknownModel: (404, "Unknown model"),
    errors.UnknownSnapshot: (404, "Unknown snapshot"),
    errors.LabelsRefused: (422, "A replica does not learn"),
    errors.Contradiction: (409, "Contradiction"),
    errors.Refused: (409, "Refused"),
    errors.NotFinite: (503, "Network not finite"),
    errors.Unavailable: (503, "Unavailable"),
    errors.Overloaded: (429, "Overloaded"),
    SnapshotMissing: (404, "Unknown snapshot"),
    StorageError: (503, "Storage failed"),
}


PLACES = re.compile(r"(?<![\w.…])(?:[a-z0-9]+://|[A-Za-z]:\\|/)[^\s'\",;]*[^\s'\",;:.]")


def without_places(text: str) -> str:
    """A message without the names of files and buckets: these are the log's affair."""
    return PLACES.sub("…", text)


REFUSED = "apical.refused"
"""In a request's scope: why it was refused, for the metric."""


def _slug(title: str) -> str:
    return title.lower().replace(" ", "-")


def problem(
    status: int, title: str, detail: str, headers: dict[str, str] | None = None, **more: Any
) -> Response:
    """One problem document."""
    if status == 503:
        detail = without_places(detail)
    body = {
        "type": f"urn:apical:{_slug(title)}",
        "title": title,
        "status": status,
        "detail": detail,
    }
    return Response(
        orjson.dumps({**body, **more}), status, headers, media_type="application/problem+json"
    )


def of_inference(scope: Scope) -> bool:
    """Whether a request speaks the Open Inference Protocol, which has errors of its own form."""
    return route_path(scope).startswith("/v2/models")


def refusal(
    scope: Scope,
    status: int,
    title: str,
    detail: str,
    headers: dict[str, str] | None = None,
    **more: Any,
) -> Response:
    """A problem document; in the Open Inference Protocol its detail alone, as ``error``."""
    scope.setdefault(REFUSED, _slug(title))
    if not of_inference(scope):
        return problem(status, title, detail, headers, **more)
    if status == 422:
        # The protocol knows one status for whatever is wrong with a request.
        status = 400
    if status == 503:
        detail = without_places(detail)
    body = orjson.dumps({"error": detail})
    return Response(body, status, headers, media_type="application/json")


def of(error: Exception, scope: Scope) -> Response:
    """What a domain error is answered with, and logged where it is the storage's."""
    # The nearest class in the table: errors are few and their tree is shallow.
    status, title = next(STATUS[c] for c in type(error).__mro__ if c in STATUS)
    headers = {}
    if isinstance(error, StorageError):
        log.warning("storage failed", path=scope["path"], error=str(error))
    if status in (429, 503):
        seconds = getattr(error, "retry_after_s", 1.0)
        headers["Retry-After"] = str(max(1, round(seconds)))
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    more: dict[str, Any] = {}
    if isinstance(error, errors.Unauthenticated):
        scope[REFUSED] = error.reason
    if isinstance(error, errors.InvalidRequest):
        more["faults"] = [
            {"row": f.row, "field": f.field, "expected": f.expected, "found": f.found}
            for f in error.faults
        ]
    return refusal(scope, status, title, str(error), headers, **more)


def _domain_error(request: Request, error: Exception) -> Response:
    return of(error, request.scope)


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = f"{request.method} {request.url.path}: {error.detail}"
    headers = dict(error.headers) if error.headers else None
    return refusal(request.scope, error.status_code, str(error.detail), detail, headers)


def _wrong_parameter(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = [
        {
            "row": None,
            "field": ".".join(str(part) for part in fault["loc"]),
            "expected": fault["msg"],
            "found": repr(fault.get("input"))[:80],
        }
        for fault in error.errors()
    ]
    detail = "; ".join(f"{f['field']}: {f['expected']}, found {f['found']}" for f in faults)
    return refusal(request.scope, 422, "Invalid request", detail, faults=faults)


def unexpected(scope: Scope) -> Response:
    """What it was is in the server's log; a stranger need not know the inside."""
    return refusal(scope, 500, "Internal error", f"{scope['method']} {scope['path']} failed")


def _unexpected(request: Request, error: Exception) -> Response:
    return unexpected(request.scope)


def install(app: FastAPI) -> None:
    """Answer every error with a problem document."""
    app.add_exception_handler(errors.ApicalError, _domain_error)
    app.add_exception_handler(StorageError, _domain_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _wrong_parameter)
    app.add_exception_handler(Exception, _unexpected)

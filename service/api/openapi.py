"""The OpenAPI document: what FastAPI makes of the routes, and what holds for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from service.api.paths import OPEN
from service.api.v1.documents import COMPONENT, Problem, TelegrafRequest, problems
from service.api.v2.documents import Error, InferenceRequest, errors

KEY = {"type": "http", "scheme": "bearer", "description": "An API key: `apical keys add`"}


def document(made: Callable[[], dict[str, Any]], keys: bool) -> dict[str, Any]:
    """FastAPI's document, with the schemas that no return type names, of problem documents and of
    what a body is made of, and with what the front may answer; ``keys``: it asks for keys."""
    found = made()
    schemas = found["components"]["schemas"]
    for model in (Problem, InferenceRequest, TelegrafRequest, Error):
        if model.__name__ not in schemas:
            schema = model.model_json_schema(ref_template=COMPONENT)
            schemas.update(schema.pop("$defs", {}))
            schemas[model.__name__] = schema
    if keys:
        found["components"]["securitySchemes"] = {"key": KEY}
    for path, operations in found["paths"].items():
        for operation in operations.values():
            _refused(path, operation, keys and not OPEN.fullmatch(path))
    return found


def _refused(path: str, operation: dict[str, Any], keys: bool) -> None:
    """Add to a route what is refused before it is asked."""
    codes = (401, 403, 421, 429) if keys else (403, 421)
    refusals = problems(*codes)
    if path.startswith("/v2/models"):
        described = errors(*codes)
        schema = {"$ref": COMPONENT.format(model=Error.__name__)}
        for response in described.values():
            del response["model"]
            response["content"] = {"application/json": {"schema": schema}}
        refusals = described
    for code, response in refusals.items():
        operation["responses"].setdefault(str(code), response)
    if keys:
        operation["security"] = [{"key": []}]

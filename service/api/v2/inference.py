"""What the Open Inference Protocol v2 says of server and models, and the route that infers."""

from __future__ import annotations

import contextlib
from importlib.metadata import version as version_of
from typing import Any

from fastapi import APIRouter, Request, Response

from service.api.asking import Ask, routed
from service.api.engine import Engine
from service.api.lines import Lines
from service.api.v1.documents import request_body
from service.api.v2.documents import (
    INFER_EXAMPLES,
    InferenceRequest,
    InferenceResponse,
    ModelMetadata,
    ServerMetadata,
    errors,
)
from service.api.v2.infer import LABEL, ROWS
from service.api.v2.statistics import statistics
from service.errors import Unavailable, unknown_version
from service.schema import Schema

EXTENSIONS = ["binary_tensor_data", "model_configuration", "statistics"]
PLATFORM = "onnx_onnxv1"
MODEL = "/v2/models/{model}"
VERSION = "/v2/models/{model}/versions/{version}"


def router(lines: Lines, infer: Ask) -> APIRouter:
    """The routes of the protocol, but for health."""
    engine = lines.engine
    routes = APIRouter(tags=["inference protocol"])

    @routes.get("/v2", include_in_schema=False)
    @routes.get("/v2/", summary="Server metadata")
    async def server() -> ServerMetadata:
        return ServerMetadata(
            name="apical", version=version_of("apical"), extensions=list(EXTENSIONS)
        )

    # Before the metadata of a model: Triton, too, takes this path for all models.
    @routes.get("/v2/models/stats", summary="Statistics of all models", responses=errors(503))
    async def all_statistics() -> dict[str, Any]:
        found = []
        for name in sorted(engine.models):
            # One whose champion is still waited for has answered nothing.
            with contextlib.suppress(Unavailable):
                found.append(statistics(lines, name, engine.versions(name)[0]))
        return {"model_stats": found}

    @routes.get(f"{MODEL}/stats", summary="Model statistics", responses=errors(404, 503))
    @routes.get(f"{VERSION}/stats", summary="Model statistics", responses=errors(404, 503))
    async def model_statistics(model: str, version: str | None = None) -> dict[str, Any]:
        _known(engine, model, version)
        asked = version or engine.versions(model)[0]
        return {"model_stats": [statistics(lines, model, asked)]}

    @routes.get(MODEL, summary="Model metadata", responses=errors(404, 503))
    @routes.get(VERSION, summary="Model metadata", responses=errors(404, 503))
    async def metadata(model: str, version: str | None = None) -> ModelMetadata:
        _known(engine, model, version)
        return ModelMetadata.model_validate(
            described(model, engine.model(model).schema, list(engine.versions(model)))
        )

    @routes.get(f"{MODEL}/ready", summary="Whether a model answers", responses=errors(404, 503))
    @routes.get(f"{VERSION}/ready", summary="Whether a model answers", responses=errors(404, 503))
    async def ready(model: str, version: str | None = None) -> dict[str, Any]:
        _known(engine, model, version)
        return {"name": model, "ready": True}

    @routes.get(f"{MODEL}/config", summary="Model configuration", responses=errors(404, 503))
    @routes.get(f"{VERSION}/config", summary="Model configuration", responses=errors(404, 503))
    async def config(model: str, version: str | None = None) -> dict[str, Any]:
        _known(engine, model, version)
        return configuration(model, engine.model(model).schema, engine.limits.rows_per_batch)

    for path in (f"{MODEL}/infer", f"{VERSION}/infer"):

        @routes.post(
            path,
            response_model=InferenceResponse,
            responses=errors(400, 404, 409, 413, 415, 429, 503),
            openapi_extra=request_body(InferenceRequest, INFER_EXAMPLES),
            summary="Predict rows, and learn those that are labelled",
        )
        async def post_infer(model: str, request: Request, version: str | None = None) -> Response:
            return await routed(infer, lines, request, model, version)

    return routes


def _known(engine: Engine, model: str, version: str | None) -> None:
    """Raises UnknownModel, UnknownSnapshot, and Unavailable while it cannot answer."""
    engine.model(model)
    if engine.not_ready is not None:
        raise Unavailable(f"not ready: {engine.not_ready}")
    versions = engine.versions(model)
    if version is not None and version not in versions:
        raise unknown_version(version, versions)


def described(model: str, schema: Schema, versions: list[str]) -> dict[str, Any]:
    """A model's metadata. ``label`` is not among the inputs, for they are what has to be sent."""
    return {
        "name": model,
        "versions": versions,
        "platform": PLATFORM,
        "inputs": [{"name": ROWS, "datatype": "FP32", "shape": [-1, len(schema.sensors)]}],
        "outputs": [
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, len(schema.classes)]},
            {"name": "prediction", "datatype": "BYTES", "shape": [-1, 1]},
            {"name": "learned", "datatype": "BOOL", "shape": [-1, 1]},
            {"name": "outcome", "datatype": "BYTES", "shape": [-1, 1]},
        ],
        "parameters": {
            "features": [sensor.name for sensor in schema.sensors],
            "units": [sensor.unit for sensor in schema.sensors],
            "classes": list(schema.classes),
            **schema.called,
            # In `rows` a category is the index of its value; a tensor of its own may be BYTES.
            **{f"values.{s.name}": list(s.values) for s in schema.sensors if s.values},
        },
    }


def configuration(model: str, schema: Schema, rows: int) -> dict[str, Any]:
    """A model's configuration as Triton has it; here the label stands, as an optional input."""
    classes = len(schema.classes)
    return {
        "name": model,
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "max_batch_size": rows,
        "input": [
            {"name": ROWS, "data_type": "TYPE_FP32", "dims": [len(schema.sensors)]},
            {"name": LABEL, "data_type": "TYPE_INT64", "dims": [1], "optional": True},
        ],
        "output": [
            {"name": "probabilities", "data_type": "TYPE_FP32", "dims": [classes]},
            {"name": "prediction", "data_type": "TYPE_STRING", "dims": [1]},
            {"name": "learned", "data_type": "TYPE_BOOL", "dims": [1]},
            {"name": "outcome", "data_type": "TYPE_STRING", "dims": [1]},
        ],
    }

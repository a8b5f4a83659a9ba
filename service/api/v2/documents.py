"""What OpenAPI says of the bodies of the Open Inference Protocol v2; requests are checked in
`service.api.v2.infer`, which knows the model's sensors."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

INFER_EXAMPLES: dict[str, Any] = {
    "predict": {
        "summary": "Predict two rows of two features; null is a missing reading",
        "value": {
            "inputs": [
                {
                    "name": "rows",
                    "datatype": "FP32",
                    "shape": [2, 2],
                    "data": [71.2, 2.4, 90.5, None],
                }
            ]
        },
    },
    "learn": {
        "summary": "Predict, then learn; the second row has no label",
        "value": {
            "id": "17",
            "parameters": {"batch_id": "press-3/2026-03-01/000017", "line": "press-3"},
            "inputs": [
                {
                    "name": "rows",
                    "datatype": "FP32",
                    "shape": [2, 2],
                    "data": [71.2, 2.4, 90.5, 3.1],
                },
                {"name": "label", "datatype": "BYTES", "shape": [2], "data": ["ok", ""]},
            ],
        },
    },
    "feedback": {
        "summary": "Labels for an earlier request, by its batch_id",
        "value": {
            "parameters": {"batch_id": "press-3/2026-03-01/000017"},
            "inputs": [{"name": "label", "datatype": "INT64", "shape": [2], "data": [0, 1]}],
        },
    },
}


class ServerMetadata(BaseModel):
    name: str
    version: str
    extensions: list[str]


class TensorMetadata(BaseModel):
    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """``parameters`` names features, their units, the classes, the display name if there
    is one, and as ``values.NAME`` a category's values, whose index stands in ``rows``."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    parameters: dict[str, list[str] | str]


class InputTensor(BaseModel):
    """``rows`` [B, features], or a tensor [B] for each feature by its name, for a category perhaps
    BYTES; ``label`` [B]."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any] | None = Field(None, description="Flat, or nested as the shape says.")
    parameters: dict[str, Any] | None = None


class RequestedOutput(BaseModel):
    name: str
    parameters: dict[str, Any] | None = None


class InferenceRequest(BaseModel):
    """A request of the protocol. Of the parameters, batch_id, line, observed_at, relabel and
    binary_data_output mean something here."""

    id: str | None = None
    parameters: dict[str, Any] | None = None
    inputs: list[InputTensor]
    outputs: list[RequestedOutput] | None = None


class OutputTensor(BaseModel):
    name: str
    datatype: str
    shape: list[int]
    data: list[Any] | None = None
    parameters: dict[str, Any] | None = None


class InferenceResponse(BaseModel):
    """``parameters`` says who answered: role, seq, snapshot, status, and the batch_id."""

    model_config = ConfigDict(protected_namespaces=())
    model_name: str
    model_version: str
    id: str | None = None
    parameters: dict[str, Any]
    outputs: list[OutputTensor]


class Error(BaseModel):
    """What was expected, what was found, and where."""

    error: str


def errors(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route for the errors that it may answer."""
    return {code: {"description": "An error", "model": Error} for code in codes}

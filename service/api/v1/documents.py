"""What OpenAPI says of bodies. Requests are checked in `service.schema`, which knows the model's
sensors; these classes describe them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

COMPONENT = "#/components/schemas/{model}"
"""Where a document keeps its schemas."""

ROWS = [{"temp_c": 71.2, "vibration_mm_s": 2.4}, {"temp_c": 90.5, "vibration_mm_s": None}]

BATCH_EXAMPLES: dict[str, Any] = {
    "predict": {"summary": "Predict; nothing is remembered", "value": {"rows": ROWS}},
    "learn": {
        "summary": "Predict, then learn from the labels in the same request",
        "value": {
            "batch_id": "press-3/2026-03-01/000017",
            "line": "press-3",
            "observed_at": "2026-03-01T06:30:00Z",
            "rows": ROWS,
            "labels": ["ok", None],
        },
    },
    "columns": {
        "summary": "The same as columns",
        "value": {
            "columns": {"temp_c": [71.2, 90.5], "vibration_mm_s": [2.4, None]},
            "labels": ["ok", "worn"],
        },
    },
}


class BatchRequest(BaseModel):
    """Sensor rows, or columns; ``labels`` teach. All but the data is optional."""

    rows: list[dict[str, float | str | None]] | None = Field(
        None,
        description="One object per row; a missing sensor is null or left out, a category's "
        "reading is one of its values.",
    )
    columns: dict[str, list[float | str | None]] | None = Field(
        None, description="The same data, one list per sensor."
    )
    labels: list[str | None] | None = Field(
        None, description="One class name per row, null where unknown."
    )
    batch_id: str | None = Field(
        None,
        description="Idempotency key: the same batch again gets the same reply and teaches "
        "nothing twice.",
    )
    line: str | None = Field(None, description="Which line sent it.")
    observed_at: str | None = Field(None, description="RFC 3339 time of the observation.")


class LabelsRequest(BaseModel):
    """Labels for the rows of an earlier batch."""

    batch_id: str
    labels: list[str | None]
    rows: list[dict[str, float | str | None]] | None = Field(
        None, description="The rows again, for a batch that a replica answered."
    )
    columns: dict[str, list[float | str | None]] | None = None
    relabel: bool = Field(
        False,
        description="Allow another label than the one known: teaches the new one once more; "
        "the old one is not unlearned.",
    )
    line: str | None = None
    observed_at: str | None = None


class Source(BaseModel):
    role: str
    seq: int = Field(description="Last event applied before this prediction.")
    snapshot: int = Field(description="Newest snapshot (learner), or the one served (replica).")


class BatchAnswer(BaseModel):
    """Per row: prediction, probabilities in the order of ``classes``, whether it was learned."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "model": "press",
                "batch_id": "press-3/2026-03-01/000017",
                "answered_by": {"role": "learner", "seq": 41, "snapshot": 3},
                "classes": ["ok", "worn"],
                "predictions": ["ok", "worn"],
                "probabilities": [[0.93, 0.07], [0.21, 0.79]],
                "learned": [True, False],
                "outcomes": ["learned", "unlabelled"],
            }
        }
    )
    model: str
    batch_id: str | None
    answered_by: Source
    classes: list[str]
    predictions: list[str]
    probabilities: list[list[float]]
    learned: list[bool]
    outcomes: list[str] | None = Field(
        None, description="With labels: learned, frozen, unlabelled, known, contradicts, …"
    )
    replaced: dict[str, dict[str, int]] | None = Field(
        None,
        description="Readings that were not there (missing), or outside their sensor's range or "
        "values (out_of_range), by sensor; only where there are any",
    )


class LabelsAnswer(BaseModel):
    """Per row what became of its label: learned, frozen, relabelled, known, contradicts, unknown,
    too_late or unlabelled."""

    model: str
    batch_id: str
    answered_by: Source
    learned: list[bool]
    outcomes: list[str]


class TelegrafMetric(BaseModel):
    """A row: ``fields`` named as sensors are readings, and so are ``tags`` named as categories;
    ``label``, a field or a tag, is its label; a tag ``line`` its line; ``timestamp`` is in
    seconds."""

    fields: dict[str, Any]
    tags: dict[str, str] = {}
    name: str = ""
    timestamp: float | None = None


class TelegrafRequest(BaseModel):
    """What `outputs.http` sends with ``data_format = "json"``."""

    metrics: list[TelegrafMetric]


class FaultDocument(BaseModel):
    row: int | None
    field: str
    expected: str
    found: str


class Problem(BaseModel):
    """RFC 9457."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "urn:apical:invalid-request",
                "title": "Invalid request",
                "status": 422,
                "detail": "row 1, temp_c: expected a finite number or null, found 'hot'",
                "faults": [
                    {
                        "row": 1,
                        "field": "temp_c",
                        "expected": "a finite number or null",
                        "found": "'hot'",
                    }
                ],
            }
        }
    )
    type: str
    title: str
    status: int
    detail: str
    faults: list[FaultDocument] | None = None


class VerbRequest(BaseModel):
    """Why, by whom, and on what an operator's verb acts."""

    reason: str = Field("", description="Goes into the audit trail; required where it changes.")
    actor: str | None = Field(None, description="Who asks; by default anonymous@address.")


class PreviewedRequest(VerbRequest):
    """A verb that can say beforehand what it would do."""

    dry_run: bool = Field(False, description="Say what would be done; change nothing.")


class LineRequest(PreviewedRequest):
    line: str = Field(description='As requests name it; "" is that of rows which name none.')


class AcknowledgeRequest(VerbRequest):
    alarms: list[int] = Field(description="Ids of open alarms, which somebody has seen.")


class RollbackRequest(PreviewedRequest):
    version: int


class PromoteRequest(PreviewedRequest):
    version: int | None = Field(None, description="Hold this one as champion for the replicas.")
    auto: bool = Field(False, description="Let go of it: promotion goes on by its policy.")


class RebaseRequest(PreviewedRequest):
    """Lessons that match every criterion given are left out."""

    without: list[list[int]] = Field([], description="Ranges [first, last] of event numbers.")
    since: str | None = Field(None, description="RFC 3339; received at or after.")
    until: str | None = Field(None, description="RFC 3339; received before.")
    observed: bool = Field(False, description="since and until mean observed_at.")
    batch_ids: list[str] = []
    lines: list[str] = []
    learn_frozen: bool = Field(
        False, description="Drop operators' freezes too: labels that arrived frozen are learned."
    )
    learn_lines: list[str] = Field(
        [], description="Learn the labels of these lines that were set aside in quarantine."
    )


class PruneRequest(PreviewedRequest):
    events: bool = Field(
        False,
        description="The log's events too that are older than both the oldest kept snapshot and "
        "the idempotency horizon.",
    )


class KeepRequest(VerbRequest):
    keep: bool


def request_body(model: type[BaseModel], examples: dict[str, Any] | None = None) -> dict[str, Any]:
    """The ``openapi_extra`` of a route that reads its body by itself."""
    # Models inside it are components; the application adds those that no response names.
    schema = model.model_json_schema(ref_template=COMPONENT)
    schema.pop("$defs", None)
    content: dict[str, Any] = {"schema": schema}
    if examples:
        content["examples"] = examples
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


def problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route for the problem documents that it may answer."""
    schema = {"$ref": f"#/components/schemas/{Problem.__name__}"}
    # Named for its component; FastAPI would file it under application/json.
    content = {"application/problem+json": {"schema": schema}}
    return {code: {"description": "A problem document", "content": content} for code in codes}

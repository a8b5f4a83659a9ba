"""Replies, typed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """The reply to rows.

    ``probabilities[row][class]`` follows the order of ``classes``; ``seq`` is the last event
    applied before the prediction, ``snapshot`` the newest snapshot (learner) or the one served
    (replica). ``outcomes`` says per row what became of its label, where labels were sent;
    ``replaced`` how many readings the model did not see as they were sent, by ``missing`` or
    ``out_of_range`` and by sensor.
    """

    model: str
    batch_id: str | None
    role: str
    seq: int
    snapshot: int
    classes: list[str]
    predictions: list[str]
    probabilities: list[list[float]]
    learned: list[bool]
    outcomes: list[str] | None
    replaced: dict[str, dict[str, int]]

    @classmethod
    def of(cls, body: dict[str, Any]) -> Answer:
        by = body["answered_by"]
        return cls(
            body["model"],
            body["batch_id"],
            by["role"],
            by["seq"],
            by["snapshot"],
            body["classes"],
            body["predictions"],
            body["probabilities"],
            body["learned"],
            body.get("outcomes"),
            body.get("replaced", {}),
        )


@dataclass(frozen=True, slots=True)
class LabelsAnswer:
    """Per row what became of its late label."""

    model: str
    batch_id: str
    seq: int
    learned: list[bool]
    outcomes: list[str]

    @classmethod
    def of(cls, body: dict[str, Any]) -> LabelsAnswer:
        return cls(
            body["model"],
            body["batch_id"],
            body["answered_by"]["seq"],
            body["learned"],
            body["outcomes"],
        )


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One model of a process; ``raw`` is the whole document."""

    name: str
    role: str
    features: list[dict[str, Any]]
    classes: list[str]
    seq: int
    snapshot: int
    prequential: dict[str, Any] | None
    raw: dict[str, Any]

    @property
    def display_name(self) -> str | None:
        """What people call it, in any script."""
        name: str | None = self.raw.get("display_name")
        return name

    @classmethod
    def of(cls, body: dict[str, Any]) -> ModelInfo:
        return cls(
            body["model"],
            body["role"],
            body["features"],
            body["classes"],
            body["seq"],
            body["snapshot"],
            body.get("prequential"),
            body,
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One snapshot's outline; ``raw`` is the whole document."""

    model: str
    version: int
    seq: int
    raw: dict[str, Any]

    @classmethod
    def of(cls, body: dict[str, Any]) -> Snapshot:
        return cls(body["model"], body["version"], body["seq"], body)

"""A typed Python client: predict, learn, late labels, models, snapshots; sync and async."""

from clients.answers import Answer, LabelsAnswer, ModelInfo, Snapshot
from clients.async_client import AsyncClient
from clients.client import Client
from clients.errors import (
    ApicalClientError,
    InvalidInput,
    LabelsRefused,
    Rejected,
    TryAgain,
    Unreachable,
)
from clients.spool import Delivered, Spool, SpoolLocked
from clients.spooled import SpoolFull

__all__ = [
    "Answer",
    "ApicalClientError",
    "AsyncClient",
    "Client",
    "Delivered",
    "InvalidInput",
    "LabelsAnswer",
    "LabelsRefused",
    "ModelInfo",
    "Rejected",
    "Snapshot",
    "Spool",
    "SpoolFull",
    "SpoolLocked",
    "TryAgain",
    "Unreachable",
]

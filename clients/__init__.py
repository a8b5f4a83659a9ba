"""A typed Python client: predict, learn, late labels, models, snapshots; sync and async."""

from clients.answers import Answer, LabelsAnswer, ModelInfo, Snapshot
from clients.async_client import AsyncClient
from clients.client import Client
from clients.errors import ApicalClientError, InvalidInput, Rejected, TryAgain, Unreachable

__all__ = [
    "Answer",
    "ApicalClientError",
    "AsyncClient",
    "Client",
    "InvalidInput",
    "LabelsAnswer",
    "ModelInfo",
    "Rejected",
    "Snapshot",
    "TryAgain",
    "Unreachable",
]

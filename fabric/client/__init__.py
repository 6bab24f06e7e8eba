"""The SDK: `AsyncClient`, `Client` and what their calls return."""

from fabric.client.aio import AsyncClient
from fabric.client.results import (
    Answer,
    Applied,
    Candidate,
    Explanation,
    Metadata,
    Recorded,
    Refusal,
    Resource,
    Trained,
)
from fabric.client.sync import Client

__all__ = [
    "Answer",
    "Applied",
    "AsyncClient",
    "Candidate",
    "Client",
    "Explanation",
    "Metadata",
    "Recorded",
    "Refusal",
    "Resource",
    "Trained",
]

"""The SDK: `AsyncClient`, `Client` and what their calls return."""

from fabric.client.aio import AsyncClient
from fabric.client.results import (
    Answer,
    Applied,
    Candidate,
    Explanation,
    Metadata,
    Refusal,
    Resource,
    Trained,
)
from fabric.client.sync import Client
from fabric.core.decisions import Record
from fabric.core.health import ReplicaHealth, SpecialistHealth

__all__ = [
    "Answer",
    "Applied",
    "AsyncClient",
    "Candidate",
    "Client",
    "Explanation",
    "Metadata",
    "Record",
    "Refusal",
    "ReplicaHealth",
    "Resource",
    "SpecialistHealth",
    "Trained",
]

"""How specialists and their replicas fare, as one gateway sees them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class ReplicaHealth:
    """One replica that there is a link to."""

    id: str
    in_flight: int = 0
    """Requests of this gateway that it has not answered."""
    queued: int = 0
    """Requests of anybody that wait there, as it said last."""
    breaker: str = ""
    """closed, open or half-open."""
    why: str = ""
    """What opened it."""
    again: float = 0.0
    """Seconds until it is tried again, where that is known."""
    answers: int = 0
    """Since the link was opened, those included that came too late."""
    p50: float | None = None
    """Seconds that half of the recent answers took at most,"""
    p99: float | None = None
    """and 99 of 100."""
    failures: Mapping[str, int] = field(default_factory=dict)
    """By the reason of the error."""


@dataclass(frozen=True, kw_only=True)
class SpecialistHealth:
    """One version of a specialist."""

    name: str
    version: str
    in_flight: int = 0
    limit: int = 0
    """Of those in flight."""
    budget: float = 1.0
    """The share that is left of its budget of further attempts."""
    breaker: str = ""
    """That of all of its replicas together."""
    why: str = ""
    answers: int = 0
    p50: float | None = None
    p99: float | None = None
    failures: Mapping[str, int] = field(default_factory=dict)
    replicas: tuple[ReplicaHealth, ...] = ()

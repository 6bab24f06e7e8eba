"""Running processes and how they fare."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a replica carries, at the time of its last renewal."""

    running: int = 0
    queued: int = 0


@dataclass(frozen=True, kw_only=True)
class Replica:
    """One running process of a specialist: an address under a lease."""

    id: str
    specialist: str
    version: str
    address: str
    """`host:port` of its link."""
    pid: int = 0
    node: str = ""
    """The machine it runs on, as the host names it."""
    digest: str = ""
    """SHA-256 of the model it serves, in hex."""
    draining: bool = False
    """It finishes what it has and takes nothing new."""
    load: Load = field(default_factory=Load)
    why: str = ""
    """Why it drains, where it was not told to."""

    @property
    def specialist_key(self) -> str:
        """`name:version` of what it runs."""
        return f"{self.specialist}:{self.version}"


class State(StrEnum):
    """States of a specialist as the control plane sees it."""

    PENDING = "pending"
    READY = "ready"
    DEGRADED = "degraded"
    """It answers, with fewer replicas than wanted or with an older configuration."""
    FAILED = "failed"
    UNLOADED = "unloaded"
    """It is declared, and has no replicas until it is loaded."""


@dataclass(frozen=True, kw_only=True)
class Status:
    """How a specialist fares: what it should be, what it is, and why it is not."""

    state: State = State.PENDING
    reason: str = ""
    ready: int = 0
    """Replicas under a lease."""
    wanted: int = 0
    failing: bool = False
    """The last replica to start could not, whatever others do."""

"""What became of the requests while something was broken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fabric.core.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from on_ray import Traffic

FACTORS = {"double": 2.0, "triple": 3.0}


@dataclass(frozen=True)
class Count:
    right: int
    """Answered by the first choice."""
    degraded: int
    """Answered by another one, and the answer says so."""
    refused: int
    """Told at once that there is no room, before any work."""
    lost: int
    """Everything else: errors, silence, and answers that are wrong."""
    gap: float
    """The longest time without any answer, in seconds."""

    @property
    def cells(self) -> str:
        """Of a row of a table."""
        return (
            f"{self.right:,} | {self.degraded:,} | {self.refused:,} | {self.lost:,} | "
            f"{self.gap:.2f} s"
        )

    def __str__(self) -> str:
        return (
            f"{self.right} right, {self.degraded} degraded, {self.refused} refused, "
            f"{self.lost} lost, longest gap {self.gap:.2f} s"
        )


@dataclass(frozen=True)
class Stopped:
    """What became of work that nobody waited for any more."""

    begun: int
    """Requests that were worked on when their callers left."""
    stopped: int
    """Of which so many were given up."""
    longest: float
    """Seconds from the leaving to the last of these."""

    @property
    def cells(self) -> str:
        """Of a row of a table."""
        return f"{self.begun} | {self.stopped} | {1e3 * self.longest:.0f} ms"

    def __str__(self) -> str:
        return f"{self.stopped} of {self.begun} stopped, the last after {1e3 * self.longest:.0f} ms"


def counted(traffic: Traffic, factors: Mapping[str, float] = FACTORS) -> Count:
    """How the requests of *traffic* fared; *factors* says what specialists multiply by."""
    right = sum(a.factor == factors[a.specialist] and not a.fallback for a in traffic.answers)
    degraded = sum(a.factor == factors[a.specialist] and a.fallback for a in traffic.answers)
    refused = sum(isinstance(error, Overloaded) for error in traffic.errors)
    asked = len(traffic.answers) + len(traffic.errors)
    lost = asked - right - degraded - refused
    return Count(right, degraded, refused, lost, max(traffic.gaps(), default=0.0))

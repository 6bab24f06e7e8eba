"""What became of the candidates of a request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fabric.core.errors import Overloaded, Unavailable
from fabric.core.plans import Attempt

if TYPE_CHECKING:
    from fabric.core.errors import FabricError
    from fabric.core.plans import Candidate
    from fabric.core.requests import InferRequest

SHORTEST = 0.002
"""Seconds for one more attempt at least: timers of event loops are early by as much as this."""


def made(
    candidate: Candidate, replica: str, seconds: float, error: str = "", message: str = ""
) -> Attempt:
    """One that *replica* has answered, and for which *error* that was not all."""
    card = candidate.card
    return Attempt(card.name, card.version, replica, error, message, seconds)


def failed(candidate: Candidate, error: FabricError, seconds: float) -> Attempt:
    return made(candidate, error.replica, seconds, error.reason, error.message)


def busy(candidate: Candidate) -> Attempt:
    """Of one that was not asked."""
    why = "it is busy for longer than the deadline allows"
    return made(candidate, "", 0.0, Overloaded.reason, why)


def passed(request: InferRequest) -> list[Attempt]:
    """What became of those who were passed over when *request* was admitted."""
    return [
        made(candidate, "", 0.0, Unavailable.reason, objection) if objection else busy(candidate)
        for candidate, objection in request.passed
    ]

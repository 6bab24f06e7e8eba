"""Which candidates a request has, and what became of each."""

from __future__ import annotations

from dataclasses import dataclass

from fabric.core.cards import Card
from fabric.core.routes import CONDITIONS, Cascade, ChainEntry, Hedging, Mixture, Retry


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one card is no candidate."""

    name: str
    version: str
    reason: str


@dataclass(frozen=True, slots=True)
class Terms:
    """On which terms a candidate is asked."""

    on: frozenset[str] = frozenset(CONDITIONS)
    """What it is tried on, where it is not the first."""
    share: float = 1.0
    """Of the time that is left, for one attempt."""
    tries: int = 0
    """Attempts; 0 for what the plan's `retry` says."""
    substitute: bool = True
    """Whether those after it may answer where it does not."""


PLAIN = Terms()


@dataclass(frozen=True, slots=True)
class Candidate:
    """One specialist that may answer, and why it has its place."""

    card: Card
    reason: str
    timeout: float
    """Seconds for one attempt."""
    score: float = 0.0
    """What it is ranked by under `scored`, from 0 to 1,"""
    parts: tuple[tuple[str, float], ...] = ()
    """and the score of each scorer that it is made of."""
    terms: Terms = PLAIN

    def seconds(self, left: float) -> float:
        """For one attempt, of *left*."""
        share = self.terms.share
        return min(self.timeout, left if share == 1.0 else share * left)


@dataclass(frozen=True, slots=True)
class Plan:
    """The ranked candidates for one kind of request; shared by all requests of that kind."""

    route: str
    """The route that made the plan; empty when a specialist was called by its own name."""
    candidates: tuple[Candidate, ...]
    refusals: tuple[Refusal, ...]
    retry: Retry
    timeout: float
    cascade: Cascade | None = None
    mixture: Mixture | None = None
    hedging: Hedging | None = None
    given: tuple[ChainEntry, ...] = ()
    """Answers that nobody has to be asked for, where all others fail."""


UNSURE = "UNSURE"
"""The `error` of an attempt whose answer was not sure enough to be given at once,"""
UNLIKE = "UNLIKE"
"""of one whose answer could not be taken together with the others,"""
OVERTAKEN = "OVERTAKEN"
"""and of one that took longer than usual, and somebody else answered first."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of one candidate, and how it went; `error` is empty for those that answered."""

    specialist: str
    version: str
    replica: str
    error: str
    message: str
    seconds: float

"""What a caller needs, which route serves it, and which candidates that leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fabric.core.cards import Card, check_name


@dataclass(frozen=True, kw_only=True)
class Requirements:
    """What an answer must come from; an empty field asks for nothing.

    A card that states nothing under `domains`, `languages` or `modality` is not limited in it, so
    it meets any requirement there; a task, owner or label is met only by a card that states it.
    """

    task: str = ""
    domain: str = ""
    language: str = ""
    modality: str = ""
    owner: str = ""
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, kw_only=True)
class ChainEntry:
    """One entry of a fallback chain: a specialist (any version or one) or another route."""

    name: str
    version: str = ""
    """Empty for the latest."""
    weight: float = 1.0
    """Share of first places under the order `weighted`."""

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.weight < 0:
            raise ValueError(f"weight is {self.weight}, it cannot be negative")


@dataclass(frozen=True, kw_only=True)
class Retry:
    attempts: int = 4
    """Over the whole chain, the first one included."""
    per_candidate: int = 2
    """Attempts at one candidate, each on a replica not tried before."""

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.per_candidate < 1:
            raise ValueError("attempts and per_candidate are at least 1")


@dataclass(frozen=True, kw_only=True)
class Route:
    """A virtual model: requirements, a fallback chain and a policy, called like any model."""

    name: str
    description: str = ""
    requirements: Requirements = Requirements()
    chain: tuple[ChainEntry, ...] = ()
    order: str = "fixed"
    """`fixed` tries the chain as written; `weighted` draws the first place by weight."""
    retry: Retry = Retry()
    timeout: float = 30.0
    """Seconds for the whole call where the caller sets none, and at most."""
    loaded: bool = True
    """False keeps it declared, and unanswered until it is loaded."""

    def __post_init__(self) -> None:
        check_name(self.name)
        if not self.chain:
            raise ValueError(
                f"route {self.name!r} has an empty chain: name at least one specialist"
            )
        if self.order not in ("fixed", "weighted"):
            raise ValueError(f"order is {self.order!r}; use fixed or weighted")
        if self.timeout <= 0:
            raise ValueError("timeout is above zero")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one card is no candidate."""

    name: str
    version: str
    reason: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """One specialist that may answer, and why it has its place."""

    card: Card
    reason: str
    timeout: float
    """Seconds for one attempt."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The ranked candidates for one kind of request; shared by all requests of that kind."""

    route: str
    """The route that made the plan; empty when a specialist was called by its own name."""
    candidates: tuple[Candidate, ...]
    refusals: tuple[Refusal, ...]
    retry: Retry
    timeout: float


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of one candidate, and how it went; `error` is empty for the one that answered."""

    specialist: str
    version: str
    replica: str
    error: str
    message: str
    seconds: float

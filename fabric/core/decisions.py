"""What was decided for a request, how it went, and what was said of it later.

The three are joined by the request's id. Policies are trained from them, and any other policy can
be scored from them, since a decision says how likely each candidate was to be chosen.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from fabric.core.errors import InvalidRequest, SpecialistFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass(frozen=True, kw_only=True)
class Query:
    """What the router sees of a request."""

    task: str = ""
    domain: str = ""
    language: str = ""
    text: str = ""
    """Of the input that the route's content names, shortened."""
    numbers: tuple[float, ...] = ()
    """The same where it is a vector of numbers, or the encoder's embedding of it."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Who was chosen for a request, and how likely that was."""

    request: str
    """The request's id, given by the gateway."""
    route: str
    time: float
    """Seconds since 1970."""
    query: Query = field(default_factory=Query)
    candidates: tuple[str, ...] = ()
    """`name:version` of all who could be chosen, in the order in which they were to be tried."""
    scores: tuple[float, ...] = ()
    """Of each: what it was ranked by."""
    propensities: tuple[float, ...] = ()
    """Of each: the probability with which it was put first; they sum to 1."""
    policy: int = 0
    """The version of the policy that decided; 0 where none did."""
    kind: str = "evidence"
    """By what: evidence, policy or exploration."""
    shadow: str = ""
    """`name:version` of who was asked too; empty for nobody."""
    shadow_propensities: tuple[float, ...] = ()
    """Of each: the probability with which it was asked too; empty where nobody was to be."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one candidate did at a request."""

    request: str
    specialist: str
    """`name:version`."""
    seconds: float
    error: str = ""
    """The reason of the failure; empty where it answered."""
    cost: float = 0.0
    confidence: float | None = None
    """Its own, from 0 to 1, where it can be read from the answer."""
    label: str = ""
    """The class it answered, where it can be read from the answer."""
    is_shadow: bool = False
    """Nobody was given this answer."""


@dataclass(frozen=True, kw_only=True)
class Feedback:
    """What was said of a request later. Exactly one of label, score and preferred is given.

    Idempotent by *id*: what is said again under the same id, or by default of the same request and
    specialist, takes the place of what was said before.
    """

    request: str
    specialist: str = ""
    """`name:version` of whose answer it is about; empty for who answered."""
    label: str = ""
    """The right class: whoever answered it succeeded."""
    score: float | None = None
    """From 0 (wrong) to 1 (right)."""
    preferred: str = ""
    """`name:version` of who did better than *specialist*."""
    id: str = ""

    def __post_init__(self) -> None:
        if not self.request:
            raise InvalidRequest("feedback needs the id of the request that it is about")
        if [bool(self.label), self.score is not None, bool(self.preferred)].count(True) != 1:
            raise InvalidRequest("feedback has exactly one of label, score and preferred")
        if self.score is not None and not 0 <= self.score <= 1:
            raise InvalidRequest(f"score is {self.score:g}, it must be from 0 to 1")

    def rewards(self, outcomes: Sequence[Outcome]) -> Iterator[tuple[str, float]]:
        """Whom this rewards, from 0 to 1, where *outcomes* are those of its request.

        A label rewards whoever answered it, a score whom it is about, a preference the one over
        the other.
        """
        about = [o.specialist for o in outcomes if not o.is_shadow and not o.error]
        if self.specialist:
            about = [self.specialist]
        if self.label:
            for outcome in outcomes:
                if outcome.label and not outcome.error:
                    yield outcome.specialist, float(outcome.label == self.label)
        elif self.preferred:
            yield self.preferred, 1.0
            yield from ((other, 0.0) for other in about if other != self.preferred)
        elif self.score is not None:
            yield from ((specialist, self.score) for specialist in about)


@dataclass(frozen=True)
class Record:
    """One decision with all that is known of it."""

    decision: Decision
    outcomes: tuple[Outcome, ...] = ()
    """Of all who were asked, as they came; of one who was asked again, several."""
    feedback: tuple[Feedback, ...] = ()
    """One for each id."""

    @cached_property
    def rewards(self) -> dict[str, float]:
        """From 0 to 1 for every specialist of which something is known.

        Of several things said the mean counts, so that their order does not matter. A model that
        ran and failed was wrong, but only where something was said of the request: failures of
        requests that nobody speaks of would outweigh the successes that nobody speaks of.
        """
        said: dict[str, list[float]] = defaultdict(list)
        for feedback in self.feedback:
            for specialist, reward in feedback.rewards(self.outcomes):
                said[specialist].append(reward)
        if self.feedback:
            for outcome in self.outcomes:
                if outcome.error == SpecialistFailed.reason:
                    said[outcome.specialist] = [0.0]
        return {specialist: sum(told) / len(told) for specialist, told in said.items()}

"""Which candidate is tried next after one has failed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fabric.core.errors import FabricError, Overloaded, Unavailable
from fabric.core.plans import Attempt, Plan

if TYPE_CHECKING:
    from fabric.core.plans import Candidate


@dataclass(slots=True)
class Walk:
    """One request's way down the fallback chain of its plan.

    A replica that is unavailable or overloaded is followed by another replica of the same
    candidate, as long as one that was not tried is there; any other failure, and the last
    replica's, by the next candidate. A candidate without a replica costs no attempt, and that
    there is no other replica is no failure of its own.
    """

    plan: Plan
    substitute: bool
    """Whether a candidate other than the first may answer."""
    place: int = 0
    """The index of the candidate that is tried."""
    avoid: frozenset[str] = frozenset()
    """Replicas that have failed."""
    failed: list[Attempt] = field(default_factory=list)
    last: FabricError = field(init=False)
    """How the last of them failed."""
    _made: int = 0
    _here: int = 0

    def after(self, error: FabricError, attempt: Attempt) -> Candidate | None:
        """The candidate to try after *attempt* failed with *error*; None if nothing is left."""
        if error.replica or not self._here:
            self.failed.append(attempt)
            self.last = error.with_traceback(None)  # whose frames hold on to this walk
        if not error.substitutable:
            return None
        if error.replica:
            self.avoid |= {error.replica}
            self._made += 1
            self._here += 1
            if self._made >= self.plan.retry.attempts:
                return None
            elsewhere = isinstance(error, Unavailable | Overloaded)
            if elsewhere and self._here < self.plan.retry.per_candidate:
                return self.plan.candidates[self.place]
        return self._next()

    def past(self, attempt: Attempt, *, is_made: bool = True) -> Candidate | None:
        """The candidate to try after *attempt* has not failed, and is not enough; None if nothing
        is left. One that is not made was passed over."""
        self.failed.append(attempt)
        self._made += is_made
        return self._next() if self._made < self.plan.retry.attempts else None

    def _next(self) -> Candidate | None:
        self.place += 1
        self._here = 0
        if not self.substitute or self.place >= len(self.plan.candidates):
            return None
        return self.plan.candidates[self.place]


def exhausted(walk: Walk, last: FabricError) -> FabricError:
    """What the caller is told when nobody answered: the last error, and how the others failed.

    It is never *last* itself, which whoever raises it holds on to: its traceback would hold whoever
    that is, and the request with it, until somebody looks for such cycles.
    """
    message = last.message
    if len(walk.failed) > 1:
        tried = "; ".join(f"{a.specialist}:{a.version}: {a.message}" for a in walk.failed)
        message = f"{len(walk.failed)} attempts failed: {tried}"
    return type(last)(message, replica=last.replica)

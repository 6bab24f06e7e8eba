"""Which candidate is tried next after one has failed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fabric.core.errors import FabricError, Overloaded, Unavailable
from fabric.core.plans import Attempt, Plan
from fabric.core.requests import InferRequest
from fabric.resilience.budgets import Budgets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fabric.core.plans import Candidate


@dataclass(slots=True)
class Walk:
    """One request's way down the fallback chain of its plan.

    A replica that is unavailable or overloaded is followed by another replica of the same
    candidate, as long as one that was not tried is there and the budget allows; any other failure,
    and the last replica's, by the next candidate that is tried on such a failure. A candidate
    without a replica costs no attempt, and that there is no other replica is no failure of its own.
    Where the model may have begun a request that must not be answered twice, nobody follows.
    """

    plan: Plan
    request: InferRequest
    budgets: Budgets
    place: int = 0
    """The index of the candidate that is tried."""
    avoid: frozenset[str] = frozenset()
    """Replicas that have failed."""
    failed: list[Attempt] = field(default_factory=list)
    last: FabricError = field(init=False)
    """How the last of them failed."""
    here: int = 0
    """Attempts that were made at the candidate that is tried."""
    _made: int = 0

    def after(self, error: FabricError, attempt: Attempt) -> Candidate | None:
        """The candidate to try after *attempt* failed with *error*; None if nothing is left."""
        if error.replica or not self.here:
            self.failed.append(attempt)
            self.last = error.with_traceback(None)  # whose frames hold on to this walk
        if not error.substitutable or (error.begun and not self.request.idempotent):
            return None
        if error.replica:
            self.avoid |= {error.replica}
            self._made += 1
            self.here += 1
            if self._made >= self.plan.retry.attempts:
                return None
            if self._is_tried_again(error):
                return self.plan.candidates[self.place]
        return self._next(error.condition)

    def beside(self, attempt: Attempt) -> None:
        """*attempt* was made beside the one that is tried, and has failed, too."""
        self.failed.append(attempt)
        if attempt.replica:
            self.avoid |= {attempt.replica}
            self._made += 1

    def past(
        self, attempt: Attempt, condition: str = "unsure", *, is_made: bool = True
    ) -> Candidate | None:
        """The candidate to try after *attempt* has not failed, and is not enough; None if nothing
        is left. One that is not made was passed over."""
        self.failed.append(attempt)
        self._made += is_made
        return self._next(condition) if self._made < self.plan.retry.attempts else None

    def wait(self, error: FabricError, draw: float) -> float:
        """Seconds until whoever follows *error* is asked: none but where it is the same candidate,
        which is overloaded, or has failed before. They double each time, and *draw*, from 0 to 1,
        is the part of them that is waited, lest all come again together
        (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter)."""
        if not self.here or (self.here == 1 and not isinstance(error, Overloaded)):
            return 0.0
        return float(self.plan.retry.backoff * 2.0 ** (self.here - 1) * draw)

    def _is_tried_again(self, error: FabricError) -> bool:
        candidate = self.plan.candidates[self.place]
        tries = candidate.terms.tries or self.plan.retry.per_candidate
        if not isinstance(error, Unavailable | Overloaded) or self.here >= tries:
            return False
        return self.budgets.spend(candidate.card.key)

    def _next(self, condition: str) -> Candidate | None:
        if not self.request.substitute or not self.plan.candidates[self.place].terms.substitute:
            return None
        self.here = 0
        for place in range(self.place + 1, len(self.plan.candidates)):
            candidate = self.plan.candidates[place]
            if condition in candidate.terms.on:
                self.place = place
                return candidate
        return None


def is_last(plan: Plan, request: InferRequest, place: int) -> bool:
    """Whether nothing is sure to answer *request* if the candidate at *place* does not."""
    if not request.substitute or not plan.candidates[place].terms.substitute:
        return True
    if place + 1 < len(plan.candidates):
        return False
    return not plan.given or not any(
        entry.static and Unavailable.condition in entry.conditions for entry in plan.given
    )


def exhausted(failed: Sequence[Attempt], last: FabricError) -> FabricError:
    """What the caller is told when nobody answered: the *last* error, and how the others failed.

    It is never *last* itself, which whoever raises it holds on to: its traceback would hold whoever
    that is, and the request with it, until somebody looks for such cycles.
    """
    message = last.message
    if len(failed) > 1:
        tried = "; ".join(f"{a.specialist}:{a.version}: {a.message}" for a in failed)
        message = f"{len(failed)} attempts failed: {tried}"
    return type(last)(message, replica=last.replica, retry_after=last.retry_after)

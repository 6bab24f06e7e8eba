"""The one request path: plan, attempts, answer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from fabric import telemetry
from fabric.core.errors import DeadlineExceeded, FabricError
from fabric.core.plans import Attempt
from fabric.core.requests import Answer
from fabric.resilience.fallback import Walk, exhausted

if TYPE_CHECKING:
    from fabric.core.cards import Card
    from fabric.core.deadlines import Clock, Deadline
    from fabric.core.plans import Candidate, Plan
    from fabric.core.requests import InferRequest, InferResponse
    from fabric.routing.planner import Planner

_SHORTEST = 0.002
"""Seconds for one more attempt at least: timers of event loops are early by as much as this."""


class Invoker(Protocol):
    """Anything that can answer."""

    async def infer(self, card: Card, request: InferRequest, deadline: Deadline) -> InferResponse:
        """The response of the specialist with *card*.

        Raises:
            FabricError: as `fabric.core.errors` says; `replica` is set if one was reached.
        """


class Dispatcher:
    """Answers requests: the first candidate of the plan, or whoever comes after it."""

    def __init__(self, planner: Planner, invoker: Invoker, clock: Clock = time.monotonic) -> None:
        self._planner = planner
        self._invoker = invoker
        self._clock = clock

    async def infer(self, request: InferRequest, deadline: Deadline) -> Answer:
        """The answer to *request*, by *deadline* or the route's own timeout if that is sooner.

        Raises:
            NotFound: no such model, or no candidate meets the requirements.
            FabricError: the last candidate's failure, with what the others failed of.
        """
        plan = self._planner.plan(request.model, request.version, request.requirements)
        started = self._clock()
        deadline = deadline.within(plan.timeout, started)
        first = plan.candidates[0]
        try:
            response = await self._attempt(first, request, deadline)
        except FabricError as error:
            return await self._fall_back(plan, request, deadline, error, started)
        return Answer(response, first.card.name, first.card.version, plan.route, fallback=False)

    async def _attempt(
        self, candidate: Candidate, request: InferRequest, deadline: Deadline
    ) -> InferResponse:
        deadline = deadline.within(candidate.timeout, self._clock())
        if not telemetry.is_enabled():
            return await self._invoker.infer(candidate.card, request, deadline)
        names = {
            telemetry.SPECIALIST: candidate.card.name,
            telemetry.VERSION: candidate.card.version,
            telemetry.REASON: candidate.reason,
        }
        outer = request.trace
        with telemetry.span(telemetry.ATTEMPT_SPAN, outer, names, telemetry.CLIENT) as span:
            request.trace = telemetry.pack(span) or outer
            try:
                response = await self._invoker.infer(candidate.card, request, deadline)
            finally:
                request.trace = outer
            span.set_attribute(telemetry.REPLICA, response.replica)
            return response

    async def _fall_back(
        self,
        plan: Plan,
        request: InferRequest,
        deadline: Deadline,
        error: FabricError,
        started: float,
    ) -> Answer:
        """The answer of whoever the walk leads to after the first candidate's *error*."""
        walk = Walk(plan, request.substitute)
        candidate = plan.candidates[0]
        while True:
            now = self._clock()
            following = walk.after(error, _failed(candidate, error, now - started))
            if following is None:
                raise exhausted(walk, walk.last) from error
            if deadline.remaining(now) < _SHORTEST:
                late = DeadlineExceeded("the deadline passed", replica=error.replica)
                raise exhausted(walk, late) from error
            candidate, started = following, now
            request.avoid = walk.avoid
            try:
                response = await self._attempt(candidate, request, deadline)
            except FabricError as failure:
                error = failure
                continue
            return Answer(
                response,
                candidate.card.name,
                candidate.card.version,
                plan.route,
                fallback=walk.place > 0,
                attempts=walk.failed,
            )


def _failed(candidate: Candidate, error: FabricError, seconds: float) -> Attempt:
    return Attempt(
        specialist=candidate.card.name,
        version=candidate.card.version,
        replica=error.replica,
        error=error.reason,
        message=error.message,
        seconds=seconds,
    )

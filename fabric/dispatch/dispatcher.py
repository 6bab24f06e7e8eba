"""From a request to its answer: the first candidate, or whoever comes after it."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from fabric import telemetry
from fabric.core.errors import (
    DeadlineExceeded,
    FabricError,
    InvalidRequest,
    Overloaded,
    Unavailable,
)
from fabric.core.plans import PLAIN
from fabric.core.requests import Answer
from fabric.dispatch.attempts import SHORTEST, failed, passed
from fabric.dispatch.hedging import Hedges
from fabric.dispatch.shadows import Shadows
from fabric.dispatch.together import Together
from fabric.resilience.budgets import Budgets
from fabric.resilience.fallback import Walk, exhausted, is_last

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine

    from fabric.core.cards import Card
    from fabric.core.deadlines import Clock, Deadline
    from fabric.core.plans import Attempt, Candidate, Plan
    from fabric.core.requests import InferRequest, InferResponse
    from fabric.core.routes import Hedging
    from fabric.dispatch.invoking import Ask, Gives, Invoker, Observe, Outputs
    from fabric.routing.planner import Planner

_MOST_TALLIES = 4096


@dataclass(slots=True)
class Tally:
    """How often a route has answered and failed, and the seconds that took."""

    answers: int = 0
    answering: float = 0.0
    failures: int = 0
    failing: float = 0.0
    last: float = 0.0
    """When it answered last, on the dispatcher's clock."""


class Dispatcher:
    """Answers requests: the first candidate of the plan, or whoever comes after it.

    *observe* is told of each attempt at requests with an id. Close it where requests have shadows.
    Without *outputs* nobody can tell how sure an answer is, nor make one of several: routes with
    a cascade or a mixture are answered as others are. *gives* has the answers that chains end with.
    """

    def __init__(
        self,
        planner: Planner,
        invoker: Invoker,
        clock: Clock = time.monotonic,
        observe: Observe | None = None,
        outputs: Outputs | None = None,
        gives: Gives | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._planner = planner
        self._invoker = invoker
        self._clock = clock
        self._observe = observe
        self._gives = gives
        self._draw = draw
        self.budgets = Budgets()
        self.shadows = Shadows(invoker, observe, clock) if observe is not None else None
        attempt = partial(self._attempt, invoker.infer)
        self._hedges = Hedges(attempt, invoker, self.budgets, clock)
        self._together: Together | None = None
        if outputs is not None:
            self._together = Together(attempt, invoker, self.budgets, outputs, self._give, clock)
        self.tallies: dict[str, Tally] = {}
        """By route; a request that no candidate could answer is in none."""

    def admit(self, request: InferRequest, deadline: Deadline) -> None:
        """Finds who may answer *request* in time, for `infer` to ask first.

        By the plan that it has, or the one that all requests of its kind get. Who fails too often
        is passed over, unless all do.

        Under overload a refusal is what most requests get, and what it costs is taken from those
        that could be answered: this one costs no task and no attempt.

        Raises:
            NotFound: no such model, or no candidate meets the requirements.
            Overloaded: all who may answer are busy for longer than *deadline* allows.
            DeadlineExceeded: it has passed.
        """
        plan = request.plan
        if plan is None:
            plan = self._planner.plan(request.model, request.version, request.requirements)
        left = min(deadline.remaining(self._clock()), plan.timeout)
        last = len(plan.candidates) - 1 if request.substitute else 0
        has_others = last > 0 or bool(plan.given)
        condition = ""
        passed_over: list[tuple[Candidate, str]] = []
        for place, candidate in enumerate(plan.candidates):
            if place and condition not in candidate.terms.on:
                continue
            objection = ""
            if has_others and candidate.card.key in self._invoker.ill:
                objection = self._invoker.objection(candidate.card)
            seconds = candidate.seconds(left)
            if not objection and self._invoker.promises(
                candidate.card, seconds, request.tenant, request.priority
            ):
                request.plan, request.place = plan, place
                request.passed = passed_over
                return
            passed_over.append((candidate, objection))
            condition = Unavailable.condition if objection else Overloaded.condition
            if place == last or not candidate.terms.substitute:
                break
        if left > 0.0 and passed_over and all(objection for _, objection in passed_over):
            # Who knows whether they are well again, and there is nobody else to ask.
            request.plan, request.place = plan, 0
            request.insists = is_last(plan, request, place)
            return
        if left > 0.0 and self._may_give(plan, request):
            request.plan, request.place = plan, len(plan.candidates)
            request.passed = passed_over
            return
        if plan.route:
            self._tally(plan.route).failures += 1
        if left <= 0.0:
            raise DeadlineExceeded("the deadline had passed before anybody was asked")
        raise Overloaded(
            f"nobody can answer for '{request.model}' within {left:.1g} s: all are busy for longer"
        )

    def infer(self, request: InferRequest, deadline: Deadline) -> Coroutine[Any, Any, Answer]:
        """The answer to *request*, by *deadline* or the route's own timeout if that is sooner.

        Raises:
            NotFound: no such model, or no candidate meets the requirements.
            FabricError: the last candidate's failure, with what the others failed of.
        """
        return self._answer(self._invoker.infer, request, deadline)

    async def stream(
        self, request: InferRequest, deadline: Deadline
    ) -> AsyncGenerator[Answer, None]:
        """The answers to *request* as they come; that of the last response may be empty.

        Candidates are tried until one gives a response, and its later failure is the caller's.
        The timeouts are those of all answers together. Close it, unless it has come to its end.
        Of a cascade or a mixture there is one answer.

        Raises:
            FabricError: what `infer` raises, after any number of answers.
        """
        responses: AsyncGenerator[InferResponse, None] | None = None

        async def first(card: Card, request: InferRequest, deadline: Deadline) -> InferResponse:
            nonlocal responses
            responses = self._invoker.stream(card, request, deadline)
            return await anext(responses)

        self.admit(request, deadline)
        if request.plan is not None and self._answering_together(request.plan, request) is not None:
            yield await self.infer(request, deadline)
            return
        answer = await self._answer(first, request, deadline)
        request.payload = b""  # nobody else is asked, and it may be large
        if responses is None:  # nobody was
            yield answer
            return
        async with aclosing(responses):
            yield answer
            async for response in responses:
                yield replace(answer, response=response)

    async def _answer(self, ask: Ask, request: InferRequest, deadline: Deadline) -> Answer:
        plan, place = request.plan, request.place
        if plan is None:
            plan = self._planner.plan(request.model, request.version, request.requirements)
        started = self._clock()
        deadline = deadline.within(plan.timeout, started)
        if place == len(plan.candidates):
            return await self._counted(plan.route, started, self._spared(plan, request))
        first = plan.candidates[place]
        has_followers = place + 1 < len(plan.candidates) and first.terms is PLAIN
        if not (has_followers and request.substitute) and is_last(plan, request, place):
            request.insists = True
        if (together := self._answering_together(plan, request)) is not None:
            joint = together.answer(plan, request, deadline)
            answer = await self._counted(plan.route, started, joint)
            if request.shadow and self.shadows is not None:
                self.shadows.follow(plan, request, answer, started)
            return answer
        self.budgets.asked(first.card.key, plan.retry.budget)
        beside: list[Attempt] = []
        try:
            if plan.hedging is not None and self._may_hedge(ask, request):
                answer = await self._hedged(plan.hedging, plan, place, request, deadline, beside)
            else:
                response = await self._attempt(ask, first, request, deadline)
                answer = Answer(
                    *(response, first.card.name, first.card.version, plan.route),
                    fallback=place > 0,
                    attempts=passed(request) if place else (),
                )
        except FabricError as error:
            walk = Walk(plan, request, self.budgets, place, failed=passed(request))
            for attempt in beside:
                walk.beside(attempt)
            falling = self._fall_back(ask, walk, deadline, error, started)
            answer = await (self._counted(plan.route, started, falling) if plan.route else falling)
        else:
            if plan.route:
                self._count(plan.route, started)
        if request.shadow and self.shadows is not None:
            self.shadows.follow(plan, request, answer, started)
        return answer

    def _answering_together(self, plan: Plan, request: InferRequest) -> Together | None:
        """A sequence is answered by one alone, since only who began it knows it, and so is what
        must not be answered twice."""
        if plan.cascade is None and plan.mixture is None:
            return None
        return self._together if request.idempotent and not request.sequence else None

    def _may_hedge(self, ask: Ask, request: InferRequest) -> bool:
        """A stream is not asked for twice."""
        return request.idempotent and not request.sequence and ask == self._invoker.infer

    async def _hedged(
        self,
        hedging: Hedging,
        plan: Plan,
        place: int,
        request: InferRequest,
        deadline: Deadline,
        beside: list[Attempt],
    ) -> Answer:
        found = await self._hedges.infer(hedging, plan, place, request, deadline, beside)
        attempts = passed(request)
        if found.overtaken is not None:
            attempts.append(found.overtaken)
        return Answer(
            *(found.response, found.candidate.card.name, found.candidate.card.version, plan.route),
            fallback=found.candidate is not plan.candidates[0],
            attempts=attempts,
        )

    def _may_give(self, plan: Plan, request: InferRequest) -> bool:
        """Whether *plan* has answers for when all whom it names are busy."""
        if not plan.given or not request.substitute or request.sequence:
            return False
        condition = _spared_on(plan)
        return any(condition in entry.conditions for entry in plan.given)

    async def _spared(self, plan: Plan, request: InferRequest) -> Answer:
        """The answer to a request for which nobody has time, or nobody is named.

        Raises:
            Overloaded: there is none.
        """
        attempts = passed(request)
        if (answer := self._give(plan, request, _spared_on(plan), attempts)) is not None:
            return answer
        busy = Overloaded(f"nobody can answer for '{request.model}' now: all are busy for longer")
        raise exhausted(attempts, busy)

    def _give(
        self, plan: Plan, request: InferRequest, condition: str, attempts: list[Attempt]
    ) -> Answer | None:
        """The first answer on *condition* that nobody has to be asked for, if there is one."""
        if self._gives is None or not request.substitute or request.sequence:
            return None
        for entry in plan.given:
            if (
                condition in entry.conditions
                and (found := self._gives.given(entry, plan, request)) is not None
            ):
                return Answer(
                    *(found.response, found.specialist, found.version, plan.route),
                    fallback=True,
                    attempts=attempts,
                )
        return None

    async def close(self) -> None:
        """Ends the shadow calls."""
        if self.shadows is not None:
            await self.shadows.close()

    async def _counted(
        self, route: str, started: float, answer: Coroutine[Any, Any, Answer]
    ) -> Answer:
        try:
            given = await answer
        except FabricError as error:
            if not isinstance(error, InvalidRequest):
                tally = self._tally(route)
                tally.failures += 1
                tally.failing += self._clock() - started
            raise
        self._count(route, started)
        return given

    def _count(self, route: str, started: float) -> None:
        tally = self._tally(route)
        tally.last = now = self._clock()
        tally.answers += 1
        tally.answering += now - started

    def _tally(self, route: str) -> Tally:
        tally = self.tallies.get(route)
        if tally is None:
            if len(self.tallies) >= _MOST_TALLIES:
                del self.tallies[next(iter(self.tallies))]
            tally = self.tallies[route] = Tally()
        return tally

    async def _attempt(
        self, ask: Ask, candidate: Candidate, request: InferRequest, deadline: Deadline
    ) -> InferResponse:
        now = self._clock()
        deadline = deadline.within(candidate.seconds(deadline.at - now), now)
        if request.request and self._observe is not None:
            return await self._observed(self._observe, ask, candidate, request, deadline)
        if telemetry.is_recorded(request.trace):
            return await _traced(ask, candidate, request, deadline)
        return await ask(candidate.card, request, deadline)

    async def _observed(
        self,
        observe: Observe,
        ask: Ask,
        candidate: Candidate,
        request: InferRequest,
        deadline: Deadline,
    ) -> InferResponse:
        started = self._clock()
        try:
            if telemetry.is_recorded(request.trace):
                response = await _traced(ask, candidate, request, deadline)
            else:
                response = await ask(candidate.card, request, deadline)
        except FabricError as error:
            observe(request, candidate, None, error, self._clock() - started, is_shadow=False)
            raise
        observe(request, candidate, response, None, self._clock() - started, is_shadow=False)
        return response

    async def _fall_back(
        self,
        ask: Ask,
        walk: Walk,
        deadline: Deadline,
        error: FabricError,
        started: float,
    ) -> Answer:
        """The answer of whoever *walk* leads to after the *error* of whom it has come to."""
        plan, request = walk.plan, walk.request
        candidate = plan.candidates[walk.place]
        while True:
            now = self._clock()
            following = walk.after(error, failed(candidate, error, now - started))
            wait = walk.wait(error, self._draw())
            if following is None or deadline.remaining(now) < wait + SHORTEST:
                last = walk.last
                if following is not None:
                    last = DeadlineExceeded("the deadline passed", replica=error.replica)
                if error.substitutable and candidate.terms.substitute:
                    answer = self._give(plan, request, last.condition, walk.failed)
                    if answer is not None:
                        return answer
                raise exhausted(walk.failed, last) from error
            if wait:
                await asyncio.sleep(wait)
            if following is not candidate:
                self.budgets.asked(following.card.key, plan.retry.budget)
            candidate, started = following, self._clock()
            request.avoid = walk.avoid
            if is_last(plan, request, walk.place):
                request.insists = True
            try:
                response = await self._attempt(ask, candidate, request, deadline)
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


def _spared_on(plan: Plan) -> str:
    """Why nobody is asked who is not ill."""
    return Overloaded.condition if plan.candidates else Unavailable.condition


async def _traced(
    ask: Ask, candidate: Candidate, request: InferRequest, deadline: Deadline
) -> InferResponse:
    names = {
        telemetry.SPECIALIST: candidate.card.name,
        telemetry.VERSION: candidate.card.version,
        telemetry.REASON: candidate.reason,
    }
    outer = request.trace
    with telemetry.span(telemetry.ATTEMPT_SPAN, outer, names, telemetry.CLIENT) as span:
        request.trace = telemetry.pack(span) or outer
        try:
            response = await ask(candidate.card, request, deadline)
        finally:
            request.trace = outer
        span.set_attribute(telemetry.REPLICA, response.replica)
        return response

"""Answers that more than one candidate has a part in: cascades and mixtures."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from fabric.core.deadlines import Deadline
from fabric.core.errors import DeadlineExceeded, FabricError, Overloaded
from fabric.core.plans import UNLIKE, UNSURE, Attempt, Candidate
from fabric.core.requests import Answer, InferResponse
from fabric.core.tensors import Tensors
from fabric.dispatch.attempts import SHORTEST, busy, failed, made, passed
from fabric.resilience.fallback import Walk, exhausted, is_last
from fabric.routing.confidence import Confidence, confidence
from fabric.routing.mixing import mixed

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from fabric.core.deadlines import Clock
    from fabric.core.plans import Plan
    from fabric.core.requests import InferRequest
    from fabric.core.routes import Cascade, Mixture
    from fabric.dispatch.invoking import Attempting, Invoker, Outputs
    from fabric.resilience.budgets import Budgets

_KEPT_BACK = 0.1
"""Of the time that is left, for giving an answer that is there already"""
_MOST_KEPT_BACK = 0.02
"""seconds at most."""

Give = Callable[["Plan", "InferRequest", str, list[Attempt]], Answer | None]
"""What is given on a condition where nobody's answer is, after these attempts."""


@dataclass(slots=True, eq=False)
class _Given:
    """An answer of a cascade."""

    candidate: Candidate
    response: InferResponse
    confidence: float
    attempt: Attempt | None = None
    """Where it came from, if it was not sure enough."""


@dataclass(frozen=True, slots=True)
class _Part:
    """What one candidate gives to a mixture,"""

    candidate: Candidate
    attempt: Attempt
    response: InferResponse
    outputs: Tensors


@dataclass(frozen=True, slots=True)
class _Loss:
    """or how it failed to."""

    attempt: Attempt
    error: FabricError


class Together:
    """Answers by the cascade or the mixture of a plan."""

    def __init__(
        self,
        attempting: Attempting,
        invoker: Invoker,
        budgets: Budgets,
        outputs: Outputs,
        give: Give,
        clock: Clock,
    ) -> None:
        self._attempt = attempting
        self._invoker = invoker
        self._budgets = budgets
        self._outputs = outputs
        self._give = give
        self._clock = clock

    def answer(
        self, plan: Plan, request: InferRequest, deadline: Deadline
    ) -> Coroutine[Any, Any, Answer]:
        """The answer by the cascade of *plan*, or by its mixture; it has one of both."""
        if plan.cascade is not None:
            return self._climb(plan.cascade, plan, request, deadline)
        assert plan.mixture is not None  # noqa: S101 - as the caller knows
        return self._mix(plan.mixture, plan, request, deadline)

    async def _climb(
        self, cascade: Cascade, plan: Plan, request: InferRequest, deadline: Deadline
    ) -> Answer:
        """The first answer that is sure enough, along the plan, whose cheapest come first.

        If nobody is, it is the last one's; if that one fails or has no time, the surest that there
        is, so that once somebody has answered, an answer comes. Where the caller wants the first
        candidate or nobody, that is who answers.

        Raises:
            FabricError: nobody has answered; the last failure, with what the others failed of.
        """
        walk = Walk(plan, request, self._budgets, request.place, failed=passed(request))
        candidate: Candidate | None = plan.candidates[request.place]
        following: Candidate | None = None
        given: list[_Given] = []
        outputs: Tensors | None = None
        while candidate is not None:
            started = self._clock()
            by = _earlier(deadline, started) if given else deadline
            try:
                response = await self._attempt(candidate, request, by)
            except FabricError as error:
                seconds = self._clock() - started
                candidate = walk.after(error, failed(candidate, error, seconds))
            else:
                seconds = self._clock() - started
                outputs, sure = self._judged(cascade, candidate, response, outputs)
                one = _Given(candidate, response, sure.value)
                if sure.value >= cascade.threshold and not sure.doubt:
                    return _answer(walk, one)
                one.attempt = _unsure(cascade, candidate, response, sure, seconds)
                candidate = walk.past(one.attempt)
                if candidate is None:
                    return self._unsure(walk, one)
                given.append(one)
            request.avoid = walk.avoid
            following, candidate = candidate, self._ready(walk, candidate, deadline)
            if is_last(plan, request, walk.place) and not given:
                request.insists = True
        if given:
            return self._unsure(walk, max(given, key=lambda each: each.confidence))
        last = walk.last
        if following is not None and deadline.remaining(self._clock()) < SHORTEST:
            last = DeadlineExceeded("the deadline passed", replica=last.replica)
        if (answer := self._given(walk.failed, plan, request, last)) is not None:
            return answer
        raise exhausted(walk.failed, last)

    def _unsure(self, walk: Walk, given: _Given) -> Answer:
        """What is given where nobody is sure: what the route says, or else what there is."""
        answer = self._give(walk.plan, walk.request, "unsure", walk.failed)
        return _answer(walk, given) if answer is None else answer

    def _given(
        self, attempts: list[Attempt], plan: Plan, request: InferRequest, last: FabricError
    ) -> Answer | None:
        """What is given where nobody has answered."""
        return self._give(plan, request, last.condition, attempts) if last.substitutable else None

    def _judged(
        self,
        cascade: Cascade,
        candidate: Candidate,
        response: InferResponse,
        before: Tensors | None,
    ) -> tuple[Tensors | None, Confidence]:
        """The outputs, and how sure they are."""
        try:
            outputs = self._outputs.read(response.payload)
        except FabricError as error:
            return before, Confidence(0.0, error.message)
        return outputs, confidence(cascade, candidate.card, outputs, before)

    def _ready(
        self, walk: Walk, candidate: Candidate | None, deadline: Deadline
    ) -> Candidate | None:
        """*candidate*, or the next one who can answer in time; None if nobody can."""
        now = self._clock()
        left = _earlier(deadline, now).remaining(now)
        while candidate is not None and not self._has_time(candidate, left, walk.request):
            candidate = walk.past(busy(candidate), Overloaded.condition, is_made=False)
        return candidate

    def _has_time(self, candidate: Candidate, left: float, request: InferRequest) -> bool:
        if left < SHORTEST:
            return False
        seconds = candidate.seconds(left)
        return self._invoker.promises(candidate.card, seconds, request.tenant, request.priority)

    async def _mix(
        self, mixture: Mixture, plan: Plan, request: InferRequest, deadline: Deadline
    ) -> Answer:
        """The answers of the plan's best candidates made into one.

        As many are asked at the same time as the mixture says, and no more than the attempts of a
        request. Who fails or is late is left out, as long as one of them answers; if none does, as
        many of those behind them are asked. Where the caller wants the first candidate or nobody,
        that is who answers.

        Raises:
            FabricError: all have failed; how the first did, with what the others failed of.
        """
        by = _earlier(deadline, self._clock())
        rest = iter(plan.candidates if request.substitute else plan.candidates[:1])
        top, budget = mixture.top or len(plan.candidates), plan.retry.attempts
        attempts: list[Attempt] = []
        losses: list[_Loss] = []
        while asked := self._chosen(rest, min(top, budget), request, by, attempts):
            async with asyncio.TaskGroup() as tasks:
                asking = [tasks.create_task(self._part(each, request, by)) for each in asked]
            results = [task.result() for task in asking]
            attempts += [each.attempt for each in results]
            if parts := [each for each in results if isinstance(each, _Part)]:
                return self._mixed(mixture, plan, parts, attempts)
            losses += [each for each in results if isinstance(each, _Loss)]
            if not all(loss.error.substitutable for loss in losses):
                break
            budget -= len(asked)
        last = losses[0].error
        if (answer := self._given(attempts, plan, request, last)) is not None:
            return answer
        raise exhausted(attempts, last)

    def _chosen(
        self,
        rest: Iterator[Candidate],
        most: int,
        request: InferRequest,
        by: Deadline,
        attempts: list[Attempt],
    ) -> list[Candidate]:
        """Whom of the *rest* to ask next; those who have no time are added to *attempts*.

        One by whom *request* was admitted has.
        """
        left = by.remaining(self._clock())
        admitted = request.plan.candidates[request.place] if request.plan is not None else None
        chosen: list[Candidate] = []
        while len(chosen) < most and (candidate := next(rest, None)) is not None:
            if candidate is admitted or self._has_time(candidate, left, request):
                chosen.append(candidate)
            else:
                attempts.append(busy(candidate))
        return chosen

    async def _part(
        self, candidate: Candidate, request: InferRequest, deadline: Deadline
    ) -> _Part | _Loss:
        """What *candidate* answers; that it fails ends nobody else's attempt."""
        started = self._clock()
        try:
            # Each has its own request: an attempt writes its trace context into it.
            own = replace(request)
            response = await self._attempt(candidate, own, deadline)
            outputs = self._outputs.read(response.payload)
        except FabricError as error:
            return _Loss(failed(candidate, error, self._clock() - started), error)
        attempt = made(candidate, response.replica, self._clock() - started)
        return _Part(candidate, attempt, response, outputs)

    def _mixed(
        self, mixture: Mixture, plan: Plan, parts: Sequence[_Part], attempts: Sequence[Attempt]
    ) -> Answer:
        scores = [part.candidate.score for part in parts]
        one = mixed(mixture, [part.outputs for part in parts], scores)
        taken = [parts[place] for place in one.parts]
        heaviest = taken[0]
        response = heaviest.response
        if one.tensors:
            payload = self._outputs.write(response.payload, one.tensors)
            kept = [part.response.reused for part in taken if part.response.reused is not None]
            oldest = max(kept, key=attrgetter("age"), default=None)
            response = InferResponse(payload, response.replica, reused=oldest)
        why = {id(parts[place].attempt): reason for place, reason in one.left_out.items()}
        card = heaviest.candidate.card
        return Answer(
            *(response, card.name, card.version, plan.route),
            fallback=all(part.candidate is not plan.candidates[0] for part in taken),
            attempts=[
                replace(each, error=UNLIKE, message=why[id(each)]) if id(each) in why else each
                for each in attempts
                if each is not heaviest.attempt
            ],
            confidence=one.confidence,
            mixture=tuple(part.candidate.card.key for part in taken),
        )


def _unsure(
    cascade: Cascade,
    candidate: Candidate,
    response: InferResponse,
    sure: Confidence,
    seconds: float,
) -> Attempt:
    """The attempt that gave *response*, where that is not what is given."""
    why = sure.doubt or f"its confidence {sure.value:.3g} is under {cascade.threshold:g}"
    return made(candidate, response.replica, seconds, UNSURE, why)


def _answer(walk: Walk, given: _Given) -> Answer:
    card = given.candidate.card
    others = [each for each in walk.failed if each is not given.attempt]
    return Answer(
        *(given.response, card.name, card.version, walk.plan.route),
        fallback=any(
            each.error != UNSURE and (each.specialist, each.version) != (card.name, card.version)
            for each in others
        ),
        attempts=others,
        confidence=given.confidence,
    )


def _earlier(deadline: Deadline, now: float) -> Deadline:
    """*deadline*, with a little time kept back: what is there by then can still be given."""
    left = max(deadline.remaining(now), 0.0)
    return Deadline(deadline.at - min(_KEPT_BACK * left, _MOST_KEPT_BACK))

"""One attempt, and a second one beside it where the first takes longer than usual."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fabric.core.errors import FabricError
from fabric.core.plans import OVERTAKEN, Attempt, Candidate
from fabric.core.requests import InferResponse
from fabric.dispatch.attempts import failed, made

if TYPE_CHECKING:
    from fabric.core.deadlines import Clock, Deadline
    from fabric.core.plans import Plan
    from fabric.core.requests import InferRequest
    from fabric.core.routes import Hedging
    from fabric.dispatch.invoking import Attempting, Invoker
    from fabric.resilience.budgets import Budgets

_Outcome = InferResponse | FabricError


@dataclass(slots=True, eq=False)
class Hedged:
    """Who answered, and what became of whom the answer was expected from."""

    candidate: Candidate
    response: InferResponse
    overtaken: Attempt | None = None


class Hedges:
    """Asks once more where an answer takes longer than usual, within the budget of whom it asks.

    The first good answer counts (Dean and Barroso, "The Tail at Scale", 2013); whoever has not
    answered by then is cancelled, and has ended when that is given.
    """

    def __init__(
        self, attempting: Attempting, invoker: Invoker, budgets: Budgets, clock: Clock
    ) -> None:
        self._attempt = attempting
        self._invoker = invoker
        self._budgets = budgets
        self._clock = clock

    async def infer(
        self,
        hedging: Hedging,
        plan: Plan,
        place: int,
        request: InferRequest,
        deadline: Deadline,
        beside: list[Attempt],
    ) -> Hedged:
        """The answer of the candidate at *place*, or of who is asked beside it: another replica of
        the same specialist, or the next candidate that is tried on one that is late.

        Raises:
            FabricError: how the candidate failed; if anybody was asked beside it, how that one did
                is in *beside* then.
        """
        candidate = plan.candidates[place]
        usual = self._invoker.usual(candidate.card, hedging.quantile)
        if usual is None:
            return Hedged(candidate, await self._attempt(candidate, request, deadline))
        begun, own = self._clock(), replace(request)
        patience = max(usual, hedging.least)
        first, second, other = await self._raced(plan, place, own, deadline, patience)
        if isinstance(first, InferResponse):
            return Hedged(candidate, first)
        seconds = self._clock() - begun
        if isinstance(second, InferResponse):
            if first is None:
                why = f"it took longer than {patience:.3g} s, as {hedging.quantile:g} do not"
                overtaken = made(candidate, own.asked, seconds, OVERTAKEN, why)
            else:
                overtaken = failed(candidate, first, seconds)
            return Hedged(other, second, overtaken)
        assert first is not None  # noqa: S101 - nobody has answered, so it has ended
        if second is not None:
            beside.append(failed(other, second, seconds - patience))
        try:
            raise first
        finally:
            del first, second  # whose tracebacks hold this frame

    async def _raced(
        self, plan: Plan, place: int, request: InferRequest, deadline: Deadline, patience: float
    ) -> tuple[_Outcome | None, _Outcome | None, Candidate]:
        """What became of the first and the second; None of one that was not asked, or cancelled.
        And who the second was."""
        candidate = plan.candidates[place]
        first = asyncio.create_task(self._outcome(candidate, request, deadline))
        tasks = [first]
        try:
            await asyncio.wait(tasks, timeout=patience)
            if first.done():
                return first.result(), None, candidate
            other, beside = self._beside(plan, place, request)
            if other is None:
                return await first, None, candidate
            second = asyncio.create_task(self._outcome(other, beside, deadline))
            tasks.append(second)
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if not any(isinstance(task.result(), InferResponse) for task in tasks if task.done()):
                await asyncio.wait(tasks)
            found = [task.result() if task.done() else None for task in tasks]
            return found[0], found[1], other
        finally:
            left = [task for task in tasks if not task.done()]
            for task in left:
                task.cancel()
            if left:
                await asyncio.wait(left)

    def _beside(
        self, plan: Plan, place: int, request: InferRequest
    ) -> tuple[Candidate | None, InferRequest]:
        """Who is asked beside the candidate at *place*, and what; None if there is nobody."""
        candidate = plan.candidates[place]
        avoid = request.avoid | {request.asked}
        if self._invoker.others(candidate.card, avoid):
            chosen: Candidate | None = candidate
        elif not (request.substitute and candidate.terms.substitute):
            chosen = None
        else:
            behind = plan.candidates[place + 1 :]
            chosen = next((each for each in behind if "late" in each.terms.on), None)
        if chosen is None or not self._budgets.spend(chosen.card.key):
            return None, request
        return chosen, replace(request, avoid=avoid)

    async def _outcome(
        self, candidate: Candidate, request: InferRequest, deadline: Deadline
    ) -> _Outcome:
        try:
            return await self._attempt(candidate, request, deadline)
        except FabricError as error:
            return error.with_traceback(None)

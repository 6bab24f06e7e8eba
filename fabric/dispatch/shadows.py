"""Shadow calls: a second candidate is given a request too, and nobody its answer."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from fabric.core.deadlines import NEVER
from fabric.core.errors import FabricError

if TYPE_CHECKING:
    from fabric.core.deadlines import Clock
    from fabric.core.plans import Candidate, Plan
    from fabric.core.requests import Answer, InferRequest
    from fabric.dispatch.invoking import Invoker, Observe

log = logging.getLogger(__name__)

_MOST = 64
_MOST_BYTES = 1 << 26
"""Of their requests together."""
_PATIENCE = 0.1
"""Of the time that is left: who would take longer is busy with requests that somebody waits for."""


class Shadows:
    """Owns the shadow calls of a dispatcher, up to 64 at once; close it to end them."""

    def __init__(self, invoker: Invoker, observe: Observe, clock: Clock) -> None:
        self._invoker = invoker
        self._observe = observe
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._bytes = 0
        self.skipped = 0
        """Those for which there was no room, here or at whom they were for."""

    def follow(self, plan: Plan, request: InferRequest, answer: Answer, since: float) -> None:
        """Asks whom *request* names as its shadow, in a turn of the event loop to come.

        It has its own timeout, counted from when the request came. Nobody is asked who was asked
        for the *answer*, nor where that has not come to its end, nor for a request of a sequence,
        which would change what its specialist remembers, nor one that must not be answered twice.
        """
        named = (each for each in plan.candidates if each.card.key == request.shadow)
        candidate = next(named, None)
        may_ask = request.idempotent and not request.sequence and answer.response.is_last
        if candidate is None or not may_ask:
            return
        tried = [(each.specialist, each.version) for each in answer.attempts if each.replica]
        tried.append((answer.specialist, answer.version))
        if (candidate.card.name, candidate.card.version) in tried:
            return
        size = len(request.payload)
        if len(self._tasks) >= _MOST or self._bytes + size > _MOST_BYTES:
            self.skipped += 1
            return
        own = replace(request, trace=b"", avoid=frozenset(), insists=False)
        task = asyncio.create_task(self._ask(candidate, own, since))
        self._tasks.add(task)
        self._bytes += size
        task.add_done_callback(lambda task: self._ended(task, size))

    async def close(self) -> None:
        """Returns when none is left; nothing is said of those that had no answer yet."""
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)

    async def _ask(self, candidate: Candidate, request: InferRequest, since: float) -> None:
        await asyncio.sleep(0)  # the answer goes out first
        started = self._clock()
        deadline = NEVER.within(candidate.timeout, since)
        patience = deadline.remaining(started) * _PATIENCE
        if patience <= 0.0 or not self._invoker.promises(
            candidate.card, patience, request.tenant, request.priority
        ):
            self.skipped += 1
            return
        response = error = None
        try:
            response = await self._invoker.infer(candidate.card, request, deadline)
        except FabricError as failure:
            error = failure
        seconds = self._clock() - started
        self._observe(request, candidate, response, error, seconds, is_shadow=True)

    def _ended(self, task: asyncio.Task[None], size: int) -> None:
        self._tasks.discard(task)
        self._bytes -= size
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("unexpected error in a shadow call", exc_info=error)

"""Calls that equal requests share: each waits for itself, and the last to leave ends the call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from fabric.core.deadlines import Deadline
from fabric.core.errors import DeadlineExceeded, FabricError, Unavailable, error_of
from fabric.core.requests import InferRequest, InferResponse
from fabric.dispatch.attempts import SHORTEST
from fabric.gateway.kept import Key

if TYPE_CHECKING:
    from fabric.core.cards import Card
    from fabric.core.deadlines import Clock

_GRACE = 0.005
"""Seconds for who is late to be named by whoever waited for it."""
_INFINITE = float("inf")

Alike = tuple[Key, int, float, frozenset[str]]
"""What those ask who share a call, and how: with which priority and patience, avoiding whom."""
Asking = Callable[[Key, "Card", InferRequest, Deadline], Awaitable[InferResponse]]


class Call:
    """One call that equal requests wait for, until it is answered or all of them have left."""

    __slots__ = ("alike", "callers", "deadline", "request", "task")

    def __init__(self, alike: Alike, request: InferRequest, deadline: Deadline) -> None:
        self.alike = alike
        self.request = request
        self.deadline = deadline
        """The latest of the callers'."""
        self.callers = 0
        self.task: asyncio.Task[InferResponse | FabricError]


class Sharing:
    """Owns the calls, which are made by *asking*; close it to end them."""

    def __init__(self, asking: Asking, clock: Clock) -> None:
        self._asking = asking
        self._clock = clock
        self._calls: dict[Alike, Call] = {}
        """Those that can be joined."""
        self._tasks: set[asyncio.Task[InferResponse | FabricError]] = set()

    def find(self, alike: Alike) -> Call | None:
        return self._calls.get(alike)

    def begin(self, alike: Alike, card: Card, request: InferRequest, deadline: Deadline) -> Call:
        """A new call, for which somebody has to wait."""
        # With a request of its own, by which replicas are asked: this one goes on to change.
        own = InferRequest(
            request.model,
            request.version,
            request.payload,
            trace=request.trace,
            avoid=request.avoid,
        )
        call = self._calls[alike] = Call(alike, own, deadline)
        call.task = asyncio.create_task(self._ask(call, card))
        self._tasks.add(call.task)
        call.task.add_done_callback(self._tasks.discard)
        return call

    async def wait(self, call: Call, request: InferRequest, deadline: Deadline) -> InferResponse:
        """What *call* gives, for *request*, which waits until *deadline*.

        Raises:
            DeadlineExceeded: that has passed.
            Unavailable: the gateway stops.
            FabricError: how the call failed.
        """
        if deadline.at > call.deadline.at:
            call.deadline = deadline
        left = deadline.remaining(self._clock())
        patience = None if left == _INFINITE else max(left, 0.0) + _GRACE
        call.callers += 1
        try:
            await asyncio.sleep(0)  # by the next turn of the loop it has asked
            request.asked = call.request.asked
            done, _ = await asyncio.wait((call.task,), timeout=patience)
        finally:
            call.callers -= 1
            if not call.callers and not call.task.done():
                call.task.cancel()
                self._forget(call)
        if not done:
            raise DeadlineExceeded(f"{call.alike[0].specialist} did not answer in time")
        if call.task.cancelled():
            raise Unavailable("the gateway stops")
        outcome = call.task.result()
        if isinstance(outcome, FabricError):
            raise _another(outcome)  # for each its own, which takes its traceback along
        return outcome

    async def close(self) -> None:
        """Returns when no call is left."""
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)

    async def _ask(self, call: Call, card: Card) -> InferResponse | FabricError:
        """The answer, or how it failed; asked for again where somebody has more time."""
        try:
            while True:
                deadline = call.deadline
                try:
                    return await self._asking(call.alike[0], card, call.request, deadline)
                except FabricError as error:
                    if not self._has_more_time(call, deadline, error):
                        return error.with_traceback(None)  # whose frames hold on to the request
        finally:
            self._forget(call)

    def _has_more_time(self, call: Call, deadline: Deadline, error: FabricError) -> bool:
        """Whether *error* is that of *deadline*, and somebody waits for longer."""
        if not isinstance(error, DeadlineExceeded) or call.deadline.at <= deadline.at:
            return False
        return call.deadline.remaining(self._clock()) >= SHORTEST

    def _forget(self, call: Call) -> None:
        if self._calls.get(call.alike) is call:
            del self._calls[call.alike]


def _another(error: FabricError) -> FabricError:
    made = error_of(error.code, error.reason, error.message)
    made.replica = error.replica
    return made

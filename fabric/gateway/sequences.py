"""Sequences stay where they began: every request of one goes to the replica that has its state.

On its start a sequence takes the way of any request, and of the replicas of a specialist the one
that its id hashes to, so that gateways agree while they know the same replicas. From then on it is
pinned. Its requests are sent one after the other: a replica answers them so anyway, and nothing
on the way can change their order.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fabric.core.errors import (
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    Overloaded,
    SequenceLost,
    Unavailable,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator

    from fabric.core.cards import Sequences as Declared
    from fabric.core.cards import Specialist
    from fabric.core.deadlines import Clock, Deadline
    from fabric.core.requests import Answer, InferRequest
    from fabric.dispatch import Dispatcher
    from fabric.gateway.replicas import ReplicaPool
    from fabric.routing.planner import Planner

_MOST_PINS = 1 << 16
_MOST_WAITING = 1024
"""Requests of one sequence."""

_Key = tuple[str, str, str]
"""The model and version asked for, and the sequence."""


class Pin:
    """Where a sequence lives, as far as this gateway knows."""

    __slots__ = ("answer", "idle_timeout", "is_lost", "replica", "requests", "since", "turn")

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        """Of one request at a time, in the order in which they came."""
        self.requests = 0
        """That have their turn, or wait for it."""
        self.answer: Answer | None = None
        """Of the request that pinned it: by whom, and by which route."""
        self.replica = ""
        """Empty where none is known."""
        self.is_lost = False
        self.since = 0.0
        """When it was used last."""
        self.idle_timeout = 0.0

    def is_over(self, now: float) -> bool:
        """Whether the sequence has ended by itself, if there was one."""
        return now - self.since > self.idle_timeout


class Sequences:
    """Dispatches as *dispatcher* does, and keeps each sequence with one replica of *pool*."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        planner: Planner,
        pool: ReplicaPool,
        find: Callable[[str, str], Specialist | None],
        clock: Clock = time.monotonic,
    ) -> None:
        self._dispatcher = dispatcher
        self._planner = planner
        self._pool = pool
        self._find = find
        self._clock = clock
        self._pins: OrderedDict[_Key, Pin] = OrderedDict()
        """The longest unused first."""

    async def close(self) -> None:
        """See `Dispatcher.close`."""
        await self._dispatcher.close()

    def admit(self, request: InferRequest, deadline: Deadline) -> None:
        """See `Dispatcher.admit`; requests of sequences have their turns before it is known."""
        if not request.sequence:
            self._dispatcher.admit(request, deadline)

    def infer(self, request: InferRequest, deadline: Deadline) -> Coroutine[Any, Any, Answer]:
        """The answer to *request*, see `Dispatcher.infer`.

        Raises:
            InvalidRequest: it goes on with a sequence that nobody knows.
            SequenceLost: the replica that had the sequence is gone.
        """
        if request.sequence:
            return self._infer(request, deadline)
        return self._dispatcher.infer(request, deadline)

    def stream(self, request: InferRequest, deadline: Deadline) -> AsyncGenerator[Answer, None]:
        """The answers to *request* as they come, see `Dispatcher.stream`; raises as `infer`."""
        if request.sequence:
            return self._stream(request, deadline)
        return self._dispatcher.stream(request, deadline)

    async def _infer(self, request: InferRequest, deadline: Deadline) -> Answer:
        if not self._is_stateful(request):
            return await self._dispatcher.infer(request, deadline)
        async with self._turn(request, deadline) as (pin, sent):
            answer = await self._dispatcher.infer(sent, deadline)
            return self._answered(pin, request, answer)

    async def _stream(
        self, request: InferRequest, deadline: Deadline
    ) -> AsyncGenerator[Answer, None]:
        if not self._is_stateful(request):
            async with aclosing(self._dispatcher.stream(request, deadline)) as answers:
                async for answer in answers:
                    yield answer
            return
        async with (
            self._turn(request, deadline) as (pin, sent),
            aclosing(self._dispatcher.stream(sent, deadline)) as answers,
        ):
            async for answer in answers:
                yield self._answered(pin, request, answer)

    @asynccontextmanager
    async def _turn(
        self, request: InferRequest, deadline: Deadline
    ) -> AsyncIterator[tuple[Pin, InferRequest]]:
        """The turn of *request* in its sequence: where that is pinned, and what to send."""
        key = _key(request)
        pin = self._pin(key)
        if pin.requests >= _MOST_WAITING:
            raise Overloaded(
                f"Exceeds maximum queue size: {pin.requests} requests of sequence "
                f"{request.sequence} are waiting here already"
            )
        pin.requests += 1
        try:
            await self._wait(pin, deadline)
            try:
                sent = self._sent(pin, request)
                with self._losing(pin, request, sent):
                    yield pin, sent
            finally:
                pin.since = self._clock()
                pin.turn.release()
        finally:
            pin.requests -= 1
            if not pin.requests and not pin.replica and self._pins.get(key) is pin:
                del self._pins[key]

    @contextmanager
    def _losing(self, pin: Pin, request: InferRequest, sent: InferRequest) -> Iterator[None]:
        """Tells of a replica that is gone, or whose specialist is, that the sequence is lost."""
        try:
            yield
        except (NotFound, Unavailable) as error:
            is_there = isinstance(error, Unavailable) and self._pool.holds(sent.replica)
            if not sent.replica or is_there:
                raise
            pin.is_lost = True
            raise _lost(request) from error

    async def _wait(self, pin: Pin, deadline: Deadline) -> None:
        remaining = deadline.remaining(self._clock())
        try:
            async with asyncio.timeout(remaining if remaining < float("inf") else None):
                await pin.turn.acquire()
        except TimeoutError:
            raise DeadlineExceeded(
                "the deadline passed while the request waited for those of its sequence before it"
            ) from None

    # ------------------------------------------------------------------ pins
    def _pin(self, key: _Key) -> Pin:
        pin = self._pins.get(key)
        if pin is not None:
            self._pins.move_to_end(key)
            return pin
        now = self._clock()
        while self._pins:
            oldest = next(iter(self._pins.values()))
            if len(self._pins) < _MOST_PINS and (oldest.requests or not oldest.is_over(now)):
                break
            self._pins.popitem(last=False)
        pin = self._pins[key] = Pin()
        return pin

    def _sent(self, pin: Pin, request: InferRequest) -> InferRequest:
        """*request* as it is to be dispatched."""
        if request.starts or pin.is_over(self._clock()):
            pin.replica = ""
            pin.is_lost = False
        if request.starts:
            return request
        if not pin.replica:
            return self._without_pin(request)
        if pin.is_lost:
            raise _lost(request)
        assert pin.answer is not None  # noqa: S101 - as `_answered` has set it
        specialist, version = pin.answer.specialist, pin.answer.version
        return replace(
            request, model=specialist, version=version, requirements=None, replica=pin.replica
        )

    def _without_pin(self, request: InferRequest) -> InferRequest:
        """For a sequence that another gateway has started, or nobody."""
        plan = self._planner.plan(request.model, request.version, request.requirements)
        if plan.route:
            raise InvalidRequest(
                f"inference request for sequence {request.sequence} to model '{request.model}' "
                "must specify the START flag on the first request of the sequence"
            )
        replica = self._pool.nearest(plan.candidates[0].card.key, request.sequence)
        return replace(request, replica=replica)

    def _answered(self, pin: Pin, request: InferRequest, answer: Answer) -> Answer:
        """*answer* with the route that the sequence took; the sequence is where it came from."""
        if pin.replica and pin.answer is not None:
            answer.route, answer.fallback = pin.answer.route, pin.answer.fallback
        elif (declared := self._declared(answer.specialist, answer.version)) is not None:
            pin.answer = replace(answer, response=replace(answer.response, payload=b""))
            pin.replica = answer.response.replica
            pin.idle_timeout = declared.idle_timeout
        if request.ends and answer.response.is_last:
            pin.replica = ""
        return answer

    def _is_stateful(self, request: InferRequest) -> bool:
        """Whether whoever may answer keeps sequences; others take no notice of them."""
        if _key(request) in self._pins:
            return True
        plan = self._planner.plan(request.model, request.version, request.requirements)
        cards = (candidate.card for candidate in plan.candidates)
        return any(self._declared(card.name, card.version) is not None for card in cards)

    def _declared(self, name: str, version: str) -> Declared | None:
        specialist = self._find(name, version)
        return None if specialist is None else specialist.hosting.sequences


def _key(request: InferRequest) -> _Key:
    return request.model, request.version, request.sequence


def _lost(request: InferRequest) -> SequenceLost:
    return SequenceLost(
        f"sequence {request.sequence} of '{request.model}' was lost with its replica; "
        "start it again"
    )

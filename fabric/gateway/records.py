"""The latest decisions and how they went, kept here and reported to the control plane."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import OrderedDict, deque
from collections.abc import Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

import grpc

from fabric.api.routing.v1 import learning_service_pb2 as pb
from fabric.core.decisions import Decision, Outcome
from fabric.core.plans import Plan
from fabric.wire.labels import label_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fabric.api.routing.v1.learning_service_pb2_grpc import LearningServiceStub
    from fabric.core.errors import FabricError
    from fabric.core.plans import Candidate
    from fabric.core.requests import InferRequest, InferResponse

log = logging.getLogger(__name__)

MOST = 1 << 14
"""Decisions that are kept, and as many that wait to be reported, with an outcome each."""
MOST_BYTES = 1 << 26
"""Of either of them, about."""
_BATCH = 256
_BATCH_BYTES = 1 << 20
_GATHERED = 0.1
"""Seconds for a batch to fill."""
_PATIENCE = 5.0
_LAST_PATIENCE = 1.0
_FIRST_WAIT = 0.2
_LONGEST_WAIT = 5.0
_NOTHING: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """One decision with the plan that it made, and what came of it so far."""

    decision: Decision
    plan: Plan
    is_reported: bool
    expected: Mapping[str, float]
    """How likely each was to succeed, where somebody may have been tried to learn of it."""
    outcomes: list[Outcome] = field(default_factory=list)
    heard: set[tuple[str, str]] = field(default_factory=set)
    """What was said of it: the id of the feedback, or else whom it was about."""


class Records:
    """What the decisions of this gateway came to; an `Observe` of its dispatcher."""

    def __init__(self, most: int = MOST, most_bytes: int = MOST_BYTES) -> None:
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        """By the request's id, the oldest first."""
        self._kept_bytes = 0
        self._most, self._most_bytes = most, most_bytes
        self._waiting: deque[Decision | Outcome] = deque()
        self._waiting_bytes = 0
        self._news = asyncio.Event()
        self.dropped = 0
        """What was not reported, for lack of room while the control plane was away."""

    def find(self, request: str) -> Kept | None:
        """The decision for the request with this id, if it is among the latest."""
        return self._kept.get(request)

    def decided(
        self,
        decision: Decision,
        plan: Plan,
        *,
        is_reported: bool,
        expected: Mapping[str, float] = _NOTHING,
    ) -> None:
        """Keeps *decision*, and has it and its outcomes reported if *is_reported*."""
        self._kept[decision.request] = Kept(decision, plan, is_reported, expected)
        self._kept_bytes += _size(decision)
        while len(self._kept) > self._most or self._kept_bytes > self._most_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._kept_bytes -= _size(oldest.decision)
        if is_reported:
            self._report(decision)

    def __call__(
        self,
        request: InferRequest,
        candidate: Candidate,
        response: InferResponse | None,
        error: FabricError | None,
        seconds: float,
        *,
        is_shadow: bool,
    ) -> None:
        """Keeps how *candidate* did at *request*, if its decision is kept."""
        kept = self._kept.get(request.request)
        if kept is None:
            return
        label, confidence = ("", None) if response is None else label_of(response.payload)
        outcome = Outcome(
            request=request.request,
            specialist=candidate.card.key,
            seconds=seconds,
            error="" if error is None else error.reason,
            cost=0.0 if response is None else candidate.card.cost,
            confidence=confidence,
            label=label,
            is_shadow=is_shadow,
        )
        kept.outcomes.append(outcome)
        if kept.is_reported:
            self._report(outcome)

    # ------------------------------------------------------------------ to the control plane
    async def come(self) -> None:
        """Returns when something waits to be reported, and others had time to come along."""
        await self._news.wait()
        if len(self._waiting) < _BATCH:
            await asyncio.sleep(_GATHERED)

    def take(self) -> list[Decision | Outcome]:
        """What is to be reported next, the oldest first; it waits no more."""
        taken: list[Decision | Outcome] = []
        size = 0
        while self._waiting and len(taken) < _BATCH and size < _BATCH_BYTES:
            taken.append(self._waiting.popleft())
            size += _size(taken[-1])
        self._waiting_bytes -= size
        if not self._waiting:
            self._news.clear()
        return taken

    def put_back(self, taken: list[Decision | Outcome]) -> None:
        """*taken* was not reported, and waits again as far as there is room."""
        self._waiting.extendleft(reversed(taken))
        self._waiting_bytes += sum(map(_size, taken))
        self._bound()

    def _report(self, said: Decision | Outcome) -> None:
        self._waiting.append(said)
        self._waiting_bytes += _size(said)
        self._bound()

    def _bound(self) -> None:
        """Lets go of the oldest for which there is no room."""
        while len(self._waiting) > 2 * self._most or self._waiting_bytes > self._most_bytes:
            self._waiting_bytes -= _size(self._waiting.popleft())
            self.dropped += 1
        if self._waiting:
            self._news.set()


def _size(said: Decision | Outcome) -> int:
    """The memory of *said* in bytes, about."""
    if isinstance(said, Outcome):
        return 400
    query = said.query
    return 1000 + 4 * len(query.text) + 32 * len(query.numbers) + 500 * len(said.candidates)


@asynccontextmanager
async def reported(records: Records, stub: LearningServiceStub) -> AsyncIterator[None]:
    """While it is used, the control plane behind *stub* is told what is decided and how it went.

    At the end what still waits is said once more, if that takes no longer than a second.
    """
    task = asyncio.create_task(_report(records, stub))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))
        with suppress(grpc.RpcError, TimeoutError):
            async with asyncio.timeout(_LAST_PATIENCE):
                while taken := records.take():
                    await stub.Record(_request(taken))


async def _report(records: Records, stub: LearningServiceStub) -> None:
    wait = _FIRST_WAIT
    while True:
        await records.come()
        taken = records.take()
        sending = asyncio.ensure_future(stub.Record(_request(taken), timeout=_PATIENCE))
        try:
            await asyncio.shield(sending)
        except asyncio.CancelledError:
            await _ended(sending)
            if sending.cancelled() or sending.exception() is not None:
                records.put_back(taken)
            raise
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:  # nor will it ever be taken
                log.error("the control plane refuses what was decided: %s", error.details())
                records.dropped += len(taken)
                continue
            if wait == _FIRST_WAIT:
                log.warning("what is decided waits to be reported: %s", error.code())
            records.put_back(taken)
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            wait = min(2 * wait, _LONGEST_WAIT)
        else:
            wait = _FIRST_WAIT


async def _ended(sending: asyncio.Future[pb.RecordResponse]) -> None:
    """Returns when *sending* has come to an end, which may have been taken just now."""
    await asyncio.wait((sending,), timeout=_LAST_PATIENCE)
    sending.cancel()
    await asyncio.wait((sending,))


def _request(taken: list[Decision | Outcome]) -> pb.RecordRequest:
    request = pb.RecordRequest()
    for said in taken:
        fields = dict(vars(said))  # by name; quicker than `to_message`, and as right
        if isinstance(said, Decision):
            fields["query"] = pb.Query(**vars(said.query))
            request.decisions.append(pb.Decision(**fields))
        else:
            request.outcomes.append(pb.Outcome(**fields))
    return request

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
_REFUSALS = frozenset(
    (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
)
"""What one bad record may be answered with, which would be again."""
_NOTHING: Mapping[str, float] = MappingProxyType({})


@dataclass(slots=True, eq=False)
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
    bytes: int = 0
    """In memory, about."""


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
        """What was not reported: for lack of room while the control plane was away, or refused."""

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
        kept = Kept(decision, plan, is_reported, expected)
        self._kept[decision.request] = kept
        self._grow(kept, _size(decision))
        if is_reported:
            self._report(decision)

    def hear(self, kept: Kept, said: tuple[str, str]) -> None:
        """Remembers that this was *said* of a decision that is kept."""
        kept.heard.add(said)
        self._grow(kept, 200 + sum(map(len, said)))

    def _grow(self, kept: Kept, size: int) -> None:
        """*kept* holds so many bytes more; the oldest are let go of for it."""
        kept.bytes += size
        self._kept_bytes += size
        while len(self._kept) > self._most or self._kept_bytes > self._most_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._kept_bytes -= oldest.bytes

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
        self._grow(kept, _size(outcome))
        if kept.is_reported:
            self._report(outcome)

    # ------------------------------------------------------------------ to the control plane
    async def come(self) -> None:
        """Returns when something waits to be reported, and others had time to come along."""
        await self._news.wait()
        if len(self._waiting) < _BATCH:
            await asyncio.sleep(_GATHERED)

    def take(self, most: int = _BATCH) -> list[Decision | Outcome]:
        """What is to be reported next, the oldest first, *most* of it; it waits no more."""
        taken: list[Decision | Outcome] = []
        size = 0
        while self._waiting and len(taken) < most and size < _BATCH_BYTES:
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
    reporter = _Reporter(records, stub)
    task = asyncio.create_task(reporter.report())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))
        with suppress(grpc.RpcError, TimeoutError):
            async with asyncio.timeout(_LAST_PATIENCE):
                while await reporter.tell():
                    pass


class _Reporter:
    """Tells the control plane behind *stub* what waits in *records*.

    What is refused is told again in halves, until one alone is: that one is dropped.
    """

    def __init__(self, records: Records, stub: LearningServiceStub) -> None:
        self._records = records
        self._stub = stub
        self._most = _BATCH
        """Decisions and outcomes that are told at a time."""

    async def report(self) -> None:
        """Tells what waits, whenever there is something, for ever; leaves nothing half told."""
        wait = _FIRST_WAIT
        while True:
            await self._records.come()
            telling = asyncio.create_task(self.tell())
            try:
                await asyncio.shield(telling)
            except asyncio.CancelledError:
                await _ended(telling)
                raise
            except grpc.RpcError as error:
                if wait == _FIRST_WAIT:
                    log.warning("what is decided waits to be reported: %s", error.code())
                await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                wait = min(2 * wait, _LONGEST_WAIT)
            else:
                wait = _FIRST_WAIT

    async def tell(self) -> bool:
        """Tells what waits next, and lets go of it where it is told, or refused alone; whether
        there was anything.

        Raises:
            grpc.RpcError: the control plane takes nothing now.
        """
        if not (taken := self._records.take(self._most)):
            return False
        try:
            await self._stub.Record(_request(taken), timeout=_PATIENCE)
        except asyncio.CancelledError:
            self._records.put_back(taken)
            raise
        except grpc.RpcError as error:
            if error.code() in _REFUSALS:
                self._refused(taken, error.details())
            else:
                self._records.put_back(taken)
            if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
                raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the rest is told
            self._refused(taken, repr(error))
        else:
            self._most = min(2 * self._most, _BATCH)
        return True

    def _refused(self, taken: list[Decision | Outcome], why: str) -> None:
        self._most = max(len(taken) // 2, 1)
        if len(taken) > 1:
            self._records.put_back(taken)
            return
        self._records.dropped += 1
        kind = type(taken[0]).__name__.lower()
        log.error("the %s of request %s is not reported: %s", kind, taken[0].request, why)


async def _ended(telling: asyncio.Task[bool]) -> None:
    """Returns when *telling* has come to an end: what it tells may have been taken just now."""
    await asyncio.wait((telling,), timeout=_LAST_PATIENCE)
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)


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

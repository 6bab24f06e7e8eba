"""Answers that are kept, and given again to equal requests of the same tenant.

What cards allow to be kept is, for as long as they say and as there is room. Equal requests that
come while none is kept yet share one call. An answer is kept under what it follows from: what the
replicas run, who asks, and the digest of what is asked; nothing is given to anybody else.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from fabric import telemetry
from fabric.core.errors import DeadlineExceeded, FabricError, Overloaded, Unavailable, error_of
from fabric.core.requests import InferRequest, InferResponse, Reused
from fabric.dispatch.attempts import SHORTEST
from fabric.wire.digests import content_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Container, Coroutine

    from fabric.core.cards import Caching, Card
    from fabric.core.deadlines import Clock, Deadline
    from fabric.gateway.replicas import ReplicaPool

_SHARE = 8
"""An answer is kept if so many of its size would have room."""
_BESIDE = 512
"""Bytes that an answer takes beside its payload; so their number is bounded too."""
_LARGE = 1 << 18
"""Bytes of a request from which on its digest is made in a thread."""
_GRACE = 0.005
"""Seconds for who is late to be named by whoever waited for it."""
_INFINITE = float("inf")


class Key(NamedTuple):
    """What an answer follows from."""

    specialist: str
    """`name:version`,"""
    model: str
    """and what the replicas of that name run, see `ReplicaPool.models`."""
    tenant: str
    digest: bytes
    """See `Content`."""


@dataclass(frozen=True, slots=True)
class Entry:
    payload: bytes
    replica: str
    """Whose answer it is."""
    at: float
    """When it came."""


class Entries:
    """The answers that were used last, of *most* bytes together."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.bytes = 0
        self._entries: OrderedDict[Key, Entry] = OrderedDict()
        """The longest unused first."""

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> Entry | None:
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def put(self, key: Key, response: InferResponse, now: float) -> None:
        """Keeps a copy of *response* instead of the one before, unless it is more than a share."""
        self._remove(key)
        size = len(response.payload) + _BESIDE
        if size > self.most // _SHARE:
            return
        while self.bytes + size > self.most:
            self._remove(next(iter(self._entries)))
        # Large payloads may be views of memory that a replica has lent.
        self._entries[key] = Entry(bytes(response.payload), response.replica, now)
        self.bytes += size

    def retain(self, specialists: Container[str]) -> None:
        """Forgets the answers of all others."""
        for key in [each for each in self._entries if each.specialist not in specialists]:
            self._remove(key)

    def _remove(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes -= len(entry.payload) + _BESIDE


@dataclass(slots=True)
class Count:
    """How often something was, and the seconds that took all together."""

    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.seconds += seconds


@dataclass(slots=True)
class Uses:
    """Of the answers of one specialist."""

    hits: Count
    misses: Count


_Sharing = tuple[Key, int, float, frozenset[str]]
"""Those who wait for their turn alike, and avoid the same replicas, share a call."""


class _Call:
    """One call that equal requests wait for, until it is answered or all of them have left."""

    __slots__ = ("callers", "deadline", "request", "sharing", "task")

    def __init__(self, sharing: _Sharing, request: InferRequest, deadline: Deadline) -> None:
        self.sharing = sharing
        self.request = request
        self.deadline = deadline
        """The latest of the callers'."""
        self.callers = 0
        self.task: asyncio.Task[InferResponse | FabricError]


class Cache:
    """Asks *pool*, unless the card lets an answer be kept that is there: an `Invoker`.

    Owns the calls that requests share; close it to end them.
    """

    def __init__(self, pool: ReplicaPool, most: int, clock: Clock = time.monotonic) -> None:
        self._pool = pool
        self._clock = clock
        self.entries = Entries(most)
        self.uses: dict[str, Uses] = {}
        """By the specialist's key, for those in the catalog."""
        self._models: dict[str, str] = {}
        """What the replicas of each specialist ran when that was last known."""
        self._calls: dict[_Sharing, _Call] = {}
        self._tasks: set[asyncio.Task[InferResponse | FabricError]] = set()

    def promises(self, card: Card, seconds: float) -> bool:
        """Where answers are kept, whether it takes a replica is not known before it is looked."""
        if card.cache is None:
            return self._pool.promises(card, seconds)
        return seconds > 0.0

    def infer(
        self, card: Card, request: InferRequest, deadline: Deadline
    ) -> Coroutine[Any, Any, InferResponse]:
        """The answer that is kept, or of the pool; see `ReplicaPool.infer`.

        Raises also:
            Overloaded: none is kept, and all replicas are busy for longer than *deadline* allows.
        """
        if card.cache is None:
            return self._pool.infer(card, request, deadline)
        return self._infer(card.cache, card, request, deadline)

    def stream(
        self, card: Card, request: InferRequest, deadline: Deadline
    ) -> AsyncGenerator[InferResponse, None]:
        """Asks the pool: of several answers none is kept."""
        return self._pool.stream(card, request, deadline)

    def usual(self, card: Card, quantile: float) -> float | None:
        """See `ReplicaPool.usual`."""
        return self._pool.usual(card, quantile)

    def others(self, card: Card, avoid: frozenset[str]) -> bool:
        """See `ReplicaPool.others`."""
        return self._pool.others(card, avoid)

    def stale(self, card: Card, request: InferRequest, max_age: float) -> InferResponse | None:
        """The answer to an equal request, if one is kept that is no older than *max_age* seconds.

        Also beyond the card's ttl, and where no replica is there. How old it is, it says itself.
        """
        if not self._may_keep(card, request):
            return None
        key = self._key(card, request, self._models.get(card.key))
        entry = None if key is None else self.entries.get(key)
        now = self._clock()
        if entry is None or now - entry.at > max_age:
            return None
        return _given(entry, request, now)

    def retain(self, specialists: Container[str]) -> None:
        """Forgets all specialists but those with these keys."""
        gone = {key for key in (*self._models, *self.uses) if key not in specialists}
        if gone:
            self.entries.retain(specialists)
        for key in gone:
            self._models.pop(key, None)
            self.uses.pop(key, None)

    async def close(self) -> None:
        """Returns when no call is left."""
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)

    # ------------------------------------------------------------------ one request
    async def _infer(
        self, caching: Caching, card: Card, request: InferRequest, deadline: Deadline
    ) -> InferResponse:
        begun, key = self._clock(), None
        if self._may_keep(card, request):
            if request.content is None and len(request.payload) >= _LARGE:
                request.content = await asyncio.to_thread(content_of, request.payload)
            key = self._key(card, request, self._model(card.key))
        if key is None:
            self._admit(card, deadline)
            return await self._pool.infer(card, request, deadline)
        entry = self.entries.get(key)
        now = self._clock()
        if entry is not None and now - entry.at <= caching.ttl:
            self._hit(card, begun)
            return _given(entry, request, now)
        assert request.content is not None  # noqa: S101 - as `_key` has read it
        sharing = key, request.content.priority, request.content.patience, request.avoid
        call = self._calls.get(sharing)
        if call is not None:
            response = await self._answer(call, request, deadline)
            self._hit(card, begun)
            how = Reused(0.0, request.content.id)
            return InferResponse(response.payload, response.replica, reused=how)
        self._admit(card, deadline)
        self._uses(card.key).misses.add(self._clock() - begun)
        _note("miss")
        call = self._call(sharing, card, request, deadline)
        return await self._answer(call, request, deadline)

    def _may_keep(self, card: Card, request: InferRequest) -> bool:
        """Whether equal requests have equal answers, and none of them need be asked for."""
        if card.cache is None or request.sequence or not request.idempotent:
            return False
        return self.entries.most > 0 and not (card.signature and card.signature.random)

    def _key(self, card: Card, request: InferRequest, model: str | None) -> Key | None:
        """What the answer follows from; None where no other request is like it."""
        if model is None:
            return None
        content = request.content
        if content is None:
            content = request.content = content_of(request.payload)
        return Key(card.key, model, request.tenant, content.digest) if content.digest else None

    def _model(self, key: str) -> str | None:
        """What all replicas of *key* run, or ran while there were some; None if they differ."""
        models = self._pool.models(key)
        if len(models) == 1:
            (self._models[key],) = models
        return self._models.get(key) if len(models) < 2 else None

    def _admit(self, card: Card, deadline: Deadline) -> None:
        """Raises Overloaded as a dispatcher would that had asked the pool what it promises."""
        left = deadline.remaining(self._clock())
        if left > 0.0 and not self._pool.promises(card, left):
            raise Overloaded("it is busy for longer than the deadline allows")

    def _uses(self, key: str) -> Uses:
        uses = self.uses.get(key)
        if uses is None:
            uses = self.uses[key] = Uses(Count(), Count())
        return uses

    def _hit(self, card: Card, begun: float) -> None:
        self._uses(card.key).hits.add(self._clock() - begun)
        _note("hit")

    # ------------------------------------------------------------------ calls that are shared
    def _call(
        self, sharing: _Sharing, card: Card, request: InferRequest, deadline: Deadline
    ) -> _Call:
        # With a request of its own, by which replicas are asked: this one goes on to change.
        own = InferRequest(
            request.model,
            request.version,
            request.payload,
            trace=request.trace,
            avoid=request.avoid,
        )
        call = self._calls[sharing] = _Call(sharing, own, deadline)
        call.task = asyncio.create_task(self._ask(call, card))
        self._tasks.add(call.task)
        call.task.add_done_callback(self._tasks.discard)
        return call

    async def _answer(
        self, call: _Call, request: InferRequest, deadline: Deadline
    ) -> InferResponse:
        """What *call* gives for *request*, which waits until *deadline*; the last to go ends it."""
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
            raise DeadlineExceeded(f"{call.sharing[0].specialist} did not answer in time")
        if call.task.cancelled():
            raise Unavailable("the gateway stops")
        outcome = call.task.result()
        if isinstance(outcome, FabricError):
            raise _another(outcome)  # for each its own, which takes its traceback along
        return outcome

    async def _ask(self, call: _Call, card: Card) -> InferResponse | FabricError:
        """The response of the pool, which is kept, or how it failed."""
        key = call.sharing[0]
        try:
            while True:
                # What is asked is chosen in this turn of the loop, so that is what it runs.
                is_known = self._model(key.specialist) == key.model
                deadline = call.deadline
                try:
                    response = await self._pool.infer(card, call.request, deadline)
                except FabricError as error:
                    if not self._has_more_time(call, deadline, error):
                        return error.with_traceback(None)  # whose frames hold on to the request
                else:
                    if is_known:
                        self.entries.put(key, response, self._clock())
                    return response
        finally:
            self._forget(call)

    def _has_more_time(self, call: _Call, deadline: Deadline, error: FabricError) -> bool:
        """Whether *error* is that of *deadline*, and somebody waits for longer."""
        if not isinstance(error, DeadlineExceeded) or call.deadline.at <= deadline.at:
            return False
        return call.deadline.remaining(self._clock()) >= SHORTEST

    def _forget(self, call: _Call) -> None:
        if self._calls.get(call.sharing) is call:
            del self._calls[call.sharing]


def _given(entry: Entry, request: InferRequest, now: float) -> InferResponse:
    name = request.content.id if request.content is not None else ""
    return InferResponse(entry.payload, entry.replica, reused=Reused(now - entry.at, name))


def _another(error: FabricError) -> FabricError:
    made = error_of(error.code, error.reason, error.message)
    made.replica = error.replica
    return made


def _note(what: str) -> None:
    if telemetry.is_enabled():
        telemetry.note(telemetry.CACHE, what)

"""Answers that are kept, and given again to equal requests of the same tenant.

What cards allow to be kept is, for as long as they say and as there is room. Equal requests that
come while none is kept yet share one call. An answer is kept under what it follows from: what the
replicas run, who asks, and the digest of what is asked; nothing is given to anybody else.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fabric import telemetry
from fabric.core.errors import Overloaded
from fabric.core.requests import InferResponse, Reused
from fabric.gateway.kept import Kept, Key
from fabric.gateway.sharing import Sharing
from fabric.wire.digests import content_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Container, Coroutine

    from fabric.core.cards import Card
    from fabric.core.deadlines import Clock, Deadline
    from fabric.core.requests import InferRequest
    from fabric.gateway.kept import Entry
    from fabric.gateway.replicas import ReplicaPool

_LARGE = 1 << 18
"""Bytes of a request from which on its digest is made in a thread."""


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


class Cache:
    """Asks *pool*, unless the card lets an answer be kept that is there: an `Invoker`.

    Of answers that are kept there are *most* bytes. Owns the calls that requests share; close it
    to end them.
    """

    def __init__(self, pool: ReplicaPool, most: int, clock: Clock = time.monotonic) -> None:
        self._pool = pool
        self.ill = pool.ill
        self._clock = clock
        self._sharing = Sharing(self._ask, clock)
        self.kept = Kept(most)
        self.uses: dict[str, Uses] = {}
        """By the specialist's key, for those in the catalog."""
        self._models: dict[str, str] = {}
        """What the replicas of each specialist ran when that was last known."""

    def promises(self, card: Card, seconds: float, tenant: str = "", priority: int = 0) -> bool:
        """Where answers are kept, whether it takes a replica is not known before it is looked."""
        if card.cache is None:
            return self._pool.promises(card, seconds, tenant, priority)
        return seconds > 0.0

    def objection(self, card: Card) -> str:
        """Where answers are kept, one may be there, however the replicas fare."""
        return "" if card.cache is not None else self._pool.objection(card)

    def infer(
        self, card: Card, request: InferRequest, deadline: Deadline
    ) -> Coroutine[Any, Any, InferResponse]:
        """The answer that is kept, or of the pool; see `ReplicaPool.infer`.

        Raises also:
            Overloaded: none is kept, and all replicas are busy for longer than *deadline* allows.
        """
        if card.cache is None and not request.keep:
            return self._pool.infer(card, request, deadline)
        return self._infer(card, request, deadline)

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
        entry = None if key is None else self.kept.get(key)
        now = self._clock()
        if entry is None or now - entry.at > max_age:
            return None
        return _given(entry, request, now)

    def retain(self, specialists: Container[str]) -> None:
        """Forgets all specialists but those with these keys."""
        gone = {key for key in (*self._models, *self.uses) if key not in specialists}
        if gone:
            self.kept.retain(specialists)
        for key in gone:
            self._models.pop(key, None)
            self.uses.pop(key, None)

    async def close(self) -> None:
        """Returns when no call is left."""
        await self._sharing.close()

    async def _infer(self, card: Card, request: InferRequest, deadline: Deadline) -> InferResponse:
        begun, key = self._clock(), None
        if self._may_keep(card, request):
            if request.content is None and len(request.payload) >= _LARGE:
                request.content = await asyncio.to_thread(content_of, request.payload)
            key = self._key(card, request, self._model(card.key))
        if key is None:
            self._admit(card, deadline, request)
            return await self._pool.infer(card, request, deadline)
        entry = self.kept.get(key)
        now = self._clock()
        if entry is not None and now - entry.at <= _ttl(card, request):
            self._hit(card, begun)
            return _given(entry, request, now)
        return await self._shared(key, card, request, deadline, begun)

    async def _shared(
        self, key: Key, card: Card, request: InferRequest, deadline: Deadline, begun: float
    ) -> InferResponse:
        """The answer of a call that others may wait for as well."""
        content = request.content
        assert content is not None  # noqa: S101 - as the key has its digest
        alike = key, content.priority, content.patience, request.avoid
        call = self._sharing.find(alike)
        if call is not None:
            response = await self._sharing.wait(call, request, deadline)
            self._hit(card, begun)
            how = Reused(0.0, content.id)
            return InferResponse(response.payload, response.replica, reused=how)
        self._admit(card, deadline, request)
        self._uses(card.key).misses.add(self._clock() - begun)
        _note("miss")
        call = self._sharing.begin(alike, card, request, deadline)
        return await self._sharing.wait(call, request, deadline)

    async def _ask(
        self, key: Key, card: Card, request: InferRequest, deadline: Deadline
    ) -> InferResponse:
        """The response of the pool, which is kept if it is of the model that *key* names."""
        # Who is asked is chosen in this turn of the loop, and so runs what all run now.
        is_known = self._model(key.specialist) == key.model
        response = await self._pool.infer(card, request, deadline)
        if is_known:
            self.kept.put(key, response, self._clock())
        return response

    # ------------------------------------------------------------------ what a request is like
    def _may_keep(self, card: Card, request: InferRequest) -> bool:
        """Whether equal requests have equal answers, and none of them need be asked for."""
        if not _ttl(card, request) or request.sequence or not request.idempotent:
            return False
        return self.kept.most > 0 and not (card.signature and card.signature.random)

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

    def _admit(self, card: Card, deadline: Deadline, request: InferRequest) -> None:
        """Raises Overloaded as a dispatcher would that had asked the pool what it promises."""
        left = deadline.remaining(self._clock())
        if left <= 0.0:
            return
        if not self._pool.promises(card, left, request.tenant, request.priority):
            raise Overloaded("it is busy for longer than the deadline allows")

    def _uses(self, key: str) -> Uses:
        uses = self.uses.get(key)
        if uses is None:
            uses = self.uses[key] = Uses(Count(), Count())
        return uses

    def _hit(self, card: Card, begun: float) -> None:
        self._uses(card.key).hits.add(self._clock() - begun)
        _note("hit")


def _ttl(card: Card, request: InferRequest) -> float:
    """Seconds for which an answer is given again; 0 where none is."""
    return request.keep or (card.cache.ttl if card.cache is not None else 0.0)


def _given(entry: Entry, request: InferRequest, now: float) -> InferResponse:
    name = request.content.id if request.content is not None else ""
    return InferResponse(entry.payload, entry.replica, reused=Reused(now - entry.at, name))


def _note(what: str) -> None:
    if telemetry.is_enabled():
        telemetry.note(telemetry.CACHE, what)

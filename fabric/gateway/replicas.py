"""Links to all replicas, and the choice among those of one specialist."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import aclosing
from hashlib import blake2b
from typing import TYPE_CHECKING

from fabric.core.errors import FabricError, Unavailable
from fabric.core.requests import InferResponse
from fabric.link.client import connect
from fabric.link.latencies import quantile as among

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Container, Iterator, Mapping

    from fabric.core.cards import Card
    from fabric.core.deadlines import Deadline
    from fabric.core.replicas import Replica
    from fabric.core.requests import InferRequest
    from fabric.link.client import Link

log = logging.getLogger(__name__)

_FIRST_WAIT = 0.05
_LONGEST_WAIT = 2.0
_USUAL = 1.0
_MOST_USUAL = 1024


class ReplicaPool:
    """Keeps a link to every replica in the catalog and sends requests over them.

    An `Invoker`. Use it with `async with`: the links live as long as the block.
    """

    def __init__(self) -> None:
        self._tasks = asyncio.TaskGroup()
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._links: dict[str, tuple[str, Link]] = {}
        """Open links with the specialist's key, by replica id."""
        self.on_change: Callable[[], None] = lambda: None
        """Called when other links than before can be sent requests."""
        self._serving: dict[str, list[Link]] = {}
        """What may be chosen, by the specialist's key."""
        self._usual: dict[tuple[str, float], tuple[float | None, float]] = {}
        """Seconds and until when they hold, by the specialist's key and quantile."""

    async def __aenter__(self) -> ReplicaPool:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.sync({})
        await self._tasks.__aexit__(None, None, None)

    def sync(self, replicas: Mapping[str, Replica]) -> None:
        """From now on these are the replicas; requests to others still finish."""
        for gone in self._keepers.keys() - replicas.keys():
            self._keepers.pop(gone).cancel()
        for new in replicas.keys() - self._keepers.keys():
            self._keepers[new] = self._tasks.create_task(self._keep(replicas[new]))

    def count(self, key: str) -> int:
        """How many replicas of the specialist `name:version` can be sent requests now."""
        return len(self._serving.get(key, ()))

    def fare(self) -> Iterator[tuple[str, float | None, float]]:
        """The key of each specialist that can be sent requests, the seconds within which nine of
        ten of its recent answers came, if there were any, and the requests in flight a replica."""
        for key, links in self._serving.items():
            seconds = among([link.latencies.recent() for link in links], 0.9)
            yield key, seconds, sum(link.in_flight for link in links) / len(links)

    def holds(self, replica: str) -> bool:
        """Whether there is a link to *replica*, be it draining."""
        return replica in self._links and self._links[replica][1].is_open

    def nearest(self, key: str, sequence: str) -> str:
        """The id of the replica of `name:version` where *sequence* begins; empty without any."""
        links = self._serving.get(key)
        return _nearest(links, sequence).peer.replica if links else ""

    def promises(self, card: Card, seconds: float) -> bool:
        """Whether a replica of *card* may answer within *seconds*; also where there is none.

        See `Link.promises`.
        """
        links = self._serving.get(card.key)
        if not links:
            return True
        if len(links) == 1:
            return links[0].promises(seconds)
        return any(link.promises(seconds) for link in links)

    def usual(self, card: Card, quantile: float) -> float | None:
        """Seconds within which that share of the recent answers of *card* came, as it was within
        the last second; None if there were none."""
        asked, now = (card.key, quantile), time.monotonic()
        seconds, until = self._usual.get(asked, (None, 0.0))
        if until < now:
            if len(self._usual) >= _MOST_USUAL:
                self._usual.clear()
            histograms = [link.latencies.recent() for link in self._serving.get(card.key, ())]
            seconds = among(histograms, quantile)
            self._usual[asked] = seconds, now + _USUAL
        return seconds

    def others(self, card: Card, avoid: frozenset[str]) -> bool:
        """Whether *card* has a replica that can be sent requests, and is not one to *avoid*."""
        return any(link.peer.replica not in avoid for link in self._serving.get(card.key, ()))

    async def infer(self, card: Card, request: InferRequest, deadline: Deadline) -> InferResponse:
        """Asks a replica of *card*, the less busy of two drawn at random; a request of a sequence
        the one that it names, or that its sequence begins at.

        Raises:
            Unavailable: there is none that the request does not avoid, or its link was lost.
            FabricError: what the replica answers.
        """
        link = self._link(card, request)
        request.asked = link.peer.replica
        return InferResponse(
            await link.call(request.payload, deadline, request.trace), link.peer.replica
        )

    async def stream(
        self, card: Card, request: InferRequest, deadline: Deadline
    ) -> AsyncGenerator[InferResponse, None]:
        """Asks as `infer` does, for any number of responses."""
        link = self._link(card, request)
        responses = link.stream(request.payload, deadline, request.trace)
        async with aclosing(responses):
            async for payload, is_last in responses:
                yield InferResponse(payload, link.peer.replica, is_last)

    async def statistics(
        self, wanted: Container[str], deadline: Deadline
    ) -> dict[str, list[bytes]]:
        """The `ModelStatistics` of the replicas of all specialists in *wanted*, by their key.

        A replica that does not answer by *deadline* is left out.
        """
        asked = [(key, link) for key, link in self._links.values() if key in wanted]
        answers = await asyncio.gather(
            *(link.ask_statistics(deadline) for _, link in asked), return_exceptions=True
        )
        found: dict[str, list[bytes]] = {}
        for (key, link), answer in zip(asked, answers, strict=True):
            if isinstance(answer, bytes):
                found.setdefault(key, []).append(answer)
            elif isinstance(answer, FabricError):
                log.debug("no statistics of replica %s: %s", link.peer.replica, answer)
            else:
                raise answer
        return found

    def _link(self, card: Card, request: InferRequest) -> Link:
        if request.replica:
            return self._link_to(request)
        links = self._serving.get(card.key)
        if request.avoid and links:
            links = [link for link in links if link.peer.replica not in request.avoid]
        if not links:
            other = "other " if request.avoid else ""
            raise Unavailable(f"no {other}replica of '{card.key}' is ready")
        if len(links) == 1:
            return links[0]
        return _nearest(links, request.sequence) if request.sequence else _less_busy(links)

    def _link_to(self, request: InferRequest) -> Link:
        """Also where it drains: what lives there may come to its end."""
        if request.replica in request.avoid or not self.holds(request.replica):
            raise Unavailable(f"replica {request.replica} is not there")
        return self._links[request.replica][1]

    async def _keep(self, replica: Replica) -> None:
        """Holds a link to *replica*, anew whenever it is lost, until cancelled."""
        wait = _FIRST_WAIT
        while True:
            try:
                link = await connect(replica.address, on_change=self._choose)
                if link.peer.replica != replica.id:
                    link.close()
                    raise Unavailable(f"{replica.address} is another replica by now")
            except FabricError as error:
                log.debug("replica %s: %s", replica.id, error)
                await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                wait = min(2 * wait, _LONGEST_WAIT)
                continue
            wait = _FIRST_WAIT
            await self._hold(replica, link)

    async def _hold(self, replica: Replica, link: Link) -> None:
        """Offers *link* for as long as it lasts; when cancelled, what is in flight finishes."""
        self._links[replica.id] = (f"{replica.specialist}:{replica.version}", link)
        self._choose()
        try:
            await asyncio.shield(link.gone)
        finally:
            del self._links[replica.id]
            self._choose()
            while link.calls and link.is_open:
                await asyncio.wait(link.calls.values())  # all fail with the link
            link.close()

    def _choose(self) -> None:
        serving: dict[str, list[Link]] = {}
        for key, link in self._links.values():
            if link.can_serve:
                serving.setdefault(key, []).append(link)
        self._serving = serving
        self.on_change()


def _nearest(links: list[Link], sequence: str) -> Link:
    """The same one for all who know the same replicas; another replica more, or one less, moves
    no sequence but those that it gains or had
    (Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998)."""

    def weight(link: Link) -> bytes:
        return blake2b(f"{link.peer.replica} {sequence}".encode(), digest_size=8).digest()

    return max(links, key=weight)


def _less_busy(links: list[Link]) -> Link:
    """Least in flight of two: near the best of all, without looking at all
    (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001)."""
    one, other = random.sample(links, 2)
    return one if one.in_flight <= other.in_flight else other

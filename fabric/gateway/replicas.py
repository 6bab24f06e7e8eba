"""Links to all replicas, and the choice among those of one specialist."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from contextlib import aclosing
from typing import TYPE_CHECKING

from fabric.core.cards import Batching
from fabric.core.errors import FabricError, Unavailable
from fabric.core.health import SpecialistHealth
from fabric.core.requests import InferResponse
from fabric.gateway.groups import Group, Member, less_busy
from fabric.link.client import connect
from fabric.link.latencies import quantile as among
from fabric.resilience.admission import Admission
from fabric.resilience.breakers import DEFAULT, Breaker, is_fault

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Container, Iterator, Mapping, Sequence

    from fabric.core.cards import Breaking, Card, Specialist
    from fabric.core.deadlines import Deadline
    from fabric.core.replicas import Replica
    from fabric.core.requests import InferRequest

log = logging.getLogger(__name__)

_FIRST_WAIT = 0.05
_LONGEST_WAIT = 2.0
_USUAL = 1.0
_MOST_USUAL = 1024
_BATCHING = Batching()
"""Of a specialist that is not in the catalog any more."""


class ReplicaPool:
    """Keeps a link to every replica in the catalog and sends requests over them.

    An `Invoker`. Use it with `async with`: the links live as long as the block.
    """

    def __init__(self) -> None:
        self._tasks = asyncio.TaskGroup()
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._known: Counter[str] = Counter()
        """How many replicas are to take requests, by the specialist's key."""
        self._members: dict[str, Member] = {}
        """With an open link, by replica id."""
        self.on_change: Callable[[], None] = lambda: None
        """Called when other links than before can be sent requests."""
        self._admissions: dict[str, Admission] = {}
        self._batching: dict[str, Batching] = {}
        """What may wait at one replica,"""
        self._breakings: dict[str, Breaking] = {}
        """and when it is ejected, all by the specialist's key."""
        self._failed_last: Counter[str] = Counter()
        """Replicas that failed before they ended, and have no successor yet."""
        self.ill: set[str] = set()
        """The keys of specialists none of whose replicas is well."""
        self._groups: dict[str, Group] = {}
        """What may be chosen from, by the specialist's key."""
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
        self._known = Counter(r.specialist_key for r in replicas.values() if not r.draining)
        for gone in self._keepers.keys() - replicas.keys():
            self._keepers.pop(gone).cancel()
        for new in replicas.keys() - self._keepers.keys():
            self._keepers[new] = self._tasks.create_task(self._keep(replicas[new]))

    def limit(self, specialists: Mapping[str, Specialist]) -> None:
        """From now on as many are let in as *specialists* say, by key."""
        for gone in self._admissions.keys() - specialists.keys():
            del self._admissions[gone]
        self._batching = {key: each.hosting.batching for key, each in specialists.items()}
        for gone in self._failed_last.keys() - specialists.keys():
            del self._failed_last[gone]
        self._breakings = {key: each.hosting.breaker for key, each in specialists.items()}
        for key, each in specialists.items():
            self._admission(key).reconfigure(each.hosting.concurrency)
        for member in self._members.values():
            member.breaker.policy = self._breaking(member.key)
        self._choose()

    def count(self, key: str) -> int:
        """How many replicas of the specialist `name:version` can be sent requests now."""
        group = self._groups.get(key)
        return 0 if group is None else len(group.serving)

    def linked(self, key: str) -> int:
        """How many replicas of the specialist `name:version` there are links to that do not drain,
        whether they are well or not."""
        group = self._groups.get(key)
        return 0 if group is None else len(group.members)

    def models(self, key: str) -> set[str]:
        """What the replicas of `name:version` run that can be sent requests now: the same where
        their answers are."""
        group = self._groups.get(key)
        return set() if group is None else {member.link.peer.digest for member in group.serving}

    def fare(self) -> Iterator[tuple[str, float | None, float]]:
        """The key of each specialist that can be sent requests, the seconds within which nine of
        ten of its recent answers came, if there were any, and the requests in flight a replica."""
        for key, group in self._groups.items():
            links = [member.link for member in group.serving]
            seconds = among([link.latencies.recent() for link in links], 0.9)
            yield key, seconds, sum(link.in_flight for link in links) / len(links)

    def health(self, key: str, budget: float, queued: Mapping[str, int]) -> SpecialistHealth:
        """How the specialist `name:version` fares with this gateway."""
        name, _, version = key.rpartition(":")
        group = self._groups.get(key)
        if group is None:
            why = "no replica is ready"
            return SpecialistHealth(name=name, version=version, budget=budget, why=why)
        return group.health(name, version, budget, queued)

    def judge(self) -> None:
        """Ejects the replicas that take far longer than others of their specialist. To be called
        now and then, and not for each request."""
        for key, group in tuple(self._groups.items()):
            if len(group.serving) > 1 and group.trip_slow(self._breaking(key)):
                self._sort(key)

    def holds(self, replica: str) -> bool:
        """Whether there is a link to *replica*, be it draining."""
        return replica in self._members and self._members[replica].link.is_open

    def nearest(self, key: str, sequence: str) -> str:
        """The id of the replica of `name:version` where *sequence* begins; empty without any."""
        group = self._groups.get(key)
        return "" if group is None else group.nearest(sequence).replica

    def promises(self, card: Card, seconds: float, tenant: str = "", priority: int = 0) -> bool:
        """Whether a replica of *card* may answer *tenant* within *seconds*; also where there is
        none.

        See `Link.promises`, and `Admission` for who is let in.
        """
        group = self._groups.get(card.key)
        if group is None:
            return True
        share = 1.0
        if (levels := group.levels) is not None:
            share = levels.share(priority)
            if levels.level(priority) < levels.priorities:  # its replica knows who is ahead of it
                return seconds > 0.0 and group.admission.admits(tenant, group.room, share)
        if not group.admission.admits(tenant, group.room, share):
            return False
        if len(group.serving) == 1:
            return group.serving[0].link.promises(seconds)
        return any(member.link.promises(seconds) for member in group.serving)

    def objection(self, card: Card) -> str:
        """Why no replica of *card* should be asked: all fail, are too slow, or say nothing.

        Empty where one may be, if only to see whether it is well again, and where there is none.
        """
        group = self._groups.get(card.key)
        return group.objection() if group is not None and group.is_ill else ""

    def usual(self, card: Card, quantile: float) -> float | None:
        """Seconds within which that share of the recent answers of *card* came, as it was within
        the last second; None if there were none."""
        asked, now = (card.key, quantile), time.monotonic()
        seconds, until = self._usual.get(asked, (None, 0.0))
        if until < now:
            if len(self._usual) >= _MOST_USUAL:
                self._usual.clear()
            group = self._groups.get(card.key)
            serving = () if group is None else group.serving
            seconds = among([member.link.latencies.recent() for member in serving], quantile)
            self._usual[asked] = seconds, now + _USUAL
        return seconds

    def others(self, card: Card, avoid: frozenset[str]) -> bool:
        """Whether *card* has a replica that can be sent requests, and is not one to *avoid*."""
        group = self._groups.get(card.key)
        return group is not None and any(each.replica not in avoid for each in group.serving)

    async def infer(self, card: Card, request: InferRequest, deadline: Deadline) -> InferResponse:
        """Asks a replica of *card*, the less busy of two drawn at random; a request of a sequence
        the one that it names, or that its sequence begins at.

        Raises:
            Unavailable: there is none that the request does not avoid, or that may be asked, its
                link was lost, or it says nothing while others may answer.
            FabricError: what the replica answers.
        """
        member = self._member(card, request)
        link, admission = member.link, member.admission
        request.asked = replica = member.replica
        is_patient = not request.idempotent
        if request.insists:
            is_patient = member.is_alone or self._is_patient(member, request)
        if member.breaker.is_tripped:
            deadline = self._begun(member, request, deadline)
        begun = admission.entered(request.tenant)
        try:
            payload = await link.call(
                request.payload, deadline, request.trace, is_patient=is_patient
            )
        except FabricError as error:
            admission.left(request.tenant)
            self._failed(member, request, error)
            raise
        except BaseException:
            admission.left(request.tenant)
            member.breaker.left(request)
            raise
        admission.left(request.tenant, begun)
        if member.breaker.answered(request):
            self._sort(member.key)
        return InferResponse(payload, replica)

    async def stream(
        self, card: Card, request: InferRequest, deadline: Deadline
    ) -> AsyncGenerator[InferResponse, None]:
        """Asks as `infer` does, for any number of responses."""
        member = self._member(card, request)
        link = member.link
        is_patient = self._is_patient(member, request)
        if member.breaker.is_tripped:
            deadline = self._begun(member, request, deadline)
        responses = link.stream(request.payload, deadline, request.trace, is_patient=is_patient)
        member.admission.entered(request.tenant)
        try:
            async with aclosing(responses):
                async for payload, is_last in responses:
                    if is_last and member.breaker.answered(request):
                        self._sort(member.key)
                    yield InferResponse(payload, link.peer.replica, is_last)
        except FabricError as error:
            self._failed(member, request, error)
            raise
        except BaseException:
            member.breaker.left(request)
            raise
        finally:
            member.admission.left(request.tenant)

    async def statistics(
        self, wanted: Container[str], deadline: Deadline
    ) -> dict[str, list[bytes]]:
        """The `ModelStatistics` of the replicas of all specialists in *wanted*, by their key.

        A replica that does not answer by *deadline* is left out.
        """
        asked = [(m.key, m.link) for m in self._members.values() if m.key in wanted]
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

    def _member(self, card: Card, request: InferRequest) -> Member:
        if request.replica:
            return self._pinned(request)
        group = self._groups.get(card.key)
        if group is None:
            other = "other " if request.avoid else ""
            raise Unavailable(f"no {other}replica of '{card.key}' is ready")
        if request.avoid or request.sequence or not group.is_well:
            return group.chosen(card.key, request)
        serving = group.serving
        return serving[0] if len(serving) == 1 else less_busy(serving)

    def _pinned(self, request: InferRequest) -> Member:
        """Also where it drains: what lives there may come to its end."""
        if request.replica in request.avoid or not self.holds(request.replica):
            raise Unavailable(f"replica {request.replica} is not there")
        return self._members[request.replica]

    def _is_patient(self, member: Member, request: InferRequest) -> bool:
        """Whether *request* waits for *member* though it is silent: nobody else may answer it."""
        if not request.insists:
            return not request.idempotent
        if member.is_alone or request.replica:
            return True
        return bool(request.avoid) and not self._groups[member.key].has_other(member, request)

    # ------------------------------------------------------------------ breakers
    def _begun(self, member: Member, request: InferRequest, deadline: Deadline) -> Deadline:
        """By when *member*, which has failed before, has to answer: if this is a probe and another
        one is well, in half of the time, so that it may be asked after it."""
        member.breaker.begins(request)
        group = self._groups.get(member.key)
        if not _is_spare(member, request) or group is None or group.is_ill:
            return deadline
        now = time.monotonic()
        return deadline.within(deadline.remaining(now) / 2, now)

    def _failed(self, member: Member, request: InferRequest, error: FabricError) -> None:
        """Counts *error*, if it speaks against *member*.

        Raises:
            Unavailable: instead of it, where it was but a probe and another replica is well.
        """
        link, breaker = member.link, member.breaker
        is_spare = _is_spare(member, request)
        is_one_of_many = isinstance(error, Unavailable) and (link.is_silent or not link.is_open)
        if not is_fault(error, link.usual) or (is_one_of_many and member.is_counted):
            breaker.left(request)
        else:
            member.is_counted = is_one_of_many
            if breaker.failed(request, error.reason):
                log.warning("replica %s of %s: %s", member.replica, member.key, breaker.standing())
                self._sort(member.key)
        group = self._groups.get(member.key)
        if is_spare and error.substitutable and group is not None and not group.is_ill:
            why = f"it is tried again and fails: {error.message}"
            raise Unavailable(why, replica=member.replica) from error

    def _sort(self, key: str) -> None:
        """Chooses anew among the replicas of one specialist."""
        members = [m for m in self._members.values() if m.key == key and m.link.can_serve]
        if members:
            group = self._groups[key] = self._group(key, members)
            (self.ill.add if group.is_ill else self.ill.discard)(key)

    def _group(self, key: str, members: Sequence[Member]) -> Group:
        batching = self._batching.get(key, _BATCHING)
        return Group(members, self._known[key], self._breaking(key), batching)

    def _breaking(self, key: str) -> Breaking:
        return self._breakings.get(key, DEFAULT)

    def _admission(self, key: str) -> Admission:
        if (found := self._admissions.get(key)) is None:
            found = self._admissions[key] = Admission()
        return found

    async def _keep(self, replica: Replica) -> None:
        """Holds a link to *replica*, anew whenever it is lost, until cancelled.

        One that comes in the place of a replica that has failed is tried with a single request.
        """
        key = replica.specialist_key
        breaker = Breaker(self._breaking(key))
        if self._failed_last[key]:
            self._failed_last[key] -= 1
            breaker.doubt("the replica before it has failed")
        try:
            await self._link(replica, breaker)
        finally:
            self._failed_last[key] += breaker.is_failing

    async def _link(self, replica: Replica, breaker: Breaker) -> None:
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
            key = replica.specialist_key
            breaker.policy = self._breaking(key)
            await self._hold(Member(key, link, breaker, self._admission(key)))

    async def _hold(self, member: Member) -> None:
        """Offers *member* for as long as it lasts; when cancelled, what is in flight finishes."""
        link = member.link
        self._members[member.replica] = member
        self._choose()
        try:
            await asyncio.shield(link.gone)
        finally:
            del self._members[member.replica]
            self._choose()
            while link.calls and link.is_open:
                await asyncio.wait(link.calls.values())  # all fail with the link
            link.close()

    def _choose(self) -> None:
        serving: dict[str, list[Member]] = {}
        for member in self._members.values():
            if member.link.can_serve:
                serving.setdefault(member.key, []).append(member)
                member.is_counted &= member.link.is_silent
        self._groups = {key: self._group(key, members) for key, members in serving.items()}
        self.ill.clear()
        self.ill.update(key for key, group in self._groups.items() if group.is_ill)
        self.on_change()


def _is_spare(member: Member, request: InferRequest) -> bool:
    """Whether *request* is a probe of *member*, and another replica may answer it as well."""
    is_bound = request.replica or not request.idempotent
    return not is_bound and member.breaker.is_probed_by(request)

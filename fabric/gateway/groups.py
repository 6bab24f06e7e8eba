"""The replicas of one specialist, and which of them a request is given to."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING

from fabric.core.errors import Unavailable
from fabric.core.health import ReplicaHealth, SpecialistHealth
from fabric.link.client import Link
from fabric.link.latencies import quantile
from fabric.resilience.admission import Admission
from fabric.resilience.breakers import Breaker, Circuit, Standing, ejected, slow, together

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fabric.core.cards import Batching, Breaking
    from fabric.core.requests import InferRequest


@dataclass(slots=True, eq=False)
class Member:
    """A replica that there is a link to."""

    key: str
    """Of its specialist."""
    link: Link
    breaker: Breaker
    admission: Admission
    """That of its specialist."""
    is_alone: bool = True
    """No other replica can be given what it is given."""
    is_counted: bool = False
    """All of its requests failed together, and that was counted as the one failure that it is."""
    replica: str = field(init=False)
    """Its id."""

    def __post_init__(self) -> None:
        self.replica = self.link.peer.replica

    def standing(self) -> Standing:
        if self.link.is_silent:
            why = "it says nothing, not even to a ping"
            return Standing(Circuit.OPEN, dict(self.breaker.failures), why, math.inf)
        return self.breaker.standing()


class Group:
    """The *members* that can be sent requests, one at least, as they are now: if a breaker opens or
    closes, or one falls silent or is heard again, there is another group. *known* is how many there
    should be, *batching* what may wait at each."""

    __slots__ = (
        "admission",
        "is_ill",
        "is_well",
        "levels",
        "members",
        "room",
        "serving",
        "tripped",
    )

    def __init__(
        self, members: Sequence[Member], known: int, breaking: Breaking, batching: Batching
    ) -> None:
        heard = [member for member in members if not member.link.is_silent]
        out = ejected([member.breaker for member in heard], known, breaking)
        self.members = members
        self.serving = [member for member in heard if member.breaker not in out] or members
        """Who is given requests."""
        self.admission = members[0].admission
        self.room = batching.max_queue * len(self.serving)
        """Requests that may wait at them."""
        self.levels = batching if batching.priorities > 1 else None
        """Of their priority, where there are any."""
        self.tripped = [member for member in heard if member.breaker.is_tripped]
        """Who is given probes."""
        self.is_well = len(heard) == len(members) and not self.tripped
        """All of them are,"""
        self.is_ill = len(self.tripped) == len(heard)
        """or none is."""
        for member in members:
            member.is_alone = self.serving == [member]

    def chosen(self, key: str, request: InferRequest) -> Member:
        """Whom to ask, the less busy of two drawn at random; of a sequence where that begins.

        Raises:
            Unavailable: all have failed *request* already, or none is well and it does not insist.
        """
        members = self.serving
        if not self.is_well and not request.sequence:
            if (probed := self._probed(request)) is not None:
                return probed
            if self.is_ill and not request.insists and (objection := self.objection()):
                raise Unavailable(objection)
        if request.sequence:
            members = self.members
        if request.avoid:
            members = [each for each in members if each.replica not in request.avoid]
            if not members:
                raise Unavailable(f"no other replica of '{key}' is ready")
        if len(members) == 1:
            return members[0]
        return _nearest(members, request.sequence) if request.sequence else less_busy(members)

    def nearest(self, sequence: str) -> Member:
        """Where *sequence* begins."""
        return _nearest(self.members, sequence)

    def has_other(self, member: Member, request: InferRequest) -> bool:
        """Whether another one than *member* can be given *request*."""
        return any(
            each is not member and each.replica not in request.avoid for each in self.serving
        )

    def objection(self) -> str:
        """Why none of them should be asked; empty if one may be."""
        if not self.is_ill or self._may_probe():
            return ""
        return str(self.standing())

    def standing(self) -> Standing:
        return together([member.standing() for member in self.members])

    def health(
        self, name: str, version: str, budget: float, queued: Mapping[str, int]
    ) -> SpecialistHealth:
        """How all of them fare; *queued* is what waits at each, by id."""
        standing = self.standing()
        replicas = tuple(_health(member, queued.get(member.replica, 0)) for member in self.members)
        p50, p99 = _quantiles(self.members)
        limit = self.admission.limit(self.room)
        return SpecialistHealth(
            name=name,
            version=version,
            in_flight=self.admission.in_flight,
            limit=int(limit),
            budget=budget,
            breaker=standing.state,
            why=standing.why,
            answers=sum(replica.answers for replica in replicas),
            p50=p50,
            p99=p99,
            failures=dict(standing.failures),
            replicas=replicas,
        )

    def trip_slow(self, breaking: Breaking) -> bool:
        """Opens the breakers of those that are far slower than others; gives whether there are any.

        How slow they were is forgotten: once they are back, it is what they take then that counts.
        """
        judged = [member for member in self.serving if not member.breaker.is_tripped]
        seconds = [_usual(member.link, breaking.least) for member in judged]
        found = list(slow(seconds, breaking))
        for place, most in found:
            why = f"nine of ten answers take up to {seconds[place]:.2g} s, those of others do not"
            judged[place].breaker.trip(why, most)
            judged[place].link.latencies.forget()
        return bool(found)

    def _may_probe(self) -> bool:
        """Of a specialist that is ill one is probed at a time."""
        is_probed = any(member.breaker.is_probed for member in self.tripped)
        return not is_probed and any(member.breaker.admits() for member in self.tripped)

    def _probed(self, request: InferRequest) -> Member | None:
        """Who is to be tried again with *request*."""
        if self.is_ill and not self._may_probe():
            return None
        for member in self.tripped:
            if member.replica not in request.avoid and member.breaker.begins(request):
                return member
        return None


def _quantiles(members: Sequence[Member]) -> tuple[float | None, float | None]:
    recent = [member.link.latencies.recent() for member in members]
    return quantile(recent, 0.5), quantile(recent, 0.99)


def _health(member: Member, queued: int) -> ReplicaHealth:
    standing = member.standing()
    p50, p99 = _quantiles([member])
    return ReplicaHealth(
        id=member.replica,
        in_flight=member.link.in_flight,
        queued=queued,
        breaker=standing.state,
        why=standing.why,
        again=standing.again if standing.again < math.inf else 0.0,
        answers=member.link.latencies.count,
        p50=p50,
        p99=p99,
        failures=dict(standing.failures),
    )


def _usual(link: Link, least: int) -> float | None:
    """Seconds within which nine of ten recent answers came; None if there were too few."""
    recent = link.latencies.recent()
    return quantile([recent], 0.9) if sum(recent.values()) >= least else None


def _nearest(members: Sequence[Member], sequence: str) -> Member:
    """The same one for all who know the same replicas; another replica more, or one less, moves
    no sequence but those that it gains or had
    (Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998)."""

    def weight(member: Member) -> bytes:
        return blake2b(f"{member.replica} {sequence}".encode(), digest_size=8).digest()

    return max(members, key=weight)


def less_busy(members: Sequence[Member]) -> Member:
    """Least in flight of two: near the best of all, without looking at all
    (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001)."""
    one, other = random.sample(members, 2)
    return one if one.link.in_flight <= other.link.in_flight else other

"""How many requests a specialist is given at once, and whose they are."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fabric.core.cards import Concurrency
    from fabric.core.deadlines import Clock

_ANYBODYS = 0.5
"""Of the limit: so much is given to whoever comes first."""
_REMEMBERED = 1.0
"""Seconds, and up to twice as many, for which who has asked has a share."""
_MOST_TENANTS = 4096

_WINDOW = 0.1
"""Seconds between two changes of a limit, at least,"""
_SAMPLES = 20
"""and answers."""
_USUAL = 0.02
"""Weight of one window in what is usual."""
_SMOOTHING = 0.2
_HEADROOM = 4
"""By how many a limit grows that is made use of."""
_LEAST_GRADIENT = 0.5


class Gradient:
    """A limit of requests in flight that falls as answers begin to take longer than usual, and
    grows while they do not.

    As Netflix's Gradient2, over windows instead of single requests
    (https://github.com/Netflix/concurrency-limits).
    """

    __slots__ = ("_begun", "_busiest", "_clock", "_count", "_policy", "_total", "_usual", "limit")

    def __init__(self, policy: Concurrency, clock: Clock = time.monotonic) -> None:
        self._policy = policy
        self._clock = clock
        self.limit = float(policy.first)
        self._usual = 0.0
        """Seconds that answers take, over many windows."""
        self._begun = clock()
        self._count = 0
        self._total = 0.0
        self._busiest = 0

    def answered(self, seconds: float, in_flight: int) -> None:
        """An answer took *seconds*, while so many were in flight."""
        self._count += 1
        self._total += seconds
        self._busiest = max(self._busiest, in_flight)
        if self._count >= _SAMPLES and self._clock() - self._begun >= _WINDOW:
            self._changed(self._total / self._count)
            self._begun, self._count, self._total, self._busiest = self._clock(), 0, 0.0, 0

    def _changed(self, seconds: float) -> None:
        usual = self._usual or seconds
        usual += (seconds - usual) * _USUAL
        if usual > 2 * seconds:  # it was slow for long, and is so no more
            usual *= 0.95
        self._usual = usual
        if self._busiest < self.limit / 2:
            return  # it is no limit now
        gradient = self._policy.tolerance * usual / max(seconds, 1e-9)
        gradient = min(max(gradient, _LEAST_GRADIENT), 1.0)
        limit = self.limit + (self.limit * gradient + _HEADROOM - self.limit) * _SMOOTHING
        self.limit = min(max(limit, self._policy.least), self._policy.most)


class Admission:
    """Who of those who ask one specialist is let in.

    Half of the limit is anybody's. From there on each tenant that has asked lately has an equal
    share of it, so that nobody is kept out by one who asks for more than that. Whoever has but a
    *share*, as those of lower priority do, meets a limit that is so much lower. Whoever is let in
    is to be told of by `entered`, and then by `left`.
    """

    __slots__ = (
        *("_asking", "_before", "_by_tenant", "_clock", "_concurrency", "_gradient", "_turned"),
        "in_flight",
    )

    def __init__(
        self, concurrency: Concurrency | None = None, clock: Clock = time.monotonic
    ) -> None:
        self._concurrency: Concurrency | None = None
        self._gradient: Gradient | None = None
        self._clock = clock
        self.in_flight = 0
        self._by_tenant: dict[str, int] = {}
        """Those of whoever has a name."""
        self._asking: set[str] = set()
        """Who has asked since the last turn,"""
        self._before: set[str] = set()
        """and in the time before it."""
        self._turned = clock()
        self.reconfigure(concurrency)

    def reconfigure(self, concurrency: Concurrency | None) -> None:
        """From now on the limit is as *concurrency* says, or what there is room for."""
        if concurrency != self._concurrency:
            self._concurrency = concurrency
            self._gradient = Gradient(concurrency, self._clock) if concurrency else None

    def limit(self, room: float = math.inf) -> float:
        """Requests in flight at most, of which there is *room* for at the replicas."""
        return room if self._gradient is None else min(self._gradient.limit, room)

    def admits(self, tenant: str, room: float = math.inf, share: float = 1.0) -> bool:
        """Whether one more request of *tenant* is let in."""
        self._asking.add(tenant)
        limit = share * (room if self._gradient is None else self.limit(room))
        if self.in_flight < _ANYBODYS * limit:
            return True
        self._turn(tenant)
        if self.in_flight >= limit:
            return False
        sharing = len(self._asking | self._before)
        return sharing == 1 or self._of(tenant) < limit / sharing

    def entered(self, tenant: str) -> float:
        """One is in flight; gives since when, where that is of use."""
        self.in_flight += 1
        if tenant:
            self._by_tenant[tenant] = self._by_tenant.get(tenant, 0) + 1
        return 0.0 if self._gradient is None else self._clock()

    def left(self, tenant: str, since: float | None = None) -> None:
        """One is in flight no more; it was answered, if it is said *since* when it was."""
        if since is not None and self._gradient is not None:
            self._gradient.answered(self._clock() - since, self.in_flight)
        self.in_flight -= 1
        if tenant:
            others = self._by_tenant.pop(tenant) - 1
            if others:
                self._by_tenant[tenant] = others

    def _of(self, tenant: str) -> int:
        """Requests of *tenant* in flight."""
        if tenant:
            return self._by_tenant.get(tenant, 0)
        return self.in_flight - sum(self._by_tenant.values())

    def _turn(self, tenant: str) -> None:
        """Forgets who has not asked lately; it need not be known while there is room."""
        now = self._clock()
        since = now - self._turned
        if since >= _REMEMBERED or len(self._asking) > _MOST_TENANTS:
            self._before = self._asking if since < 2 * _REMEMBERED else set()
            self._asking = {tenant}
            self._turned = now

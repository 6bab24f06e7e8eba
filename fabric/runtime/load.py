"""How much a replica carries, and how many replicas that makes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fabric.core.deadlines import Clock

_SLACK = 0.8
"""A replica less must leave the others below this share of their target load."""


class LoadMeter:
    """The integral over time of the requests that are here, exact at the cost of two additions."""

    def __init__(self) -> None:
        self.count = 0
        self._offset = 0.0

    def arrived(self, now: float) -> None:
        self.count += 1
        self._offset -= now

    def left(self, now: float, count: int = 1) -> None:
        self.count -= count
        self._offset += count * now

    def integral(self, now: float) -> float:
        """Seconds that requests have spent here until *now*, all together."""
        return self.count * now + self._offset


class MeanLoad:
    """Requests that were here on average since the last reading."""

    def __init__(self, meter: LoadMeter, clock: Clock) -> None:
        self._meter = meter
        self._clock = clock
        self._last = clock()
        self._integral = meter.integral(self._last)
        self._mean = 0.0

    def read(self) -> float:
        now = self._clock()
        if now > self._last:
            integral = self._meter.integral(now)
            self._mean = (integral - self._integral) / (now - self._last)
            self._last, self._integral = now, integral
        return self._mean


def wanted_replicas(shares: Iterable[float], current: int, least: int, most: int) -> int:
    """How many replicas carry the load whose *shares* of the target each replica has now.

    It grows as soon as the target is passed, and shrinks only when the fewer would have slack, so
    that a load near the border does not start and stop replicas.
    """
    total = sum(shares)
    up, down = math.ceil(total), math.ceil(total / _SLACK)
    return max(least, min(most, up if up > current else min(current, down)))

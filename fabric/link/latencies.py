"""How long a peer's answers took of late."""

from __future__ import annotations

import time
from collections.abc import Sequence
from math import exp, log
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fabric.core.deadlines import Clock

_PER_E = 10
"""Buckets for each factor of e: each border is a tenth above the one before."""
_FIRST = 1e-6
"""Seconds where the second bucket begins."""
_SHIFT = 1.0 - log(_FIRST) * _PER_E
_BUCKETS = 320
"""The last begins after two years, which no answer takes."""
_HALF_LIFE = 10.0
"""Seconds after which an answer counts half."""
_MOST = 1000.0
"""Answers that count at most, so that forgetting takes as long whatever the traffic was."""

Histogram = Sequence[float]
"""How many answers there were in each bucket; none of them without any answer."""


class Latencies:
    """A histogram that fades, and whose borders grow by a constant factor: its quantiles are right
    to a twentieth, and those of several peers add up (Masson, Rim and Lee, "DDSketch: a fast and
    fully-mergeable quantile sketch with relative-error guarantees", 2019).
    """

    __slots__ = ("_at", "_clock", "_counts")

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._counts = [0.0] * _BUCKETS
        self._at = clock()

    def add(self, seconds: float) -> None:
        """An answer took *seconds*."""
        bucket = int(log(seconds) * _PER_E + _SHIFT) if seconds > _FIRST else 0
        self._counts[bucket] += 1.0

    def recent(self) -> Histogram:
        """What is not forgotten. It fades when it is read, by the time since it was read last, and
        by half at most: what came since then is among it."""
        now = self._clock()
        since, self._at = min(now - self._at, _HALF_LIFE), now
        total = sum(self._counts)
        factor = 0.5 ** (since / _HALF_LIFE) * min(1.0, _MOST / total) if total else 0.0
        if total * factor < 1.0:
            self._counts = [0.0] * _BUCKETS
            return ()
        self._counts = [count * factor for count in self._counts]
        return self._counts


def quantile(histograms: Iterable[Histogram], share: float) -> float | None:
    """Seconds within which a *share* of all answers came; None if there are none."""
    counts = [sum(bucket) for bucket in zip(*filter(None, histograms), strict=True)]
    left = share * sum(counts)
    for bucket, count in enumerate(counts):
        left -= count
        if count and left <= 0:
            return exp((bucket + 0.5 - _SHIFT) / _PER_E)
    return None

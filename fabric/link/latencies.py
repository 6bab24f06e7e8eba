"""How long a peer's answers took of late."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from math import exp, log
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fabric.core.deadlines import Clock

_PER_E = 10
"""Buckets for each factor of e: each border is a tenth above the one before."""
_SHORTEST = 1e-6
_HALF_LIFE = 10.0
"""Seconds after which an answer counts half."""
_MOST = 1000.0
"""Answers that count at most, so that forgetting takes as long whatever the traffic was."""
_LEAST = 0.01

Histogram = Mapping[int, float]
"""How many answers there were in each bucket, which is numbered by the logarithm of its border."""


class Latencies:
    """A histogram that fades, and whose borders grow by a constant factor: its quantiles are right
    to a twentieth, and those of several peers add up (Masson, Rim and Lee, "DDSketch: a fast and
    fully-mergeable quantile sketch with relative-error guarantees", 2019).
    """

    __slots__ = ("_at", "_clock", "_counts")

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._counts: defaultdict[int, float] = defaultdict(float)
        self._at = clock()

    def add(self, seconds: float) -> None:
        """An answer took *seconds*."""
        self._counts[int(log(max(seconds, _SHORTEST) / _SHORTEST) * _PER_E)] += 1.0

    def forget(self) -> None:
        """From now on only what comes counts."""
        self._counts.clear()

    def recent(self) -> Histogram:
        """What is not forgotten. It fades when it is read, by the time since it was read last, and
        by half at most: what came since then is among it."""
        now = self._clock()
        since, self._at = min(now - self._at, _HALF_LIFE), now
        total = sum(self._counts.values())
        factor = 0.5 ** (since / _HALF_LIFE) * min(1.0, _MOST / total) if total else 0.0
        kept = self._counts.items() if total * factor >= 1.0 else ()
        faded = {bucket: count * factor for bucket, count in kept if count * factor > _LEAST}
        self._counts = defaultdict(float, faded)
        return faded


def quantile(histograms: Iterable[Histogram], share: float) -> float | None:
    """Seconds within which a *share* of all answers came; None if there are none."""
    counts: defaultdict[int, float] = defaultdict(float)
    for histogram in histograms:
        for bucket, count in histogram.items():
            counts[bucket] += count
    left = share * sum(counts.values())
    for bucket in sorted(counts):
        left -= counts[bucket]
        if left <= 0:
            return _SHORTEST * exp((bucket + 0.5) / _PER_E)
    return None

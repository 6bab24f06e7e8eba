"""How fast a peer answers, and so how long a further request will wait."""

from __future__ import annotations

_WINDOW = 0.05
"""Seconds that a measurement takes at least; answers come in batches."""
_FEWEST = 16
"""Answers in one; so many requests are also always let through, so that there are some."""
_NEW = 0.3
"""The weight of a new measurement."""


class Pace:
    """Learns the time from one answer to the next while there are requests to answer."""

    __slots__ = ("_count", "_since", "interval")

    def __init__(self) -> None:
        self.interval = 0.0
        """Seconds; 0 while nothing is known."""
        self._since = 0.0
        self._count = 0

    def begun(self, now: float) -> None:
        """There is something to answer, where there was nothing."""
        self._since, self._count = now, 0

    def answered(self, now: float) -> None:
        """There is one answer more."""
        self._count += 1
        elapsed = now - self._since
        if self._count >= _FEWEST and elapsed >= _WINDOW:
            measured = elapsed / self._count
            known = self.interval or measured
            self.interval = known + _NEW * (measured - known)
            self._since, self._count = now, 0

    def wait(self, in_flight: int) -> float:
        """Seconds until one more is answered behind *in_flight* others, as far as is known."""
        return self.interval * (in_flight + 1) if in_flight >= _FEWEST else 0.0

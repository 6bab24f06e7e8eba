"""How fast a peer answers, and so how long a further request will wait."""

from __future__ import annotations

FEWEST = 16
"""Requests that are always let through, so that there are answers to learn from; what fewer took
says little about many, since a batch takes about as long whatever its size."""
_NEW = 1 / 64
"""The weight of one answer more; they come in batches."""


class Pace:
    """Learns the seconds for each of the requests that are in flight together.

    They are those from sending to answering over the number in flight, on average both: what a peer
    could do and is not asked for changes nothing.
    """

    __slots__ = ("_requests", "_seconds")

    def __init__(self) -> None:
        self._seconds = 0.0
        """That answers took, on average,"""
        self._requests = 0.0
        """with so many in flight; 0 while nothing is known."""

    def answered(self, seconds: float, ahead: int) -> None:
        """A request with *ahead* others before it was answered after *seconds*."""
        if ahead >= FEWEST:
            weight = _NEW if self._requests else 1.0
            self._seconds += (seconds - self._seconds) * weight
            self._requests += (ahead + 1 - self._requests) * weight

    def wait(self, ahead: int) -> float:
        """Seconds until a request with *ahead* others before it is answered, on average."""
        if ahead < FEWEST or not self._requests:
            return 0.0
        return self._seconds / self._requests * (ahead + 1)

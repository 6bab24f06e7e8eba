"""How fast a peer answers, and so how long a further request will wait."""

from __future__ import annotations

FEWEST = 16
"""Requests that are always let through, so that there are answers to learn from; what fewer took
says little about many, since a batch takes about as long whatever its size."""
_NEW = 1 / 64
"""The weight of one answer more; they come in batches."""


class Pace:
    """Learns the seconds for each of the requests that are in flight together.

    They are those from sending to answering over the number in flight: what a peer could do and is
    not asked for changes nothing.
    """

    __slots__ = ("each",)

    def __init__(self) -> None:
        self.each = 0.0
        """Seconds; 0 while nothing is known."""

    def answered(self, seconds: float, ahead: int) -> None:
        """A request with *ahead* others before it was answered after *seconds*."""
        if ahead >= FEWEST:
            each = seconds / (ahead + 1)
            self.each += (each - self.each) * (_NEW if self.each else 1.0)

    def wait(self, ahead: int) -> float:
        """Seconds until a request with *ahead* others before it is answered, on average."""
        return self.each * (ahead + 1) if ahead >= FEWEST else 0.0

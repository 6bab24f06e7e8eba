"""For tests of fabric and of what is built on it: fakes with the behaviour of the real thing."""

from __future__ import annotations


class ManualClock:
    """A clock that stands still until it is told to move; call it for the time in seconds."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds

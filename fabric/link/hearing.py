"""When a peer that owes answers is asked whether it lives, and when it is taken for silent."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fabric.link.frames import Limits

_SLACK = 3.0
"""So many times what pings took of late are waited for: a replica whose model holds up its loop is
slow to answer them, and not dead."""
_HALVED = 10.0
"""Seconds in which that is half forgotten: a process that was stopped once may be so for good."""
_FIRST = 1.0
"""Seconds that a peer which has answered nothing so far has at least: first runs take long."""

_EARLY = 0.002
"""Seconds by which timers of event loops are early,"""
_TURN = 0.005
"""and in which one turns at least once."""


class Hearing:
    """Decides by what was heard, and when; times are those of one clock that never goes back.

    It is looked at as long as there are calls in flight, or the peer is silent.
    """

    __slots__ = ("_asked", "_due", "_is_doubted", "_limits", "_since", "_slowest", "is_silent")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._asked: float | None = None
        """When it was asked, if nothing was heard since."""
        self._due = 0.0
        """When it is looked at next."""
        self._is_doubted = False
        """It has had its time."""
        self._slowest = 0.0
        """Seconds that the slowest ping took,"""
        self._since = 0.0
        """as of then."""
        self.is_silent = False
        """It was asked, and has said nothing."""

    def begin(self, now: float) -> float:
        """Seconds until the first look, from the first call in flight on."""
        self._due = now + self._limits.quiet
        return self._limits.quiet

    def look(self, now: float, heard: float, *, is_known: bool) -> tuple[bool, float]:
        """Whether to send a ping now, and the seconds until the next look; sets `is_silent`.

        *heard* is when anything at all came last, and *is_known* whether an answer ever came.
        """
        if self._asked is not None and heard >= self._asked:
            self._asked, self.is_silent, self._is_doubted = None, False, False
        if self._asked is None:
            asks = now - heard > self._limits.quiet - _EARLY
            if asks:
                self._asked = now
            seconds = self._patience(now, is_known) if asks else heard + self._limits.quiet - now
        else:
            asks, seconds = False, self._waited(now, self._patience(self._asked, is_known))
        self._due = now + seconds
        return asks, seconds

    def _waited(self, now: float, patience: float) -> float:
        """Seconds until the next look at a peer that has not answered so far.

        Before it is taken for silent it has as long as the look comes late: the loop was busy, may
        not have asked, and has not read what came meanwhile.
        """
        assert self._asked is not None  # noqa: S101 - as the caller knows
        left = self._asked + patience - now
        if left >= _EARLY:
            return left
        if not self._is_doubted:
            self._is_doubted = True
            return max(min(now - self._due, patience), _TURN)
        self.is_silent = True
        return self._limits.quiet / 4

    def ponged(self, now: float) -> None:
        """A ping was answered."""
        if self._asked is not None:
            self._slowest, self._since = max(now - self._asked, self._slowest_of_late(now)), now

    def _slowest_of_late(self, now: float) -> float:
        return float(self._slowest * 0.5 ** ((now - self._since) / _HALVED))

    def _patience(self, now: float, is_known: bool) -> float:
        least = self._limits.patience if is_known else max(self._limits.patience, _FIRST)
        longest = max(least, self._limits.silence / 2)
        return min(max(least, self._slowest_of_late(now) * _SLACK), longest)

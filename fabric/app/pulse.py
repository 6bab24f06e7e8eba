"""Whether a child's event loop turns, which it shows by what it writes to a pipe."""

from __future__ import annotations

import contextlib
import os

LOOK = 1.0
"""Seconds between looks, in each of which there is a beat (`processes.BEAT`),"""
MISSES = 10
"""and so many in a row without any mean that it hangs: a busy machine holds nobody up for so long,
and while all of it stands still nobody looks."""


class Pulse:
    """A pipe that one process after the other writes to. To be closed."""

    def __init__(self) -> None:
        self._reading, self.writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._left = MISSES

    def begin(self, startup: float) -> None:
        """A process starts, which has so many seconds for its first beat."""
        self._left = max(MISSES, int(startup / LOOK))

    def is_lost(self) -> bool:
        """Whether there was no beat at too many looks in a row, of which this is one."""
        beats = b""
        with contextlib.suppress(BlockingIOError):
            beats = os.read(self._reading, 1 << 16)
        self._left = MISSES if beats else self._left - 1
        return self._left <= 0

    def close(self) -> None:
        os.close(self._reading)
        os.close(self.writing)

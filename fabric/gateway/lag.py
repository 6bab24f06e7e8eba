"""How long what comes waits until the event loop turns to it."""

from __future__ import annotations

import asyncio
import time

from fabric.core.deadlines import Deadline

_EVERY = 0.002
"""Seconds between two measurements while there is something to do."""
_FRESH = 0.1
"""Seconds after which a measurement says nothing of now any more."""
_TICK = 0.001
"""Timers of event loops are late by as much as this anyway."""


class Lag:
    """Measures by a timer how late the loop is, which is as late as it reads what has come.

    A busy gateway so counts the time a request waited unread against its deadline, and refuses what
    it cannot answer in time any more instead of passing on more work the further it falls behind.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        """As it was last measured, a moment ago."""
        self._measured = 0.0
        self._is_due = False

    def read(self, deadline: Deadline) -> Deadline:
        """When the answer to a request that has just been read must be here to come in time, if
        *deadline* counts from now: the request has waited, and so will its answer."""
        if not self._is_due:
            self._is_due = True
            loop = asyncio.get_running_loop()
            now = loop.time()
            if now - self._measured > _FRESH:
                self.seconds = 0.0
            loop.call_at(now + _EVERY, self._measure, now + _EVERY)
        return Deadline(deadline.at - 2 * self.seconds) if self.seconds else deadline

    def _measure(self, due: float) -> None:
        self._is_due = False
        self._measured = now = time.monotonic()
        late = now - due
        self.seconds = late if late > _TICK else 0.0

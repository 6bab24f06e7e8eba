"""What requests that ask for much may take of the processor, all of them together."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fabric.core.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fabric.core.deadlines import Clock


class Allowance:
    """Seconds of CPU that may be taken: a *share* of the time that passes, and what was saved of
    it, *most* at most."""

    def __init__(
        self,
        share: float,
        most: float,
        refusal: str,
        clock: Clock = time.monotonic,
        cpu: Clock = time.thread_time,
    ) -> None:
        self._share = share
        self._most = self._left = most
        self._refusal = refusal
        """What is said while nothing is left."""
        self._clock = clock
        self._cpu = cpu
        self._at = clock()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Takes away what the block takes. Raises Overloaded before it if nothing is left, with the
        seconds until something is."""
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._at) * self._share)
        self._at = now
        if self._left <= 0:
            raise Overloaded(self._refusal, retry_after=-self._left / self._share)
        begun = self._cpu()
        try:
            yield
        finally:
            self._left -= self._cpu() - begun

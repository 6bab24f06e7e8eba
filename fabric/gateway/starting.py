"""What a gateway that has just started waits for before it says that it is ready."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fabric.core.replicas import State, Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from fabric.catalog.catalog import Catalog
    from fabric.core.deadlines import Clock


class Starting:
    """Waits for each specialist that is to be loaded by the first *catalog*, until it can be asked.

    One that fails, is taken out, or takes longer than its `timeouts.startup` is not waited for, so
    that none keeps the others from answering; nor is what is declared later.
    """

    def __init__(self, catalog: Catalog, clock: Clock = time.monotonic) -> None:
        now = clock()
        self._catalog = catalog
        self._clock = clock
        self._until = {
            key: now + each.hosting.timeouts.startup for key, each in catalog.specialists.items()
        }

    @property
    def is_over(self) -> bool:
        """Whether nobody is waited for; empty catalogs have nobody."""
        return not self._until

    def look(self, count: Callable[[str], int]) -> bool:
        """Whether it is over by now, and was not before.

        *count* says how many replicas of a specialist can be sent requests.
        """
        if not self._until:
            return False
        now = self._clock()
        self._until = {
            key: until
            for key, until in self._until.items()
            if until > now and self._is_awaited(key) and not count(key)
        }
        return self.is_over

    def _is_awaited(self, key: str) -> bool:
        specialist = self._catalog.specialists.get(key)
        if specialist is None or not specialist.hosting.loaded:
            return False
        return self._catalog.statuses.get(key, Status()).state is not State.FAILED

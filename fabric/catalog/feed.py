"""The changes of a catalog as they happen, for any number of watchers."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fabric.catalog.catalog import Catalog
    from fabric.core.changes import Changes

EPOCH_BITS = 32
_MOST_BYTES = 1 << 26
"""Of the policies and pipelines in the changes that are kept."""
_STEP_BYTES = 1 << 11
"""Of a pipeline, about."""


def first_revision(epoch: int) -> int:
    """Where the revisions of a control plane's *epoch* th start begin: above all earlier ones."""
    return epoch << EPOCH_BITS


class Feed:
    """The catalog and its last changes, which all watchers read at their own pace.

    A watcher costs one number, whatever it has not read yet. One that falls behind the changes kept
    goes on from a snapshot; the writer never waits.
    """

    def __init__(self, catalog: Catalog, kept: int = 1024) -> None:
        self._catalog = catalog
        self._most = kept
        self._kept: deque[Changes] = deque()
        self._kept_bytes = 0
        self._changed = asyncio.Event()
        self._closed = False

    def publish(self, changes: Changes) -> Changes:
        """The catalog has taken *changes* in, under the next revision, and every watcher wakes."""
        numbered = replace(changes, revision=self._catalog.revision + 1)
        self._catalog.update(numbered)
        self._kept.append(numbered)
        self._kept_bytes += _size(numbered)
        while len(self._kept) > self._most or self._kept_bytes > _MOST_BYTES:
            self._kept_bytes -= _size(self._kept.popleft())
        self._wake()
        return numbered

    def since(self, revision: int) -> tuple[Changes, ...]:
        """What makes a mirror at *revision* current: the changes after it, or else a snapshot."""
        behind = self._catalog.revision - revision
        if revision > 0 and 0 <= behind <= len(self._kept):
            return tuple(islice(self._kept, len(self._kept) - behind, None))
        return (self._catalog.snapshot(),)

    async def changed(self, revision: int) -> None:
        """Returns once the catalog is past *revision*, or the feed is closed."""
        while self._catalog.revision == revision and not self._closed:
            await self._changed.wait()

    async def watch(self, revision: int) -> AsyncIterator[Changes]:
        """The changes after *revision*, for ever, from a snapshot where they are no longer kept.

        Ends when the feed is closed. 0 asks for a snapshot.
        """
        while not self._closed:
            for changes in self.since(revision):
                yield changes
                revision = changes.revision
            await self.changed(revision)

    def close(self) -> None:
        """Ends every watch."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _size(changes: Changes) -> int:
    """Bytes of what may be large."""
    policies = sum(len(policy.data) + len(policy.report) for policy in changes.policies)
    steps = sum(1 for pipeline in changes.pipelines for _ in pipeline.all_steps)
    return policies + steps * _STEP_BYTES

"""The answers that a gateway keeps: those that were used last, as far as there is room."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Container

    from fabric.core.requests import InferResponse

SHARE = 8
"""An answer is kept if so many of its size would have room."""
BESIDE = 512
"""Bytes that an answer takes beside its payload; so their number is bounded too."""


class Key(NamedTuple):
    """What an answer follows from."""

    specialist: str
    """`name:version`,"""
    model: str
    """and what the replicas of that name run, see `ReplicaPool.models`."""
    tenant: str
    digest: bytes
    """See `Content`."""


@dataclass(frozen=True, slots=True)
class Entry:
    payload: bytes
    replica: str
    """Whose answer it is."""
    at: float
    """When it came."""


class Kept:
    """Answers of *most* bytes together."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.bytes = 0
        self._entries: OrderedDict[Key, Entry] = OrderedDict()
        """The longest unused first."""

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> Entry | None:
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def put(self, key: Key, response: InferResponse, now: float) -> None:
        """Keeps a copy of *response* instead of the one before, unless it is more than a share."""
        self._remove(key)
        size = len(response.payload) + BESIDE
        if size > self.most // SHARE:
            return
        while self.bytes + size > self.most:
            self._remove(next(iter(self._entries)))
        # Large payloads may be views of memory that a replica has lent.
        self._entries[key] = Entry(bytes(response.payload), response.replica, now)
        self.bytes += size

    def retain(self, specialists: Container[str]) -> None:
        """Forgets the answers of all others."""
        for key in [each for each in self._entries if each.specialist not in specialists]:
            self._remove(key)

    def _remove(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes -= len(entry.payload) + BESIDE

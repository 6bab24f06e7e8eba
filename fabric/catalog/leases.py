"""Leases of replicas, and the load that renewals carry: state under a clock, and no tasks."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fabric.core.errors import NotFound
from fabric.core.replicas import Load

if TYPE_CHECKING:
    from fabric.core.deadlines import Clock


@dataclass(slots=True)
class _Lease:
    load: Load
    stream: object = None
    """What renews it: the newest one that did."""


class Leases:
    """Who is known to be alive, and until when.

    A replica whose stream ends has most likely died with it, so its lease is cut to *grace*; one
    that is slow and still holds its stream keeps the whole of it.
    """

    def __init__(
        self, clock: Clock = time.monotonic, length: float = 10.0, grace: float = 0.5
    ) -> None:
        self.length = length
        self._clock = clock
        self._grace = grace
        self._leases: dict[str, _Lease] = {}
        # When each ends. All leases in one dictionary are of one length, so that its order is
        # that of their ends: renewing costs the same however many there are.
        self._whole: dict[str, float] = {}
        self._cut: dict[str, float] = {}
        self._forgiving = -math.inf

    def grant(self, replica_id: str, load: Load | None = None) -> None:
        """The replica has a whole lease from now on."""
        self._leases.setdefault(replica_id, _Lease(Load())).load = load or Load()
        self._extend(replica_id)

    def renew(self, replica_id: str, load: Load, stream: object = None) -> None:
        """The replica has a whole lease again, and *stream* is what keeps it.

        Raises:
            NotFound: it has none; it must register.
        """
        lease = self._leases.get(replica_id)
        if lease is None:
            raise NotFound(f"replica {replica_id!r} has no lease: register again")
        lease.load, lease.stream = load, stream
        self._extend(replica_id)

    def lost(self, replica_id: str, stream: object) -> None:
        """*stream* has ended: the lease is cut, unless a newer stream keeps it."""
        lease = self._leases.get(replica_id)
        if lease is None or lease.stream is not stream or replica_id not in self._whole:
            return
        if self._clock() < self._forgiving:
            return
        end = min(self._whole.pop(replica_id), self._clock() + self._grace)
        self._cut[replica_id] = end

    def forgive(self) -> None:
        """All have a whole lease from now on: nobody was heard for a while, whatever they said.

        Nor do streams that end within that lease tell anything: replicas gave them up meanwhile.
        """
        for replica_id in (*self._whole, *self._cut):
            self._extend(replica_id)
        self._forgiving = self._clock() + self.length

    def end(self, replica_id: str) -> None:
        self._leases.pop(replica_id, None)
        self._whole.pop(replica_id, None)
        self._cut.pop(replica_id, None)

    def load(self, replica_id: str) -> Load:
        """What the replica carried at its last renewal."""
        lease = self._leases.get(replica_id)
        return lease.load if lease else Load()

    @property
    def next_end(self) -> float:
        """When the first lease ends, on the clock; `math.inf` without any."""
        return min(next(iter(ends.values()), math.inf) for ends in (self._whole, self._cut))

    def expire(self) -> tuple[str, ...]:
        """Takes out the leases that have ended, and says whose they were."""
        now = self._clock()
        gone = []
        for ends in (self._whole, self._cut):
            for replica_id, end in ends.items():
                if end > now:
                    break
                gone.append(replica_id)
        for replica_id in gone:
            self.end(replica_id)
        return tuple(gone)

    def _extend(self, replica_id: str) -> None:
        self._cut.pop(replica_id, None)
        self._whole.pop(replica_id, None)
        self._whole[replica_id] = self._clock() + self.length

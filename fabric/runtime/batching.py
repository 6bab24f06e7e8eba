"""The batcher: requests that are here at the same time are run together.

Nothing waits for a batch to fill. When the model is free it takes what the queue holds: all that
came in one turn of the event loop, or while the run before was busy. So batches are as large as
the load makes them, and a lone request is run at once.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from typing import TYPE_CHECKING, NoReturn

from fabric.core.errors import Cancelled, FabricError, Overloaded, Unavailable
from fabric.runtime.batches import RESERVE, due, in_time, is_hurried, sized, take
from fabric.runtime.jobs import lateness, settle
from fabric.runtime.load import LoadMeter
from fabric.runtime.pace import Pace, averaged, size_class
from fabric.runtime.runs import run
from fabric.runtime.statistics import Statistics

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor, Future

    from fabric.core.cards import Batching
    from fabric.core.deadlines import Clock
    from fabric.runtime.jobs import Job
    from fabric.runtime.runs import Model, Run

SHORT = 0.001
"""Seconds. Runs that take less are done on the loop: a thread would cost more than it frees."""


class Batcher:
    """Runs jobs on *model*, stacked up to *batching*.

    A batch of a size that was never run is taken to need *seconds*. The rows of a run stand by
    *order*, or as the requests came.
    """

    def __init__(
        self,
        model: Model,
        batching: Batching,
        executor: Executor,
        *,
        seconds: float = math.inf,
        order: Callable[[Job], int] | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self.meter = LoadMeter()
        self.statistics = Statistics()
        self._model = model
        self._batching = batching
        self._executor = executor
        self._unseen = seconds
        self._order = order
        self._seconds: dict[int, float] = {}
        """How long a run alone takes, by the size class of its batch."""
        self._pace = Pace()
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._queues: list[deque[Job]] = [deque() for _ in range(max(1, batching.priorities))]
        """One for every level of priority, the first first."""
        self._waiting = 0
        """In all queues."""
        self._largest = 0
        """Bytes of the largest that has waited since nobody did."""
        self._running: Future[list[Run]] | None = None
        self._ends = 0.0
        """When that should be answered."""
        self._left = 0
        """At least as many as have left while they waited."""
        self._turn_is_due = False
        self._is_closed = False

    @property
    def queued(self) -> int:
        return self._waiting

    def admit(self, job: Job) -> None:
        """Whoever finds the model free is let in, however long its runs took: they may be
        shorter now."""
        if self._waiting >= self._batching.max_queue and not self._has_dropped_some():
            self._turn_away(
                f"Exceeds maximum queue size: {self._waiting} requests are waiting here already"
            )
        if (self._waiting + 1) * max(self._largest, job.size) > self._batching.max_queue_bytes:
            self._admit_in_bytes(job)
        if self._is_closed:
            raise Unavailable("the replica is closed")
        if self._waiting or self._running is not None:
            # As a rule there is far more time than the longest runs would take one by one.
            most = (self._waiting + 2) * self._pace.longest + RESERVE
            if job.expires - job.arrived < most:
                self._admit_in_time(job, len(self._queues[0]))

    def submit(self, job: Job) -> None:
        if self._is_closed:
            raise Unavailable("the replica is closed")
        level = 0
        if len(self._queues) > 1:
            level = self._level_of(job)
            self._admit_by_level(job)
            self._admit_in_time(job, sum(map(len, self._queues[: level + 1])))
        self._queues[level].append(job)
        self._largest = max(self._largest, job.size) if self._waiting else job.size
        self.meter.arrived(job.arrived)
        self._waiting += 1
        job.on_gone(self._one_left)
        if self._running is None and not self._turn_is_due:
            self._schedule()

    def reconfigure(self, batching: Batching) -> None:
        self._batching = batching
        waiting = [job for queue in self._queues for job in queue]
        self._queues = [deque() for _ in range(max(1, batching.priorities))]
        for job in waiting:
            self._queues[self._level_of(job)].append(job)

    async def close(self) -> None:
        self._is_closed = True
        now = self._clock()
        self.meter.left(now, self._waiting)
        self._waiting = 0
        closed = Unavailable("the replica closed before the request was run")
        for queue in self._queues:
            while queue:
                self._refuse(queue.popleft(), closed, now)
        if self._running is not None:
            await asyncio.wait((asyncio.wrap_future(self._running),))

    def _admit_by_level(self, job: Job) -> None:
        """Raises Overloaded if what room is left is kept for those above *job*."""
        share = self._batching.share(job.inputs.priority)
        if self._waiting >= share * self._batching.max_queue and not self._has_dropped_some():
            self._turn_away(
                f"Exceeds maximum queue size: {self._waiting} requests are waiting here already, "
                "and the rest is kept for those of higher priority"
            )
        largest = max(self._largest, job.size)
        if (self._waiting + 1) * largest > share * self._batching.max_queue_bytes:
            self._admit_in_bytes(job, share)

    def _admit_in_bytes(self, job: Job, share: float = 1.0) -> None:
        """Raises Overloaded if others wait, and *job* with them is too large."""
        if not self._waiting:
            return
        size = sum(each.size for queue in self._queues for each in queue) + job.size
        if size > share * self._batching.max_queue_bytes and not self._has_dropped_some():
            self._turn_away(
                f"{self._waiting} requests of {size - job.size} bytes are waiting here already"
            )

    def _admit_in_time(self, job: Job, ahead: int) -> None:
        """Raises Overloaded if *job*, behind so many others, cannot be answered in time."""
        now = job.arrived
        needed = self._pace.wait(ahead)
        if self._running is not None and self._ends > now:
            needed += self._ends - now
        if now + needed <= due(job) or self._has_dropped_some():
            return
        self._turn_away(
            f"an answer takes about {needed * 1e3:.3g} ms with {ahead} requests waiting here, "
            f"the deadline is in {(job.expires - now) * 1e3:.3g} ms"
        )

    def _turn_away(self, why: str) -> NoReturn:
        self.statistics.failed(1, 0.0)
        raise Overloaded(why)

    def _level_of(self, job: Job) -> int:
        """Of its queue, from 0 on."""
        return self._batching.level(job.inputs.priority) - 1

    def _schedule(self) -> None:
        self._turn_is_due = True
        self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Runs what waits: short runs here, for no longer than one short run may take."""
        self._turn_is_due = False
        if self._running is not None:  # what came with the answers before asked for this turn
            return
        start = now = self._clock()
        while self._waiting and now - start < SHORT:
            batch = self._take(now)
            if not batch:
                continue
            rows, size = sized(batch)
            self._pace.batched(len(batch), size, others=self._waiting > 0)
            size = size_class(size)
            if self._seconds.get(size, self._unseen) >= SHORT:
                self._run_in_thread(batch, rows, size, now)
                return
            now = self._finish(batch, size, now, run(self._model, batch, rows, self._clock))
        if self._waiting and not self._turn_is_due:
            self._schedule()

    def _take(self, now: float) -> list[Job]:
        """The jobs of the next run; what need not or cannot be run any more is told so."""
        batch: list[Job] = []
        dropped: list[Job] = []
        late = True
        while late:  # others take the places of those for whom it is too late
            for queue in self._queues:
                if queue:
                    dropped += take(queue, self._batching.max_size, now, batch)
            late = False
            if is_hurried(batch, now + self._pace.longest):
                batch, later, hopeless = in_time(batch, now, self._pace.seconds)
                late = bool(hopeless)
                dropped += hopeless
                for job in reversed(later):
                    self._queues[self._level_of(job)].appendleft(job)
        self._waiting = sum(map(len, self._queues))
        if dropped:
            self._drop(dropped, now)
        if self._order is not None:
            batch.sort(key=self._order)
        return batch

    def _drop(self, dropped: list[Job], now: float) -> None:
        self.meter.left(now, len(dropped))
        for job in dropped:
            gone = Cancelled("the caller left") if job.is_gone else None
            self._refuse(job, gone or lateness(job, now) or self._too_late(job, now), now)

    def _too_late(self, job: Job, now: float) -> Overloaded:
        _, size = sized([job])
        return Overloaded(
            f"an answer takes about {self._pace.seconds(size_class(size)) * 1e3:.3g} ms, "
            f"the deadline is in {(job.expires - now) * 1e3:.3g} ms"
        )

    def _refuse(self, job: Job, error: FabricError, now: float) -> None:
        if not job.is_gone:
            self.statistics.failed(1, now - job.arrived)
        settle(job, error)

    def _one_left(self) -> None:
        self._left += 1

    def _has_dropped_some(self) -> bool:
        """Makes room in a full queue, if some of those who wait there have left."""
        if not self._left:
            return False
        self._left = 0
        gone = [job for queue in self._queues for job in queue if job.is_gone]
        self._queues = [deque(job for job in queue if not job.is_gone) for queue in self._queues]
        self._waiting -= len(gone)
        self.meter.left(self._clock(), len(gone))
        for job in gone:
            settle(job, Cancelled("the caller left"))
        return bool(gone)

    def _run_in_thread(self, batch: list[Job], rows: int, size: int, now: float) -> None:
        self._ends = now + self._pace.seconds(size)
        options = self._model.options()

        def stop_if_all_are_gone() -> None:
            if all(job.is_gone for job in batch):
                options.terminate = True

        for job in batch:
            job.on_gone(stop_if_all_are_gone)
        self._running = self._executor.submit(run, self._model, batch, rows, self._clock, options)
        self._running.add_done_callback(
            lambda done: self._loop.call_soon_threadsafe(self._ran, batch, size, now, done)
        )

    def _ran(self, batch: list[Job], size: int, taken: float, done: Future[list[Run]]) -> None:
        self._running = None
        self._finish(batch, size, taken, done.result())
        if self._waiting:
            self._turn()

    def _finish(self, batch: list[Job], size: int, taken: float, runs: list[Run]) -> float:
        """Answers all of *batch*, which was *taken* then; returns the time."""
        now = 0.0
        for each in runs:
            now = self._answer(each)
        self._learn(size, runs, now - taken)
        self.meter.left(now, len(batch))
        batch.clear()  # callers that can still leave lead here, and would keep the inputs
        return now

    def _learn(self, size: int, runs: list[Run], seconds: float) -> None:
        """A run that failed, or was stopped, may be short where others are long."""
        known = self._seconds.get(size)
        took = runs[-1].ended - runs[0].begun
        is_failed = isinstance(runs[0].answers[0], FabricError)
        if not is_failed or (known is not None and took >= known):
            self._seconds[size] = took if known is None else averaged(known, took)
        if not is_failed:
            self._pace.took(size, seconds)

    def _answer(self, done: Run) -> float:
        """Answers the jobs of one run and counts them; returns the time."""
        count = rows = failures = 0
        arrived = failed = 0.0
        for job, answer in zip(done.jobs, done.answers, strict=True):
            if job.is_gone:
                settle(job, answer, done.rows)
            elif settle(job, answer, done.rows):
                count += 1
                rows += job.inputs.rows
                arrived += job.arrived
            else:
                failures += 1
                failed += job.arrived
        now = self._clock()
        if not done.is_failed:
            self.statistics.ran(done, now, count, rows, arrived)
        if failures:
            self.statistics.failed(failures, failures * now - failed)
        return now

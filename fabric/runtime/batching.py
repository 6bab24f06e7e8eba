"""The batcher: requests that are here at the same time are run together.

Nothing waits for a batch to fill. When the model is free it takes what the queue holds: all that
came in one turn of the event loop, or while the run before was busy. So batches are as large as
the load makes them, and a lone request is run at once.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from typing import TYPE_CHECKING

from fabric.core.errors import Cancelled, FabricError, Overloaded, Unavailable
from fabric.runtime.jobs import lateness
from fabric.runtime.load import LoadMeter
from fabric.runtime.runs import run
from fabric.runtime.statistics import Statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor, Future

    from fabric.core.cards import Batching
    from fabric.core.deadlines import Clock
    from fabric.core.tensors import Tensors
    from fabric.runtime.jobs import Job
    from fabric.runtime.runs import Model, Run

log = logging.getLogger(__name__)

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
        """How long a run takes, by the size class of its batch."""
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._queues: list[deque[Job]] = [deque() for _ in range(max(1, batching.priorities))]
        """One for every level of priority, the first first."""
        self._waiting = 0
        """In all queues."""
        self._running: Future[list[Run]] | None = None
        self._left = 0
        """At least as many as have left while they waited."""
        self._turn_is_due = False
        self._is_closed = False

    @property
    def queued(self) -> int:
        return self._waiting

    def admit(self) -> None:
        if self._waiting >= self._batching.max_queue and not self._has_dropped_some():
            self.statistics.failed(1, 0.0)
            raise Overloaded(
                f"Exceeds maximum queue size: {self._waiting} requests are waiting here already"
            )
        if self._is_closed:
            raise Unavailable("the replica is closed")

    def submit(self, job: Job) -> None:
        self.admit()
        self.meter.arrived(self._clock())
        queues = self._queues
        (queues[0] if len(queues) == 1 else self._queue_of(job)).append(job)
        self._waiting += 1
        job.on_gone(self._one_left)
        self._schedule()

    def reconfigure(self, batching: Batching) -> None:
        self._batching = batching
        waiting = [job for queue in self._queues for job in queue]
        self._queues = [deque() for _ in range(max(1, batching.priorities))]
        for job in waiting:
            self._queue_of(job).append(job)

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

    def _queue_of(self, job: Job) -> deque[Job]:
        """A request that names no level, or one that there is not, has the default level."""
        levels = self._batching.priorities
        level = job.inputs.priority
        if not 1 <= level <= levels:
            level = self._batching.default_priority or levels
        return self._queues[level - 1]

    def _schedule(self) -> None:
        if not self._turn_is_due and self._running is None:
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
            rows, size = measured(batch)
            if self._seconds.get(size, self._unseen) >= SHORT:
                self._run_in_thread(batch, rows, size)
                return
            now = self._finish(batch, size, run(self._model, batch, rows, self._clock))
        if self._waiting:
            self._schedule()

    def _take(self, now: float) -> list[Job]:
        batch: list[Job] = []
        dropped: list[Job] = []
        for queue in self._queues:
            if queue:
                dropped += take(queue, self._batching.max_size, now, batch)
        self._waiting -= len(batch)
        if dropped:
            self._drop(dropped, now)
        if self._order is not None:
            batch.sort(key=self._order)
        return batch

    def _drop(self, dropped: list[Job], now: float) -> None:
        self._waiting -= len(dropped)
        self.meter.left(now, len(dropped))
        for job in dropped:
            self._refuse(job, lateness(job, now) or Cancelled("the caller left"), now)

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

    def _run_in_thread(self, batch: list[Job], rows: int, size: int) -> None:
        options = self._model.options()

        def stop_if_all_are_gone() -> None:
            if all(job.is_gone for job in batch):
                options.terminate = True

        for job in batch:
            job.on_gone(stop_if_all_are_gone)
        self._running = self._executor.submit(run, self._model, batch, rows, self._clock, options)
        self._running.add_done_callback(
            lambda done: self._loop.call_soon_threadsafe(self._ran, batch, size, done)
        )

    def _ran(self, batch: list[Job], size: int, done: Future[list[Run]]) -> None:
        self._running = None
        self._finish(batch, size, done.result())
        if self._waiting:
            self._turn()

    def _finish(self, batch: list[Job], size: int, runs: list[Run]) -> float:
        """Answers all of *batch*; returns the time."""
        self._learn(size, runs[-1].ended - runs[0].begun, runs[0].answers[0])
        now = 0.0
        for each in runs:
            now = self._answer(each)
        self.meter.left(now, len(batch))
        batch.clear()  # callers that can still leave lead here, and would keep the inputs
        return now

    def _learn(self, size: int, seconds: float, answer: Tensors | FabricError) -> None:
        """A run that failed, or was stopped, may be short where others are long."""
        known = self._seconds.get(size)
        if isinstance(answer, FabricError) and (known is None or seconds < known):
            return
        self._seconds[size] = seconds if known is None else averaged(known, seconds)

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


def take(queue: deque[Job], max_rows: int, now: float, batch: list[Job]) -> list[Job]:
    """Moves jobs from *queue* to *batch*; returns those before them that need no run any more.

    Where the batch is empty, the first job that waits is always in it, with those behind it that
    can be stacked with it; the others keep their places. With *max_rows* 1 a batch is one job.
    """
    dropped: list[Job] = []
    passed: list[Job] = []
    rows = sum(job.inputs.rows for job in batch) if batch else 0
    while queue and rows < max_rows and len(passed) < max_rows:
        job = queue.popleft()
        inputs = job.inputs
        if job.is_gone or job.expires <= now or job.arrived + inputs.patience <= now:
            dropped.append(job)
        elif not batch or (
            inputs.shapes == batch[0].inputs.shapes and rows + inputs.rows <= max_rows
        ):
            batch.append(job)
            rows += inputs.rows
        else:
            passed.append(job)
    queue.extendleft(reversed(passed))
    return dropped


def measured(batch: Sequence[Job]) -> tuple[int, int]:
    """The rows of *batch* and its size class: the bits of its number of bytes.

    Runs of one class take about as long as one another, and there are at most some forty classes.
    """
    first = batch[0].inputs
    rows = first.rows if len(batch) == 1 else sum(job.inputs.rows for job in batch)
    size = 0
    for array in first.tensors.values():
        size += array.nbytes
    return rows, (size * rows // first.rows).bit_length()


def settle(job: Job, answer: Tensors | FabricError, rows: int = 0) -> bool:
    """Gives *job* its *answer*; whether that is one, and no failure.

    One that cannot be given is logged: others wait for theirs.
    """
    try:
        if not isinstance(answer, FabricError):
            return job.done(answer, rows)
        job.fail(answer)
    except Exception:
        log.exception("a request could not be answered")
    return False


def averaged(average: float, seconds: float) -> float:
    """The moving average with one more run; it falls quickly, because what else a busy machine
    does makes runs look longer, never shorter."""
    return average + (seconds - average) * (0.5 if seconds < average else 0.1)

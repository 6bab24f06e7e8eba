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
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fabric.core.errors import Cancelled, DeadlineExceeded, FabricError, Overloaded, Unavailable
from fabric.runtime.jobs import failure
from fabric.runtime.load import LoadMeter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor, Future

    from fabric.core.cards import Batching
    from fabric.core.deadlines import Clock
    from fabric.core.tensors import Tensors
    from fabric.runtime.jobs import Job

log = logging.getLogger(__name__)

SHORT = 0.001
"""Seconds. Runs that take less are done on the loop: a thread would cost more than it frees."""


class Model(Protocol):
    """What the batcher runs."""

    def run(self, tensors: Tensors, options: Any = None) -> Tensors:
        """Blocks; any exception is the failure of this run."""

    def options(self) -> Any:
        """For one run; setting `terminate` on it stops that run."""


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
        self._model = model
        self._batching = batching
        self._executor = executor
        self._unseen = seconds
        self._order = order
        self._seconds: dict[int, float] = {}
        """How long a run takes, by the size class of its batch."""
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Job] = deque()
        self._running: Future[tuple[list[Tensors | FabricError], float]] | None = None
        self._left = 0
        """At least as many as have left while they waited."""
        self._turn_is_due = False
        self._is_closed = False

    @property
    def queued(self) -> int:
        return len(self._queue)

    def admit(self) -> None:
        if len(self._queue) >= self._batching.max_queue and not self._has_dropped_some():
            raise Overloaded(
                f"Exceeds maximum queue size: {len(self._queue)} requests are waiting here already"
            )
        if self._is_closed:
            raise Unavailable("the replica is closed")

    def submit(self, job: Job) -> None:
        self.admit()
        self.meter.arrived(self._clock())
        self._queue.append(job)
        job.on_gone(self._one_left)
        self._schedule()

    def reconfigure(self, batching: Batching) -> None:
        self._batching = batching

    async def close(self) -> None:
        self._is_closed = True
        queue, self._queue = self._queue, deque()
        self.meter.left(self._clock(), len(queue))
        for job in queue:
            settle(job, Unavailable("the replica closed before the request was run"))
        if self._running is not None:
            await asyncio.wait((asyncio.wrap_future(self._running),))

    def _schedule(self) -> None:
        if not self._turn_is_due and self._running is None:
            self._turn_is_due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Runs what waits: short runs here, for no longer than one short run may take."""
        self._turn_is_due = False
        start = now = self._clock()
        while self._queue and now - start < SHORT:
            batch = self._take(now)
            if not batch:
                continue
            rows, size = measured(batch)
            if self._seconds.get(size, self._unseen) >= SHORT:
                self._run_in_thread(batch, rows, size)
                return
            answers = run(self._model, batch)
            self._learn(size, self._clock() - now, answers[0])
            now = self._finish(batch, rows, answers)
        if self._queue:
            self._schedule()

    def _take(self, now: float) -> list[Job]:
        batch, dropped = take(self._queue, self._batching.max_size, now)
        self.meter.left(now, len(dropped))
        for job in dropped:
            settle(job, DeadlineExceeded("Request timeout expired before the request was run"))
        if self._order is not None:
            batch.sort(key=self._order)
        return batch

    def _one_left(self) -> None:
        self._left += 1

    def _has_dropped_some(self) -> bool:
        """Makes room in a full queue, if some of those who wait there have left."""
        if not self._left:
            return False
        self._left = 0
        gone = [job for job in self._queue if job.is_gone]
        self._queue = deque(job for job in self._queue if not job.is_gone)
        self.meter.left(self._clock(), len(gone))
        for job in gone:
            settle(job, Cancelled("the caller left"))
        return bool(gone)

    def _run_in_thread(self, batch: list[Job], rows: int, size: int) -> None:
        options = self._model.options()

        def stop_if_all_are_gone() -> None:
            if all(job.is_gone for job in batch):
                options.terminate = True

        def timed() -> tuple[list[Tensors | FabricError], float]:
            start = self._clock()
            return run(self._model, batch, options), self._clock() - start

        for job in batch:
            job.on_gone(stop_if_all_are_gone)
        self._running = self._executor.submit(timed)
        self._running.add_done_callback(
            lambda done: self._loop.call_soon_threadsafe(self._ran, batch, rows, size, done)
        )

    def _ran(
        self,
        batch: list[Job],
        rows: int,
        size: int,
        done: Future[tuple[list[Tensors | FabricError], float]],
    ) -> None:
        self._running = None
        answers, seconds = done.result()
        self._learn(size, seconds, answers[0])
        self._finish(batch, rows, answers)
        if self._queue:
            self._turn()

    def _learn(self, size: int, seconds: float, answer: Tensors | FabricError) -> None:
        """A run that failed, or was stopped, may be short where others are long."""
        known = self._seconds.get(size)
        if isinstance(answer, FabricError) and (known is None or seconds < known):
            return
        self._seconds[size] = seconds if known is None else averaged(known, seconds)

    def _finish(self, batch: list[Job], rows: int, answers: list[Tensors | FabricError]) -> float:
        for job, answer in zip(batch, answers, strict=True):
            settle(job, answer, rows)
        now = self._clock()
        self.meter.left(now, len(batch))
        batch.clear()  # callers that can still leave lead here, and would keep the inputs
        return now


def take(queue: deque[Job], max_rows: int, now: float) -> tuple[list[Job], list[Job]]:
    """Removes the next batch from *queue*, and the jobs before it that need no run any more.

    The first job that waits is always in the batch, with those behind it that can be stacked with
    it; the others keep their places. With *max_rows* 1 a batch is one job.
    """
    batch: list[Job] = []
    dropped: list[Job] = []
    passed: list[Job] = []
    rows = 0
    while queue and rows < max_rows and len(passed) < max_rows:
        job = queue.popleft()
        inputs = job.inputs
        if job.is_gone or job.expires <= now:
            dropped.append(job)
        elif not batch or (
            inputs.shapes == batch[0].inputs.shapes and rows + inputs.rows <= max_rows
        ):
            batch.append(job)
            rows += inputs.rows
        else:
            passed.append(job)
    queue.extendleft(reversed(passed))
    return batch, dropped


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


def settle(job: Job, answer: Tensors | FabricError, rows: int = 0) -> None:
    """Gives *job* its *answer*. One that cannot be given is logged: others wait for theirs."""
    try:
        if isinstance(answer, FabricError):
            job.fail(answer)
        else:
            job.done(answer, rows)
    except Exception:
        log.exception("a request could not be answered")


def run(model: Model, batch: Sequence[Job], options: Any = None) -> list[Tensors | FabricError]:
    """The answer of each job of *batch*. Where a run of several fails, each is run alone: one bad
    request fails none but itself."""
    try:
        outputs = model.run(stacked([job.inputs.tensors for job in batch]), options)
        return split(outputs, [job.inputs.rows for job in batch])
    except Exception as error:  # noqa: BLE001 - whatever a model raises is its failure
        if len(batch) == 1 or all(job.is_gone for job in batch):
            return [failure(error)] * len(batch)
        log.warning("a run of %d requests failed, each is run alone: %s", len(batch), error)
        return [run(model, [job], options)[0] for job in batch]


def stacked(batch: Sequence[Tensors]) -> Tensors:
    """The tensors of *batch* one below the other, in memory as models need it."""
    first = batch[0]
    if len(batch) == 1:
        return {
            name: array if array.flags.aligned else array.copy() for name, array in first.items()
        }
    return {name: np.concatenate([tensors[name] for tensors in batch]) for name in first}


def split(outputs: Tensors, rows: Sequence[int]) -> list[Tensors | FabricError]:
    """What of *outputs* belongs to each of the requests with so many *rows*.

    Raises:
        ValueError: an output has another number of rows than went in.
    """
    if len(rows) == 1:
        return [outputs]
    total = sum(rows)
    for name, array in outputs.items():
        if not array.shape or array.shape[0] != total:
            raise ValueError(f"output '{name}' is {list(array.shape)} for a batch of {total} rows")
    parts: list[Tensors | FabricError] = []
    start = 0
    for count in rows:
        end = start + count
        parts.append({name: array[start:end] for name, array in outputs.items()})
        start = end
    return parts


def averaged(average: float, seconds: float) -> float:
    """The moving average with one more run; it falls quickly, because what else a busy machine
    does makes runs look longer, never shorter."""
    return average + (seconds - average) * (0.5 if seconds < average else 0.1)

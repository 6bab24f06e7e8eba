"""Sequences: the requests of each are run in order, one at a time, on what those before left.

A sequence lives from its first request to the answer of its last, or until it has been idle for
too long. It has a slot all that time; those that begin while all slots are taken wait for one.
What failed, and what nobody waited for any more, has not happened: the sequence is as it was. If
its first request failed, it has not begun; if the caller left that one, the next is the first.
"""

from __future__ import annotations

import asyncio
import heapq
import sys
import time
from dataclasses import replace
from functools import partial
from itertools import dropwhile, islice, takewhile
from typing import TYPE_CHECKING, Any

from fabric.core.errors import FabricError, InvalidRequest, Overloaded, Unavailable
from fabric.runtime.jobs import StreamJob, lateness
from fabric.runtime.load import LoadMeter
from fabric.runtime.memory import Turn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fabric.core.cards import Batching, Sequences
    from fabric.core.deadlines import Clock
    from fabric.core.tensors import Tensors
    from fabric.runtime.jobs import Job, Runner
    from fabric.runtime.memory import Memory
    from fabric.wire.kinds import Inputs, Step


class Live:
    """A sequence that has begun."""

    __slots__ = ("begins", "current", "idle_since", "key", "slot", "state", "waiting")

    def __init__(self, key: str) -> None:
        self.key = key
        self.slot: int | None = None
        self.state: dict[str, Any] = {}
        self.begins = False
        """Whether its next request is told that it is the first, whatever it says itself."""
        self.current: Ordered | None = None
        """The request that is run."""
        self.waiting: dict[Ordered, None] = {}
        """Those after it, in order."""
        self.idle_since = 0.0

    @property
    def is_ending(self) -> bool:
        """Whether the last request that is here is the last of the sequence."""
        last = next(reversed(self.waiting), self.current)
        return last is not None and last.step.ends


class Ordered:
    """A request of a sequence: the job that the runner is given in place of the caller's."""

    __slots__ = (
        "_callback",
        "_sequencer",
        "arrived",
        "expires",
        "inputs",
        "job",
        "live",
        "size",
        "starts",
        "step",
    )

    def __init__(self, sequencer: Sequencer, live: Live, job: Job, step: Step) -> None:
        self._sequencer = sequencer
        self._callback: Callable[[], None] | None = None
        self.live = live
        self.job = job
        self.step = step
        self.starts = step.starts
        self.inputs = job.inputs
        self.expires = job.expires
        self.arrived = job.arrived
        self.size = job.size

    @property
    def is_gone(self) -> bool:
        return self.job.is_gone

    def done(self, outputs: Tensors, rows: int) -> bool:
        return self._sequencer.answered(self, outputs, partial(self.job.done, outputs, rows))

    def fail(self, error: FabricError) -> None:
        self._sequencer.failed(self, error)

    def on_gone(self, callback: Callable[[], None]) -> None:
        self._callback = callback

    def left(self) -> None:
        if self in self.live.waiting:
            self._sequencer.skip(self)
        elif self._callback is not None:
            self._callback()


class OrderedStream(Ordered):
    """The same for one that takes any number of answers; its state is kept with the last."""

    __slots__ = ()

    job: StreamJob

    def send(self, outputs: Tensors) -> None:
        self.job.send(outputs)

    async def has_room(self) -> None:
        await self.job.has_room()

    def end(self) -> None:
        def end() -> bool:
            self.job.end()
            return True

        self._sequencer.answered(self, {}, end)


class Sequencer:
    """A `Runner` that has *runner* run the requests of sequences, of *model*.

    With *memory* it keeps what the model remembers; without, what a Python specialist leaves in
    the state of its turn.
    """

    def __init__(
        self,
        runner: Runner,
        sequences: Sequences,
        batching: Batching,
        model: str,
        memory: Memory | None = None,
        *,
        clock: Clock = time.monotonic,
    ) -> None:
        self.meter = LoadMeter()
        self.statistics = runner.statistics
        self._runner = runner
        self._sequences = sequences
        self._model = model
        self._memory = memory
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._live: dict[str, Live] = {}
        self._backlog: dict[str, Live] = {}
        """Those without a slot, in order; each has a request that waits."""
        self._idle: dict[str, Live] = {}
        """Those without a request, the longest idle first."""
        self._waiting = 0
        self._slots: list[int] = []
        """Free again; a heap."""
        self._next_slot = 0
        """Never taken, as are all above it."""
        self._timer: asyncio.TimerHandle | None = None
        self._none_lives = asyncio.Event()
        self._none_lives.set()
        self._is_giving = False
        self._is_closed = False
        self.reconfigure(batching)

    @property
    def queued(self) -> int:
        return self._waiting + self._runner.queued

    def admit(self, job: Job) -> None:
        if self.queued >= self._batching.max_queue:
            self.statistics.failed(1, 0.0)
            raise Overloaded(
                f"Exceeds maximum queue size: {self.queued} requests are waiting here already"
            )
        if self._is_closed:
            raise Unavailable("the replica is closed")

    def submit(self, job: Job) -> None:
        """Raises InvalidRequest, too, if *job* is no request of a sequence that is here."""
        now = self._clock()
        self._end_idle(now)
        self.admit(job)
        step = self._checked(job.inputs)
        key = str(step.id)
        live = self._live.get(key)
        if not step.starts and (live is None or live.is_ending):
            raise self._unknown(step)
        if live is None:
            live = self._live[key] = self._backlog[key] = Live(key)
            self._none_lives.clear()
        self._idle.pop(key, None)
        self.meter.arrived(now)
        self._waiting += 1
        kind = OrderedStream if isinstance(job, StreamJob) else Ordered
        ordered = kind(self, live, job, step)
        live.waiting[ordered] = None
        job.on_gone(ordered.left)
        if live.slot is None:
            self._give_slots()
        elif live.current is None:
            self._go_on(live)

    def reconfigure(self, batching: Batching) -> None:
        self._batching = batching
        self._most = self._sequences.max_sequences or batching.max_size
        # Admitted here, a request is never refused further on.
        self._runner.reconfigure(replace(batching, max_queue=sys.maxsize))

    async def drain(self, patience: float) -> None:
        """Returns when no sequence lives any more, or after *patience* seconds."""
        try:
            async with asyncio.timeout(patience):
                await self._none_lives.wait()
        except TimeoutError:
            pass

    async def close(self) -> None:
        self._is_closed = True
        for live in tuple(self._live.values()):
            waiting, live.waiting = live.waiting, {}
            self._waiting -= len(waiting)
            self.meter.left(self._clock(), len(waiting))
            for ordered in waiting:
                self._refuse(ordered, Unavailable("the replica closed before the request was run"))
        await self._runner.close()
        if self._timer is not None:
            self._timer.cancel()

    # ------------------------------------------------------------------ refusals
    def _checked(self, inputs: Inputs) -> Step:
        step = inputs.sequence
        if step is None or not step.id:
            raise InvalidRequest(
                f"inference request to model '{self._model}' must specify a non-zero or "
                "non-empty correlation ID"
            )
        if inputs.rows > 1:
            raise InvalidRequest(
                f"inference request to model '{self._model}' must specify batch-size 1 due to "
                f"requirements of sequence batcher, got {inputs.rows}"
            )
        if self._memory is not None:
            self._memory.check(step)
        return step

    def _unknown(self, step: Step) -> InvalidRequest:
        return InvalidRequest(
            f"inference request for sequence {step.id} to model '{self._model}' must specify "
            "the START flag on the first request of the sequence"
        )

    def _refuse(self, ordered: Ordered, error: FabricError) -> None:
        self.statistics.failed(1, self._clock() - ordered.arrived)
        ordered.job.fail(error)

    # ------------------------------------------------------------------ runs
    def _go_on(self, live: Live) -> None:
        """Begins the next request of *live*, which has a slot and runs none."""
        while live.waiting:
            ordered = next(iter(live.waiting))
            self._take(ordered)
            if (late := lateness(ordered, self._clock())) is None:
                self._begin(live, ordered)
                return
            self.meter.left(self._clock())
            self._refuse(ordered, late)
            if ordered.starts:
                self._abandon(live)
                return
        live.idle_since = self._clock()
        self._idle[live.key] = live
        self._set_timer()

    def _take(self, ordered: Ordered) -> None:
        del ordered.live.waiting[ordered]
        self._waiting -= 1

    def _begin(self, live: Live, ordered: Ordered) -> None:
        assert live.slot is not None  # noqa: S101
        memory, step = self._memory, ordered.step
        ordered.starts |= live.begins
        live.begins = False
        live.current = ordered
        if ordered.starts:
            live.state = {} if memory is None else memory.start
        turn = Turn(step.id, ordered.starts, step.ends, live.slot, dict(live.state))
        if memory is None:
            ordered.inputs = replace(ordered.job.inputs, sequence=turn)
        else:
            ordered.inputs = memory.filled(ordered.job.inputs, turn)
        try:
            self._runner.submit(ordered)
        except FabricError as error:
            self.failed(ordered, error)

    def answered(self, ordered: Ordered, outputs: Tensors, answer: Callable[[], bool]) -> bool:
        """The request was run, and *answer* says so; without a caller it has not happened."""
        live = ordered.live
        if ordered.job.is_gone:
            self.failed(ordered, Unavailable("the caller left"))
            return False
        turn = ordered.inputs.sequence
        assert isinstance(turn, Turn)  # noqa: S101
        live.state = turn.state if self._memory is None else self._memory.kept(outputs)
        live.current = None
        self.meter.left(self._clock())
        try:
            return answer()
        finally:
            if ordered.step.ends:
                self._end(live)
            else:
                self._go_on(live)

    def failed(self, ordered: Ordered, error: FabricError) -> None:
        """The request has not happened; if it is the first, nor has the sequence."""
        live = ordered.live
        live.current = None
        self.meter.left(self._clock())
        ordered.job.fail(error)
        if ordered.starts and not ordered.job.is_gone:
            self._abandon(live)
        else:
            live.begins |= ordered.starts
            self._go_on(live)

    def skip(self, ordered: Ordered) -> None:
        """Takes out a request that nobody waits for; the one behind a first is the first."""
        live = ordered.live
        if ordered.starts:
            rest = dropwhile(lambda other: other is not ordered, live.waiting)
            behind = next(islice(rest, 1, None), None)
            if behind is None:
                live.begins = True
            else:
                behind.starts = True
        self._take(ordered)
        self.meter.left(self._clock())
        if live.slot is None and not live.waiting:
            del self._backlog[live.key]
            self._forget(live)

    # ------------------------------------------------------------------ lives
    def _give_slots(self) -> None:
        """A slot that is free again at once is given by the same loop: there may be thousands."""
        if self._is_giving:
            return
        self._is_giving = True
        try:
            while self._backlog and (slot := self._free_slot()) is not None:
                live = self._backlog.pop(next(iter(self._backlog)))
                live.slot = slot
                self._go_on(live)
        finally:
            self._is_giving = False

    def _free_slot(self) -> int | None:
        if self._slots and self._slots[0] < self._most:
            return heapq.heappop(self._slots)
        if self._next_slot >= self._most:
            return None
        self._next_slot += 1
        return self._next_slot - 1

    def _abandon(self, live: Live) -> None:
        """Its first request has failed: there is no sequence for those behind that."""
        while live.waiting and not (ordered := next(iter(live.waiting))).starts:
            self._take(ordered)
            self.meter.left(self._clock())
            self._refuse(ordered, self._unknown(ordered.step))
        self._end(live)

    def _end(self, live: Live) -> None:
        """Frees the slot; requests that wait already begin the next sequence of this id."""
        assert live.slot is not None  # noqa: S101
        heapq.heappush(self._slots, live.slot)
        live.slot = None
        live.state = {}
        live.begins = False
        if live.waiting:
            self._backlog[live.key] = live
        else:
            self._forget(live)
        self._give_slots()

    def _forget(self, live: Live) -> None:
        del self._live[live.key]
        if not self._live:
            self._none_lives.set()

    def _end_idle(self, now: float) -> None:
        for live in overdue(self._idle.values(), now, self._sequences.idle_timeout):
            del self._idle[live.key]
            self._end(live)

    def _set_timer(self) -> None:
        """One timer for all: for the longest idle, or for one that was when it was set."""
        if self._timer is None and self._idle and not self._is_closed:
            first = next(iter(self._idle.values()))
            left = first.idle_since + self._sequences.idle_timeout - self._clock()
            self._timer = self._loop.call_later(max(left, 0.0), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._end_idle(self._clock())
        self._set_timer()


def overdue(idle: Iterable[Live], now: float, timeout: float) -> list[Live]:
    """Those of *idle*, which names the longest idle first, that have been so for *timeout*."""
    return list(takewhile(lambda live: live.idle_since + timeout <= now, idle))


def by_slot(job: Job) -> int:
    """The place of *job* in a run where every sequence has its own."""
    turn = job.inputs.sequence
    return turn.slot if isinstance(turn, Turn) else 0

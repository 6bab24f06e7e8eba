"""A replica under more load than it can carry, on a clock that only the simulation moves."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import cycle
from types import SimpleNamespace

import numpy as np
import pytest

from fabric.core.cards import Batching
from fabric.core.errors import FabricError, Overloaded
from fabric.runtime.batching import Batcher
from fabric.testing import ManualClock
from fabric.wire.kinds import Inputs


@dataclass
class Counts:
    """What became of the requests."""

    answered: int = 0
    late: int = 0
    """Answered, though after the deadline."""
    refused: list[FabricError] = field(default_factory=list)
    """At once."""
    dropped: list[FabricError] = field(default_factory=list)
    """After they had waited."""


class Machine:
    """A model that takes *seconds* for so many rows, and the thread that it runs in."""

    def __init__(self, clock, seconds):
        self.clock = clock
        self.seconds = seconds
        self.ends = None
        """When the run will be over that is on its way."""
        self.pause = 0.0
        self._work = None

    def options(self):
        return SimpleNamespace(terminate=False)

    def run(self, tensors, options=None):
        self.clock.advance(self.seconds(len(tensors["x"])) + self.pause)
        return {"y": tensors["x"]}

    def submit(self, work, model, batch, rows, *others):
        self.ends = self.clock.now + self.seconds(rows) + self.pause
        self._work = (self.clock.now, Future(), work, (model, batch, rows, *others))
        return self._work[1]

    def finish(self):
        """It is the end of the run: does all of it."""
        self.clock.now, future, work, arguments = self._work
        self.ends = None
        future.set_result(work(*arguments))


class Request:
    """A job of one row that counts what becomes of it."""

    is_gone = False
    size = 0

    def __init__(self, counts, clock, seconds, width):
        x = np.zeros((1, width), np.float32)
        self.inputs = Inputs({"x": x}, 1, ((width,),), "m", "", ("y",))
        self.arrived = clock.now
        self.expires = clock.now + seconds
        self.counts = counts
        self._clock = clock

    def done(self, outputs, rows):
        if self._clock.now <= self.expires:
            self.counts.answered += 1
        else:
            self.counts.late += 1
        return True

    def fail(self, error):
        self.counts.dropped.append(error)

    def on_gone(self, callback):
        pass


class Simulation:
    def __init__(self, seconds, max_size=64):
        self.clock = ManualClock()
        self.machine = Machine(self.clock, seconds)
        batching = Batching(max_size=max_size)
        self.batcher = Batcher(self.machine, batching, self.machine, clock=self.clock)

    async def load(self, rate, requests, deadline, widths=(1,)):
        """So many *requests*, at a constant *rate*; returns what became of them all."""
        counts = Counts()
        start = self.clock.now
        arrivals = [start + number / rate for number in reversed(range(requests))]
        width = cycle(widths)
        while arrivals or self.machine.ends is not None:
            if self.machine.ends is None or (arrivals and arrivals[-1] < self.machine.ends):
                self.clock.now = max(self.clock.now, arrivals.pop())
                self.ask(Request(counts, self.clock, deadline, next(width)))
            else:
                self.machine.finish()
            await asyncio.sleep(0)  # the answer crosses from the thread,
            await asyncio.sleep(0)  # and the next turn is taken
        return counts

    def ask(self, request):
        try:
            self.batcher.admit(request)
            self.batcher.submit(request)
        except FabricError as error:
            request.counts.refused.append(error)


# What a run takes by its rows, and the most rows; all answer the most at 2,000 to 6,400 a second.
def medium(rows):
    return 0.0015 + 0.00025 * rows


def steep(rows):
    return 0.016 + 0.0001 * rows


def flat(rows):
    return 0.010


def lone(rows):
    return 0.004


@pytest.mark.parametrize(
    ("seconds", "max_size"), [(medium, 64), (steep, 64), (flat, 64), (lone, 1)]
)
async def test_twice_the_load_costs_those_who_are_answered_nothing(seconds, max_size):
    """At least 80 % of what the replica can do is answered in time, nothing too late, and most of
    the rest is refused at once, when it is known how long runs take."""
    simulation = Simulation(seconds, max_size)
    capacity = max_size / seconds(max_size)
    await simulation.load(2 * capacity, 500, deadline=1.0)
    counts = await simulation.load(2 * capacity, int(capacity), deadline=0.05)

    assert counts.answered >= 0.8 * capacity / 2
    assert counts.late == 0
    assert len(counts.refused) > 3 * len(counts.dropped)
    assert {type(error) for error in counts.refused} == {Overloaded}


async def test_below_its_capacity_nobody_is_refused():
    """Not while nothing is measured, nor later."""
    simulation = Simulation(medium)
    counts = await simulation.load(0.8 * 64 / medium(64), 3000, deadline=0.05)
    assert (counts.answered, counts.refused, counts.dropped) == (3000, [], [])


async def test_who_cannot_be_stacked_is_counted_as_such():
    """Requests of eight shapes make small batches, and so fewer are let in."""
    simulation = Simulation(medium)
    capacity = 8 / medium(8)
    counts = await simulation.load(2 * capacity, 4000, 0.05, widths=range(8, 16))
    assert counts.answered >= 0.8 * 2000
    assert counts.late <= 40  # until it is known what batches are like
    assert len(counts.refused) > len(counts.dropped)


@pytest.mark.parametrize(("before", "after"), [(10, 1), (1, 4)], ids=["faster", "slower"])
async def test_what_was_learnt_of_another_machine_is_forgotten(before, after):
    """However long or short runs were, soon as many are answered as the machine can."""
    speed = before
    simulation = Simulation(lambda rows: speed * medium(rows), 32)
    await simulation.load(2 * 32 / medium(32) / speed, 1000, deadline=0.05)
    speed = after
    capacity = 16 / medium(16) / speed
    await simulation.load(2 * capacity, int(capacity), deadline=0.05)
    counts = await simulation.load(2 * capacity, int(capacity), deadline=0.05)
    assert counts.answered >= 0.8 * capacity / 2
    assert counts.late <= 0.01 * capacity


async def test_a_pause_of_the_machine_refuses_nobody_who_comes_later():
    """One run that took a thousand times as long as others says little."""
    simulation = Simulation(medium)
    await simulation.load(100, 20, deadline=0.05)
    simulation.machine.pause = 2.0
    await simulation.load(100, 1, deadline=0.05)
    simulation.machine.pause = 0.0
    counts = await simulation.load(400, 200, deadline=0.02)
    assert (counts.answered, counts.refused, counts.dropped) == (200, [], [])


async def test_who_finds_the_replica_free_is_let_in():
    """Though all runs before took longer than its time: this one may not."""
    simulation = Simulation(lambda rows: 0.1)
    counts = await simulation.load(5, 10, deadline=0.05)
    assert (counts.late, counts.refused, counts.dropped) == (10, [], [])


async def test_a_refusal_says_what_it_is_about():
    """The estimate, what is before the request, and its deadline."""
    simulation = Simulation(lone, 1)
    await simulation.load(1000, 10, deadline=1.0)
    counts = await simulation.load(1e6, 20, deadline=0.05)
    assert counts.refused[0].message == (
        "an answer takes about 48 ms with 10 requests waiting here, the deadline is in 50 ms"
    )

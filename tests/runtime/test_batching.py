"""What is run together, what is dropped, and what failures cost."""

from __future__ import annotations

import asyncio
import gc
import math
import time
import weakref
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

from fabric.core.cards import Batching
from fabric.core.errors import DeadlineExceeded, Overloaded, SpecialistFailed, Unavailable
from fabric.runtime.batches import take
from fabric.runtime.batching import SHORT, Batcher
from fabric.runtime.runs import split, stacked
from fabric.runtime.statistics import Statistics
from fabric.testing import FakeModel, ManualClock
from fabric.wire.kinds import Inputs

IN_THREAD = 1.0
INLINE = 0.0


class Row:
    """A job: one or more rows of one number; keeps its answer."""

    def __init__(self, value=0.0, rows=1, width=1, expires=math.inf, arrived=0.0, size=0, **said):
        x = np.full((rows, width), value, np.float32)
        self.inputs = Inputs({"x": x}, rows, ((width,),), "m", "", ("y",), **said)
        self.expires = expires
        self.arrived = arrived
        self.size = size
        self.is_gone = False
        self.answer = asyncio.get_running_loop().create_future()
        self.batch_rows = 0
        self._callback = lambda: None

    def done(self, outputs, rows):
        if self.is_gone:
            return False
        self.batch_rows = rows
        self.answer.set_result(outputs["y"][:, 0].tolist())
        return True

    def fail(self, error):
        if not self.is_gone:
            self.answer.set_exception(error)

    def on_gone(self, callback):
        self._callback = callback

    def leave(self):
        self.is_gone = True
        self._callback()


@pytest.fixture
def model():
    return FakeModel()


@pytest.fixture
async def batcher_of(model):
    with ThreadPoolExecutor(1) as executor:
        made = []

        def make(max_size=8, max_queue=64, seconds=INLINE, *, clock=time.monotonic, **said):
            batching = Batching(max_size=max_size, max_queue=max_queue, **said)
            options = {"clock": clock}
            made.append(Batcher(model, batching, executor, seconds=seconds, **options))
            return made[-1]

        yield make
        model.release()
        for batcher in made:
            await batcher.close()


async def started(model):
    await asyncio.to_thread(model.started.acquire, timeout=5)


# ------------------------------------------------------------------ decisions
def taken(waiting, max_rows, now=0.0, begun=()):
    """The batch, which may have *begun* with some, and what was dropped."""
    batch = list(begun)
    queue = waiting if isinstance(waiting, deque) else deque(waiting)
    dropped = take(queue, max_rows, now, batch)
    return batch, dropped


async def test_the_first_in_the_queue_decides_what_the_batch_is():
    """Jobs of its shape join while rows are free; others keep their places."""
    jobs = [Row(rows=2), Row(width=3), Row(rows=3), Row(rows=4), Row(rows=3)]
    queue = deque(jobs)

    assert taken(queue, 8) == ([jobs[0], jobs[2], jobs[4]], [])
    assert list(queue) == [jobs[1], jobs[3]]
    assert taken(queue, 8) == ([jobs[1]], [])


async def test_jobs_that_need_no_run_are_taken_out():
    """One that is gone and one whose time is up take no row of the batch."""
    gone, late, live = Row(), Row(expires=5.0), Row(expires=5.1)
    gone.is_gone = True

    assert taken([gone, late, live], 1, now=5.0) == ([live], [gone, late])


async def test_without_batching_every_run_is_one_job():
    """A maximum of one row runs jobs alone, whatever their shapes."""
    jobs = [Row(), Row()]
    assert taken(jobs, 1) == ([jobs[0]], [])


def test_lone_tensors_are_handed_on_as_they_are_unless_models_cannot_read_them():
    """Only an array at an odd address is copied."""
    odd = np.ndarray((1,), np.float32, b"123456789", 1)
    even = np.zeros(1, np.float32)
    out = stacked([{"odd": odd, "even": even}])
    assert out["odd"].flags.aligned
    assert out["even"] is even


def test_outputs_must_have_the_rows_that_went_in():
    """A model that mixes rows is not served in batches."""
    with pytest.raises(ValueError, match="for a batch of 3 rows"):
        split({"y": np.zeros((1, 3))}, [1, 2])


# ------------------------------------------------------------------ runs
@pytest.mark.parametrize("seconds", [INLINE, IN_THREAD])
async def test_what_comes_in_one_turn_is_run_together(model, batcher_of, seconds):
    """Each gets its own rows back, and learns how many ran together."""
    batcher = batcher_of(seconds=seconds)
    jobs = [Row(1), Row(2, rows=2), Row(3)]
    for job in jobs:
        batcher.submit(job)

    assert [await job.answer for job in jobs] == [[2], [4, 4], [6]]
    assert model.runs == [[1, 2, 2, 3]]
    assert [job.batch_rows for job in jobs] == [4, 4, 4]


async def test_the_queue_fills_while_a_run_is_busy(model, batcher_of):
    """What came meanwhile is the next batch."""
    batcher = batcher_of(seconds=IN_THREAD)
    model.hold()
    first, *others = [Row(value) for value in range(5)]
    batcher.submit(first)
    await started(model)
    for job in others:
        batcher.submit(job)
    await asyncio.sleep(0)
    assert batcher.queued == 4
    assert batcher.meter.count == 5
    model.release()

    assert await others[-1].answer == [8]
    assert model.runs == [[0], [1, 2, 3, 4]]
    assert batcher.meter.count == 0


async def test_batches_are_no_larger_than_they_may_be(model, batcher_of):
    """The rest waits for the next run."""
    batcher = batcher_of(max_size=2)
    jobs = [Row(value) for value in range(5)]
    for job in jobs:
        batcher.submit(job)
    await jobs[-1].answer
    assert model.runs == [[0, 1], [2, 3], [4]]


async def test_short_runs_do_not_starve_the_loop(model, batcher_of):
    """After a millisecond of runs the loop gets a turn."""
    clock = ManualClock()

    def slow_enough(tensors, options=None):
        clock.advance(SHORT / 4)
        return FakeModel.run(model, tensors, options)

    model.run = slow_enough
    batcher = batcher_of(max_size=1, clock=clock)
    jobs = [Row(value) for value in range(6)]
    for job in jobs:
        batcher.submit(job)
    await asyncio.sleep(0)
    assert [job.answer.done() for job in jobs] == [True] * 4 + [False] * 2
    await jobs[-1].answer


async def test_slow_runs_move_to_the_thread_and_short_ones_back(model, batcher_of):
    """Where a run happens follows how long runs take."""
    clock = ManualClock()
    batcher = batcher_of(max_size=1, clock=clock)
    threads = []

    def run(tensors, options=None):
        threads.append(options is not None)
        clock.advance(float(tensors["x"][0, 0]))
        return {"y": tensors["x"]}

    model.run = run
    for seconds in (0.008, 0.0, 0.0, 0.0, 0.0, 0.0):
        job = Row(seconds)
        batcher.submit(job)
        await job.answer
    assert threads == [False, True, True, True, True, False]


async def test_small_batches_say_nothing_of_large_ones(model, batcher_of):
    """However often short runs were done on the loop, one of another size begins in the thread."""
    batcher = batcher_of(max_size=1, seconds=math.inf, clock=ManualClock())
    threads = []

    def run(tensors, options=None):
        threads.append(options is not None)
        return {"y": tensors["x"]}

    model.run = run
    for width in (1, 1, 1, 1000, 1000, 1):
        job = Row(width=width)
        batcher.submit(job)
        await job.answer
    assert threads == [True, False, False, True, False, False]


async def test_a_run_that_fails_says_nothing_of_those_that_do_not(model, batcher_of):
    """A model that refuses a request at once may take long for the next one."""
    batcher = batcher_of(seconds=math.inf)
    threads = []

    def run(tensors, options=None):
        threads.append(options is not None)
        if tensors["x"][0, 0] < 0:
            raise RuntimeError("an element is negative")
        return {"y": tensors["x"]}

    model.run = run
    for value in (-1, 1):
        job = Row(value)
        batcher.submit(job)
        await asyncio.wait([job.answer])
        job.answer.exception()
    assert threads == [True, True]


# ------------------------------------------------------------------ callers who leave
async def test_a_caller_who_leaves_costs_its_batch_mates_nothing(model, batcher_of):
    """It is not run; the others are answered."""
    batcher = batcher_of()
    jobs = [Row(value) for value in range(3)]
    for job in jobs:
        batcher.submit(job)
    jobs[1].leave()

    assert [await jobs[0].answer, await jobs[2].answer] == [[0], [4]]
    assert model.runs == [[0, 2]]
    assert batcher.meter.count == 0


async def test_a_caller_who_leaves_during_the_run_costs_its_batch_mates_nothing(model, batcher_of):
    """The run goes on for the others."""
    batcher = batcher_of(seconds=IN_THREAD)
    model.hold()
    jobs = [Row(1), Row(2)]
    for job in jobs:
        batcher.submit(job)
    await started(model)
    jobs[0].leave()
    model.release()

    assert await jobs[1].answer == [4]
    assert not jobs[0].answer.done()


async def test_a_run_that_nobody_waits_for_is_stopped(model, batcher_of):
    """When the last caller leaves, the model is free for those who come."""
    batcher = batcher_of(seconds=IN_THREAD)
    model.hold()
    jobs = [Row(1), Row(2)]
    for job in jobs:
        batcher.submit(job)
    await started(model)
    for job in jobs:
        job.leave()
    while batcher.meter.count:
        await asyncio.sleep(0.001)
    assert model.runs == [[1, 2]]
    model.release()
    late = Row(3)
    batcher.submit(late)
    assert await late.answer == [6]


async def test_a_job_whose_time_is_up_is_not_run(model, batcher_of):
    """It is told so, and costs its batch mates nothing."""
    clock = ManualClock()
    batcher = batcher_of(clock=clock)
    late, live = Row(1, expires=clock() + 1), Row(2, expires=clock() + 2)
    batcher.submit(late)
    batcher.submit(live)
    clock.advance(1)

    assert await live.answer == [4]
    with pytest.raises(DeadlineExceeded, match="Request timeout expired"):
        await late.answer
    assert model.runs == [[2]]


@pytest.mark.parametrize("seconds", [INLINE, IN_THREAD])
async def test_inputs_are_freed_with_their_answer(batcher_of, seconds):
    """Reference counts suffice: nothing large waits for the garbage collector."""
    batcher = batcher_of(seconds=seconds)
    job = Row(1)
    inputs = weakref.ref(job.inputs.tensors["x"])
    answer = job.answer
    gc.disable()
    try:
        batcher.submit(job)
        del job
        await answer
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            while inputs() is not None:  # the thread lets go of its run a little later
                await asyncio.sleep(0.001)
    finally:
        gc.enable()


# ------------------------------------------------------------------ failures and limits
@pytest.mark.parametrize("seconds", [INLINE, IN_THREAD])
async def test_an_answer_that_cannot_be_given_costs_no_other(model, batcher_of, seconds, caplog):
    """Its batch mates are answered, and so is what comes after them."""
    batcher = batcher_of(max_size=2, seconds=seconds)
    broken, mate, later = Row(1), Row(2), Row(3)
    broken.answer.set_result(None)  # `done` raises
    for job in (broken, mate, later):
        batcher.submit(job)

    assert [await mate.answer, await later.answer] == [[4], [6]]
    assert batcher.meter.count == 0
    assert "could not be answered" in caplog.text


@pytest.mark.parametrize("seconds", [INLINE, IN_THREAD])
async def test_a_bad_request_fails_none_but_itself(model, batcher_of, seconds):
    """The others of its batch are run alone."""
    batcher = batcher_of(seconds=seconds)
    jobs = [Row(1), Row(-1), Row(3)]
    for job in jobs:
        batcher.submit(job)

    assert [await jobs[0].answer, await jobs[2].answer] == [[2], [6]]
    with pytest.raises(SpecialistFailed, match="an element is negative"):
        await jobs[1].answer
    assert model.runs == [[1, -1, 3], [1], [-1], [3]]


async def test_what_waits_is_bounded_in_bytes_too(batcher_of, model):
    """One that waits alone may be as large as it is, and those who left make room."""
    batcher = batcher_of(max_queue_bytes=100, seconds=IN_THREAD)
    model.hold()
    batcher.submit(Row(size=90))
    await started(model)
    large, small = Row(size=300), Row(size=60)
    batcher.admit(large)
    batcher.submit(small)
    for size, is_let_in in ((40, True), (41, False)):
        if is_let_in:
            batcher.admit(Row(size=size))
        else:
            with pytest.raises(Overloaded, match="1 requests of 60 bytes are waiting here already"):
                batcher.admit(Row(size=size))
    small.leave()
    batcher.admit(Row(size=41))


async def test_a_full_queue_refuses(model, batcher_of):
    """One more than may wait is refused before any work is done for it."""
    batcher = batcher_of(max_queue=2, seconds=IN_THREAD)
    model.hold()
    batcher.submit(Row(0))
    await started(model)
    batcher.submit(Row(1))
    waiting = Row(2)
    batcher.submit(waiting)
    with pytest.raises(Overloaded, match="Exceeds maximum queue size: 2 requests are waiting"):
        batcher.admit(Row(3))
    waiting.leave()
    batcher.admit(Row(4))
    batcher.submit(Row(4))
    assert batcher.meter.count == 3


async def test_a_refusal_does_not_look_at_all_who_wait(model, batcher_of):
    """Unless one of them has left; so refusing costs less than serving."""
    batcher = batcher_of(max_queue=2, seconds=IN_THREAD)
    model.hold()
    batcher.submit(Row(0))
    await started(model)
    waiting = Row(1)
    batcher.submit(waiting)
    batcher.submit(Row(2))
    queues = batcher._queues
    for _ in range(3):
        with pytest.raises(Overloaded):
            batcher.admit(Row(3))
    assert batcher._queues is queues
    waiting.leave()
    batcher.admit(Row(4))
    assert batcher._queues is not queues


async def test_what_waits_when_the_batcher_closes_fails(model, batcher_of):
    """What runs is finished; what waits is told; what comes is refused."""
    batcher = batcher_of(seconds=IN_THREAD)
    model.hold()
    running, waiting = Row(1), Row(2)
    batcher.submit(running)
    await started(model)
    batcher.submit(waiting)
    closing = asyncio.create_task(batcher.close())
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await waiting.answer
    with pytest.raises(Unavailable):
        batcher.submit(Row(3))
    model.release()
    await closing
    assert await running.answer == [2]


async def test_new_limits_hold_from_now_on(model, batcher_of):
    """Batching changes without a restart."""
    batcher = batcher_of(max_size=8)
    batcher.reconfigure(Batching(max_size=1))
    jobs = [Row(1), Row(2)]
    for job in jobs:
        batcher.submit(job)
    await jobs[-1].answer
    assert model.runs == [[1], [2]]


# ------------------------------------------------------------------ priorities and patience
async def test_a_batch_goes_on_where_another_level_ends():
    """Jobs of a lower level take the rows that are free, if they can be stacked."""
    first, jobs = Row(rows=2), [Row(width=3), Row(rows=2), Row()]
    assert taken(jobs, 4, begun=[first]) == ([first, jobs[1]], [])
    assert taken(jobs, 2, begun=[first]) == ([first], [])


@pytest.mark.parametrize(
    ("default", "order"), [(0, [1, 4, 2, 3, 5]), (1, [1, 2, 3, 4, 5])], ids=["lowest", "highest"]
)
async def test_higher_levels_are_run_first(model, batcher_of, default, order):
    """Each level in order of arrival; who names none, or none that there is, has the default."""
    batcher = batcher_of(max_size=1, seconds=IN_THREAD, priorities=2, default_priority=default)
    model.hold()
    batcher.submit(Row(0))
    await started(model)
    jobs = [Row(at, priority=level) for at, level in enumerate((1, 0, 7, 1, 2), start=1)]
    for job in jobs:
        batcher.submit(job)
    assert batcher.queued == 5
    model.release()
    for job in jobs:
        await job.answer
    assert [first for (first,) in model.runs[1:]] == order
    assert batcher.queued == 0


async def test_lower_levels_leave_room_for_higher_ones(model, batcher_of):
    """A fifth, of requests and of bytes; those who left make room."""
    batcher = batcher_of(max_queue=5, max_queue_bytes=100, seconds=IN_THREAD, priorities=2)
    model.hold()
    batcher.submit(Row(0))
    await started(model)
    waiting = [Row(size=1) for _ in range(4)]
    for job in waiting:
        batcher.submit(job)
    with pytest.raises(Overloaded, match=r"4 requests are waiting here already, and the rest is"):
        batcher.submit(Row(size=1))
    batcher.submit(Row(size=1, priority=1))
    waiting.pop().leave()
    waiting.pop().leave()
    waiting.insert(0, Row(size=1))
    batcher.submit(waiting[0])
    waiting.pop().leave()
    with pytest.raises(Overloaded, match="requests of 3 bytes are waiting here already"):
        batcher.submit(Row(size=80))
    batcher.submit(large := Row(size=80, priority=1))
    model.release()
    await large.answer
    assert [await job.answer for job in waiting] == [[0.0], [0.0]]


async def test_without_levels_priorities_are_ignored(model, batcher_of):
    """First come, first served."""
    batcher = batcher_of(max_size=1)
    jobs = [Row(value, priority=9 - value) for value in range(1, 4)]
    for job in jobs:
        batcher.submit(job)
    for job in jobs:
        await job.answer
    assert model.runs == [[1], [2], [3]]


async def test_levels_may_change_while_jobs_wait(model, batcher_of):
    """Those that wait are ordered anew, and none is lost."""
    batcher = batcher_of(max_size=1, seconds=IN_THREAD)
    model.hold()
    batcher.submit(Row(0))
    await started(model)
    jobs = [Row(1), Row(2, priority=1), Row(3)]
    for job in jobs:
        batcher.submit(job)
    batcher.reconfigure(Batching(max_size=1, priorities=3))
    assert batcher.queued == 3
    model.release()
    for job in jobs:
        await job.answer
    assert model.runs == [[0], [2], [1], [3]]


async def test_who_has_waited_for_longer_than_it_may_is_told_so(model, batcher_of):
    """As Triton says it; waiting begins with the arrival, and running does not count."""
    clock = ManualClock()
    batcher = batcher_of(max_size=1, seconds=IN_THREAD, clock=clock)
    model.hold()
    running, late, patient = (
        Row(value, patience=patience, arrived=clock.now)
        for value, patience in enumerate((1.0, 1.0, 1.5))
    )
    batcher.submit(running)
    await started(model)
    batcher.submit(late)
    batcher.submit(patient)
    clock.advance(1.0)
    model.release()
    assert (await running.answer, await patient.answer) == ([0], [4])
    with pytest.raises(Unavailable, match=r"^Request timeout expired$"):
        await late.answer


# ------------------------------------------------------------------ statistics
class Slow:
    """Takes a second for every row, on a clock that only it moves."""

    def __init__(self, clock):
        self.clock = clock

    def options(self):
        return SimpleNamespace(terminate=False)

    def run(self, tensors, options=None):
        x = tensors["x"]
        self.clock.advance(len(x))
        if (x < 0).any():
            raise RuntimeError("an element is negative")
        return {"y": x}


async def test_times_of_runs_are_those_of_all_their_requests():
    """What a batch takes each of its requests has waited for; runs are counted by their rows."""
    clock = ManualClock()
    with ThreadPoolExecutor(1) as executor:
        batcher = Batcher(Slow(clock), Batching(max_size=4), executor, seconds=INLINE, clock=clock)
        jobs = [Row(1), Row(2, rows=3), Row(3)]
        for job in jobs:
            job.arrived = clock.now
            batcher.submit(job)
            clock.advance(0.5)
        for job in jobs:
            await job.answer
        clock.advance(10)

        said = batcher.statistics.message("m", "1", clock, lambda: 1_000_000.0)
    stats = said.inference_stats
    # 0.5 s each until the turn, which runs the first two (4 s); the third (1 s) comes after them.
    assert (stats.success.count, stats.success.ns) == (3, (5.5 + 5.0 + 5.5) * 1e9)
    assert (stats.queue.count, stats.queue.ns) == (3, (1.5 + 1.0 + 4.5) * 1e9)
    assert (stats.compute_infer.count, stats.compute_infer.ns) == (3, (4 + 4 + 1) * 1e9)
    assert (stats.compute_input.count, stats.compute_output.ns, stats.fail.count) == (3, 0, 0)
    assert (said.name, said.version) == ("m", "1")
    assert (said.inference_count, said.execution_count) == (5, 2)
    assert said.last_inference == (1_000_000 - 10) * 1000
    assert [
        (b.batch_size, b.compute_infer.count, b.compute_infer.ns) for b in said.batch_stats
    ] == [
        (1, 1, 1e9),
        (4, 1, 4e9),
    ]


async def test_failures_are_counted_apart(model, batcher_of):
    """Of the model and of the queue; who leaves has neither failed nor succeeded."""
    clock = ManualClock()
    batcher = batcher_of(max_queue=4, seconds=IN_THREAD, clock=clock)
    model.hold()
    good, bad, gone = (Row(value, arrived=clock.now) for value in (1, -1, 2))
    batcher.submit(Row(0, width=2, arrived=clock.now))
    await started(model)
    late = Row(3, expires=clock.now + 1, arrived=clock.now)
    for job in (good, bad, gone, late):
        batcher.submit(job)
    with pytest.raises(Overloaded):
        batcher.admit(Row(4))
    gone.leave()
    clock.advance(2)
    model.release()
    assert await good.answer == [2]
    with pytest.raises(SpecialistFailed):
        await bad.answer
    with pytest.raises(DeadlineExceeded):
        await late.answer

    said = batcher.statistics.message("m", "1", clock)
    assert (said.inference_stats.fail.count, said.inference_stats.fail.ns) == (3, 4e9)
    assert (said.inference_stats.success.count, said.inference_count) == (2, 2)
    assert said.execution_count == 2
    assert model.runs == [[0], [1, -1], [1], [-1]]


async def test_an_answer_that_cannot_be_encoded_is_a_failure(model, batcher_of):
    """Though the model has run."""
    batcher = batcher_of()
    job = Row(1)
    job.done = lambda outputs, rows: job.fail(SpecialistFailed("no"))
    batcher.submit(job)
    with pytest.raises(SpecialistFailed):
        await job.answer
    said = batcher.statistics.message("m", "1", ManualClock())
    assert (said.inference_stats.success.count, said.inference_stats.fail.count) == (0, 1)
    assert (said.execution_count, said.inference_count) == (1, 0)


def test_who_has_done_nothing_says_so():
    """Also of the time of the last run."""
    said = Statistics().message("m", "1", ManualClock())
    assert (said.last_inference, said.inference_stats.success.count) == (0, 0)
    assert not said.batch_stats

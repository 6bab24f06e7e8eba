"""Sequences: their order, their slots, what they remember, and what ends them."""

from __future__ import annotations

import asyncio
import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from fabric.core.cards import Batching, Control, Sequences, StateTensor
from fabric.core.errors import (
    Conflict,
    DeadlineExceeded,
    InvalidRequest,
    Overloaded,
    SpecialistFailed,
    Unavailable,
)
from fabric.core.tensors import Signature, TensorSpec
from fabric.runtime.batching import Batcher
from fabric.runtime.memory import Memory, Turn
from fabric.runtime.sequences import Live, Sequencer, by_slot, overdue
from fabric.runtime.specialist import Tasks
from fabric.testing import ManualClock
from fabric.wire.kinds import Inputs, Step

INLINE = 0.0


def spec(name, *shape, datatype="FP32"):
    return TensorSpec(name=name, datatype=datatype, shape=shape)


SIGNATURE = Signature(
    inputs=(spec("x", -1, 1), spec("sum", -1, 1), spec("start", -1, 1, datatype="INT32")),
    outputs=(spec("y", -1, 1), spec("new_sum", -1, 1)),
)
STATEFUL = Sequences(
    states=(StateTensor(input="sum", output="new_sum"),),
    controls=(Control(input="start", kind="start", no=-1, yes=1),),
)


class Adding:
    """Gives the sum of all `x` of a sequence; fails for a negative one."""

    def __init__(self):
        self.runs = []
        """The `x` of every row, run by run."""
        self.starts = []

    def options(self):
        return SimpleNamespace(terminate=False)

    def run(self, tensors, options=None):
        x = tensors["x"]
        self.runs.append(x[:, 0].tolist())
        self.starts.append(tensors["start"][:, 0].tolist())
        if (x < 0).any():
            raise RuntimeError("an element is negative")
        total = tensors["sum"] + x
        return {"y": total, "new_sum": total}


class Slow(Adding):
    """Knows how many runs there were at the same time."""

    def __init__(self):
        super().__init__()
        self.most = self.now = 0

    def run(self, tensors, options=None):
        self.now += 1
        self.most = max(self.most, self.now)
        time.sleep(0.005)
        self.now -= 1
        return super().run(tensors, options)


class Job:
    """One row of a sequence; keeps its answer."""

    size = 0

    def __init__(self, sequence, value=0.0, *, starts=False, ends=False, rows=1, expires=math.inf):
        x = np.full((rows, 1), value, np.float32)
        step = None if sequence is None else Step(sequence, starts, ends)
        self.inputs = Inputs({"x": x}, rows, ((1,),), "asked", "", ("y",), sequence=step)
        self.expires = expires
        self.arrived = 0.0
        self.is_gone = False
        self.answer = asyncio.get_running_loop().create_future()
        self._callback = lambda: None

    def done(self, outputs, rows):
        if not self.is_gone:
            self.answer.set_result(outputs["y"].item())
        return not self.is_gone

    def fail(self, error):
        if not self.is_gone:
            self.answer.set_exception(error)

    def on_gone(self, callback):
        self._callback = callback

    def leave(self):
        self.is_gone = True
        self._callback()


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def model():
    return Adding()


@pytest.fixture
async def sequencer_of(model, clock):
    """A sequencer before a batcher of *model*; nothing is left in it at the end."""
    with ThreadPoolExecutor(1) as executor:
        made = []

        def make(max_size=4, max_queue=64, **said):
            said = {"states": STATEFUL.states, "controls": STATEFUL.controls, **said}
            sequences = Sequences(**said)
            batching = Batching(max_size=max_size, max_queue=max_queue)
            order = by_slot if sequences.strategy == "direct" else None
            batcher = Batcher(model, batching, executor, seconds=INLINE, order=order, clock=clock)
            memory = Memory(SIGNATURE, sequences, "m")
            made.append(Sequencer(batcher, sequences, batching, "m", memory, clock=clock))
            return made[-1]

        yield make
        for sequencer in made:
            await sequencer.close()
            assert (sequencer.queued, sequencer.meter.count) == (0, 0)


def submitted(sequencer, *jobs):
    for job in jobs:
        sequencer.submit(job)
    return jobs


async def answers(*jobs):
    return [await job.answer for job in jobs]


# ------------------------------------------------------------------ what is refused
@pytest.mark.parametrize("sequence", [None, 0, ""])
async def test_a_request_without_a_sequence_is_refused(sequencer_of, sequence):
    """A stateful model has nothing to go on."""
    with pytest.raises(InvalidRequest) as refused:
        sequencer_of().submit(Job(sequence, starts=True))
    assert refused.value.message == (
        "inference request to model 'm' must specify a non-zero or non-empty correlation ID"
    )


async def test_the_first_request_of_a_sequence_says_so(sequencer_of):
    """In words that clients of Triton know."""
    with pytest.raises(InvalidRequest) as refused:
        sequencer_of().submit(Job(7))
    assert refused.value.message == (
        "inference request for sequence 7 to model 'm' must specify the START flag on the first "
        "request of the sequence"
    )


async def test_a_request_of_a_sequence_has_one_row(sequencer_of):
    """The rows of a batch are of different sequences."""
    with pytest.raises(InvalidRequest, match=r"must specify batch-size 1 .* got 2$"):
        sequencer_of().submit(Job(7, rows=2, starts=True))


# ------------------------------------------------------------------ order and state
async def test_a_sequence_remembers(sequencer_of, model):
    """Each request goes on from the one before, from zeros at the start."""
    sequencer = sequencer_of()
    jobs = submitted(sequencer, Job(7, 1, starts=True), Job(7, 2), Job(7, 3, ends=True))
    assert await answers(*jobs) == [1, 3, 6]
    assert model.runs == [[1], [2], [3]]
    assert model.starts == [[1], [-1], [-1]]
    with pytest.raises(InvalidRequest, match="START flag"):
        sequencer.submit(Job(7, 4))


async def test_one_request_may_be_a_whole_sequence(sequencer_of):
    """It starts and ends; the next of its id begins anew."""
    sequencer = sequencer_of()
    assert await answers(*submitted(sequencer, Job(7, 1, starts=True, ends=True))) == [1]
    assert await answers(*submitted(sequencer, Job(7, 2, starts=True, ends=True))) == [2]


async def test_sequences_are_run_together_each_with_its_own_state(sequencer_of, model):
    """A run has one row of each that waits."""
    sequencer = sequencer_of()
    names = ["a", "b", 3]
    jobs = submitted(
        sequencer,
        *(Job(name, 10**place, starts=True) for place, name in enumerate(names)),
        *(Job(name, 2 * 10**place) for place, name in enumerate(names)),
    )
    assert await answers(*jobs) == [1, 10, 100, 3, 30, 300]
    assert model.runs == [[1, 10, 100], [2, 20, 200]]


async def test_a_start_begins_a_live_sequence_anew(sequencer_of):
    """After the requests before it, which go on from where they were."""
    sequencer = sequencer_of()
    jobs = submitted(
        sequencer, Job(7, 1, starts=True), Job(7, 2), Job(7, 5, starts=True), Job(7, 1)
    )
    assert await answers(*jobs) == [1, 3, 5, 6]


async def test_what_comes_behind_an_end_has_to_start(sequencer_of):
    """Though the end was not answered yet."""
    sequencer = sequencer_of()
    jobs = submitted(sequencer, Job(7, 1, starts=True), Job(7, 2, ends=True))
    with pytest.raises(InvalidRequest, match="START flag"):
        sequencer.submit(Job(7, 3))
    jobs += submitted(sequencer, Job(7, 4, starts=True), Job(7, 5))
    assert await answers(*jobs) == [1, 3, 4, 9]


async def test_a_failed_run_leaves_the_state_as_it_was(sequencer_of):
    """The sequence goes on, and so do those that ran with it."""
    sequencer = sequencer_of()
    first, bad, other = submitted(
        sequencer, Job(7, 1, starts=True), Job(7, -1), Job(8, 5, starts=True)
    )
    assert await answers(first, other) == [1, 5]
    with pytest.raises(SpecialistFailed, match="negative"):
        await bad.answer
    assert await answers(*submitted(sequencer, Job(7, 2), Job(8, 1))) == [3, 6]


async def test_a_sequence_whose_start_failed_has_not_begun(sequencer_of, model):
    """Those that are here already are told so, up to the next start; nothing is left of it."""
    sequencer = sequencer_of(max_sequences=1)
    bad, behind, again, more = submitted(
        sequencer,
        Job(7, -1, starts=True),
        Job(7, 2),
        Job(7, 3, starts=True),
        Job(7, 4, ends=True),
    )
    with pytest.raises(SpecialistFailed):
        await bad.answer
    with pytest.raises(InvalidRequest, match="sequence 7 to model 'm' must specify the START"):
        await behind.answer
    assert await answers(again, more) == [3, 7]
    assert not sequencer._live


async def test_a_start_that_is_late_begins_no_sequence(sequencer_of, clock):
    """Its slot is free for the next one."""
    sequencer = sequencer_of(max_sequences=1)
    late, behind = submitted(
        sequencer, Job(1, 1, starts=True, expires=clock.now + 1), Job(2, 2, starts=True)
    )
    clock.advance(1)
    with pytest.raises(DeadlineExceeded):
        await late.answer
    assert await behind.answer == 2


async def test_a_failed_end_does_not_end(sequencer_of):
    """It can be asked for again."""
    sequencer = sequencer_of()
    first, bad = submitted(sequencer, Job(7, 1, starts=True), Job(7, -1, ends=True))
    await first.answer
    with pytest.raises(SpecialistFailed):
        await bad.answer
    assert await answers(*submitted(sequencer, Job(7, 2, ends=True))) == [3]


# ------------------------------------------------------------------ callers that leave
async def test_a_request_whose_caller_left_is_skipped(sequencer_of, model):
    """The sequence goes on without it."""
    sequencer = sequencer_of()
    first, left, last = submitted(sequencer, Job(7, 1, starts=True), Job(7, 2), Job(7, 3))
    left.leave()
    assert sequencer.queued == 2
    assert await answers(first, last) == [1, 4]
    assert model.runs == [[1], [3]]


async def test_the_request_behind_a_skipped_start_starts(sequencer_of, model):
    """It belongs to the sequence that its caller began, not to the one before."""
    sequencer = sequencer_of()
    old, start, behind = submitted(
        sequencer, Job(7, 1, starts=True), Job(7, 2, starts=True), Job(7, 3)
    )
    start.leave()
    assert await answers(old, behind) == [1, 3]
    (start,) = submitted(sequencer, Job(7, 4, starts=True))
    start.leave()
    assert await answers(*submitted(sequencer, Job(7, 5))) == [5]
    assert model.starts == [[1], [1], [1]]


async def test_a_request_that_is_in_the_batcher_already_can_be_left(sequencer_of, model):
    """It is not run, or not kept."""
    sequencer = sequencer_of()
    (first,) = submitted(sequencer, Job(7, 1, starts=True))
    first.leave()
    assert await answers(*submitted(sequencer, Job(7, 2))) == [2]
    assert model.runs == [[2]]


async def test_a_request_whose_time_is_up_is_not_run(sequencer_of, model, clock):
    """It is told so, and the one behind it is run."""
    sequencer = sequencer_of()
    first, late, last = submitted(
        sequencer, Job(7, 1, starts=True), Job(7, 2, expires=clock.now), Job(7, 3)
    )
    assert await answers(first, last) == [1, 4]
    with pytest.raises(DeadlineExceeded, match="Request timeout expired"):
        await late.answer


# ------------------------------------------------------------------ slots
async def test_further_sequences_wait_for_a_slot(sequencer_of, model):
    """Those that live go on meanwhile; an end makes room for the one that waits longest."""
    sequencer = sequencer_of(max_sequences=2)
    live = submitted(sequencer, Job(1, 1, starts=True), Job(2, 2, starts=True))
    three, more, four = submitted(
        sequencer, Job(3, 3, starts=True), Job(3, 30), Job(4, 4, starts=True)
    )
    assert await answers(*live, *submitted(sequencer, Job(1, 10))) == [1, 2, 11]
    assert sequencer.queued == 3
    await answers(*submitted(sequencer, Job(1, 0, ends=True)))
    assert await answers(three, more) == [3, 33]
    assert not four.answer.done()
    await answers(*submitted(sequencer, Job(2, 0, ends=True)))
    assert await four.answer == 4


async def test_a_sequence_of_one_row_models_has_all_to_itself(sequencer_of):
    """Without a number of its own, as many sequences live as rows fit in a run."""
    sequencer = sequencer_of(max_size=1)
    one, two = submitted(sequencer, Job(1, 1, starts=True), Job(2, 2, starts=True))
    assert await one.answer == 1
    await answers(*submitted(sequencer, Job(1, 0, ends=True)))
    assert await two.answer == 2


async def test_all_that_wait_are_counted(sequencer_of):
    """For a slot, or for the request before: one more is refused, and one less makes room."""
    sequencer = sequencer_of(max_sequences=1, max_queue=3)
    first, second, left = submitted(
        sequencer, Job(1, 1, starts=True), Job(1, 2), Job(2, 1, starts=True)
    )
    with pytest.raises(Overloaded, match="Exceeds maximum queue size: 3 requests"):
        sequencer.submit(Job(1, 3))
    left.leave()
    assert await answers(first, second, *submitted(sequencer, Job(1, 3))) == [1, 3, 6]


async def test_a_sequence_whose_only_request_left_the_backlog_is_forgotten(sequencer_of):
    """It never began."""
    sequencer = sequencer_of(max_sequences=1)
    await answers(*submitted(sequencer, Job(1, 1, starts=True)))
    (waiting,) = submitted(sequencer, Job(2, 1, starts=True))
    waiting.leave()
    with pytest.raises(InvalidRequest, match="START flag"):
        sequencer.submit(Job(2, 2))


async def test_direct_keeps_rows_in_the_order_of_slots(sequencer_of, model):
    """Whichever request came first; a slot that is free again is taken first."""
    sequencer = sequencer_of(strategy="direct")
    await answers(*submitted(sequencer, *(Job(n, n, starts=True) for n in (1, 2, 3))))
    await answers(*submitted(sequencer, Job(3, 30), Job(1, 10), Job(2, 20)))
    await answers(*submitted(sequencer, Job(1, 0, ends=True)))
    await answers(*submitted(sequencer, Job(3, 30), Job(9, 9, starts=True)))
    assert model.runs == [[1, 2, 3], [10, 20, 30], [0], [9, 30]]


async def test_oldest_runs_what_has_waited_longest(sequencer_of, model):
    """Rows stand in the order of arrival, and a sequence that pipelines takes no turn of others."""
    sequencer = sequencer_of(max_size=2, max_sequences=3)
    jobs = submitted(
        sequencer,
        *(Job(1, value, starts=value == 1) for value in (1, 2, 3)),
        Job(2, 10, starts=True),
        Job(3, 20, starts=True),
    )
    await answers(*jobs)
    assert model.runs == [[1, 10], [20, 2], [3]]


async def test_more_rows_make_more_slots(sequencer_of):
    """A change of batching holds for sequences that wait, when the next one begins or ends."""
    sequencer = sequencer_of(max_size=1)
    await answers(*submitted(sequencer, Job(1, 1, starts=True)))
    (two,) = submitted(sequencer, Job(2, 2, starts=True))
    sequencer.reconfigure(Batching(max_size=4))
    (three,) = submitted(sequencer, Job(3, 3, starts=True))
    assert await answers(two, three) == [2, 3]


# ------------------------------------------------------------------ time
def test_the_longest_idle_are_overdue_first():
    """At their time, and not before."""
    one, two = Live("1"), Live("2")
    one.idle_since, two.idle_since = 10.0, 12.0
    assert overdue([one, two], 14.9, 5.0) == []
    assert overdue([one, two], 15.0, 5.0) == [one]
    assert overdue([one, two], 17.0, 5.0) == [one, two]


async def test_an_idle_sequence_ends(sequencer_of, clock):
    """Its slot goes to who waits, and its next request has to start."""
    sequencer = sequencer_of(max_sequences=1, idle_timeout=5.0)
    await answers(*submitted(sequencer, Job(1, 1, starts=True)))
    clock.advance(4.9)
    await answers(*submitted(sequencer, Job(1, 1)))
    clock.advance(4.9)
    (waiting,) = submitted(sequencer, Job(2, 5, starts=True))
    assert not waiting.answer.done()
    clock.advance(0.2)
    with pytest.raises(InvalidRequest, match="START flag"):
        sequencer.submit(Job(1, 1))
    assert await waiting.answer == 5


async def test_a_sequence_ends_by_itself(model):
    """A timer ends what nobody asks for; those that wait then begin."""
    sequences = Sequences(
        states=STATEFUL.states, controls=STATEFUL.controls, max_sequences=1, idle_timeout=0.01
    )
    with ThreadPoolExecutor(1) as executor:
        batching = Batching(max_size=4)
        batcher = Batcher(model, batching, executor, seconds=INLINE)
        sequencer = Sequencer(batcher, sequences, batching, "m", Memory(SIGNATURE, sequences, "m"))
        jobs = submitted(sequencer, *(Job(n, n, starts=True) for n in (1, 2, 3)))
        assert await answers(*jobs) == [1, 2, 3]
        await sequencer.drain(5)
        assert not sequencer._live
        await sequencer.close()


async def test_a_drain_waits_for_sequences(sequencer_of, clock):
    """Until they end, or patience does."""
    sequencer = sequencer_of()
    await answers(*submitted(sequencer, Job(1, 1, starts=True)))
    await sequencer.drain(0.001)
    draining = asyncio.create_task(sequencer.drain(5))
    assert await answers(*submitted(sequencer, Job(1, 1, ends=True))) == [2]
    await draining


async def test_closing_fails_what_waits(sequencer_of):
    """For a slot, or for the request before it."""
    sequencer = sequencer_of(max_sequences=1)
    jobs = submitted(sequencer, Job(1, 1, starts=True), Job(1, 2), Job(2, 1, starts=True))
    await sequencer.close()
    for job in jobs:
        with pytest.raises(Unavailable):
            await job.answer
    with pytest.raises(Unavailable):
        sequencer.submit(Job(3, 1, starts=True))


# ------------------------------------------------------------------ Python specialists
class Remembering:
    """Gives the sum of all `x` of a sequence; fails, too late, for a negative one."""

    def __init__(self):
        self.turns = []
        self.go = asyncio.Event()
        self.go.set()
        self.running = 0

    async def infer(self, inputs, sequence):
        self.turns.append((sequence.id, sequence.starts, sequence.ends, sequence.slot))
        if sequence.starts:
            assert sequence.state == {}
        sequence.state["sum"] = sequence.state.get("sum", 0) + inputs["x"]
        self.running += 1
        try:
            await self.go.wait()
        finally:
            await asyncio.sleep(0)
            self.running -= 1
        if inputs["x"] < 0:
            raise ValueError("negative")
        return {"y": sequence.state["sum"]}


async def test_many_that_have_waited_for_too_long_for_a_slot_are_all_told_so(sequencer_of, clock):
    """However many there are when a slot is free again."""
    sequencer = sequencer_of(max_sequences=1, max_queue=1024)
    (first,) = submitted(sequencer, Job("first", 1, starts=True))
    assert await first.answer == 1
    waiting = submitted(sequencer, *(Job(n, starts=True, expires=1.0) for n in range(1, 1001)))
    clock.advance(2.0)
    (last,) = submitted(sequencer, Job("first", 1, ends=True))
    assert await last.answer == 2
    for job in waiting:
        with pytest.raises(DeadlineExceeded):
            await asyncio.wait_for(job.answer, 5)


async def test_a_model_runs_one_batch_at_a_time(clock):
    """Though the next requests of sequences come while the answers of a batch are given."""
    model = Slow()
    sequences = Sequences(states=STATEFUL.states, controls=STATEFUL.controls)
    batching = Batching(max_size=2)
    with ThreadPoolExecutor(2) as executor:
        batcher = Batcher(model, batching, executor, seconds=1.0)
        memory = Memory(SIGNATURE, sequences, "m")
        some = replace(sequences, max_sequences=6)
        sequencer = Sequencer(batcher, some, batching, "m", memory)
        jobs = [Job(n, 1, starts=i == 0, ends=i == 3) for i in range(4) for n in range(1, 7)]
        submitted(sequencer, *jobs)
        await answers(*jobs)
        await sequencer.close()
    assert model.most == 1


@pytest.fixture
async def python():
    """A sequencer before a Python specialist, and that."""
    specialist = Remembering()
    batching = Batching(max_queue=3)
    tasks = Tasks(specialist, batching, sequences=True)
    sequencer = Sequencer(tasks, Sequences(max_sequences=4), batching, "m")
    yield sequencer, specialist
    await sequencer.close()
    assert (sequencer.queued, sequencer.meter.count) == (0, 0)


async def test_a_python_specialist_is_told_the_turn_and_keeps_its_state(python):
    """What it leaves in the state is there at the next request."""
    sequencer, specialist = python
    jobs = submitted(
        sequencer, Job("a", 1, starts=True), Job(2, 5, starts=True), Job("a", 2, ends=True)
    )
    assert await answers(*jobs) == [1, 5, 3]
    assert sorted(specialist.turns, key=str) == [
        ("a", False, True, 0),
        ("a", True, False, 0),
        (2, True, False, 1),
    ]


async def test_a_python_request_whose_caller_leaves_at_once_has_not_happened(python):
    """Those behind it are run, though the task of the first never began."""
    sequencer, _ = python
    gone, last = submitted(sequencer, Job("a", 1, starts=True), Job("a", 2, ends=True))
    gone.leave()
    assert await asyncio.wait_for(last.answer, 5) == 2


async def test_what_a_failed_infer_leaves_in_the_state_is_dropped(python):
    """The next request finds what the last good one left."""
    sequencer, _ = python
    first, bad, last = submitted(sequencer, Job(1, 1, starts=True), Job(1, -9), Job(1, 2))
    assert await answers(first, last) == [1, 3]
    with pytest.raises(SpecialistFailed, match="negative"):
        await bad.answer


async def test_a_cancelled_infer_has_ended_before_the_next_begins(python):
    """One request of a sequence at a time, whatever becomes of it."""
    sequencer, specialist = python
    specialist.go.clear()
    left, behind = submitted(sequencer, Job(1, 1, starts=True), Job(1, 2))
    while not specialist.running:
        await asyncio.sleep(0)
    left.leave()
    while len(specialist.turns) < 2:
        assert specialist.running <= 1
        await asyncio.sleep(0)
    specialist.go.set()
    assert await behind.answer == 2
    assert specialist.turns[1] == (1, True, False, 0)


# ------------------------------------------------------------------ what models are told
def told(*controls, datatype="FP32", shape=(-1, 1)):
    signature = Signature(inputs=(spec("x", -1, 1), spec("c", *shape, datatype=datatype)))
    controls = tuple(Control(input="c", **control) for control in controls)
    return Memory(signature, Sequences(controls=controls), "m")


def filled(memory, step):
    inputs = Inputs({"x": np.zeros((1, 1))}, 1, ((1,),), "m", "", ("y",))
    return memory.filled(inputs, Turn(step.id, step.starts, step.ends, 0, {})).tensors["c"]


@pytest.mark.parametrize(
    ("kind", "step", "value"),
    [
        ("start", Step(1, True, False), 5),
        ("start", Step(1, False, True), 2),
        ("end", Step(1, False, True), 5),
        ("end", Step(1, True, False), 2),
        ("ready", Step(1, False, False), 5),
    ],
)
def test_controls_have_the_values_that_are_declared(kind, step, value):
    """In the datatype and with the dimensions of the model's input."""
    control = {"kind": kind, "no": 2, "yes": 5}
    array = filled(told(control, datatype="INT32"), step)
    assert (array.tolist(), array.dtype) == ([[value]], np.int32)
    assert filled(told(control, shape=(-1,)), step).tolist() == [value]


def test_flags_may_be_bool():
    """No and yes are what they are unless the card says other."""
    memory = told({"kind": "start"}, datatype="BOOL")
    assert filled(memory, Step(1, True, False)).tolist() == [[True]]
    assert filled(memory, Step(1, False, False)).tolist() == [[False]]


def test_a_model_is_told_the_id():
    """A number as it is, or as a text where it takes texts."""
    number = told({"kind": "id"}, datatype="UINT64")
    assert filled(number, Step(2**64 - 1, True, False)).tolist() == [[2**64 - 1]]
    text = told({"kind": "id"}, datatype="BYTES")
    assert filled(text, Step("seven", True, False)).tolist() == [[b"seven"]]
    assert filled(text, Step(7, True, False)).tolist() == [[b"7"]]


@pytest.mark.parametrize("number", ["seven", -1, 2**32])
def test_an_id_that_the_model_cannot_be_told_is_refused(number):
    """Before anything is run."""
    memory = told({"kind": "id"}, datatype="UINT32")
    with pytest.raises(InvalidRequest, match=r"does not fit model 'm', which takes it as UINT32"):
        memory.check(Step(number, True, False))


@pytest.mark.parametrize(
    ("kind", "datatype", "shape", "text"),
    [
        ("start", "BYTES", (-1, 1), "control 'start' is a number, but input 'c' is BYTES"),
        ("id", "FP32", (-1, 1), "a whole number or BYTES, but input 'c' is FP32"),
        ("end", "FP32", (-1, 2), r"one element a row, but input 'c' is FP32 \[-1,2\]"),
        ("id", "INT64", (-1, 2), r"one element a row, but input 'c' is INT64 \[-1,2\]"),
    ],
)
def test_a_control_that_the_model_does_not_take_is_refused(kind, datatype, shape, text):
    """Input and datatype are named."""
    with pytest.raises(Conflict, match=text):
        told({"kind": kind}, datatype=datatype, shape=shape)


@pytest.mark.parametrize(
    "given", [spec("h", -1, 1, datatype="FP16"), spec("h", -1, 2), spec("h", -1)]
)
def test_a_state_goes_in_as_it_came_out(given):
    """Output and input have one datatype and shape."""
    signature = Signature(inputs=(spec("s", -1, 1),), outputs=(given,))
    sequences = Sequences(states=(StateTensor(input="s", output="h"),))
    with pytest.raises(Conflict, match=r"feeds output 'h', .* to input 's', FP32 \[-1,1\]"):
        Memory(signature, sequences, "m")

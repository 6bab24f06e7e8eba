"""Every shape of flow: its answer, and what a failure, a deadline and a caller that leaves cost."""

from __future__ import annotations

import asyncio

import pytest
from shapes import FUNCTIONS, SHAPES

from fabric.core.deadlines import Deadline
from fabric.core.errors import DeadlineExceeded, Unavailable
from fabric.pipelines.checking import Callee, check
from fabric.pipelines.compiling import compiled
from fabric.pipelines.running import Run
from fabric.pipelines.values import tensors
from fabric.testing import FakeCalls

parametrized = pytest.mark.parametrize("name", SHAPES)


class Nesting(FakeCalls):
    """Calls of pipelines are answered by these."""

    def __init__(self):
        super().__init__(**FUNCTIONS)

    async def call(self, called, deadline):
        if (shape := SHAPES.get(called.name)) is not None:
            graph = shape.pipeline.graph
            return await Run(graph, compiled(graph, {}), self).outputs(called.inputs, deadline)
        async with asyncio.timeout(None if deadline.at > 1e9 else max(0, deadline.at - now())):
            return await super().call(called, deadline)


def now():
    return asyncio.get_running_loop().time()


def begun(name, calls):
    shape = SHAPES[name]
    running = Run(shape.pipeline.graph, compiled(shape.pipeline.graph, {}), calls)
    deadline = Deadline.after(30.0)
    return running, running.outputs(tensors({"x": shape.x}), deadline)


@parametrized
async def test_it_answers(name):
    """And holds nothing afterwards."""
    running, outputs = begun(name, Nesting())
    (value,) = (await outputs).values()
    assert value.array.tolist() == SHAPES[name].expected.tolist()
    assert running.held == 0


@parametrized
def test_its_values_fit_together(name):
    """As far as can be known of specialists of whom nothing is."""
    checked = check(SHAPES[name].pipeline.graph, lambda _: Callee(None))
    assert checked.problems == ()


@parametrized
async def test_who_leaves_ends_it(name):
    """Nobody works on, and nothing is held."""
    calls = Nesting()
    calls.go.clear()
    running, outputs = begun(name, calls)
    task = asyncio.create_task(outputs)
    while not calls.under_way:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert calls.under_way == 0
    assert running.held == 0


@parametrized
async def test_a_failure_ends_it(name):
    """Of somebody without whom it cannot answer: the error is theirs, and names the step."""
    calls = Nesting()
    for each in SHAPES[name].needs:
        calls.functions[each] = Unavailable("all are gone")
    running, outputs = begun(name, calls)
    with pytest.raises(Unavailable, match=r"step '.*all are gone"):
        await outputs
    assert calls.under_way == 0
    assert running.held == 0


@parametrized
async def test_the_deadline_is_that_of_every_call(name):
    """However deep it is, and nothing begins after it."""
    calls = Nesting()
    seen = []

    async def call(called, deadline):
        seen.append(deadline.at)
        return await Nesting.call(calls, called, deadline)

    calls_ = type("Seen", (), {"call": staticmethod(call), "rows": calls.rows})()
    shape = SHAPES[name]
    running = Run(shape.pipeline.graph, compiled(shape.pipeline.graph, {}), calls_)
    deadline = Deadline.after(7.0)
    await running.outputs(tensors({"x": shape.x}), deadline)
    assert seen
    assert all(at == pytest.approx(deadline.at) for at in seen)
    running = Run(shape.pipeline.graph, compiled(shape.pipeline.graph, {}), calls_)
    seen.clear()
    with pytest.raises(DeadlineExceeded):
        await running.outputs(tensors({"x": shape.x}), Deadline(0.0))
    assert seen == []

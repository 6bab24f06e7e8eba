"""Runs of pipelines, whose calls are answered by functions."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import numpy as np
import pytest

from fabric.core.deadlines import NEVER, Deadline
from fabric.core.errors import DeadlineExceeded, InvalidRequest, SpecialistFailed, Unavailable
from fabric.core.pipelines import (
    Body,
    Branch,
    Each,
    First,
    Loop,
    Pipeline,
    PipelineInput,
    PipelineOutput,
    Source,
    Step,
)
from fabric.pipelines.checking import Callee, check
from fabric.pipelines.compiling import compiled
from fabric.pipelines.running import Run
from fabric.pipelines.values import MISSING, Tensor
from fabric.testing import FakeCalls


def call(name, to="", **inputs):
    options = {k.removeprefix("with_"): inputs.pop(k) for k in list(inputs) if k[:5] == "with_"}
    return Step(name=name, call=to or name, inputs=sources(inputs), **options)


def op(name, operation, arguments=None, **inputs):
    return Step(name=name, operation=operation, arguments=arguments or {}, inputs=sources(inputs))


def sources(inputs):
    return {
        name: Source(values=tuple(given), is_list=True)
        if isinstance(given, list)
        else Source(values=(given,))
        for name, given in inputs.items()
    }


def pipeline(*steps, inputs="x", outputs=None, optional=(), **said):
    outputs = outputs or {"y": steps[-1].name}
    return Pipeline(
        name="p",
        inputs=tuple(PipelineInput(name=name) for name in inputs.split()),
        steps=steps,
        outputs=tuple(
            PipelineOutput(name=name, source=source, optional=name in optional)
            for name, source in outputs.items()
        ),
        **said,
    )


async def run(pipeline, fakes, deadline=NEVER, **inputs):
    running = Run(
        pipeline,
        compiled(pipeline, check(pipeline, lambda _: Callee(None)).types),
        fakes,
        draw=lambda: 0.0,
    )
    values = {name: Tensor.of(np.asarray(array)) for name, array in inputs.items()}
    outputs = await running.outputs(values, deadline)
    assert running.held == 0
    return {name: plain(value) for name, value in outputs.items()}


def plain(value):
    if isinstance(value, tuple):
        return [plain(each) for each in value]
    return None if value is MISSING else value.array.tolist()


def double(x):
    return {"y": x * 2}


def half(x):
    return {"y": x / 2}


FAILS = SpecialistFailed("it broke")
GONE = Unavailable("nobody is there")


async def test_steps_run_in_the_order_of_what_they_take():
    """Whatever the order they are written in."""
    fakes = FakeCalls(double=double, triple=lambda x: {"y": x * 3})
    both = pipeline(call("triple", x="double"), call("double", x="x"), outputs={"y": "triple"})
    assert await run(both, fakes, x=[1.0]) == {"y": [6.0]}
    assert [name for name, _ in fakes.asked] == ["double", "triple"]


async def test_steps_that_need_not_wait_run_at_the_same_time():
    """And who takes the values of both waits for both."""
    fakes = FakeCalls(double=double, half=half)
    steps = (call("double", x="x"), call("half", x="x"), op("sum", "add", x="double", y="half"))
    assert await run(pipeline(*steps), fakes, x=[4.0]) == {"y": [10.0]}
    assert fakes.most == 2


async def test_what_no_output_needs_is_not_run():
    """It could only cost."""
    fakes = FakeCalls(double=double, half=half)
    asked = pipeline(call("double", x="x"), call("half", x="x"), outputs={"y": "double"})
    assert await run(asked, fakes, x=[1.0]) == {"y": [2.0]}
    assert [name for name, _ in fakes.asked] == ["double"]


async def test_the_first_error_ends_everything():
    """It names the step, and nobody works on."""
    fakes = FakeCalls(slow=double, broken=FAILS)
    fakes.go.clear()
    steps = (call("slow", x="x"), call("broken", x="x"), op("sum", "add", x="slow", y="broken"))
    running = asyncio.create_task(run(pipeline(*steps), fakes, x=[1.0]))
    while fakes.under_way < 2:
        await asyncio.sleep(0)
    fakes.functions["slow"] = FAILS
    fakes.go.set()
    with pytest.raises(SpecialistFailed, match=r"^step '(slow|broken)': it broke$"):
        await running
    assert fakes.under_way == 0


async def test_who_leaves_cancels_everything():
    """At once, and before it goes on."""
    fakes = FakeCalls(double=double, half=half)
    fakes.go.clear()
    steps = (call("double", x="x"), call("half", x="x"), op("sum", "add", x="double", y="half"))
    running = asyncio.create_task(run(pipeline(*steps), fakes, x=[1.0]))
    while fakes.under_way < 2:
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert fakes.under_way == 0


BRANCH = Step(
    name="chosen",
    branch=Branch(
        on="small",
        cases={"true": Body(steps=(call("double", x="x"),), outputs={"y": "double"})},
        otherwise=Body(steps=(call("half", x="x"),), outputs={"y": "half"}),
    ),
)


@pytest.mark.parametrize(("x", "y", "who"), [(1.0, 2.0, "double"), (8.0, 4.0, "half")])
async def test_a_branch_runs_one_body(x, y, who):
    """That of its case, or the one for all others."""
    fakes = FakeCalls(double=double, half=half)
    branch = pipeline(op("small", "less", {"y": 5}, x="x"), BRANCH)
    assert await run(branch, fakes, x=[x]) == {"y": [y]}
    assert [name for name, _ in fakes.asked] == [who]


async def test_what_is_skipped_is_missing():
    """And so is what is made of it, but for lists, which go without it."""
    fakes = FakeCalls(double=double, half=half)
    steps = (
        op("small", "less", {"y": 5}, x="x"),
        call("double", x="x", with_when="small"),
        call("half", x="double"),
        op("first", "default", values=["half", "x"]),
    )
    said = pipeline(*steps, outputs={"half": "half", "y": "first"}, optional=("half",))
    assert await run(said, fakes, x=[3.0]) == {"half": [3.0], "y": [3.0]}
    assert await run(said, fakes, x=[7.0]) == {"half": None, "y": [7.0]}


async def test_an_optional_step_may_fail():
    """A required output that is missing for it says why."""
    fakes = FakeCalls(broken=FAILS)
    broken = call("broken", x="x", with_optional=True)
    assert await run(pipeline(broken, optional=("y",)), fakes, x=[1.0]) == {"y": None}
    with pytest.raises(SpecialistFailed, match="output 'y' is missing: step 'broken' failed: it b"):
        await run(pipeline(broken), fakes, x=[1.0])


def each(call_, batch=False, **said):
    body = Body(steps=(call_,), outputs={"y": call_.name})
    return Step(name="all", each=Each(over={"row": "x"}, body=body, batch=batch, **said))


async def test_each_row_is_a_call():
    """So many at the same time, and the results in the order of the rows."""
    fakes = FakeCalls(double=double)
    rows = pipeline(each(call("double", x="row"), parallel=3), op("y", "concat", values=["all"]))
    assert await run(rows, fakes, x=[[1.0], [2.0], [3.0], [4.0]]) == {
        "y": [[2.0], [4.0], [6.0], [8.0]]
    }
    assert fakes.most == 3
    assert len(fakes.asked) == 4


async def test_a_batch_of_rows_is_one_call():
    """Of as many rows as the specialist takes."""
    fakes = FakeCalls(double=double)
    rows = pipeline(each(call("double", x="row"), batch=True), op("y", "concat", values=["all"]))
    assert await run(rows, fakes, x=[[1.0], [2.0], [3.0]]) == {"y": [[2.0], [4.0], [6.0]]}
    assert [asked["x"] for _, asked in fakes.asked] == [[[1.0], [2.0], [3.0]]]
    fakes.limits["double"] = 2
    assert await run(rows, fakes, x=[[1.0], [2.0], [3.0]]) == {"y": [[2.0], [4.0], [6.0]]}
    assert [len(asked["x"]) for _, asked in fakes.asked] == [3, 2, 1]


async def test_rows_of_a_ragged_list_are_batched_by_shape():
    """Those alike together, and the answers in the order of the list."""
    fakes = FakeCalls(double=double, grow=lambda x: {"y": np.repeat(x, int(x[0, 0]), axis=1)})
    ragged = each(call("grow", x="row"))
    body = Body(steps=(call("double", x="part"),), outputs={"y": "double"})
    again = Step(name="again", each=Each(over={"part": "all"}, body=body, batch=True))
    said = pipeline(ragged, again, outputs={"y": "again.y"})
    assert await run(said, fakes, x=[[1.0], [2.0], [1.0]]) == {"y": [[[2]], [[4, 4]], [[2]]]}
    asked = [asked["x"] for name, asked in fakes.asked if name == "double"]
    assert asked == [[[1], [1]], [[2, 2]]]


async def test_an_item_that_fails_is_named():
    """By its number and its step."""

    def picky(x):
        if x[0, 0] > 2:
            raise SpecialistFailed("it broke")
        return double(x)

    fakes = FakeCalls(picky=picky)
    rows = pipeline(each(call("picky", x="row")), op("y", "concat", values=["all"]))
    with pytest.raises(SpecialistFailed, match="step 'all': item 2: step 'picky': it broke"):
        await run(rows, fakes, x=[[1.0], [2.0], [3.0]])


async def test_nothing_to_go_over_gives_an_empty_list():
    """Nobody is asked."""
    fakes = FakeCalls()
    rows = pipeline(each(call("double", x="row")), outputs={"y": "all.y"})
    assert await run(rows, fakes, x=np.zeros((0, 2))) == {"y": []}


async def test_a_loop_ends_when_its_body_says_so():
    """Or after so many rounds."""
    body = Body(
        steps=(call("double", x="v"), op("done", "less", {"y": -1}, x="v")),
        outputs={"v": "double", "done": "done"},
    )
    looped = Step(name="loop", loop=Loop(state={"v": "x"}, body=body, until="done", most=3))
    said = pipeline(looped, outputs={"y": "loop.v"})
    fakes = FakeCalls(double=double)
    assert await run(said, fakes, x=[1.0]) == {"y": [8.0]}
    assert await run(said, fakes, x=[-2.0]) == {"y": [-4.0]}


def tried(*calls, sure=""):
    bodies = tuple(
        Body(
            steps=(one, op(f"sure-{one.name}", "less", {"y": 5}, x=one.name)),
            outputs={"y": one.name, "sure": f"sure-{one.name}"},
        )
        for one in calls
    )
    return pipeline(
        Step(name="found", first=First(bodies=bodies, sure=sure)), outputs={"y": "found.y"}
    )


async def test_the_first_that_succeeds_answers():
    """The others are not asked; if all fail, the last failure is told."""
    fakes = FakeCalls(gone=GONE, double=double, half=half)
    said = tried(call("gone", x="x"), call("double", x="x"), call("half", x="x"))
    assert await run(said, fakes, x=[4.0]) == {"y": [8.0]}
    assert [name for name, _ in fakes.asked] == ["gone", "double"]
    with pytest.raises(SpecialistFailed, match="step 'found': step 'broken': it broke"):
        await run(
            tried(call("gone", x="x"), call("broken", x="x")),
            FakeCalls(gone=GONE, broken=FAILS),
            x=[1.0],
        )


async def test_a_cascade_goes_on_until_somebody_is_sure():
    """And gives the last answer where nobody is."""
    fakes = FakeCalls(double=double, half=half)
    said = tried(call("double", x="x"), call("half", x="x"), sure="sure")
    assert await run(said, fakes, x=[2.0]) == {"y": [4.0]}
    assert await run(said, fakes, x=[4.0]) == {"y": [2.0]}
    assert await run(said, fakes, x=[40.0]) == {"y": [20.0]}


async def test_a_call_is_tried_again_and_then_by_somebody_else():
    """As often as the step says."""
    fakes = FakeCalls(gone=GONE, double=double)
    said = pipeline(call("step", "gone", x="x", with_tries=2, with_fallback=("double",)))
    assert await run(said, fakes, x=[1.0]) == {"y": [2.0]}
    assert [name for name, _ in fakes.asked] == ["gone", "gone", "double"]


async def test_nothing_begins_after_the_deadline():
    """The step that would have is named."""
    fakes = FakeCalls(double=double)
    with pytest.raises(DeadlineExceeded, match="step 'double': the deadline had passed"):
        await run(pipeline(call("double", x="x")), fakes, Deadline(0.0), x=[1.0])
    assert fakes.asked == []


async def test_values_are_held_for_as_long_as_somebody_needs_them():
    """Those of a long line take no more than two of its values."""
    fakes = FakeCalls(double=double)
    steps = [call("s0", "double", x="x")]
    steps += [call(f"s{n}", "double", x=f"s{n - 1}") for n in range(1, 20)]
    said = pipeline(*steps, max_bytes=2 * 800)
    assert len((await run(said, fakes, x=np.ones(100)))["y"]) == 100
    with pytest.raises(InvalidRequest, match="max_bytes of pipeline 'p' is 1599"):
        await run(pipeline(*steps, max_bytes=1599), fakes, x=np.ones(100))


def twins(**said):
    """Two lines of the same two calls, which meet."""
    return pipeline(
        call("a1", "double", x="x"),
        call("a2", "double", x="x"),
        call("b1", "half", x="a1"),
        call("b2", "half", x="a2", **said),
        op("sum", "add", x="b1", y="b2"),
    )


@pytest.mark.parametrize(
    ("repeats", "said", "asked"),
    [
        (("double", "half"), {}, ["double", "half"]),
        (("half",), {}, ["double", "double", "half", "half"]),
        (("double", "half"), {"with_tries": 2}, ["double", "half", "half"]),
        ((), {}, ["double", "double", "half", "half"]),
    ],
)
async def test_calls_alike_are_made_once(repeats, said, asked):
    """Of those who answer equally, where the steps are the same in all but their names."""
    both, fakes = twins(**said), FakeCalls(double=double, half=half)
    running = Run(both, compiled(both, {}, repeats), fakes)
    outputs = await running.outputs({"x": Tensor.of(np.array([3.0]))}, NEVER)
    assert outputs["y"].array.tolist() == [6.0]
    assert [name for name, _ in fakes.asked] == asked
    assert running.held == 0


@pytest.mark.parametrize("is_line", [True, False])
async def test_a_thousand_steps_run(is_line):
    """One after another, or all at the same time, as many as may be under way."""
    names = [f"s{number}" for number in range(1000)]
    if is_line:
        steps = [call(n, "double", x=b) for b, n in pairwise(["x", *names])]
        expected = [0.0]
    else:
        steps = [*(call(n, "double", x="x") for n in names), op("y", "mean", values=names)]
        expected = [2.0]
    fakes = FakeCalls(double=double)
    x = [0.0] if is_line else [1.0]
    assert await run(pipeline(*steps, parallel=100), fakes, x=x) == {"y": expected}
    assert len(fakes.asked) == 1000
    assert fakes.most == (1 if is_line else 100)

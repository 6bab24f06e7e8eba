"""Every shape of flow through a fabric of real processes, asked by other people's client."""

from __future__ import annotations

import asyncio
import queue
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tritonclient.grpc as triton
from shapes import ONE, SHAPES, Rows
from tritonclient.utils import InferenceServerException

from fabric import AsyncClient, Client, Value, op, pipeline, step
from fabric.core.cards import Batching
from fabric.core.errors import InvalidRequest, NotFound
from fabric.testing import specialist

if TYPE_CHECKING:
    from collections.abc import Iterator

    from on_ray import OnRay

FAILING = '''
"""A specialist that fails."""

from sleeping import X, Y

from fabric.core.errors import SpecialistFailed
from fabric.core.tensors import Signature


class Failing:
    """Always."""

    signature = Signature(inputs=(X,), outputs=(Y,))

    async def infer(self, inputs):
        raise SpecialistFailed("it fails")
'''


@pipeline(name="two-speeds", streams=True)
def two_speeds(x: Rows) -> dict[str, Value]:
    """One output at once, the other later."""
    return {"soon": step("double", x=x), "late": step("slow", x=x)}


@pipeline(name="too-slow", timeout=0.2)
def too_slow(x: Rows) -> Value:
    """Takes longer than it may."""
    return step("slow", x=x)


@pipeline(name="once-kept")
def once_kept(x: Rows) -> Value:
    """Asks once for all who ask the same."""
    return step("slow", x=x, cache=60.0)


@pipeline(name="odd")
def odd(x: Rows) -> Value:
    """Cannot be, as soon as it is known what `batched` takes."""
    return step("batched", x=op.cast(x, "INT64"))


MORE = (two_speeds, too_slow, once_kept, odd)


@pytest.fixture(scope="module")
def desk(on_local: OnRay) -> Iterator[OnRay]:
    """A fabric with all the shapes."""
    (on_local.folder / "failing.py").write_text(FAILING)
    asyncio.run(_apply(on_local))
    return on_local


async def _apply(on_local: OnRay) -> None:
    specialists = (
        on_local.scaler("batched", 5, batching=Batching(max_size=4)),
        specialist("failing", python="failing:Failing"),
        specialist("slow", python="sleeping:Sleeper", arguments={"seconds": "0.5"}),
    )
    graphs = [shape.pipeline.graph for shape in SHAPES.values()]
    graphs += [each.graph for each in MORE]
    async with AsyncClient(on_local.server) as client, asyncio.timeout(60):
        await client.apply(specialists, pipelines=graphs)
        for graph in graphs:
            while graph.name != "odd" and not await is_ready(client, graph.name):
                await asyncio.sleep(0.05)


async def is_ready(client, name):
    with suppress(NotFound):  # the gateway has not heard of it yet
        return await client.ready(name)
    return False


@pytest.fixture
def client(desk: OnRay) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(desk.server) as made:
        yield made


def given(x):
    tensor = triton.InferInput("x", list(x.shape), "FP32")
    tensor.set_data_from_numpy(x)
    return [tensor]


@pytest.mark.parametrize("name", SHAPES)
def test_it_answers(client, name):
    """With what the same pipeline gives over functions, and it says by whom."""
    shape = SHAPES[name]
    result = client.infer(name, given(shape.x))
    assert result.as_numpy("value").tolist() == shape.expected.tolist()
    parameters = result.get_response().parameters
    assert parameters["fabric_pipeline"].string_param == name
    assert parameters["fabric_steps"].string_param


def test_it_is_described_like_any_model(client):
    """By its inputs and outputs, whose types follow from those that are called."""
    metadata = client.get_model_metadata("a-sequence")
    assert [(t.name, t.datatype, list(t.shape)) for t in metadata.inputs] == [
        ("x", "FP32", [-1, 2])
    ]
    assert [(t.name, t.datatype) for t in metadata.outputs] == [("value", "FP32")]
    assert client.is_model_ready("a-sequence")


def test_outputs_stream_as_they_are_there(client):
    """Each in an answer of its own, and an empty last one where that is asked for."""
    answers = queue.Queue()
    client.start_stream(lambda result, error: answers.put(error or result))
    client.async_stream_infer("two-speeds", given(ONE), enable_empty_final_response=True)
    soon, late, last = (answers.get(timeout=20) for _ in range(3))
    client.stop_stream()
    assert soon.as_numpy("soon").tolist() == [[2, 4]]
    assert soon.as_numpy("late") is None
    assert late.as_numpy("late").tolist() == [[2, 4]]
    assert last.get_response().parameters["triton_final_response"].bool_param
    assert not late.get_response().parameters["triton_final_response"].bool_param


def test_in_one_answer_all_outputs_are_together(client):
    """Where no stream asks."""
    result = client.infer("two-speeds", given(ONE))
    assert result.as_numpy("soon").tolist() == result.as_numpy("late").tolist() == [[2, 4]]


def test_its_own_timeout_holds(client):
    """And the error says in which step."""
    with pytest.raises(InferenceServerException, match="step 'slow'") as raised:
        client.infer("too-slow", given(ONE))
    assert raised.value.status() == "StatusCode.DEADLINE_EXCEEDED"


async def test_equal_steps_that_may_be_kept_are_asked_once(desk):
    """Of however many requests that come together, and of the next one."""
    x = np.array([[7, 7]], np.float32)
    async with AsyncClient(desk.server) as client:
        before = await runs(client, "slow")
        asking = partial(client.infer, "once-kept", {"x": x})
        answers = await asyncio.gather(*(asking() for _ in range(8)))
        answers.append(await asking())
        assert all(answer["value"].tolist() == [[14, 14]] for answer in answers)
        assert await runs(client, "slow") == before + 1


async def runs(client, name):
    (health,) = await client.health(name)
    return health.answers


def test_values_that_do_not_fit_are_named(client):
    """What is wrong, in which step, also where that was not known when it was declared."""
    with pytest.raises(InferenceServerException, match=r"step 'batched', inputs.x: .*INT64"):
        client.infer("odd", given(ONE))
    assert not client.is_model_ready("odd")


async def test_values_that_are_known_not_to_fit_are_not_declared(desk):
    """All of what is applied is refused."""
    async with AsyncClient(desk.server) as client:
        with pytest.raises(InvalidRequest, match=r"'odd-too', step 'batched', inputs.x: .*INT64"):
            await client.apply(pipelines=[odd.graph, replace(odd.graph, name="odd-too")])
        with pytest.raises(NotFound):
            await client.get("pipeline", "odd-too")


def test_what_it_does_not_take_is_refused(client):
    """Before any step begins, as by any model."""
    with pytest.raises(InferenceServerException, match="expected 1 inputs but got 0"):
        client.infer("a-sequence", [])


async def test_a_run_is_told_of_by_its_request(desk):
    """When each step ran, and who answered."""
    async with AsyncClient(desk.server) as client:
        answer = await client.infer("a-sequence", {"x": ONE})
        assert answer.steps == {"again": "double:1", "triple": "triple:1", "double": "double:1"}
        run = await client.run_of(answer.request)
        assert run.pipeline == "a-sequence"
        assert [each.who for each in run.steps] == ["double:1", "triple:1", "double:1"]
        assert all(each.started + each.seconds <= run.seconds + 1e-3 for each in run.steps)
        profile = await client.profile("a-sequence")
        assert profile.runs >= 1
        assert sum(each.share for each in profile.steps) == pytest.approx(1.0)
        assert profile.advice


async def test_it_also_runs_at_the_client(desk):
    """Against the specialists of the server, which need not know the pipeline."""
    async with AsyncClient(desk.server) as client:
        for name in ("a-fork", "a-map", "a-loop", "a-cascade"):
            shape = SHAPES[name]
            outputs = await client.run(shape.pipeline.graph, {"x": shape.x})
            assert outputs["value"].tolist() == shape.expected.tolist()
    with Client(desk.server) as client:
        outputs = await asyncio.to_thread(client.run, shape.pipeline.graph, {"x": shape.x})
        assert outputs["value"].tolist() == shape.expected.tolist()

"""Replicas of stateful specialists over a real link: what they open, and what they answer."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace

import numpy as np
import pytest
from onnx_models import STRING, accumulating, save

from fabric.api.inference.v2.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from fabric.core.cards import (
    Batching,
    Card,
    Control,
    Hosting,
    Model,
    Sequences,
    Specialist,
    StateTensor,
    Timeouts,
)
from fabric.core.deadlines import NEVER
from fabric.core.errors import Conflict, InvalidRequest, SpecialistFailed
from fabric.core.tensors import Signature, TensorSpec
from fabric.link.client import connect
from fabric.runtime.replica import Replica
from fabric.wire.parameters import set_value
from fabric.wire.tensors import decode_outputs, encode_inputs

NOBODY = "127.0.0.1:1"
ACCUMULATING = Sequences(
    max_sequences=8,
    states=(StateTensor(input="sum", output="new_sum"),),
    controls=(Control(input="start", kind="start", no=3, yes=4),),
)


def declared(sequences=ACCUMULATING, signature=None, drain=0.01, **hosting):
    card = Card(name="s", signature=signature)
    timeouts = Timeouts(drain=drain)
    return Specialist(card=card, hosting=Hosting(sequences=sequences, timeouts=timeouts, **hosting))


@pytest.fixture
async def opened():
    """Opens replicas and a link to each; all are closed at the end."""
    made = []

    async def open_(specialist):
        replica = Replica(specialist, NOBODY)
        await replica.open()
        link = await connect(replica.address)
        made.append((replica, link))
        return replica, link

    yield open_
    for replica, link in made:
        link.close()
        await replica.close()


def payload_of(array, sequence=0, *, start=False, end=False):
    message = ModelInferRequest(model_name="s")
    said = {"sequence_id": sequence, "sequence_start": start, "sequence_end": end}
    for name, value in said.items():
        set_value(message.parameters[name], value)
    encode_inputs(message, {"x": array})
    return message.SerializeToString()


def ask(link, array, sequence=0, **said):
    return asyncio.create_task(link.call(payload_of(array, sequence, **said), NEVER))


async def outputs(call):
    return {
        name: array.tolist()
        for name, array in decode_outputs(ModelInferResponse.FromString(bytes(await call))).items()
    }


def row(value):
    return np.full((1, 1), value, np.float32)


# ------------------------------------------------------------------ ONNX models
@pytest.mark.parametrize("strategy", ["oldest", "direct"])
async def test_a_model_goes_on_from_its_own_output(opened, tmp_path, strategy):
    """For each sequence by itself, and callers see neither state nor controls."""
    sequences = Sequences(
        strategy=strategy, states=ACCUMULATING.states, controls=ACCUMULATING.controls
    )
    model = Model(uri=str(accumulating(tmp_path / "m.onnx")))
    replica, link = await opened(declared(sequences, model=model, batching=Batching(max_size=8)))
    assert [spec.name for spec in replica._signature.inputs] == ["x"]
    assert [spec.name for spec in replica._signature.outputs] == ["y", "told"]
    calls = [
        ask(link, row(value), sequence, start=value == 1, end=value == 5)
        for value in range(1, 6)
        for sequence in (1, 2, "three")
    ]
    answers = [await outputs(call) for call in calls]
    assert [answer["y"] for answer in answers[::3]] == [[[1]], [[3]], [[6]], [[10]], [[15]]]
    assert [answer["told"] for answer in answers[::3]] == [[[4]], [[3]], [[3]], [[3]], [[3]]]
    assert answers[::3] == answers[1::3] == answers[2::3]
    with pytest.raises(InvalidRequest, match="sequence 1 to model 's' must specify the START"):
        await ask(link, row(1), 1)


async def test_without_batching_shapes_are_those_of_the_model(opened, tmp_path):
    """State and controls are what one request has."""
    model = Model(uri=str(accumulating(tmp_path / "m.onnx", shape=(1,))))
    _, link = await opened(declared(model=model))
    calls = [ask(link, np.array([2], np.float32), 1, start=place == 0) for place in range(3)]
    assert [(await outputs(call))["y"] for call in calls] == [[2], [4], [6]]


async def test_a_state_may_grow(opened, tmp_path):
    """Sequences whose states have other shapes are not stacked, and get on all the same."""
    path = save(
        tmp_path / "m.onnx",
        [("Add", ["x", "last"], ["y"]), ("Tile", ["y", "twice"], ["next"])],
        [("x", 1, ["N", "K"]), ("last", 1, ["N", "L"])],
        [("y", 1, ["N", "M"]), ("next", 1, ["N", "P"])],
        [("twice", np.array([1, 2], np.int64))],
    )
    sequences = Sequences(states=(StateTensor(input="last", output="next"),))
    specialist = declared(sequences, model=Model(uri=str(path)), batching=Batching(max_size=4))
    _, link = await opened(specialist)
    first = [ask(link, row(1), n, start=True) for n in (1, 2)]
    assert [(await outputs(call))["y"] for call in first] == [[[1]], [[1]]]
    mixed = [ask(link, row(1), 1), ask(link, row(1), 3, start=True), ask(link, row(1), 2)]
    assert [(await outputs(call))["y"] for call in mixed] == [[[2, 2]], [[1]], [[2, 2]]]


async def test_a_state_may_be_text(opened, tmp_path):
    """It starts empty."""
    path = save(
        tmp_path / "m.onnx",
        [("Identity", ["last"], ["y"]), ("Identity", ["x"], ["next"])],
        [("x", STRING, ["N"]), ("last", STRING, ["N"])],
        [("y", STRING, ["N"]), ("next", STRING, ["N"])],
    )
    sequences = Sequences(states=(StateTensor(input="last", output="next"),))
    _, link = await opened(declared(sequences, model=Model(uri=str(path))))
    calls = [
        ask(link, np.array([text], np.object_), 1, start=text == b"a") for text in (b"a", b"b")
    ]
    assert [(await outputs(call))["y"] for call in calls] == [[b""], [b"a"]]


async def test_a_card_declares_what_callers_see(opened, tmp_path):
    """The rest is the runtime's."""
    spec = TensorSpec(name="x", datatype="FP32", shape=(-1, 1), symbols=("N", ""))
    signature = Signature(inputs=(spec,), outputs=(replace(spec, name="y"),))
    model = Model(uri=str(accumulating(tmp_path / "m.onnx")))
    replica, link = await opened(declared(signature=signature, model=model))
    assert replica._signature == signature
    assert await outputs(ask(link, row(1), 1, start=True)) == {"y": [[1]]}


@pytest.mark.parametrize(
    ("sequences", "text"),
    [
        (
            Sequences(states=(StateTensor(input="state", output="new_sum"),)),
            "sequences names input 'state', the model has x, sum, start",
        ),
        (
            Sequences(controls=(Control(input="sum", kind="id"),)),
            "a whole number or BYTES, but input 'sum' is FP32",
        ),
    ],
)
async def test_a_model_without_what_is_declared_does_not_open(tmp_path, sequences, text):
    """The message says what there is."""
    model = Model(uri=str(accumulating(tmp_path / "m.onnx")))
    with pytest.raises(Conflict, match=text):
        await Replica(declared(sequences, model=model), NOBODY).open()


async def test_states_are_stacked_too(opened, tmp_path):
    """A model whose state has no batch dimension is not batched, at no time."""
    path = save(
        tmp_path / "m.onnx",
        [("Add", ["x", "sum"], ["y"]), ("Identity", ["sum"], ["same"])],
        [("x", 1, ["N", 1]), ("sum", 1, [1])],
        [("y", 1, ["N", 1]), ("same", 1, [1])],
    )
    sequences = Sequences(states=(StateTensor(input="sum", output="same"),))
    alone = declared(sequences, model=Model(uri=str(path)))
    replica, _ = await opened(alone)
    with pytest.raises(Conflict, match=r"input 'sum' is FP32 \[1\]: its first dimension"):
        replica.reconfigure(Batching(max_size=2), Timeouts())


# ------------------------------------------------------------------ Python specialists
class Counting:
    """Says which request of its sequence it is; fails for a negative x."""

    signature = Signature(
        inputs=(TensorSpec(name="x", datatype="FP32", shape=(1, 1)),),
        outputs=(TensorSpec(name="y", datatype="FP32", shape=(1,)),),
    )

    async def infer(self, inputs, sequence):
        count = sequence.state["count"] = sequence.state.get("count", 0) + 1
        if inputs["x"] < 0:
            raise ValueError("negative")
        return {"y": np.array([count], np.float32)}


class Stateless(Counting):
    async def infer(self, inputs):
        return {"y": inputs["x"]}


def python(cls, sequences=Sequences(max_sequences=2), **said):  # noqa: B008 - frozen
    return declared(sequences, python=f"{__name__}:{cls}", **said)


async def test_a_python_specialist_keeps_a_state(opened):
    """One for each sequence, as it was before a failure."""
    _, link = await opened(python("Counting"))
    calls = [ask(link, row(1), 1, start=True), ask(link, row(-1), 1), ask(link, row(1), 1)]
    other = ask(link, row(1), "1b", start=True)
    assert (await outputs(calls[0]), await outputs(other)) == ({"y": [1]}, {"y": [1]})
    with pytest.raises(SpecialistFailed, match="negative"):
        await calls[1]
    assert await outputs(calls[2]) == {"y": [2]}


@pytest.mark.parametrize(
    ("specialist", "text"),
    [
        (python("Stateless"), r"no 'async def infer\(self, inputs, sequence\)'"),
        (python("Counting", ACCUMULATING), "sequences.states and sequences.controls are for ONNX"),
    ],
)
async def test_a_python_specialist_takes_its_sequence_as_an_argument(specialist, text):
    """One that does not, or wants tensors for it, does not open."""
    with pytest.raises(Conflict, match=text):
        await Replica(specialist, NOBODY).open()


class Telling:
    """Gives all `x` of its sequence so far, one by one; fails behind the first negative one."""

    signature = Counting.signature

    async def infer(self, inputs, sequence):
        said = sequence.state["said"] = [*sequence.state.get("said", []), inputs["x"].item()]
        for value in said:
            yield {"y": np.array([value], np.float32)}
            if value < 0:
                raise ValueError("negative")


async def test_a_decoupled_specialist_keeps_a_state_too(opened):
    """With its last answer; a stream that fails has not happened."""
    _, link = await opened(python("Telling"))

    async def told(value, **said):
        payload = payload_of(row(value), 1, **said)
        heard = []
        async with aclosing(link.stream(payload, NEVER)) as responses:
            async for response, _ in responses:
                if response:
                    message = ModelInferResponse.FromString(bytes(response))
                    heard.append(decode_outputs(message)["y"].item())
        return heard

    assert await told(1, start=True) == [1]
    assert await told(2) == [1, 2]
    with pytest.raises(SpecialistFailed, match="negative"):
        await told(-1)
    assert await told(3, end=True) == [1, 2, 3]
    with pytest.raises(InvalidRequest, match="START flag"):
        await told(4)


# ------------------------------------------------------------------ drain
async def test_a_replica_that_drains_finishes_its_sequences(opened):
    """Their requests are answered until the last has ended."""
    replica, link = await opened(python("Counting", drain=10.0))
    await ask(link, row(1), 1, start=True)
    closing = asyncio.create_task(replica.close())
    while not link.is_draining:
        await asyncio.sleep(0.001)
    assert await outputs(ask(link, row(1), 1)) == {"y": [2]}
    assert not closing.done()
    assert await outputs(ask(link, row(1), 1, end=True)) == {"y": [3]}
    await closing

"""Python specialists with any number of answers, over a real link."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from fabric.api.inference.v2.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from fabric.core.cards import Batching, Card, Hosting, Specialist, Timeouts
from fabric.core.deadlines import NEVER, Deadline
from fabric.core.errors import (
    Conflict,
    DeadlineExceeded,
    NotFound,
    Overloaded,
    SpecialistFailed,
    Unavailable,
    Unimplemented,
)
from fabric.core.tensors import Signature, TensorSpec
from fabric.link.client import connect
from fabric.link.frames import CREDIT_AT_FIRST
from fabric.runtime.replica import Replica
from fabric.testing import FakeControl
from fabric.wire.tensors import decode_outputs, encode_inputs

NOBODY = "127.0.0.1:1"
SIGNATURE = Signature(
    inputs=(TensorSpec(name="n", datatype="INT32", shape=(1,)),),
    outputs=(TensorSpec(name="i", datatype="INT32", shape=(1,)),),
)


class Counting:
    """Counts to `n`, or for ever if that is negative; fails at the number `fails`."""

    signature = SIGNATURE
    produced = 0
    closed = 0

    def __init__(self, fails="-1", waits=""):
        self.fails = int(fails)
        self.waits = bool(waits)

    async def infer(self, inputs):
        try:
            number = 0
            while number != inputs["n"].item():
                if number == self.fails:
                    raise NotFound("no such number")
                if self.waits and number:
                    await asyncio.Event().wait()
                type(self).produced += 1
                yield {"i": np.array([number], np.int32)}
                number += 1
        finally:
            type(self).closed += 1


class Wrong:
    signature = SIGNATURE

    async def infer(self, inputs):
        yield {"i": np.array([0], np.int32)}
        yield {"i": [0]}


class Single:
    signature = SIGNATURE

    async def infer(self, inputs):
        return {"i": inputs["n"]}


class Claiming(Single):
    signature = Signature(inputs=SIGNATURE.inputs, outputs=SIGNATURE.outputs, decoupled=True)


@pytest.fixture(autouse=True)
def _forgotten():
    Counting.produced = Counting.closed = 0


def specialist(cls="Counting", arguments=(), **hosting):
    hosting |= {"python": f"test_decoupled:{cls}", "arguments": dict(arguments)}
    return Specialist(card=Card(name="p"), hosting=Hosting(**hosting))


@pytest.fixture
async def serving():
    """Opens a replica and a link to it; both are closed at the end."""
    opened = []

    async def serve(cls="Counting", arguments=(), control=NOBODY, **hosting):
        replica = Replica(specialist(cls, arguments, **hosting), control)
        await replica.open()
        link = await connect(replica.address)
        opened.append((replica, link))
        return replica, link

    yield serve
    for replica, link in opened:
        link.close()
        await replica.close()


def request(number, **fields):
    message = ModelInferRequest(model_name="asked", **fields)
    encode_inputs(message, {"n": np.array([number], np.int32)})
    return message.SerializeToString()


def value(payload):
    return decode_outputs(ModelInferResponse.FromString(bytes(payload)))["i"].item()


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


@pytest.mark.parametrize("count", [0, 1, 3, 100])
async def test_a_generator_answers_as_often_as_it_yields(serving, count):
    """Then the stream ends with an empty response, so that the last answer need not be known."""
    replica, link = await serving()
    responses = [each async for each in link.stream(request(count, id="a"), NEVER)]
    assert [value(payload) for payload, _ in responses[:-1]] == list(range(count))
    assert {is_last for _, is_last in responses[:-1]} <= {False}
    assert responses[-1] == (b"", True)
    for payload, _ in responses[:-1]:
        response = ModelInferResponse.FromString(bytes(payload))
        assert (response.id, response.model_name, response.model_version) == ("a", "asked", "1")
    assert replica.mean_load()._meter.count == 0


async def test_one_with_one_answer_is_a_stream_of_one(serving):
    """A caller need not know which of them it is."""
    _, link = await serving("Single")
    ((payload, is_last),) = [each async for each in link.stream(request(7), NEVER)]
    assert (value(payload), is_last) == (7, True)


async def test_a_call_for_one_answer_is_refused(serving):
    """In the words that clients know, and nothing begins."""
    _, link = await serving()
    with pytest.raises(Unimplemented) as caught:
        await link.call(request(1), NEVER)
    text = "ModelInfer RPC doesn't support models with decoupled transaction policy"
    assert caught.value.message == text
    assert (Counting.produced, Counting.closed) == (0, 0)


@pytest.mark.parametrize("yielded", [0, 2])
async def test_a_generator_that_raises_ends_its_stream(serving, yielded):
    """With its error, behind what it gave."""
    _, link = await serving(arguments={"fails": str(yielded)})
    seen = []
    stream = link.stream(request(5), NEVER)
    for _ in range(yielded):
        seen.append(value((await anext(stream))[0]))
    with pytest.raises(NotFound, match="no such number"):
        await anext(stream)
    assert seen == list(range(yielded))
    assert link.in_flight == 0


async def test_what_is_no_tensor_ends_its_stream(serving):
    """As a failure of the specialist."""
    _, link = await serving("Wrong")
    with pytest.raises(SpecialistFailed, match="dict of numpy arrays"):
        async for _ in link.stream(request(5), NEVER):
            pass


async def test_a_slow_reader_holds_the_generator_back(serving):
    """An endless one runs ahead of its reader by a few answers, however long it is read."""
    _, link = await serving()
    stream = link.stream(request(-1), NEVER)
    for number in range(500):
        payload, _ = await anext(stream)
        assert value(payload) == number
        assert Counting.produced <= number + 1 + CREDIT_AT_FIRST
    await until(lambda: Counting.produced >= 500 + 1)
    for _ in range(200):
        await asyncio.sleep(0)
    assert Counting.produced <= 500 + CREDIT_AT_FIRST
    await stream.aclose()


@pytest.mark.parametrize("waits", ["", "yes"])
async def test_a_caller_that_leaves_closes_the_generator(serving, waits):
    """While it is held back, and at an await of its own."""
    replica, link = await serving(arguments={"waits": waits})
    stream = link.stream(request(-1), NEVER)
    await anext(stream)
    await until(lambda: waits or Counting.produced == CREDIT_AT_FIRST)
    assert Counting.closed == 0
    await stream.aclose()
    await until(lambda: Counting.closed == 1)
    await until(lambda: replica.mean_load()._meter.count == 0)


async def test_a_deadline_closes_the_generator(serving):
    """It holds for all answers together."""
    _, link = await serving(arguments={"waits": "yes"})
    stream = link.stream(request(-1), Deadline.after(0.1))
    await anext(stream)
    with pytest.raises(DeadlineExceeded):
        await anext(stream)
    await until(lambda: Counting.closed == 1)


async def test_the_specialists_own_timeout_closes_the_generator(serving):
    """For callers that set none."""
    timeouts = Timeouts(request=0.1)
    _, link = await serving(arguments={"waits": "yes"}, timeouts=timeouts)
    with pytest.raises(DeadlineExceeded, match="Request timeout expired"):
        async for _ in link.stream(request(-1), NEVER):
            pass
    assert Counting.closed == 1


async def test_streams_count_as_load_while_they_run(serving):
    """And against the room there is."""
    replica, link = await serving(batching=Batching(max_queue=1))
    stream = link.stream(request(-1), NEVER)
    await anext(stream)
    assert replica.mean_load()._meter.count == 1
    with pytest.raises(Overloaded):
        await anext(link.stream(request(1), NEVER))
    await stream.aclose()
    await until(lambda: replica.mean_load()._meter.count == 0)


async def test_draining_finishes_streams(serving):
    """What runs is read to its end; one that has none ends when patience does."""
    async with FakeControl() as control:
        replica, link = await serving(control=control.address)
        stream = link.stream(request(60), NEVER)
        await anext(stream)
        closing = asyncio.create_task(replica.close())
        await until(lambda: link.is_draining)
        assert [value(payload) async for payload, last in stream if not last] == [*range(1, 60)]
        await closing

        timeouts = Timeouts(drain=0.05)
        replica, link = await serving(control=control.address, timeouts=timeouts)
        stream = link.stream(request(-1), NEVER)
        await anext(stream)
        await replica.close()
        with pytest.raises(Unavailable):
            async for _ in stream:
                pass
        assert Counting.closed == 2


async def test_the_signature_that_is_registered_says_so(serving):
    """The catalog learns it from the class."""
    async with FakeControl() as control:
        for cls, decoupled in (("Counting", True), ("Single", False)):
            replica, _ = await serving(cls, control=control.address)
            await control.heard("register")
            assert control.signatures[replica.id].decoupled is decoupled


async def test_a_signature_that_claims_it_wrongly_is_refused():
    """Before anything is served."""
    with pytest.raises(Conflict, match="no async generator"):
        await Replica(specialist("Claiming"), NOBODY).open()

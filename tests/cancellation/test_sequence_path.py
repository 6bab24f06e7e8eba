"""A caller of a sequence that leaves at any wait: its sequence goes on, and nothing leaks.

The path is whole and real, from the gateway's dispatcher to the replica; only the specialist does
as it is told.
"""

from __future__ import annotations

import asyncio
import contextlib

import numpy as np
import pytest
from running import until

from fabric.api.inference.v2.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from fabric.core.cards import Batching, Sequences
from fabric.core.deadlines import NEVER
from fabric.core.errors import InvalidRequest
from fabric.core.requests import InferRequest
from fabric.core.tensors import Signature, TensorSpec
from fabric.dispatch import Dispatcher
from fabric.gateway.replicas import ReplicaPool
from fabric.gateway.sequences import Sequences as Affinity
from fabric.link.frames import Hello
from fabric.link.server import LinkServer
from fabric.runtime.sequences import Sequencer
from fabric.runtime.serving import Serving
from fabric.runtime.specialist import Tasks
from fabric.testing import planner, replica, specialist
from fabric.wire.codec import Codec
from fabric.wire.parameters import set_value
from fabric.wire.tensors import decode_outputs, encode_inputs

SIGNATURE = Signature(
    inputs=(TensorSpec(name="x", datatype="FP32", shape=(1,)),),
    outputs=(TensorSpec(name="y", datatype="FP32", shape=(1,)),),
)


class Adding:
    """Gives the sum of all `x` of a sequence, when it is told to go on."""

    def __init__(self):
        self.go = asyncio.Event()
        self.begun = []

    async def infer(self, inputs, sequence):
        self.begun.append(inputs["x"].item())
        sequence.state["sum"] = sequence.state.get("sum", 0) + inputs["x"]
        await self.go.wait()
        return {"y": sequence.state["sum"]}


class Path:
    """From a gateway to one replica of `s`."""

    def __init__(self, pool, server, sequencer, adding):
        self.pool, self.server, self.sequencer, self.adding = pool, server, sequencer, adding
        self.gateways = []
        self.before = set()

    def gateway(self):
        of = specialist("s", sequences=Sequences(max_sequences=1))
        plans = planner([of])
        made = Affinity(Dispatcher(plans, self.pool), plans, self.pool, lambda *_: of)
        self.gateways.append(made)
        self.before = asyncio.all_tasks()
        return made

    async def settled(self):
        """Returns when no trace of any request is left on the way."""
        await until(lambda: not self.server.in_flight)
        assert (self.sequencer.queued, self.sequencer.meter.count) == (0, 0)
        assert not any(pin.requests for made in self.gateways for pin in made._pins.values())
        await until(lambda: asyncio.all_tasks() == self.before)


@pytest.fixture
async def path():
    adding, batching = Adding(), Batching()
    sequencer = Sequencer(
        Tasks(adding, batching, sequences=True), Sequences(max_sequences=1), batching, "s"
    )
    serving = Serving(Codec(SIGNATURE, "s", "1"), sequencer, 30.0, {})
    server = LinkServer(Hello(replica="r", specialist="s", version="1"), serving)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(sequencer.close)
        address = await server.start()
        stack.push_async_callback(server.close)
        pool = await stack.enter_async_context(ReplicaPool())
        pool.sync({"r": replica("r", "s:1", address=address)})
        await until(lambda: pool.count("s:1"))
        yield Path(pool, server, sequencer, adding)


def ask(gateway, value, sequence="7", *, start=False, end=False):
    message = ModelInferRequest(model_name="s")
    for name, said in {"id": sequence, "start": start, "end": end}.items():
        set_value(message.parameters[f"sequence_{name}"], said)
    encode_inputs(message, {"x": np.array([value], np.float32)})
    request = InferRequest(
        "s", "", message.SerializeToString(), sequence=sequence, starts=start, ends=end
    )
    return asyncio.create_task(gateway.infer(request, NEVER))


async def value_of(task):
    payload = bytes((await task).response.payload)
    return decode_outputs(ModelInferResponse.FromString(payload))["y"].item()


async def left(task):
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_while_it_waits_for_its_turn_at_the_gateway(path):
    """It is never sent, and those before and behind it are answered."""
    gateway = path.gateway()
    first, leaving, last = ask(gateway, 1, start=True), ask(gateway, 2), ask(gateway, 3)
    await until(lambda: path.adding.begun)
    await left(leaving)
    path.adding.go.set()
    assert (await value_of(first), await value_of(last)) == (1, 4)
    assert path.adding.begun == [1, 3]
    await path.settled()


async def test_while_it_is_answered(path):
    """It has not happened: the next one goes on from the one before."""
    gateway = path.gateway()
    path.adding.go.set()
    assert await value_of(ask(gateway, 1, start=True)) == 1
    path.adding.go.clear()
    leaving, last = ask(gateway, 2), ask(gateway, 3)
    await until(lambda: path.adding.begun[-1] == 2)
    await left(leaving)
    await until(lambda: path.adding.begun[-1] == 3)
    path.adding.go.set()
    assert await value_of(last) == 4
    await path.settled()


async def test_while_the_start_is_answered(path):
    """The next one begins the sequence at the replica, where its id leads."""
    gateway = path.gateway()
    start, behind = ask(gateway, 1, start=True), ask(gateway, 2)
    await until(lambda: path.adding.begun)
    await left(start)
    await until(lambda: path.adding.begun == [1, 2])
    path.adding.go.set()
    assert await value_of(behind) == 2
    await path.settled()


async def test_while_it_waits_at_the_replica(path):
    """Behind a request that came by another gateway."""
    one, other = path.gateway(), path.gateway()
    first = ask(one, 1, start=True)
    await until(lambda: path.adding.begun)
    leaving = ask(other, 2)
    await until(lambda: path.sequencer.queued == 1)
    await left(leaving)
    await until(lambda: path.sequencer.queued == 0)
    path.adding.go.set()
    assert await value_of(first) == 1
    assert await value_of(ask(other, 3)) == 4
    await path.settled()


async def test_while_its_sequence_waits_for_a_slot(path):
    """A sequence that never began is forgotten."""
    gateway = path.gateway()
    path.adding.go.set()
    await value_of(ask(gateway, 1, start=True))
    leaving = ask(gateway, 5, "8", start=True)
    await until(lambda: path.sequencer.queued == 1)
    await left(leaving)
    await until(lambda: path.sequencer.queued == 0)
    with pytest.raises(InvalidRequest, match="START flag"):
        await ask(gateway, 6, "8")
    assert await value_of(ask(gateway, 2, end=True)) == 3
    await path.settled()

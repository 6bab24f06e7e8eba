"""A caller that leaves at any wait of a stream: nothing leaks, and nobody else notices.

From the ASGI call to the generator of the specialist, over a real link; the HTTP server is played.
"""

from __future__ import annotations

import asyncio
import contextlib

import numpy as np
import pytest
from running import until

from fabric.api.inference.v2.extensions_pb2 import ModelStreamInferResponse
from fabric.api.inference.v2.open_inference_pb2 import ModelInferRequest
from fabric.core.cards import Batching
from fabric.core.changes import Changes, Hosted
from fabric.core.replicas import Status
from fabric.core.tensors import Signature, TensorSpec
from fabric.gateway.compression import Compression
from fabric.gateway.duplex import converse
from fabric.gateway.grpc import Disconnected
from fabric.gateway.inference import Inference
from fabric.gateway.intake import Intake
from fabric.gateway.observing import Tracing
from fabric.gateway.replicas import ReplicaPool
from fabric.gateway.settings import GatewaySettings
from fabric.gateway.shared_memory import SharedMemory
from fabric.gateway.streams import Streams
from fabric.gateway.view import View
from fabric.link.frames import CREDIT_AT_FIRST, Hello
from fabric.link.server import LinkServer
from fabric.runtime.serving import Serving
from fabric.runtime.specialist import runner_of
from fabric.testing import replica, specialist
from fabric.wire.codec import Codec
from fabric.wire.tensors import encode_inputs

SIGNATURE = Signature(
    inputs=(TensorSpec(name="x", datatype="FP32", shape=(1,)),),
    outputs=(TensorSpec(name="y", datatype="FP32", shape=(1,)),),
    decoupled=True,
)


INTAKE, PLAIN = Intake(1 << 20, 1 << 24, 60.0), Compression(0)


class Generator:
    """Gives `y` as often as it may; says what it gave and how each request ended."""

    def __init__(self):
        self.go = asyncio.Event()
        self.begun = self.given = self.closed = 0

    async def infer(self, inputs):
        self.begun += 1
        try:
            await self.go.wait()
            while True:
                self.given += 1
                yield {"y": inputs["x"]}
        finally:
            self.closed += 1


class Client:
    """One call; the window of its client has room for `room` answers."""

    def __init__(self, handler):
        self.events = asyncio.Queue()
        self.room = asyncio.Semaphore(0)
        self.sent = 0
        self.blocked = asyncio.Event()
        self.task = asyncio.create_task(
            converse(
                handler, {"headers": []}, self.events.get, self.send, INTAKE, PLAIN, lambda e: e
            )
        )

    async def send(self, event):
        if event["type"] == "http.response.body":
            if self.room.locked():
                self.blocked.set()
            await self.room.acquire()
            if event["body"]:
                ModelStreamInferResponse.FromString(event["body"][5:])
                self.sent += 1

    def read(self, answers):
        for _ in range(answers):
            self.room.release()

    def ask(self, count=1):
        message = ModelInferRequest(model_name="s")
        encode_inputs(message, {"x": np.zeros(1, np.float32)})
        data = message.SerializeToString()
        for _ in range(count):
            body = b"\0" + len(data).to_bytes(4, "big") + data
            self.events.put_nowait({"type": "http.request", "body": body, "more_body": True})

    async def leaves(self):
        self.events.put_nowait({"type": "http.disconnect"})
        with pytest.raises(Disconnected):
            await self.task
        self.read(100)


class Path:
    """Everything behind the HTTP server, with the specialist `s`."""

    def __init__(self, generator, streams, server, tasks, pool):
        self.generator = generator
        self.server = server
        self.runner = tasks
        self.pool = pool
        self.handler = streams.model_stream_infer
        self.before = None

    def client(self):
        self.before = self.before or asyncio.all_tasks()
        return Client(self.handler)

    async def settled(self):
        """Returns when no trace of any request is left on the way."""
        generator = self.generator
        await until(lambda: generator.closed == generator.begun)
        await until(lambda: not self.server.in_flight)
        await until(lambda: asyncio.all_tasks() == self.before)
        assert not any(peer._calls for peer in self.server.peers)
        for member in self.pool._members.values():
            assert not member.link.calls
            assert not member.link._streams
            assert not member.link._patient
        assert (len(self.runner._tasks), self.runner.meter.count) == (0, 0)


@pytest.fixture
async def path():
    async with contextlib.AsyncExitStack() as stack:
        generator = Generator()
        runner = runner_of(generator, Batching())
        serving = Serving(Codec(SIGNATURE, "s", "1"), runner, 30.0, {})
        server = LinkServer(Hello(replica="r", specialist="s", version="1"), serving)
        address = await server.start()
        stack.push_async_callback(server.close)
        pool = await stack.enter_async_context(ReplicaPool())
        view = View(pool)
        of = specialist("s", signature=SIGNATURE)
        hosted = Hosted(of, Status(state="ready", ready=1, wanted=1))
        found = replica("r", "s:1", address=address)
        view.catalog.update(Changes(revision=1, specialists=(hosted,), replicas=(found,)))
        view.changed()
        await until(lambda: pool.count("s:1"))
        inference = Inference(view, Tracing(view, 1), "triton")
        streams = Streams(view, inference, "triton", SharedMemory(GatewaySettings()))
        yield Path(generator, streams, server, runner, pool)


async def test_while_the_first_answer_is_awaited(path):
    """The generator is cancelled where it waits, and that of another stream is not."""
    leaving, staying = path.client(), path.client()
    for client in (leaving, staying):
        client.ask()
    await until(lambda: path.generator.begun == 2)
    await leaving.leaves()
    await until(lambda: path.generator.closed == 1)
    path.generator.go.set()
    staying.read(5)
    await until(lambda: staying.sent == 5)
    await staying.leaves()
    await path.settled()


async def test_while_nothing_was_asked(path):
    """A stream that is only open leaves nothing."""
    client = path.client()
    await asyncio.sleep(0)
    await client.leaves()
    await path.settled()


async def test_between_two_answers(path):
    """The generator waits for something else than the caller."""
    client = path.client()
    client.ask()
    client.read(1000)
    path.generator.go.set()
    await until(lambda: client.sent >= 2)
    path.generator.go.clear()
    client.ask(2)
    await until(lambda: path.generator.begun == 3)
    await client.leaves()
    await path.settled()


async def test_while_a_slow_client_holds_all_back(path):
    """The generator waits for credit, the gateway for room to write."""
    client = path.client()
    client.ask()
    path.generator.go.set()
    client.read(3)
    await client.blocked.wait()
    peer = next(iter(path.server.peers))

    def waits_for_credit():
        return [call for call in peer._calls.values() if not call._room.is_set()]

    given = 0
    while given < path.generator.given:  # until all that can be under way is
        given = path.generator.given
        await until(waits_for_credit)
        for _ in range(200):
            await asyncio.sleep(0)
    assert given <= 3 + 1 + 16 + 1 + 2 * CREDIT_AT_FIRST
    await client.leaves()
    await path.settled()


async def test_while_requests_wait_for_their_turn_to_be_worked_on(path):
    """Those that were not begun never are."""
    client = path.client()
    client.ask(80)
    await until(lambda: path.generator.begun == 64)
    await client.leaves()
    await path.settled()
    assert path.generator.begun == 64


async def test_when_the_gateway_ends(path):
    """The call is cancelled from within, and ends as cancelled."""
    client = path.client()
    client.ask(2)
    await until(lambda: path.generator.begun == 2)
    client.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await client.task
    client.events.put_nowait({"type": "http.disconnect"})  # as at the end of any call
    await path.settled()


async def test_when_the_link_breaks(path):
    """The generator is closed, and the caller told."""
    client = path.client()
    client.ask()
    client.read(10)
    await until(lambda: path.generator.begun == 1)
    for peer in tuple(path.server.peers):
        peer.abort("the test pulls the plug")
    await until(lambda: client.sent == 1)  # its error
    await client.leaves()
    await until(lambda: path.generator.closed == 1)


async def test_when_the_replica_closes(path):
    """Its generators are closed, and their callers told."""
    client = path.client()
    client.ask(2)
    client.read(10)
    await until(lambda: path.generator.begun == 2)
    await path.runner.close()
    await until(lambda: client.sent == 2)
    assert path.generator.closed == 2
    await client.leaves()
    await path.settled()

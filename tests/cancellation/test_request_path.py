"""A caller that leaves at any wait of the request path: nothing leaks, and nobody else notices.

The path is whole and real, dispatcher, pool, socket, replica; only the model does as it is told.
"""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pytest
from running import Failing, Held, until

from fabric.api.inference.v2.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from fabric.core.cards import Batching
from fabric.core.deadlines import NEVER, Deadline
from fabric.core.errors import DeadlineExceeded, SpecialistFailed
from fabric.core.requests import InferRequest
from fabric.core.tensors import Signature, TensorSpec
from fabric.dispatch import Dispatcher
from fabric.gateway.replicas import ReplicaPool
from fabric.link.frames import Hello
from fabric.link.server import LinkServer
from fabric.runtime.batching import Batcher
from fabric.runtime.serving import Serving
from fabric.runtime.specialist import Tasks
from fabric.testing import FakeModel, planner, replica, route, specialist
from fabric.wire.codec import Codec
from fabric.wire.tensors import decode_outputs, encode_inputs

SIGNATURE = Signature(
    inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 1)),),
    outputs=(TensorSpec(name="y", datatype="FP32", shape=(-1, 1)),),
)
IN_THREAD = 1.0


def request(value, model="s"):
    message = ModelInferRequest(model_name=model)
    encode_inputs(message, {"x": np.full((1, 1), value, np.float32)})
    return InferRequest(model, "", message.SerializeToString())


def value_of(answer):
    return decode_outputs(ModelInferResponse.FromString(bytes(answer.response.payload)))["y"].item()


@dataclass
class Path:
    """A request path to the specialist `s`, or along the route `r`."""

    dispatcher: Dispatcher
    pool: ReplicaPool
    servers: list[LinkServer]
    before: set = field(default_factory=asyncio.all_tasks)

    def ask(self, *values, model="s", deadline=NEVER):
        return [
            asyncio.create_task(self.dispatcher.infer(request(value, model), deadline))
            for value in values
        ]

    @property
    def links(self):
        return [member.link for member in self.pool._members.values()]

    async def settled(self):
        """Returns when no trace of any request is left on the way."""
        await until(lambda: not any(server.in_flight for server in self.servers))
        assert not any(peer._calls for server in self.servers for peer in server.peers)
        assert not any(link.calls for link in self.links)
        assert asyncio.all_tasks() == self.before


@pytest.fixture
async def path_to():
    """Opens a path whose specialists are answered by the handlers of their names."""
    async with contextlib.AsyncExitStack() as stack:
        pool = ReplicaPool()

        async def open_path(**handlers):
            servers, known = [], {}
            for name, handler in handlers.items():
                server = LinkServer(Hello(replica=name, specialist=name, version="1"), handler)
                known[name] = replica(name, f"{name}:1", address=await server.start())
                stack.push_async_callback(server.close)
                servers.append(server)
            await stack.enter_async_context(pool)
            pool.sync(known)
            await until(lambda: all(pool.count(f"{name}:1") for name in handlers))
            plans = planner(map(specialist, handlers), [route("r", *handlers)])
            return Path(Dispatcher(plans, pool), pool, servers)

        yield open_path


def serving(runner, max_rows=1):
    return Serving(Codec(SIGNATURE, "s", "1", max_rows), runner, 30.0, {})


async def left(task):
    """Cancels *task* and returns when it has ended as cancelled."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# ------------------------------------------------------------------ at the gateway
async def test_while_the_answer_is_awaited(path_to):
    """The replica is told; the others on the link are answered."""
    held = Held()
    path = await path_to(s=held)
    first, second, third = path.ask(1, 2, 3)
    calls = [await held.next() for _ in range(3)]
    await left(second)
    await until(lambda: calls[1].is_cancelled)
    for call in (calls[0], calls[2]):
        call.respond(ModelInferResponse(id="ok").SerializeToString())
    await asyncio.gather(first, third)
    await path.settled()


async def test_before_the_request_is_on_its_way(path_to):
    """A task that never ran has asked nobody."""
    held = Held()
    path = await path_to(s=held)
    (task,) = path.ask(1)
    await left(task)
    (task,) = path.ask(2)
    await asyncio.sleep(0)  # it waits for its answer, and its frame is not written yet
    await left(task)
    await path.settled()


async def test_while_the_link_holds_the_writer_back(path_to):
    """One that waits for its turn to write leaves the queue, and the others go on."""
    held = Held()
    path = await path_to(s=held)
    (link,), (server,) = path.links, path.servers
    (peer,) = server.peers
    peer._transport.pause_reading()
    large = InferRequest("s", "", bytes(40_000_000))
    first = asyncio.create_task(path.dispatcher.infer(large, NEVER))
    await until(lambda: link._blocked is not None)
    leaving, staying = path.ask(1, 2)
    await until(lambda: link.in_flight == 3)
    await left(leaving)
    assert link.in_flight == 2
    peer._transport.resume_reading()
    calls = [await held.next() for _ in range(2)]
    assert len(calls[0].payload) == len(large.payload)
    for call in calls:
        call.respond(b"")
    await asyncio.gather(first, staying)
    assert held.calls.empty()
    await path.settled()


async def test_while_a_large_request_is_written(path_to):
    """What is half written is finished, so that the link stays whole, and then cancelled."""
    held = Held()
    path = await path_to(s=held)
    (link,), (server,) = path.links, path.servers
    (peer,) = server.peers
    peer._transport.pause_reading()
    large = InferRequest("s", "", bytes(40_000_000))
    task = asyncio.create_task(path.dispatcher.infer(large, NEVER))
    await until(lambda: link._blocked is not None)
    await left(task)
    peer._transport.resume_reading()
    call = await held.next()
    await until(lambda: call.is_cancelled)
    (after,) = path.ask(1)
    (await held.next()).respond(b"")
    await after
    await path.settled()


async def test_while_a_fallback_answers(path_to):
    """The second candidate is told, and the third is not asked."""
    second, third = Held(), Held()
    path = await path_to(s=Failing(SpecialistFailed("nan")), t=second, u=third)
    (task,) = path.ask(1, model="r")
    call = await second.next()
    await left(task)
    await until(lambda: call.is_cancelled)
    assert third.calls.empty()
    await path.settled()


async def test_while_the_pool_connects():
    """A replica that never greets keeps nobody from leaving."""

    async def mute(reader, writer):
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(mute, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    before = asyncio.all_tasks()
    async with ReplicaPool() as pool:
        pool.sync({"r1": replica("r1", "s:1", address=f"127.0.0.1:{port}")})
        await until(lambda: len(asyncio.all_tasks()) > len(before) + 1)  # it greets
    await until(lambda: asyncio.all_tasks() == before)
    silent.close()
    await silent.wait_closed()


# ------------------------------------------------------------------ at the replica
@pytest.fixture
async def model_of():
    """A held model behind a batcher."""
    model = FakeModel()
    model.hold()
    with ThreadPoolExecutor(1) as executor:
        batchers = []

        def make(max_size=8):
            batching = Batching(max_size=max_size)
            batchers.append(Batcher(model, batching, executor, seconds=IN_THREAD))
            return model, batchers[-1]

        yield make
        model.release()
        for batcher in batchers:
            await batcher.close()
            assert (batcher.queued, batcher.meter.count) == (0, 0)


async def running(model):
    assert await asyncio.to_thread(model.started.acquire, timeout=5)


async def test_while_it_waits_in_the_queue(path_to, model_of):
    """It is never run, and those before and behind it are."""
    model, batcher = model_of()
    path = await path_to(s=serving(batcher, 8))
    (first,) = path.ask(1)
    await running(model)
    waiting = path.ask(2, 3, 4)
    await until(lambda: batcher.queued == 3)
    await left(waiting[1])
    await until(lambda: path.servers[0].in_flight == 3)
    model.release()
    answers = await asyncio.gather(first, waiting[0], waiting[2])
    assert [value_of(answer) for answer in answers] == [2, 4, 8]
    assert model.runs == [[1], [2, 4]]
    await path.settled()


async def test_while_it_runs_alone(path_to, model_of):
    """The run is stopped, and the next one begins."""
    model, batcher = model_of()
    path = await path_to(s=serving(batcher, 8))
    (task,) = path.ask(1)
    await running(model)
    await left(task)
    await until(lambda: batcher.meter.count == 0)  # while the model is still held
    model.release()
    (after,) = path.ask(2)
    assert value_of(await after) == 4
    await path.settled()


async def test_while_it_runs_with_others(path_to, model_of):
    """The run goes on for them."""
    model, batcher = model_of()
    path = await path_to(s=serving(batcher, 8))
    tasks = path.ask(1, 2, 3)
    await running(model)
    await left(tasks[1])
    await until(lambda: path.servers[0].in_flight == 2)
    model.release()
    assert [value_of(await tasks[0]), value_of(await tasks[2])] == [2, 6]
    assert model.runs == [[1, 2, 3]]
    await path.settled()


async def test_when_all_of_a_batch_leave(path_to, model_of):
    """Nobody waits for the run, so it is stopped, and those behind it are run."""
    model, batcher = model_of()
    path = await path_to(s=serving(batcher, 8))
    tasks = path.ask(1, 2)
    await running(model)
    (behind,) = path.ask(5)
    await until(lambda: batcher.queued == 1)
    for task in tasks:
        await left(task)
    await running(model)  # the run behind has begun, though the model was not released
    model.release()
    assert value_of(await behind) == 10
    await path.settled()


async def test_a_deadline_that_passes_in_a_run_is_a_caller_that_leaves(path_to, model_of):
    """The run is stopped for it as well."""
    model, batcher = model_of()
    path = await path_to(s=serving(batcher, 8))
    (task,) = path.ask(1, deadline=Deadline.after(0.05))
    await running(model)
    with pytest.raises(DeadlineExceeded):
        await task
    await until(lambda: batcher.meter.count == 0)
    await path.settled()


class Waiting:
    """A Python specialist that waits to be told; says how each request went."""

    def __init__(self):
        self.go = asyncio.Event()
        self.ended = []
        self.begun = 0

    async def infer(self, inputs):
        value = inputs["x"].item()
        self.begun += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.ended.append((value, "cancelled"))
            raise
        self.ended.append((value, "answered"))
        return {"y": inputs["x"] * 2}


async def test_while_a_python_specialist_answers(path_to):
    """Its task is cancelled at its own await, and no other is."""
    waiting = Waiting()
    tasks_ = Tasks(waiting, Batching())
    path = await path_to(s=serving(tasks_))
    first, second = path.ask(1, 2)
    await until(lambda: waiting.begun == 2)
    await left(second)
    await until(lambda: waiting.ended == [(2, "cancelled")])
    waiting.go.set()
    assert value_of(await first) == 2
    assert waiting.ended[1:] == [(1, "answered")]
    await path.settled()
    assert (len(tasks_._tasks), tasks_.meter.count) == (0, 0)


async def test_when_the_link_breaks_all_of_its_work_ends(path_to, model_of):
    """A gateway that is gone is all of its callers gone."""
    model, batcher = model_of()
    path = await path_to(s=serving(batcher, 8))
    tasks = path.ask(1, 2)
    await running(model)
    for link in path.links:
        link.abort("the test pulls the plug")
    await until(lambda: batcher.meter.count == 0)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(result).__name__ for result in results} == {"Unavailable"}
    assert path.servers[0].in_flight == 0

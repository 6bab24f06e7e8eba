"""A caller that leaves a cascade or a mixture, and a gateway that leaves its shadow calls.

The path is whole and real, dispatcher, pool, socket, replica; only the replica does as it is told.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field

import numpy as np
import pytest
from running import Held, until

from fabric.api.inference.v2.open_inference_pb2 import ModelInferResponse
from fabric.core.deadlines import NEVER
from fabric.core.requests import InferRequest
from fabric.core.routes import Cascade, ChainEntry, Mixture, Route
from fabric.dispatch import Dispatcher
from fabric.gateway.replicas import ReplicaPool
from fabric.link.frames import Hello
from fabric.link.server import LinkServer
from fabric.testing import planner, replica, specialist
from fabric.wire import outputs
from fabric.wire.tensors import to_raw

NAMES = ("a", "b", "c")
ROUTES = {
    "plain": {},
    "cascade": {"cascade": Cascade()},
    "mixture": {"mixture": Mixture(top=0)},
}


def scores(*numbers):
    message = ModelInferResponse()
    message.outputs.add(name="y", datatype="FP32", shape=(1, len(numbers)))
    message.raw_output_contents.append(to_raw(np.array([numbers], np.float32), "FP32"))
    return message.SerializeToString()


@dataclass
class Path:
    """A request path to three specialists whose replicas hold all calls."""

    dispatcher: Dispatcher
    held: dict[str, Held]
    servers: list[LinkServer]
    pool: ReplicaPool
    told: list
    before: set = field(default_factory=asyncio.all_tasks)

    def ask(self, route, **more):
        request = InferRequest(route, "", b"x", **more)
        return asyncio.create_task(self.dispatcher.infer(request, NEVER))

    async def settled(self):
        """Returns when no trace of any request is left on the way."""
        await until(lambda: not any(server.in_flight for server in self.servers))
        assert not any(m.link.calls for m in self.pool._members.values())
        await until(lambda: asyncio.all_tasks() == self.before)


@pytest.fixture
async def open_path():
    """Opens the path."""
    async with contextlib.AsyncExitStack() as stack:

        async def opened():
            told, servers, known, held = [], [], {}, {}
            for name in NAMES:
                held[name] = Held()
                server = LinkServer(Hello(replica=name, specialist=name, version="1"), held[name])
                known[name] = replica(name, f"{name}:1", address=await server.start())
                stack.push_async_callback(server.close)
                servers.append(server)
            pool = await stack.enter_async_context(ReplicaPool())
            pool.sync(known)
            await until(lambda: all(pool.count(f"{name}:1") for name in NAMES))
            chain = tuple(ChainEntry(name=name) for name in NAMES)
            routes = [Route(name=name, chain=chain, **said) for name, said in ROUTES.items()]

            def observe(request, candidate, response, error, seconds, *, is_shadow):
                told.append((candidate.card.name, error and error.reason, is_shadow))

            plans = planner(map(specialist, NAMES), routes)
            dispatcher = Dispatcher(plans, pool, observe=observe, outputs=outputs)
            return Path(dispatcher, held, servers, pool, told)

        yield opened


async def left(task):
    """Cancels *task* and returns when it has ended as cancelled."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_while_the_first_of_a_cascade_answers(open_path):
    """It is told, and nobody else is asked."""
    path = await open_path()
    task = path.ask("cascade")
    call = await path.held["a"].next()
    await left(task)
    await until(lambda: call.is_cancelled)
    await path.settled()
    assert path.held["b"].calls.empty()


async def test_while_a_later_one_of_a_cascade_answers(open_path):
    """The answer that is there is given to nobody."""
    path = await open_path()
    task = path.ask("cascade")
    (await path.held["a"].next()).respond(scores(0.5, 0.5))
    call = await path.held["b"].next()
    await left(task)
    await until(lambda: call.is_cancelled)
    await path.settled()
    assert path.held["c"].calls.empty()


async def test_while_a_mixture_answers(open_path):
    """All who have not answered are told."""
    path = await open_path()
    task = path.ask("mixture")
    calls = [await path.held[name].next() for name in NAMES]
    calls[1].respond(scores(0.5, 0.5))
    await until(lambda: path.servers[1].in_flight == 0)
    await left(task)
    await until(lambda: calls[0].is_cancelled and calls[2].is_cancelled)
    await path.settled()


async def test_before_a_mixture_has_asked(open_path):
    """A task that never ran has asked nobody, and one that has just begun leaves no trace."""
    path = await open_path()
    await left(path.ask("mixture"))
    task = path.ask("mixture")
    await asyncio.sleep(0)
    await left(task)
    await path.settled()


async def test_a_caller_that_has_its_answer_leaves_the_shadow_alone(open_path):
    """It belongs to the dispatcher."""
    path = await open_path()
    task = path.ask("plain", request="1", shadow="b:1")
    (await path.held["a"].next()).respond(scores(1.0, 0.0))
    await task
    call = await path.held["b"].next()
    call.respond(scores(0.0, 1.0))
    await until(lambda: len(path.told) == 2)
    await path.settled()
    assert path.told == [("a", None, False), ("b", None, True)]


async def test_when_the_gateway_ends_its_shadows_end(open_path):
    """The replica is told, wherever the call stands."""
    path = await open_path()
    for turns in (0, 1, 2):
        task = path.ask("plain", request="1", shadow="b:1")
        (await path.held["a"].next()).respond(scores(1.0, 0.0))
        await task
        for _ in range(turns):
            await asyncio.sleep(0)
        await path.dispatcher.close()
        await path.settled()
    task = path.ask("plain", request="1", shadow="b:1")
    (await path.held["a"].next()).respond(scores(1.0, 0.0))
    await task
    await until(lambda: path.servers[1].in_flight)
    await path.dispatcher.close()
    await path.settled()
    assert not any(is_shadow for *_, is_shadow in path.told)

"""A caller that leaves a call that it shares, at any wait: nobody else notices, and nothing leaks.

The path is whole and real, from the gateway's dispatcher to the replica, which does as it is told.
"""

from __future__ import annotations

import asyncio

import pytest
from running import Failing, Held, until

from fabric.api.inference.v2.open_inference_pb2 import ModelInferRequest
from fabric.core.cards import Caching
from fabric.core.deadlines import NEVER, Deadline
from fabric.core.errors import DeadlineExceeded, SpecialistFailed
from fabric.core.requests import InferRequest
from fabric.dispatch import Dispatcher
from fabric.gateway.cache import Cache
from fabric.gateway.replicas import ReplicaPool
from fabric.link.frames import Hello
from fabric.link.server import LinkServer
from fabric.testing import planner, replica, route, specialist

LARGE = 1 << 20


class Path:
    """From a gateway to a replica of each specialist, or along the route `r`."""

    def __init__(self, pool, servers):
        self.pool, self.servers = pool, servers
        self.cache = Cache(pool, 1 << 24)
        names = [server.hello.specialist for server in servers]
        of = [specialist(name, cache=Caching()) for name in names]
        self.dispatcher = Dispatcher(planner(of, [route("r", *names)]), self.cache)
        self.before = asyncio.all_tasks()

    def ask(self, x=b"1", model="s", deadline=NEVER):
        message = ModelInferRequest(raw_input_contents=[x])
        message.inputs.add(name="x", datatype="UINT8", shape=[len(x)])
        asked = InferRequest(model, "", message.SerializeToString())
        return asyncio.create_task(self.dispatcher.infer(asked, deadline))

    async def settled(self):
        """Returns when no trace of any request is left on the way."""
        await until(lambda: not self.cache._sharing._tasks)
        await until(lambda: not any(server.in_flight for server in self.servers))
        assert not any(member.link.calls for member in self.pool._members.values())
        assert not self.cache._sharing._calls
        await until(lambda: asyncio.all_tasks() == self.before)


@pytest.fixture
async def path_to():
    """Opens a path whose specialists are answered by the handlers of their names."""
    pool, servers = ReplicaPool(), []

    async def open_path(**handlers):
        known = {}
        for name, handler in handlers.items():
            server = LinkServer(Hello(replica=name, specialist=name, version="1"), handler)
            known[name] = replica(name, f"{name}:1", address=await server.start())
            servers.append(server)
        pool.sync(known)
        await until(lambda: all(pool.count(f"{name}:1") for name in handlers))
        return Path(pool, servers)

    async with pool:
        yield open_path
    for server in servers:
        await server.close()


async def left(task):
    """Cancels *task* and returns when it has ended as cancelled."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("turns", range(6))
@pytest.mark.parametrize("x", [b"1", bytes(LARGE)], ids=["small", "large"])
async def test_alone_at_any_turn_of_the_loop(path_to, x, turns):
    """Whether it looks, makes a digest, begins its call, or waits for it."""
    held = Held()
    path = await path_to(s=held)
    task = path.ask(x)
    for _ in range(turns):
        await asyncio.sleep(0)
    await left(task)
    await path.settled()
    after = path.ask(x)
    while (call := await held.next()).is_cancelled:
        pass
    call.respond(b"y")
    assert (await after).response.payload == b"y"
    await path.settled()


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("leaving", [0, 1])
async def test_with_another_at_any_turn_of_the_loop(path_to, leaving, turns):
    """Be it the first or not, the other has its answer from one call."""
    held = Held()
    path = await path_to(s=held)
    tasks = [path.ask(), path.ask()]
    for _ in range(turns):
        await asyncio.sleep(0)
    await left(tasks.pop(leaving))
    call = await held.next()
    while call.is_cancelled:  # the first had left before there was another
        call = await held.next()
    call.respond(b"y")
    assert (await tasks[0]).response.payload == b"y"
    assert held.calls.empty()
    await path.settled()


async def test_all_of_them(path_to):
    """The replica is told."""
    held = Held()
    path = await path_to(s=held)
    tasks = [path.ask() for _ in range(3)]
    call = await held.next()
    for task in tasks:
        assert not call.is_cancelled
        await left(task)
    await until(lambda: call.is_cancelled)
    await path.settled()


async def test_when_the_answer_has_come(path_to):
    """It is kept, though the one who waited for it has just left."""
    held = Held()
    path = await path_to(s=held)
    task = path.ask()
    (await held.next()).respond(b"y")
    await until(lambda: len(path.cache.kept))
    if not task.done():
        await left(task)
    assert (await path.ask()).response.payload == b"y"
    assert held.calls.empty()
    await path.settled()


async def test_deadlines_are_those_of_each(path_to):
    """Who is out of time leaves, and the call goes on for who is not."""
    held = Held()
    path = await path_to(s=held)
    quick = path.ask(deadline=Deadline.after(0.02))
    slow = path.ask(deadline=Deadline.after(30))
    with pytest.raises(DeadlineExceeded):
        await quick
    call = await held.next()
    while call.is_cancelled or call.expires - asyncio.get_running_loop().time() < 1:
        call = await held.next()
    call.respond(b"y")
    assert (await slow).response.payload == b"y"
    await path.settled()

    alone = path.ask(b"2", deadline=Deadline.after(0.02))
    with pytest.raises(DeadlineExceeded):
        await alone
    await path.settled()


async def test_while_a_fallback_answers(path_to):
    """All who share the first candidate's failure share the second's answer."""
    held = Held()
    path = await path_to(s=Failing(SpecialistFailed("nan")), t=held)
    tasks = [path.ask(model="r") for _ in range(3)]
    call = await held.next()
    await left(tasks.pop(0))
    call.respond(b"y")
    for task in tasks:
        answer = await task
        assert (answer.specialist, answer.response.payload) == ("t", b"y")
        assert [each.error for each in answer.attempts] == ["SPECIALIST_FAILED"]
    assert held.calls.empty()
    await path.settled()

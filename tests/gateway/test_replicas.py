"""The pool of links over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import pytest
from running import Held, Saying, until

from fabric.core.cards import Batching
from fabric.core.deadlines import NEVER
from fabric.core.errors import Unavailable
from fabric.core.requests import InferRequest
from fabric.gateway.replicas import ReplicaPool
from fabric.link.frames import Hello
from fabric.link.server import LinkServer
from fabric.testing import replica, specialist

S = specialist("s")


@contextlib.asynccontextmanager
async def listening(name, handler, port=0):
    server = LinkServer(Hello(replica=name, specialist="s", version="1"), handler)
    await server.start(port=port)
    try:
        yield server
    finally:
        await server.close()


def known(*servers):
    """What a catalog with *servers* says."""
    return {s.hello.replica: replica(s.hello.replica, "s:1", address=s.address) for s in servers}


def request(*avoid):
    return InferRequest("s", "", b"x", avoid=frozenset(avoid))


async def linked(pool, count):
    await until(lambda: pool.count("s:1") == count)


async def test_replicas_of_the_catalog_are_linked_and_answer():
    """The answer names the replica."""
    async with listening("r1", Saying(b"one")) as server, ReplicaPool() as pool:
        pool.sync(known(server))
        await linked(pool, 1)
        answer = await pool.infer(S.card, request(), NEVER)
        assert (bytes(answer.payload), answer.replica) == (b"one", "r1")
        assert pool.count("other:1") == 0


async def test_without_a_replica_nobody_answers():
    """The error names the specialist, and no replica that could be avoided."""
    async with ReplicaPool() as pool:
        with pytest.raises(Unavailable, match=r"^no replica of 's:1' is ready$") as caught:
            await pool.infer(S.card, request(), NEVER)
        assert caught.value.replica == ""


async def test_a_replica_that_failed_is_avoided():
    """Another one is asked, or none."""
    one, other = Saying(b"one"), Saying(b"other")
    async with (
        listening("r1", one) as first,
        listening("r2", other) as second,
        ReplicaPool() as pool,
    ):
        pool.sync(known(first, second))
        await linked(pool, 2)
        for _ in range(10):
            assert (await pool.infer(S.card, request("r1"), NEVER)).replica == "r2"
        with pytest.raises(Unavailable, match="no other replica of 's:1' is ready"):
            await pool.infer(S.card, request("r1", "r2"), NEVER)
        assert one.count == 0


async def test_a_replica_that_leaves_the_catalog_finishes_what_it_has():
    """It gets nothing new, and its link closes with the last answer."""
    held = Held()
    async with listening("r1", held) as server, ReplicaPool() as pool:
        pool.sync(known(server))
        await linked(pool, 1)
        task = asyncio.create_task(pool.infer(S.card, request(), NEVER))
        call = await held.next()
        pool.sync({})
        await linked(pool, 0)
        assert not call.is_cancelled
        call.respond(b"late")
        assert bytes((await task).payload) == b"late"
        await until(lambda: not server.peers)


async def test_a_lost_link_is_made_anew():
    """Once the replica listens again, at the same address and under the same name."""
    async with ReplicaPool() as pool:
        async with listening("r1", Saying()) as server:
            pool.sync(known(server))
            await linked(pool, 1)
        await linked(pool, 0)
        port = int(server.address.rpartition(":")[2])
        async with listening("r1", Saying(b"again"), port):
            await linked(pool, 1)
            assert bytes((await pool.infer(S.card, request(), NEVER)).payload) == b"again"


async def test_another_process_at_the_address_is_not_taken_for_the_replica(caplog):
    """Ports are used again; names are not."""
    caplog.set_level(logging.DEBUG, "fabric.gateway.replicas")
    async with listening("other", Saying()) as server, ReplicaPool() as pool:
        pool.sync({"r1": replica("r1", "s:1", address=server.address)})
        await until(lambda: "is another replica by now" in caplog.text)
        assert pool.count("s:1") == 0


async def test_a_draining_replica_is_not_chosen():
    """From the moment it says so."""
    async with listening("r1", Saying()) as server, ReplicaPool() as pool:
        pool.sync(known(server))
        await linked(pool, 1)
        await server.drain(1)
        await linked(pool, 0)


async def test_higher_priorities_find_room_where_lower_ones_find_none():
    """Even where all before them would take longer than they have: their queue is another one."""
    held = Held()
    of = specialist("s", batching=Batching(max_queue=40, priorities=2))
    async with listening("r1", held) as server, ReplicaPool() as pool:
        pool.limit({"s:1": of})
        pool.sync(known(server))
        await linked(pool, 1)
        calls = []

        async def promised(count, seconds=10.0):
            """With so many in flight, for priority 1, 2 and none."""
            while len(calls) < count:
                asking = asyncio.create_task(pool.infer(of.card, request(), NEVER))
                calls.append((asking, await held.next()))
            return [pool.promises(of.card, seconds, "", priority) for priority in (1, 2, 0)]

        first = await promised(20)
        pool._members["r1"].link._pace.answered(2.0, 19)
        slow, hopeless = await promised(20, 1.0), await promised(20, 0.0)
        counts = [await promised(count) for count in (31, 32, 39, 40)]
        for asking, call in calls:
            call.respond(b"")
            await asking
    assert first == [True, True, True]
    assert slow == [True, False, False]
    assert hopeless == [False, False, False]
    assert counts == [[True] * 3, *[[True, False, False]] * 2, [False] * 3]


async def test_the_end_of_the_pool_leaves_nothing():
    """No task and no link, whether a replica answers or not."""
    before = asyncio.all_tasks()
    async with listening("r1", Saying()) as server:
        async with ReplicaPool() as pool:
            pool.sync({**known(server), "gone": replica("gone", "s:1")})
            await linked(pool, 1)
        assert asyncio.all_tasks() == before
        await until(lambda: not server.peers)
    assert not pool._members
    assert not pool._groups

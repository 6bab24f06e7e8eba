"""Replicas that fail, are slow or hang, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from running import Failing, Held, Saying, until

from fabric.core.cards import Breaking
from fabric.core.deadlines import NEVER, Deadline
from fabric.core.errors import (
    DeadlineExceeded,
    InvalidRequest,
    Overloaded,
    SpecialistFailed,
    Unavailable,
)
from fabric.core.requests import InferRequest
from fabric.gateway import replicas
from fabric.gateway.replicas import ReplicaPool
from fabric.link.client import connect
from fabric.link.frames import Hello, Limits
from fabric.link.server import LinkServer
from fabric.resilience.breakers import Breaker, Circuit
from fabric.testing import ManualClock, replica, specialist

S = specialist("s")
BROKEN = SpecialistFailed("nan")
QUICK = Limits(quiet=0.01, patience=0.05, silence=60.0)


@pytest.fixture
def clock(monkeypatch):
    """Of breakers."""
    clock = ManualClock()
    monkeypatch.setattr(replicas, "Breaker", lambda breaking: Breaker(breaking, clock))
    return clock


@pytest.fixture
def _quick(monkeypatch):
    """Links soon find out that nothing is heard."""
    monkeypatch.setattr(
        replicas, "connect", lambda address, on_change: connect(address, QUICK, on_change)
    )


@contextlib.asynccontextmanager
async def served(*handlers):
    """A pool with links to a replica for each of *handlers*, r0, r1 and so on, and the servers."""
    async with contextlib.AsyncExitStack() as stack:
        servers = []
        for number, handler in enumerate(handlers):
            hello = Hello(replica=f"r{number}", specialist="s", version="1")
            servers.append(LinkServer(hello, handler))
            stack.push_async_callback(servers[-1].close)
            await servers[-1].start()
        ids = [server.hello.replica for server in servers]
        known = {r: replica(r, "s:1", address=s.address) for r, s in zip(ids, servers, strict=True)}
        pool = await stack.enter_async_context(ReplicaPool())
        pool.sync(known)
        await until(lambda: pool.count("s:1") == len(handlers))
        yield pool, servers


def request(*avoid, **said):
    return InferRequest("s", "", b"x", avoid=frozenset(avoid), **said)


async def ask(pool, count=1, deadline=NEVER, **said):
    """What became of requests one after the other: the replicas that answered, and errors."""
    found = []
    for _ in range(count):
        try:
            found.append((await pool.infer(S.card, request(**said), deadline)).replica)
        except (InvalidRequest, Overloaded, Unavailable, SpecialistFailed, DeadlineExceeded) as e:
            found.append(e)
    return found


def standings(pool):
    """How the specialist stands, and its replicas."""
    ((key, group),) = pool._groups.items()
    assert key == "s:1"
    return group.standing(), {member.replica: member.standing() for member in group.members}


async def until_ejected(pool):
    """Returns what requests came to until a replica was ejected."""
    found = []
    while pool.count("s:1") == 2:
        found += await ask(pool)
    return found


# ------------------------------------------------------------------ one of several
async def test_a_replica_that_fails_in_a_row_is_ejected(clock):
    """The other one answers, until it is tried again."""
    failing, well = Failing(BROKEN), Saying()
    async with served(failing, well) as (pool, _):
        found = await until_ejected(pool)
        assert sum(isinstance(each, SpecialistFailed) for each in found) == 5
        assert await ask(pool, 20) == ["r1"] * 20
        own, parts = standings(pool)
        assert (own.state, own.failures) == (Circuit.CLOSED, {"SPECIALIST_FAILED": 5})
        assert (parts["r0"].state, parts["r0"].why) == (Circuit.OPEN, "5 failures in a row")
        assert parts["r0"].again == 1.0
        assert pool.objection(S.card) == ""


async def test_a_probe_that_fails_may_be_made_up_for_by_another_replica(clock):
    """Its error says so, whatever the replica says; then it is ejected for longer."""
    async with served(Failing(BROKEN), Saying()) as (pool, _):
        await until_ejected(pool)
        clock.advance(1.0)
        (error,) = await ask(pool)
        assert isinstance(error, Unavailable)
        assert (error.replica, error.message) == ("r0", "it is tried again and fails: nan")
        assert await ask(pool, 20) == ["r1"] * 20
        assert standings(pool)[1]["r0"].again == 2.0


async def test_a_probe_that_is_answered_readmits(clock):
    """One at a time: meanwhile the others are asked."""
    failing, held = Failing(BROKEN), Held()
    async with served(failing, Saying()) as (pool, servers):
        await until_ejected(pool)
        for peer in servers[0].peers:
            peer._handler = held
        clock.advance(1.0)
        probe = asyncio.create_task(pool.infer(S.card, request(), NEVER))
        call = await held.next()
        assert standings(pool)[1]["r0"].state is Circuit.HALF_OPEN
        assert await ask(pool, 20) == ["r1"] * 20
        call.respond(b"well")
        assert (await probe).replica == "r0"
        assert pool.count("s:1") == 2


async def test_a_probe_has_half_of_the_time(clock):
    """So that the other half is left for whoever is asked after it."""
    async with served(Failing(BROKEN), Saying()) as (pool, servers):
        await until_ejected(pool)
        held = Held()
        for peer in servers[0].peers:
            peer._handler = held
        clock.advance(1.0)
        (error,) = await ask(pool, deadline=Deadline.after(0.2))
        assert isinstance(error, Unavailable)
        assert "did not answer in time" in error.message
        assert (await held.next()).expires < Deadline.after(0.1).at


async def test_a_probe_that_must_not_be_answered_twice_is_on_its_own(clock):
    """Its error is the caller's, as it is."""
    async with served(Failing(BROKEN), Saying()) as (pool, _):
        await until_ejected(pool)
        clock.advance(1.0)
        (error,) = await ask(pool, idempotent=False)
        assert isinstance(error, SpecialistFailed)
        assert standings(pool)[1]["r0"].again == 2.0


async def test_a_probe_whose_caller_leaves_says_nothing(clock):
    """The next request is one."""
    async with served(Failing(BROKEN), Saying()) as (pool, servers):
        await until_ejected(pool)
        held = Held()
        for peer in servers[0].peers:
            peer._handler = held
        clock.advance(1.0)
        for stream in (False, True):
            if stream:
                asked = asyncio.create_task(anext(pool.stream(S.card, request(), NEVER)))
            else:
                asked = asyncio.create_task(pool.infer(S.card, request(), NEVER))
            await held.next()
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
        probe = asyncio.create_task(pool.infer(S.card, request(), NEVER))
        (await held.next()).respond(b"")
        assert (await probe).replica == "r0"


async def test_streams_count_as_single_requests_do(clock):
    """Their failures eject, and their last responses readmit."""
    async with served(Failing(BROKEN), Failing(BROKEN)) as (pool, servers):

        async def stream():
            async with contextlib.aclosing(pool.stream(S.card, request(), NEVER)) as responses:
                return [response.replica async for response in responses]

        while standings(pool)[0].state is Circuit.CLOSED:
            with pytest.raises(SpecialistFailed):
                await stream()
        with pytest.raises(Unavailable, match="its breaker is open"):
            await stream()
        clock.advance(1.0)
        for server in servers:
            for peer in server.peers:
                peer._handler = Saying(b"well")
        await stream()
        assert standings(pool)[0].state is Circuit.CLOSED


async def test_what_the_caller_is_to_blame_for_ejects_nobody(clock):
    """Nor does load."""
    for error in (InvalidRequest("x"), Overloaded("x")):
        async with served(Failing(error), Failing(error)) as (pool, _):
            await ask(pool, 40)
            assert pool.count("s:1") == 2
            assert standings(pool)[0].failures == {}


async def test_a_replica_that_answers_late_is_ejected(clock):
    """Where it had the time that answers usually take; a caller without any says nothing of it."""
    async with served(Held()) as (pool, _):
        (member,) = pool._members.values()
        member.link.usual = 10.0
        await ask(pool, 6, deadline=Deadline.after(0.01), insists=True)
        assert standings(pool)[0].state is Circuit.CLOSED
        member.link.usual = 0.001
        for _ in range(5):
            (error,) = await ask(pool, deadline=Deadline.after(0.01), insists=True)
            assert isinstance(error, DeadlineExceeded)
        assert standings(pool)[0].state is Circuit.OPEN


async def test_a_replica_that_is_far_slower_than_the_others_is_ejected(clock):
    """What it took is forgotten, and its probe must be as quick as others."""
    async with served(Saying(), Saying(), Saying()) as (pool, _):
        members = pool._members
        for _ in range(40):
            members["r0"].link.latencies.add(0.5)
            members["r1"].link.latencies.add(0.05)
            members["r2"].link.latencies.add(0.06)
        pool.judge()
        assert pool.count("s:1") == 2
        why = standings(pool)[1]["r0"].why
        assert why.startswith("nine of ten answers take up to 0.5")
        assert set(await ask(pool, 20)) == {"r1", "r2"}
        clock.advance(1.0)
        assert await ask(pool) == ["r0"]
        pool.judge()
        assert pool.count("s:1") == 3


async def test_a_specialist_says_what_ejects_its_replicas(clock):
    """Also for those that there are links to already, and may change its mind."""
    async with served(Failing(BROKEN), Saying()) as (pool, servers):
        for breaker, again in ((Breaking(consecutive=2, first=7.0), 7.0), (Breaking(), 2.0)):
            pool.limit({"s:1": specialist("s", breaker=breaker)})
            found = await until_ejected(pool)
            failures = sum(isinstance(each, SpecialistFailed) for each in found)
            assert (failures, standings(pool)[1]["r0"].again) == (breaker.consecutive, again)
            clock.advance(again)
            with saying(servers[0], Saying()):
                assert await ask(pool) == ["r0"]


@contextlib.contextmanager
def saying(server, handler):
    """Its one link is served by *handler*."""
    (peer,) = server.peers
    before, peer._handler = peer._handler, handler
    yield
    peer._handler = before


# ------------------------------------------------------------------ successors
@contextlib.asynccontextmanager
async def succeeded(*answers):
    """A pool whose one replica has given *answers*, is gone, and has a successor that holds its
    requests: the pool, and those."""
    held = Held()
    async with served(*answers) as (pool, servers):
        await ask(pool)
        for server in servers:
            await server.close()
        pool.sync({})
        hello = Hello(replica="new", specialist="s", version="1")
        server = LinkServer(hello, held)
        await server.start()
        await asyncio.sleep(0)
        pool.sync({"new": replica("new", "s:1", address=server.address)})
        await until(lambda: pool.holds("new"))
        yield pool, held
        await server.close()


async def test_the_successor_of_one_that_failed_is_tried_with_one_request(clock):
    """If that does not end it others follow; of several successors only so many are doubted."""
    async with succeeded(Failing(BROKEN)) as (pool, held):
        assert pool.ill == {"s:1"}
        probe = asyncio.create_task(pool.infer(S.card, request(), NEVER))
        call = await held.next()
        (error,) = await ask(pool)
        assert error.message == "its breaker is half-open: the replica before it has failed"
        call.respond(b"well")
        assert (await probe).replica == "new"
        assert not pool.ill
        assert not pool._failed_last["s:1"]


async def test_the_successor_of_one_that_answered_is_as_good_as_any(clock):
    """And so is a specialist's that was taken out in between."""
    async with succeeded(Saying()) as (pool, _):
        assert not pool.ill
    async with served(Failing(BROKEN)) as (pool, _):
        await ask(pool)
        pool.sync({})
        await until(lambda: pool._failed_last["s:1"])
        pool.limit({})
        assert not pool._failed_last


# ------------------------------------------------------------------ all of them
async def test_a_specialist_whose_replicas_all_fail_is_objected_to(clock):
    """Whoever insists is given to one of them in any case, others are refused at once."""
    one, other = Failing(BROKEN), Failing(BROKEN)
    async with served(one, other) as (pool, _):
        await until(lambda: ask_until_open(pool))
        objection = "its breaker is open for 1.0 s more: 5 failures in a row"
        assert pool.objection(S.card) == objection
        (error,) = await ask(pool)
        assert (type(error), error.message, error.replica) == (Unavailable, objection, "")
        found = await ask(pool, 20, insists=True)
        assert {type(each) for each in found} == {SpecialistFailed}
        assert {each.replica for each in found} == {"r0", "r1"}
        assert pool.count("s:1") == 2


async def ask_until_open(pool):
    await ask(pool)
    return standings(pool)[0].state is Circuit.OPEN


async def test_one_probe_at_a_time_is_made_of_a_specialist_that_was_ill(clock):
    """Of all its replicas; its answer lets others through."""
    async with served(Failing(BROKEN), Failing(BROKEN)) as (pool, servers):
        await until(lambda: ask_until_open(pool))
        held = Held()
        for server in servers:
            for peer in server.peers:
                peer._handler = held
        clock.advance(1.0)
        assert pool.objection(S.card) == ""
        probe = asyncio.create_task(pool.infer(S.card, request(), NEVER))
        call = await held.next()
        assert pool.objection(S.card).startswith("its breaker is half-open: ")
        found = await ask(pool, 10)
        assert {type(each) for each in found} == {Unavailable}
        assert held.calls.empty()
        call.respond(b"")
        await probe
        assert pool.objection(S.card) == ""
        assert standings(pool)[0].state is Circuit.CLOSED


async def test_requests_of_sequences_go_where_the_sequence_is(clock):
    """Whatever has failed there before, their state is nowhere else."""
    async with served(Failing(BROKEN), Saying()) as (pool, _):
        await until_ejected(pool)
        names = (str(number) for number in range(100))
        there = next(name for name in names if pool.nearest("s:1", name) == "r0")
        for said in ({"sequence": there}, {"replica": "r0"}):
            (error,) = await ask(pool, **said)
            assert isinstance(error, SpecialistFailed)
        clock.advance(1.0)
        (error,) = await ask(pool, replica="r0")
        assert isinstance(error, SpecialistFailed)
        assert standings(pool)[1]["r0"].again == 2.0


# ------------------------------------------------------------------ silence and loss
@contextlib.contextmanager
def stopped(server):
    """It reads nothing, as a process that is stopped."""
    peers = tuple(server.peers)
    for peer in peers:
        peer._transport.pause_reading()
    yield
    for peer in peers:
        peer._transport.resume_reading()


@pytest.mark.usefixtures("_quick")
async def test_a_silent_replica_is_asked_nothing_until_it_is_heard_again():
    """What was in flight fails as unavailable; whoever is left answers, and that is one failure."""
    async with served(Saying(), Saying()) as (pool, servers):
        await ask(pool, 20)
        with stopped(servers[0]):
            found = await asyncio.gather(*(ask(pool, insists=True) for _ in range(64)))
            lost = [each for (each,) in found if each != "r1"]
            assert 16 < len(lost) < 48
            assert {(type(each), each.replica) for each in lost} == {(Unavailable, "r0")}
            assert pool.count("s:1") == 1
            assert await ask(pool, 20) == ["r1"] * 20
            part = standings(pool)[1]["r0"]
            assert (part.state, part.failures) == (Circuit.OPEN, {"UNAVAILABLE": 1})
            assert str(part) == "its breaker is open: it says nothing, not even to a ping"
        await until(lambda: pool.count("s:1") == 2)
        assert set(await ask(pool, 20)) == {"r0", "r1"}


@pytest.mark.usefixtures("_quick")
async def test_the_last_replica_is_waited_for_by_whoever_insists():
    """Others are refused at once."""
    async with served(Saying()) as (pool, servers):
        await ask(pool)
        with stopped(servers[0]):
            patient = asyncio.create_task(ask(pool, insists=True))
            (error,) = await ask(pool)
            assert isinstance(error, Unavailable)
            objection = "its breaker is open: it says nothing, not even to a ping"
            assert pool.objection(S.card) == objection
            later = asyncio.create_task(ask(pool, insists=True))
            (error,) = await ask(pool)
            assert error.message == objection
            assert pool.count("s:1") == 1
        assert [await patient, await later] == [["r0"], ["r0"]]
        await until(lambda: not pool.objection(S.card))


@pytest.mark.usefixtures("_quick")
async def test_what_must_not_be_answered_twice_waits_for_a_silent_replica():
    """It may have begun with it."""
    async with served(Saying()) as (pool, servers):
        await ask(pool)
        with stopped(servers[0]):
            patient = asyncio.create_task(ask(pool, idempotent=False))
            (error,) = await ask(pool)
            assert (type(error), error.begun) == (Unavailable, True)
        assert await patient == ["r0"]


async def test_a_replica_that_is_lost_has_failed_once():
    """However many requests it had."""
    held = Held()
    async with served(held, Saying()) as (pool, servers):
        asked = [asyncio.create_task(ask(pool)) for _ in range(40)]
        call = await held.next()
        await until(lambda: servers[0].in_flight > 8)
        call._peer.abort("the test pulls the plug")
        found = [each for task in asked for each in await task]
        assert sum(isinstance(each, Unavailable) for each in found) > 8
        await until(lambda: pool.count("s:1") == 2)
        part = standings(pool)[1]["r0"]
        assert (part.state, part.failures) == (Circuit.CLOSED, {"UNAVAILABLE": 1})

"""Sequences stay with their replica: through the real dispatcher and real links."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import aclosing
from dataclasses import dataclass, field

import pytest
from running import Failing, Held, until

from fabric.core.cards import Sequences as Declared
from fabric.core.deadlines import NEVER, Deadline
from fabric.core.errors import (
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    Overloaded,
    SequenceLost,
    SpecialistFailed,
    Unavailable,
)
from fabric.core.requests import InferRequest
from fabric.dispatch import Dispatcher
from fabric.gateway import sequences
from fabric.gateway.replicas import ReplicaPool
from fabric.gateway.sequences import Sequences
from fabric.link.frames import Hello
from fabric.link.server import LinkServer
from fabric.testing import ManualClock, planner, replica, route, specialist

IDLE = 60.0


class Echo:
    """Answers with the request, and remembers all of them."""

    def __init__(self):
        self.seen = []

    def handle(self, call):
        self.seen.append(bytes(call.payload))
        call.respond(call.payload)


@dataclass
class Gateway:
    """What keeps sequences together, with replicas by the id `specialist/number`."""

    pool: ReplicaPool
    dispatcher: Sequences
    clock: ManualClock
    servers: dict[str, LinkServer] = field(default_factory=dict)

    def ask(self, sequence, payload=b"", *, start=False, end=False, model="s", deadline=NEVER):
        request = InferRequest(model, "", payload, sequence=sequence, starts=start, ends=end)
        return asyncio.create_task(self.dispatcher.infer(request, deadline))

    async def lose(self, replica_id):
        await self.servers.pop(replica_id).close()
        await until(lambda: not self.pool.holds(replica_id))

    def twin(self):
        """Another gateway with the same links."""
        inner = self.dispatcher
        args = (inner._dispatcher, inner._planner, self.pool, inner._find)
        return Gateway(self.pool, Sequences(*args, clock=self.clock), self.clock)


@pytest.fixture
async def gateway_of():
    """Opens a gateway whose specialists `s` and `t` keep sequences, and `u` does not."""
    async with contextlib.AsyncExitStack() as stack:
        pool = ReplicaPool()

        async def open_gateway(**handlers):
            servers, known = {}, {}
            for name, those in handlers.items():
                for number, handler in enumerate(those):
                    key = f"{name}/{number}"
                    server = LinkServer(Hello(replica=key, specialist=name, version="1"), handler)
                    known[key] = replica(key, f"{name}:1", address=await server.start())
                    stack.push_async_callback(server.close)
                    servers[key] = server
            await stack.enter_async_context(pool)
            pool.sync(known)
            await until(lambda: all(pool.count(f"{n}:1") == len(h) for n, h in handlers.items()))
            declared = Declared(idle_timeout=IDLE)
            of = {
                name: specialist(name, sequences=None if name == "u" else declared)
                for name in handlers
            }
            plans = planner(of.values(), [route("r", *handlers)])
            clock = ManualClock()
            kept = Sequences(
                Dispatcher(plans, pool), plans, pool, lambda name, _: of.get(name), clock
            )
            return Gateway(pool, kept, clock, servers)

        yield open_gateway


# ------------------------------------------------------------------ where sequences are
async def test_all_requests_of_a_sequence_go_to_one_replica(gateway_of):
    """Sequences spread over all of them, and another gateway would choose the same ones."""
    gateway = await gateway_of(s=[Echo(), Echo(), Echo()])
    homes = {}
    for number in range(1, 40):
        answers = [
            await gateway.ask(str(number), start=place == 0, end=place == 3) for place in range(4)
        ]
        (homes[number],) = {answer.response.replica for answer in answers}
    assert set(homes.values()) == set(gateway.servers)
    other = gateway.twin()
    for number, home in homes.items():
        assert (await other.ask(str(number), start=True)).response.replica == home
    assert not gateway.dispatcher._pins


async def test_a_sequence_stays_when_replicas_come(gateway_of):
    """The new one gets new sequences."""
    gateway = await gateway_of(s=[Echo()])
    await gateway.ask("7", start=True)
    server = LinkServer(Hello(replica="s/1", specialist="s", version="1"), Echo())
    new = replica("s/1", "s:1", address=await server.start())
    old = replica("s/0", "s:1", address=gateway.servers["s/0"].address)
    gateway.pool.sync({"s/0": old, "s/1": new})
    await until(lambda: gateway.pool.count("s:1") == 2)
    answers = await asyncio.gather(*(gateway.ask(str(n), start=True) for n in range(8, 40)))
    assert {answer.response.replica for answer in answers} == {"s/0", "s/1"}
    assert (await gateway.ask("7")).response.replica == "s/0"
    await server.close()


async def test_a_route_pins_whoever_answers_the_start(gateway_of):
    """There is no other candidate for the rest, and the answers say by which route they came."""
    gateway = await gateway_of(s=[Failing(SpecialistFailed("nan"))], t=[Echo()])
    start = await gateway.ask("7", start=True, model="r")
    rest = await gateway.ask("7", model="r")
    for answer in (start, rest):
        assert (answer.specialist, answer.route, answer.fallback) == ("t", "r", True)
    assert (len(start.attempts), len(rest.attempts)) == (1, 0)


async def test_nobody_else_answers_for_a_pinned_replica(gateway_of):
    """Its failure is the caller's, and the sequence goes on."""
    held, other = Held(), Echo()
    gateway = await gateway_of(s=[held], t=[other])
    start = gateway.ask("7", start=True, model="r")
    (await held.next()).respond(b"")
    await start
    for error in (SpecialistFailed("nan"), Overloaded("full"), Unavailable("busy")):
        task = gateway.ask("7", model="r")
        (await held.next()).fail(error)
        with pytest.raises(type(error), match=error.message):
            await task
    assert other.seen == []
    task = gateway.ask("7", model="r")
    (await held.next()).respond(b"")
    assert (await task).specialist == "s"


async def test_a_start_begins_anew_where_its_id_leads(gateway_of):
    """Wherever the sequence was before."""
    gateway = await gateway_of(s=[Echo(), Echo()])
    home = (await gateway.ask("7", start=True)).response.replica
    draining = asyncio.create_task(gateway.servers[home].drain(5))
    await until(lambda: gateway.pool.count("s:1") == 1)
    assert (await gateway.ask("7")).response.replica == home
    assert (await gateway.ask("7", start=True)).response.replica != home
    assert (await gateway.ask("7")).response.replica != home
    await draining


async def test_a_sequence_of_another_gateway_is_found_by_its_id(gateway_of):
    """Under the specialist's own name; a route does not know who answered its start."""
    gateway = await gateway_of(s=[Echo(), Echo(), Echo()], t=[Echo()])
    other = gateway.twin()
    for number in map(str, range(1, 20)):
        home = (await gateway.ask(number, start=True)).response.replica
        assert (await other.ask(number)).response.replica == home
    await gateway.ask("7", start=True, model="r")
    with pytest.raises(InvalidRequest) as refused:
        await other.ask("7", model="r")
    assert refused.value.message == (
        "inference request for sequence 7 to model 'r' must specify the START flag on the first "
        "request of the sequence"
    )


async def test_without_a_replica_nobody_is_there(gateway_of):
    """As for any request."""
    gateway = await gateway_of(s=[])
    for start in (True, False):
        with pytest.raises(Unavailable, match="no replica of 's:1' is ready"):
            await gateway.ask("7", start=start)
    with pytest.raises(NotFound):
        await gateway.ask("7", start=True, model="nothing")


async def test_a_stateless_specialist_takes_no_notice(gateway_of):
    """Its requests are neither pinned nor put in order."""
    held = Held()
    gateway = await gateway_of(u=[held])
    tasks = [gateway.ask("7", model=model) for model in ("u", "r", "u")]
    for _ in tasks:
        (await held.next()).respond(b"")
    await asyncio.gather(*tasks)
    assert not gateway.dispatcher._pins


# ------------------------------------------------------------------ order
async def test_requests_arrive_in_the_order_they_were_sent(gateway_of):
    """Those behind the start wait for it, and none overtakes another."""
    echo = Echo()
    gateway = await gateway_of(s=[echo, echo])
    payloads = [str(number).encode() for number in range(50)]
    await asyncio.gather(*(gateway.ask("7", p, start=p == b"0") for p in payloads))
    assert echo.seen == payloads


async def test_sequences_do_not_wait_for_one_another(gateway_of):
    """Nor do requests without one."""
    held = Held()
    gateway = await gateway_of(s=[held])
    tasks = [gateway.ask(number, start=True) for number in ("1", "2", "")]
    calls = [await held.next() for _ in tasks]
    for call in calls:
        call.respond(b"")
    await asyncio.gather(*tasks)


async def test_what_waits_behind_a_failed_start_is_told_by_the_replica(gateway_of):
    """It is sent where the start would have gone."""
    held = Held()
    gateway = await gateway_of(s=[held])
    start, behind = gateway.ask("7", start=True), gateway.ask("7")
    (await held.next()).fail(InvalidRequest("bad shape"))
    (await held.next()).fail(InvalidRequest("must specify the START flag"))
    for task, text in ((start, "bad shape"), (behind, "START flag")):
        with pytest.raises(InvalidRequest, match=text):
            await task


async def test_waiting_is_bounded(gateway_of, monkeypatch):
    """By a number, and by the deadline of each."""
    monkeypatch.setattr(sequences, "_MOST_WAITING", 3)
    held = Held()
    gateway = await gateway_of(s=[held])
    start = gateway.ask("7", start=True)
    call = await held.next()
    late = gateway.ask("7", deadline=Deadline(gateway.clock.now + 0.01))
    behind = gateway.ask("7")
    with pytest.raises(Overloaded, match="3 requests of sequence 7 are waiting"):
        await gateway.ask("7")
    with pytest.raises(DeadlineExceeded, match="those of its sequence before it"):
        await late
    call.respond(b"")
    (await held.next()).respond(b"")
    await asyncio.gather(start, behind)


# ------------------------------------------------------------------ ends
async def test_an_end_unpins(gateway_of):
    """When it is answered; one that failed can be sent again."""
    held = Held()
    gateway = await gateway_of(s=[held, held])
    start = gateway.ask("7", start=True)
    (await held.next()).respond(b"")
    await start
    for answer in ("fail", "respond"):
        task = gateway.ask("7", end=True)
        call = await held.next()
        if answer == "fail":
            call.fail(SpecialistFailed("nan"))
            with pytest.raises(SpecialistFailed):
                await task
            assert len(gateway.dispatcher._pins) == 1
    call.respond(b"")
    await task
    assert not gateway.dispatcher._pins


async def test_a_sequence_is_lost_with_its_replica(gateway_of):
    """The request in flight and all that follow are told so, until it starts again elsewhere."""
    held, other = Held(), Held()
    gateway = await gateway_of(s=[held, other])
    first = gateway.ask("7", start=True)
    await until(lambda: held.calls.qsize() + other.calls.qsize())
    call = await (held if held.calls.qsize() else other).next()
    call.respond(b"")
    home = (await first).response.replica
    tasks = [gateway.ask("7") for _ in range(3)]
    await until(lambda: held.calls.qsize() + other.calls.qsize())
    await gateway.lose(home)
    for task in (*tasks, gateway.ask("7")):
        with pytest.raises(SequenceLost) as lost:
            await task
        assert lost.value.message == ("sequence 7 of 's' was lost with its replica; start it again")
    again = gateway.ask("7", start=True)
    left = other if home == "s/0" else held
    (await left.next()).respond(b"")
    assert (await again).response.replica != home


async def test_an_idle_sequence_is_forgotten(gateway_of):
    """As it is at the replica; each request keeps it for another while."""
    gateway = await gateway_of(s=[Echo(), Echo()], t=[Echo()])
    await gateway.ask("7", start=True, model="r")
    gateway.clock.advance(IDLE)
    await gateway.ask("7", model="r")
    gateway.clock.advance(IDLE + 1)
    with pytest.raises(InvalidRequest, match="START flag"):
        await gateway.ask("7", model="r")
    assert not gateway.dispatcher._pins


async def test_pins_are_bounded(gateway_of, monkeypatch):
    """Those that are over go with the next start, and beyond a number the longest unused."""
    monkeypatch.setattr(sequences, "_MOST_PINS", 3)
    gateway = await gateway_of(s=[Echo()])
    for number in range(5):
        await gateway.ask(str(number), start=True)
    kept = gateway.dispatcher._pins
    assert [sequence for _, _, sequence in kept] == ["2", "3", "4"]
    gateway.clock.advance(IDLE + 1)
    await gateway.ask("9", start=True)
    assert [sequence for _, _, sequence in kept] == ["9"]


# ------------------------------------------------------------------ streams
async def test_streams_are_turns_of_their_sequence_too(gateway_of):
    """Up to the last answer; the next request waits for that."""
    held = Held()
    gateway = await gateway_of(s=[held])
    request = InferRequest("s", "", b"", sequence="7", starts=True, ends=True)
    async with aclosing(gateway.dispatcher.stream(request, NEVER)) as answers:
        first = asyncio.create_task(anext(answers))
        call = await held.next()
        call.send(b"1")
        assert (await first).response.replica == "s/0"
        behind = gateway.ask("7", start=True)
        await asyncio.sleep(0.01)
        assert held.calls.empty()
        call.respond(b"2")
        assert bytes((await anext(answers)).response.payload) == b"2"
        with pytest.raises(StopAsyncIteration):
            await anext(answers)
    (await held.next()).respond(b"")
    await behind


async def test_a_stream_of_a_stateless_specialist_is_passed_on(gateway_of):
    """With its sequence, of which it takes no notice."""
    gateway = await gateway_of(u=[Echo()])
    request = InferRequest("u", "", b"x", sequence="7")
    answers = [bytes(a.response.payload) async for a in gateway.dispatcher.stream(request, NEVER)]
    assert answers == [b"x"]

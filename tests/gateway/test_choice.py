"""Who answers: the replicas of a specialist, and the candidates of a route."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from google.protobuf.json_format import MessageToJson
from onnx_models import doubling
from running import Failing, Held, Saying, replica, served, unique, until

from fabric.api.catalog.v1 import card_pb2
from fabric.api.inference.v2.open_inference_pb2 import ModelInferResponse
from fabric.core.cards import Model, Timeouts
from fabric.core.errors import (
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    Overloaded,
    SpecialistFailed,
    Unavailable,
)
from fabric.core.routes import ChainEntry, Requirements, Retry, Route
from fabric.processes import to_environ
from fabric.runtime.settings import ReplicaSettings
from fabric.testing import specialist
from fabric.wire.cards import to_message

X = {"x": np.zeros(1, np.float32)}


class Dying:
    """Loses its links with the first request in them."""

    def __init__(self):
        self.count = 0

    def handle(self, call):
        self.count += 1
        call._peer.abort("the test pulls the plug")


def asking(client, name, count, **options):
    return [asyncio.create_task(client.infer(name, X, **options)) for _ in range(count)]


# ------------------------------------------------------------------ replicas
async def test_requests_go_to_the_less_busy_of_two(running, client):
    """Each has half of what is in flight, give or take one."""
    one, other, name = Held(), Held(), unique("two")
    async with served(running, client, name, one, other):
        tasks = asking(client, name, 20)
        await until(lambda: one.calls.qsize() + other.calls.qsize() == 20)
        assert abs(one.calls.qsize() - other.calls.qsize()) <= 1
        for held in (one, other):
            while not held.calls.empty():
                held.calls.get_nowait().respond(b"")
        await asyncio.gather(*tasks)


async def test_a_replica_that_drains_gets_nothing_new(running, client):
    """What it has, it still answers."""
    held, other, name = Held(), Saying(), unique("drained")
    of = specialist(name)
    async with served(running, client, name, held) as (server,):
        task = asyncio.create_task(client.infer(name, X))
        call = await held.next()
        async with replica(running.control_address, of, other):
            await running.until_linked(client, name, 2)
            draining = asyncio.create_task(server.drain(5))
            await running.until_linked(client, name, 1)
            answers = await asyncio.gather(*asking(client, name, 20))
            assert (other.count, held.calls.qsize()) == (20, 0)
            assert {answer.attempts for answer in answers} == {1}
            assert not draining.done()
            call.respond(ModelInferResponse(id="at last").SerializeToString())
            assert (await task).id == "at last"
            await draining


async def test_a_replica_that_dies_with_a_request_costs_no_answer(running, client):
    """Another one gives it, and the answer says that it was the second attempt."""
    dying, other, name = Dying(), Saying(), unique("dying")
    async with served(running, client, name, dying, other) as (_, server):
        while not dying.count:
            answer = await client.infer(name, X)
    assert answer.replica == server.hello.replica
    assert (answer.attempts, answer.fallback, answer.specialist) == (2, False, name)


async def test_without_another_replica_the_caller_is_told(running, client):
    """A link that is lost is the last word of the only one."""
    name = unique("alone")
    async with served(running, client, name, Dying()):
        with pytest.raises(Unavailable, match=rf"^the link to a replica of {name} is lost$"):
            await client.infer(name, X)


async def test_an_overloaded_replica_is_followed_by_another(running, client):
    """One that has no room is not asked twice."""
    full, other, name = Failing(Overloaded("full")), Saying(), unique("full")
    async with served(running, client, name, full, other):
        answers = await asyncio.gather(*asking(client, name, 20))
    assert other.count == 20
    assert {answer.attempts for answer in answers} <= {1, 2}


async def test_a_replica_that_comes_back_is_used_again(running, client):
    """A lost link is made anew by itself."""
    saying, name = Saying(), unique("back")
    async with served(running, client, name, saying) as (server,):
        for peer in tuple(server.peers):
            peer.abort("the test pulls the plug")
        await running.until_linked(client, name)
        assert (await client.infer(name, X)).attempts == 1


async def test_a_killed_process_costs_no_answer(running, client, tmp_path):
    """Not one of the requests in it and around it fails, while another replica is there."""
    name = unique("killed")
    of = specialist(name, model=Model(uri=str(doubling(tmp_path / "m.onnx"))))
    x = {"x": np.ones((1, 2), np.float32)}
    settings = ReplicaSettings(
        specialist=MessageToJson(to_message(of, card_pb2.Specialist)),
        control=running.control_address,
    )
    await client.apply([of])
    command = [sys.executable, "-m", "fabric.runtime"]
    environ = {**os.environ, **to_environ(settings), "FABRIC_LOG_LEVEL": "ERROR"}
    processes = [subprocess.Popen(command, env=environ) for _ in range(2)]
    try:
        await running.until_linked(client, name, 2)
        answered = 0
        is_over = False

        async def ask():
            nonlocal answered
            while not is_over:
                assert (await client.infer(name, x))["y"].tolist() == [[2, 2]]
                answered += 1

        async with asyncio.TaskGroup() as tasks:
            for _ in range(16):
                tasks.create_task(ask())
            await until(lambda: answered > 200)
            processes[0].send_signal(signal.SIGKILL)
            killed_at = answered
            await until(lambda: answered > killed_at + 200)
            is_over = True
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(10)


# ------------------------------------------------------------------ the chain
@pytest.fixture
def chained(client, running):
    """Declares a route along specialists, each with the handler of its name."""

    async def declare(stack, handlers, **said):
        names = {key: unique(key) for key in handlers}
        for key, handler in handlers.items():
            handlers = (handler,) if handler else ()
            await stack.enter_async_context(served(running, client, names[key], *handlers))
        chain = tuple(ChainEntry(name=name) for name in names.values())
        route = Route(name=unique("route"), chain=chain, **said)
        await client.apply([], [route])
        await until(lambda: _known(client, route.name))
        return route.name, names

    return declare


async def _known(client, name):
    try:
        return await client.explain(name)
    except NotFound:
        return None


@pytest.mark.parametrize(
    "error", [SpecialistFailed("nan"), Overloaded("full"), Unavailable("closed")]
)
async def test_what_failed_is_followed_by_the_next(stack, client, chained, error):
    """The answer says by whom, after how many attempts, and that it is a fallback."""
    last = Saying()
    route, names = await chained(stack, {"first": Failing(error), "second": last})
    answer = await client.infer(route, X)
    assert (answer.specialist, answer.route) == (names["second"], route)
    assert (answer.attempts, answer.fallback) == (2, True)


async def test_a_specialist_nobody_hosts_is_passed_by(stack, client, chained):
    """At no cost but an attempt that is counted."""
    route, names = await chained(stack, {"absent": None, "second": Saying()})
    answer = await client.infer(route, X)
    assert (answer.specialist, answer.fallback) == (names["second"], True)


async def test_a_late_specialist_is_followed_and_told(stack, running, client, chained):
    """Its own timeout passes, not the caller's."""
    slow, name = Held(), unique("slow")
    route, _ = await chained(stack, {"second": Saying()})
    timeouts = Timeouts(request=0.1)
    await stack.enter_async_context(served(running, client, name, slow, timeouts=timeouts))
    plan = await client.explain(route)
    chain = (ChainEntry(name=name), ChainEntry(name=plan.candidates[0].specialist))
    await client.apply([], [Route(name=route, chain=chain)])
    await until(lambda: _first(client, route, name))
    answer = await client.infer(route, X)
    call = await slow.next()
    await until(lambda: call.is_cancelled)
    assert (answer.attempts, answer.fallback) == (2, True)


async def _first(client, route, name):
    return (await client.explain(route)).candidates[0].specialist == name


async def test_what_nobody_could_answer_is_tried_once(stack, client, chained):
    """An invalid request costs the others nothing."""
    last = Saying()
    route, _ = await chained(stack, {"first": Failing(InvalidRequest("no x")), "second": last})
    with pytest.raises(InvalidRequest, match=r"^no x$"):
        await client.infer(route, X)
    assert last.count == 0


async def test_a_caller_may_forbid_substitution(stack, client, chained):
    """Then the first candidate answers, or nobody."""
    last = Saying()
    failing = Failing(SpecialistFailed("nan"))
    route, _ = await chained(stack, {"first": failing, "second": last})
    with pytest.raises(SpecialistFailed, match="nan"):
        await client.infer(route, X, substitute=False)
    assert last.count == 0


async def test_when_all_fail_the_caller_is_told_of_each(stack, client, chained):
    """With the code of the last."""
    handlers = {
        "first": Failing(SpecialistFailed("nan")),
        "second": Failing(Overloaded("no room")),
    }
    route, names = await chained(stack, handlers)
    with pytest.raises(Overloaded) as caught:
        await client.infer(route, X)
    assert caught.value.message == (
        f"2 attempts failed: {names['first']}:1: nan; {names['second']}:1: no room"
    )


async def test_attempts_are_bounded_by_the_route(stack, client, chained):
    """The third candidate is not asked when two attempts are allowed."""
    last = Saying()
    handlers = {key: Failing(SpecialistFailed("nan")) for key in ("first", "second")}
    route, _ = await chained(stack, {**handlers, "third": last}, retry=Retry(attempts=2))
    with pytest.raises(SpecialistFailed, match="2 attempts failed"):
        await client.infer(route, X)
    assert last.count == 0


async def test_no_attempt_starts_after_the_deadline(stack, client, chained):
    """The caller's time is up: the next candidate is not asked."""
    held, last = Held(), Saying()
    route, _ = await chained(stack, {"first": held, "second": last})
    for _ in range(5):  # the gateway's timers may ring a moment early
        with pytest.raises(DeadlineExceeded):
            await client.infer(route, X, timeout=0.03)
    call = await held.next()
    await until(lambda: call.is_cancelled)
    assert last.count == 0


async def test_what_is_explained_is_what_happens(stack, running, client, chained):
    """The plan's first answers, and who is refused does not, whatever the others do."""
    first, second = Saying(), Saying()
    route, names = await chained(stack, {"first": first, "second": second})
    picky = specialist(names["first"], domains=("even",))
    await client.apply([picky])
    wanted = Requirements(domain="odd")

    async def is_refused():
        return (await client.explain(route, requirements=wanted)).refusals

    await until(is_refused)
    for requirements in (None, wanted):
        plan = await client.explain(route, requirements=requirements)
        answer = await client.infer(route, X, requirements=requirements)
        assert plan.route == answer.route == route
        assert plan.candidates[0].specialist == answer.specialist
        assert not answer.fallback
    assert [(r.specialist, r.reason) for r in plan.refusals] == [
        (names["first"], "domain odd is not among even")
    ]
    assert (first.count, second.count) == (1, 1)


async def test_a_specialist_that_always_fails_is_passed_over(running, client):
    """The next one of the route answers at once, and whoever wants nobody else is told why."""
    asked = 0

    class Counted(Failing):
        def handle(self, call):
            nonlocal asked
            asked += 1
            super().handle(call)

    bad, good, name = unique("bad"), unique("good"), unique("route")
    failing = Counted(SpecialistFailed("no such operator"))
    chain = Route(name=name, chain=(ChainEntry(name=bad), ChainEntry(name=good)))
    async with served(running, client, bad, failing), served(running, client, good, Saying()):
        await client.apply(routes=[chain])
        answers = [await client.infer(name, X) for _ in range(40)]
        assert {(answer.specialist, answer.fallback) for answer in answers} == {(good, True)}
        assert 5 <= asked < 20
        with pytest.raises(SpecialistFailed, match="no such operator"):
            await client.infer(bad, X)

"""The request path, over fakes."""

from __future__ import annotations

import asyncio

import pytest

from fabric.core.cards import Timeouts
from fabric.core.deadlines import NEVER, Deadline
from fabric.core.errors import (
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    Overloaded,
    SpecialistFailed,
    Unavailable,
)
from fabric.core.requests import InferRequest, InferResponse
from fabric.core.routes import ChainEntry, Route
from fabric.dispatch import Dispatcher, Tally
from fabric.testing import FakeInvoker, ManualClock, planner, specialist

ROUTE = Route(name="r", chain=tuple(ChainEntry(name=n) for n in ("a", "b")), timeout=10.0)


def dispatcher(invoker, clock=None, timeout=30.0):
    plans = planner([specialist("a", timeouts=Timeouts(request=timeout)), specialist("b")], [ROUTE])
    return Dispatcher(plans, invoker, clock or ManualClock())


def request(model="r", **more):
    return InferRequest(model, "", b"x", **more)


async def test_the_first_candidate_answers():
    """A plan whose first candidate answers needs no other."""
    invoker = FakeInvoker()
    answer = await dispatcher(invoker).infer(request(), NEVER)

    assert (answer.response.payload, answer.specialist, answer.route) == (b"a", "a", "r")
    assert not answer.fallback
    assert answer.attempts == ()
    assert [name for name, *_ in invoker.asked] == ["a"]


async def test_a_fallback_says_so_and_why():
    """An answer never hides who gave it, and what happened before."""
    invoker = FakeInvoker(a=SpecialistFailed("nan", replica="a/0"))
    answer = await dispatcher(invoker).infer(request(), NEVER)

    assert (answer.specialist, answer.fallback) == ("b", True)
    assert [(a.specialist, a.error) for a in answer.attempts] == [("a", "SPECIALIST_FAILED")]


async def test_another_replica_of_the_same_specialist_is_no_fallback():
    """A retry avoids the replica that failed."""
    invoker = FakeInvoker(a=[Unavailable("lost", replica="a/0"), b"second"])
    answer = await dispatcher(invoker).infer(request(), NEVER)

    assert (answer.response.payload, answer.fallback, len(answer.attempts)) == (b"second", False, 1)
    assert invoker.asked[1][2] == {"a/0"}


async def test_the_deadline_is_the_soonest_of_caller_route_and_specialist():
    """Each hop hands down a point in time that never moves back."""
    clock = ManualClock(100.0)
    invoker = FakeInvoker()
    for deadline, timeout, expected in (
        (NEVER, 30.0, 110.0),
        (NEVER, 2.0, 102.0),
        (Deadline(101.0), 2.0, 101.0),
    ):
        await dispatcher(invoker, clock, timeout).infer(request(), deadline)
        assert invoker.asked[-1][1].at == expected


async def test_a_late_candidate_is_followed_by_the_next_while_time_is_left():
    """An attempt's own timeout is not the caller's."""
    invoker = FakeInvoker(a=DeadlineExceeded("slow", replica="a/0"))
    answer = await dispatcher(invoker).infer(request(), NEVER)
    assert answer.specialist == "b"


@pytest.mark.parametrize("left", [-10.0, 0.0, 0.001])
async def test_nothing_is_tried_after_the_deadline(left):
    """When the caller's time is up, that is the answer, even where a timer rang a moment early."""
    clock = ManualClock()

    class Slow(FakeInvoker):
        async def infer(self, card, request, deadline):
            clock.now = deadline.at - left
            return await super().infer(card, request, deadline)

    invoker = Slow(a=SpecialistFailed("nan", replica="a/0"))
    with pytest.raises(DeadlineExceeded):
        await dispatcher(invoker, clock).infer(request(), NEVER)
    assert len(invoker.asked) == 1


async def test_without_substitution_the_first_candidate_or_nobody():
    """A caller who forbids substitution gets the failure."""
    invoker = FakeInvoker(a=SpecialistFailed("nan", replica="a/0"))
    with pytest.raises(SpecialistFailed, match="nan"):
        await dispatcher(invoker).infer(request(substitute=False), NEVER)


async def test_the_only_replicas_failure_is_what_the_caller_is_told():
    """Looking for another one in vain changes neither the error nor the count of attempts."""
    invoker = FakeInvoker(a=[Overloaded("full", replica="a/0"), Unavailable("no other replica")])
    answer = await dispatcher(invoker).infer(request(), NEVER)
    assert [a.error for a in answer.attempts] == ["OVERLOADED"]

    invoker = FakeInvoker(a=[Overloaded("full", replica="a/0"), Unavailable("no other replica")])
    with pytest.raises(Overloaded, match=r"^full$"):
        await dispatcher(invoker).infer(request(substitute=False), NEVER)


async def test_an_unknown_model_is_not_found():
    """Nothing is tried for a name that nobody has."""
    with pytest.raises(NotFound):
        await dispatcher(FakeInvoker()).infer(request("zzz"), NEVER)


async def test_cancelling_stops_at_once():
    """A caller that leaves is not answered by the next candidate."""
    invoker = FakeInvoker(a=asyncio.CancelledError())
    with pytest.raises(asyncio.CancelledError):
        await dispatcher(invoker).infer(request(), NEVER)
    assert len(invoker.asked) == 1


# ------------------------------------------------------------------ streams
async def test_a_stream_gives_all_answers_of_one_candidate():
    """Each says who gave it, and the last one is marked."""
    invoker = FakeInvoker(a=(b"1", b"2", b""))
    answers = [each async for each in dispatcher(invoker).stream(request(), NEVER)]

    assert [(a.response.payload, a.response.is_last) for a in answers] == [
        (b"1", False),
        (b"2", False),
        (b"", True),
    ]
    assert {(a.specialist, a.route, a.fallback) for a in answers} == {("a", "r", False)}


async def test_a_stream_of_a_candidate_with_one_answer_has_one():
    """Whoever answers once is no stream for that."""
    answers = [each async for each in dispatcher(FakeInvoker()).stream(request(), NEVER)]
    assert [(a.response.payload, a.response.is_last) for a in answers] == [(b"a", True)]


async def test_a_stream_falls_back_until_its_first_answer():
    """The walk is that of a single answer, and all answers say it."""
    invoker = FakeInvoker(a=SpecialistFailed("nan", replica="a/0"), b=(b"1", b"2"))
    answers = [each async for each in dispatcher(invoker).stream(request(), NEVER)]

    assert [a.response.payload for a in answers] == [b"1", b"2"]
    assert {(a.specialist, a.fallback, len(a.attempts)) for a in answers} == {("b", True, 1)}


async def test_after_the_first_answer_an_error_is_the_callers():
    """Another candidate cannot go on where the first stopped."""
    invoker = FakeInvoker(a=(b"1", SpecialistFailed("nan", replica="a/0")))
    stream = dispatcher(invoker).stream(request(), NEVER)
    assert (await anext(stream)).response.payload == b"1"
    with pytest.raises(SpecialistFailed, match="nan"):
        await anext(stream)
    assert [name for name, *_ in invoker.asked] == ["a"]


async def test_a_stream_that_is_closed_closes_what_it_reads():
    """Whether its first answer has come or not."""
    closed = []

    class Endless(FakeInvoker):
        async def stream(self, card, request, deadline):
            try:
                yield InferResponse(b"1", "a/0", is_last=False)
                await asyncio.Event().wait()
            finally:
                closed.append(card.name)

    stream = dispatcher(Endless()).stream(request(), NEVER)
    await anext(stream)
    await stream.aclose()
    assert closed == ["a"]

    stream = dispatcher(Endless()).stream(request(), NEVER)
    await anext(stream)
    second = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert closed == ["a", "a"]


async def test_a_streams_deadline_is_the_soonest_of_caller_route_and_specialist():
    """As that of a single answer."""
    invoker = FakeInvoker()
    async for _ in dispatcher(invoker, ManualClock(100.0), 2.0).stream(request(), NEVER):
        pass
    assert invoker.asked[-1][1].at == 102.0


async def test_what_routes_do_is_tallied():
    """Answers and failures of routes, with their times; what no candidate could answer is none."""
    clock = ManualClock()

    class Slow(FakeInvoker):
        async def infer(self, card, request, deadline):
            clock.advance(1.0)
            return await super().infer(card, request, deadline)

    failed = SpecialistFailed("nan", replica="a/0")
    invoker = Slow(a=[b"first", failed, failed, InvalidRequest("no"), b"direct"], b=[b"b", failed])
    asking = dispatcher(invoker, clock)
    assert asking.tallies == {}
    await asking.infer(request(), NEVER)
    await asking.infer(request(), NEVER)
    for error in (SpecialistFailed, InvalidRequest):
        with pytest.raises(error):
            await asking.infer(request(), NEVER)
    await asking.infer(request("a"), NEVER)

    assert asking.tallies == {
        "r": Tally(answers=2, answering=3.0, failures=1, failing=2.0, last=1003.0)
    }


async def test_tallies_are_bounded(monkeypatch):
    """Of routes that come and go the oldest is forgotten."""
    monkeypatch.setattr("fabric.dispatch.dispatcher._MOST_TALLIES", 2)
    routes = [Route(name=name, chain=(ChainEntry(name="a"),)) for name in "xyz"]
    asking = Dispatcher(planner([specialist("a")], routes), FakeInvoker(), ManualClock())
    for name in "xyzx":
        await asking.infer(request(name), NEVER)
    assert list(asking.tallies) == ["z", "x"]


async def test_who_has_no_time_is_passed_over():
    """And the answer says so."""
    invoker = FakeInvoker()
    invoker.busy = {"a"}
    asking, asked = dispatcher(invoker), request()
    asking.admit(asked, NEVER)
    answer = await asking.infer(asked, NEVER)
    assert (answer.specialist, answer.fallback) == ("b", True)
    (passed,) = answer.attempts
    assert (passed.specialist, passed.error, passed.replica) == ("a", "OVERLOADED", "")
    assert [name for name, *_ in invoker.asked] == ["b"]


async def test_where_nobody_has_time_nobody_is_asked():
    """It is refused at once, and counted."""
    invoker = FakeInvoker()
    invoker.busy = {"a", "b"}
    asking = dispatcher(invoker)
    with pytest.raises(Overloaded, match=r"nobody can answer for 'r' within 0\.05 s"):
        asking.admit(request(), Deadline(asking._clock() + 0.05))
    assert invoker.asked == []
    assert asking.tallies["r"].failures == 1


async def test_no_other_is_asked_of_whom_the_caller_wants_the_first():
    """Though others have time."""
    invoker = FakeInvoker()
    invoker.busy = {"a"}
    asked = request()
    asked.substitute = False
    with pytest.raises(Overloaded):
        dispatcher(invoker).admit(asked, NEVER)


async def test_a_failure_behind_who_was_passed_over_tells_of_both():
    """The busy first is among those that were tried."""
    invoker = FakeInvoker(b=SpecialistFailed("nan", replica="b/0"))
    invoker.busy = {"a"}
    asking, asked = dispatcher(invoker), request()
    asking.admit(asked, NEVER)
    with pytest.raises(SpecialistFailed, match=r"2 attempts failed: a:1: it is busy .*; b:1: nan"):
        await asking.infer(asked, NEVER)


async def test_a_deadline_that_has_passed_is_not_called_a_busy_specialist():
    """Whoever asks again with the same time gets the same answer."""
    invoker = FakeInvoker()
    invoker.busy = {"a", "b"}
    asking = dispatcher(invoker)
    with pytest.raises(DeadlineExceeded, match="before anybody was asked"):
        asking.admit(request(), Deadline(asking._clock() - 0.01))


# ------------------------------------------------------------------ who fails too often
async def admitted(invoker, **more):
    """The answer to a request that was admitted first, as all are."""
    made, asked = dispatcher(invoker), request(**more)
    made.admit(asked, NEVER)
    return await made.infer(asked, NEVER)


async def test_whoever_should_not_be_asked_is_passed_over():
    """The answer says why, and no attempt was made there."""
    invoker = FakeInvoker()
    invoker.objections = {"a": "its breaker is open"}
    answer = await admitted(invoker)

    assert (answer.specialist, answer.fallback) == ("b", True)
    (attempt,) = answer.attempts
    said = (attempt.specialist, attempt.error, attempt.message, attempt.replica, attempt.seconds)
    assert said == ("a", "UNAVAILABLE", "its breaker is open", "", 0.0)
    assert [name for name, *_ in invoker.asked] == ["b"]


async def test_if_nobody_should_be_asked_all_are():
    """In their order: who knows, and nobody else can answer."""
    invoker = FakeInvoker(a=SpecialistFailed("nan", replica="a/0"))
    invoker.objections = {"a": "it fails", "b": "it fails too"}
    answer = await admitted(invoker)

    assert (answer.specialist, [each.message for each in answer.attempts]) == ("b", ["nan"])
    assert [name for name, *_ in invoker.asked] == ["a", "b"]


@pytest.mark.parametrize("more", [{"model": "a"}, {"substitute": False}])
async def test_whom_nobody_can_stand_in_for_is_asked_in_any_case(more):
    """Though it should not be."""
    invoker = FakeInvoker()
    invoker.objections = {"a": "it fails"}
    assert (await admitted(invoker, **more)).specialist == "a"


async def test_the_last_one_of_a_chain_is_asked_in_any_case():
    """After the others have failed."""
    invoker = FakeInvoker(a=SpecialistFailed("nan", replica="a/0"))
    invoker.objections = {"b": "it fails"}
    assert (await admitted(invoker)).specialist == "b"


async def test_whoever_is_busy_is_passed_over_as_busy():
    """Beside those that should not be asked."""
    plans = planner(
        [specialist(name) for name in "abc"],
        [Route(name="r", chain=tuple(ChainEntry(name=name) for name in "abc"))],
    )
    invoker = FakeInvoker()
    invoker.objections, invoker.busy = {"a": "it fails"}, {"b"}
    made, asked = Dispatcher(plans, invoker, ManualClock()), request()
    made.admit(asked, NEVER)
    answer = await made.infer(asked, NEVER)
    assert [each.error for each in answer.attempts] == ["UNAVAILABLE", "OVERLOADED"]

    invoker.busy = {"b", "c"}
    with pytest.raises(Overloaded):
        made.admit(request(), NEVER)

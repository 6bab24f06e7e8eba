"""Answers that nobody is asked for, over fakes."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from fabric.core.deadlines import NEVER, Deadline
from fabric.core.errors import (
    DeadlineExceeded,
    InvalidRequest,
    Overloaded,
    SpecialistFailed,
    Unavailable,
)
from fabric.core.requests import InferRequest, InferResponse
from fabric.core.routes import ChainEntry, Route
from fabric.core.tensors import TensorValue
from fabric.dispatch import Dispatcher
from fabric.dispatch.invoking import Given
from fabric.testing import FakeInvoker, ManualClock, planner, specialist

OUTPUT = TensorValue(name="y", datatype="FP32", shape=(0,))


class Gives:
    """Has what it is told to have, by the kind of the entry."""

    def __init__(self, **kept) -> None:
        self.kept = kept

    def given(self, entry, plan, request):
        found = self.kept.get("static" if entry.static else "cached")
        return found and Given(InferResponse(found, ""), "who", "1")


def dispatcher(invoker, *given, **kept):
    names = (ChainEntry(name="a"), ChainEntry(name="b"))
    route = Route(name="r", chain=(*names, *given))
    plans = planner([specialist("a"), specialist("b")], [route])
    return Dispatcher(plans, invoker, ManualClock(), gives=Gives(**kept))


def request(**more):
    return InferRequest("r", "", b"x", **more)


STATIC = ChainEntry(static=(OUTPUT,))
FAILED = SpecialistFailed("nan", replica="x")


async def test_where_all_fail_the_answer_is_the_one_that_is_there():
    """It says that it is a fallback, and how all who were asked failed."""
    made = dispatcher(FakeInvoker(a=FAILED, b=FAILED), ChainEntry(cached=9), STATIC, static=b"s")
    answer = await made.infer(request(), NEVER)
    assert (answer.response.payload, answer.specialist, answer.version) == (b"s", "who", "1")
    assert (answer.route, answer.fallback) == ("r", True)
    assert [attempt.specialist for attempt in answer.attempts] == ["a", "b"]
    assert made.tallies["r"].answers == 1


async def test_the_first_that_is_there_is_given():
    """In the order of the chain."""
    invoker = FakeInvoker(a=FAILED, b=FAILED)
    made = dispatcher(invoker, ChainEntry(cached=9), STATIC, static=b"s", cached=b"c")
    assert (await made.infer(request(), NEVER)).response.payload == b"c"


@pytest.mark.parametrize("asked", [{"substitute": False}, {"sequence": "s"}], ids=str)
async def test_who_wants_the_first_candidate_is_given_nothing_else(asked):
    """Nor is a request of a sequence, which only one who knows it may answer."""
    made = dispatcher(FakeInvoker(a=FAILED, b=FAILED), STATIC, static=b"s")
    with pytest.raises(SpecialistFailed):
        await made.infer(request(**asked), NEVER)


async def test_it_is_given_on_what_its_entry_says():
    """And never for what is wrong with the request."""
    late = ChainEntry(static=(OUTPUT,), on=("late",))
    made = dispatcher(FakeInvoker(a=FAILED, b=FAILED), late, static=b"s")
    with pytest.raises(SpecialistFailed):
        await made.infer(request(), NEVER)
    slow = DeadlineExceeded("slow", replica="x")
    made = dispatcher(FakeInvoker(a=FAILED, b=slow), late, static=b"s")
    assert (await made.infer(request(), NEVER)).response.payload == b"s"
    made = dispatcher(FakeInvoker(a=InvalidRequest("bad", replica="x")), STATIC, static=b"s")
    with pytest.raises(InvalidRequest):
        await made.infer(request(), NEVER)


async def test_where_all_are_busy_it_is_given_at_once():
    """Nobody is asked; what is not there is not given, and the caller told that all are busy."""
    invoker = FakeInvoker()
    invoker.busy |= {"a", "b"}
    made = dispatcher(invoker, STATIC, static=b"s")
    asked = request()
    made.admit(asked, NEVER)
    answer = await made.infer(asked, NEVER)
    assert (answer.response.payload, invoker.asked) == (b"s", [])
    assert [attempt.error for attempt in answer.attempts] == ["OVERLOADED", "OVERLOADED"]

    made = dispatcher(invoker, STATIC)
    asked = request()
    made.admit(asked, NEVER)
    with pytest.raises(Overloaded, match="2 attempts failed"):
        await made.infer(asked, NEVER)

    made = dispatcher(invoker, ChainEntry(static=(OUTPUT,), on=("failed",)), static=b"s")
    with pytest.raises(Overloaded):
        made.admit(request(), NEVER)
    with pytest.raises(DeadlineExceeded):
        dispatcher(invoker, STATIC, static=b"s").admit(request(), Deadline(0.0))


async def test_a_busy_candidate_is_passed_to_whom_its_chain_names_for_that():
    """Who is not tried on overload is not asked, and counts as no attempt."""
    names = (ChainEntry(name="a"), ChainEntry(name="b", on=("failed",)), ChainEntry(name="c"))
    plans = planner([specialist(n) for n in "abc"], [Route(name="r", chain=names)])
    invoker = FakeInvoker()
    invoker.busy.add("a")
    made = Dispatcher(plans, invoker, ManualClock())
    asked = request()
    made.admit(asked, NEVER)
    answer = await made.infer(asked, NEVER)
    assert answer.specialist == "c"
    assert [attempt.specialist for attempt in answer.attempts] == ["a"]


async def test_an_entry_has_its_share_of_the_time():
    """Of what is left when it is asked, and no more than its own timeout."""
    clock = ManualClock(100.0)
    names = (ChainEntry(name="a", share=0.25), ChainEntry(name="b", share=0.5))
    plans = planner([specialist(n) for n in "ab"], [Route(name="r", chain=names, timeout=8.0)])
    invoker = FakeInvoker(a=DeadlineExceeded("slow", replica="x"))
    await Dispatcher(plans, invoker, clock).infer(request(), NEVER)
    assert [deadline.at for _, deadline, _ in invoker.asked] == [102.0, 104.0]


async def test_a_stream_ends_with_what_is_given():
    """As the one answer there is."""
    made = dispatcher(FakeInvoker(a=FAILED, b=FAILED), STATIC, static=b"s")
    answers = [answer async for answer in made.stream(request(), NEVER)]
    assert [answer.response.payload for answer in answers] == [b"s"]


async def test_an_overloaded_specialist_is_asked_again_after_a_while(monkeypatch):
    """A random part of the backoff, and never beyond the deadline."""
    waited = []

    async def sleep(seconds):
        waited.append(seconds)

    monkeypatch.setattr("fabric.dispatch.dispatcher.asyncio", SimpleNamespace(sleep=sleep))
    plans = planner([specialist("a")], [Route(name="r", chain=(ChainEntry(name="a"),))])
    full = Overloaded("full", replica="a/0")
    made = Dispatcher(plans, FakeInvoker(a=[full, b"y"]), ManualClock(), draw=lambda: 0.5)
    assert (await made.infer(request(), NEVER)).response.payload == b"y"
    assert waited == [0.0025]
    made = Dispatcher(plans, FakeInvoker(a=[full, b"y"]), ManualClock(), draw=lambda: 0.5)
    with pytest.raises(DeadlineExceeded):
        await made.infer(request(), Deadline(1000.003))


async def test_a_caller_that_leaves_while_waiting_costs_nothing():
    """Cancelled between two attempts, it asks nobody any more."""
    route = Route(name="r", chain=(ChainEntry(name="a"),))
    invoker = FakeInvoker(a=Unavailable("lost", replica="a/0"))
    made = Dispatcher(planner([specialist("a")], [route]), invoker, draw=lambda: 2e3)
    invoker.answers["a"] = Overloaded("full", replica="a/0")
    asking = asyncio.create_task(made.infer(request(), NEVER))
    await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert len(invoker.asked) == 1

"""A second attempt beside one that takes longer than usual, over fakes."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from fabric.core.deadlines import NEVER
from fabric.core.errors import SpecialistFailed, Unavailable
from fabric.core.requests import InferRequest
from fabric.core.routes import ChainEntry, Hedging, Route
from fabric.dispatch import Dispatcher
from fabric.testing import FakeInvoker, planner, specialist


def dispatcher(invoker, *chain, **said):
    entries = chain or (ChainEntry(name="a"), ChainEntry(name="b"))
    route = Route(name="r", chain=entries, hedging=Hedging(least=0.001), **said)
    return Dispatcher(planner([specialist("a"), specialist("b")], [route]), invoker)


def request(**more):
    return InferRequest("r", "", b"x", **more)


class Slow(FakeInvoker):
    """Answers of *a* are futures that the test resolves; who is cancelled is noted."""

    def __init__(self, replicas=1, **answers) -> None:
        super().__init__(**answers)
        self.seconds["a"] = 0.001
        self.replicas = replicas
        self.cancelled = []

    async def infer(self, card, request, deadline):
        try:
            return await super().infer(card, request, deadline)
        except asyncio.CancelledError:
            self.cancelled.append(request.asked)
            raise


def never():
    return asyncio.get_running_loop().create_future()


async def test_another_replica_answers_in_place_of_a_slow_one():
    """Which is cancelled, and has ended when the answer is there; it is no fallback."""
    invoker = Slow(2, a=[never(), b"second"])
    answer = await dispatcher(invoker).infer(request(), NEVER)
    assert (answer.response.payload, answer.response.replica) == (b"second", "a/1")
    assert not answer.fallback
    assert [(a.replica, a.error) for a in answer.attempts] == [("a/0", "OVERTAKEN")]
    assert invoker.cancelled == ["a/0"]


async def test_without_another_replica_the_next_candidate_answers():
    """As a fallback, and only one that is tried on an answer that is late."""
    invoker = Slow(a=never())
    answer = await dispatcher(invoker).infer(request(), NEVER)
    assert (answer.specialist, answer.fallback) == ("b", True)
    assert invoker.cancelled == ["a/0"]

    slow = never()
    invoker = Slow(a=slow)
    chain = (ChainEntry(name="a"), ChainEntry(name="b", on=("failed",)))
    asking = asyncio.create_task(dispatcher(invoker, *chain).infer(request(), NEVER))
    await asyncio.sleep(0.01)
    slow.set_result(b"late")
    assert (await asking).response.payload == b"late"
    assert [name for name, *_ in invoker.asked] == ["a"]


async def test_the_first_may_still_be_first():
    """Then the second is cancelled, and the answer says nothing of it."""
    slow = never()
    invoker = Slow(2, a=[slow, never()])
    asking = asyncio.create_task(dispatcher(invoker).infer(request(), NEVER))
    while len(invoker.asked) < 2:
        await asyncio.sleep(0.001)
    slow.set_result(b"first")
    answer = await asking
    assert (answer.response.payload, answer.attempts) == (b"first", [])
    assert invoker.cancelled == ["a/1"]


async def test_one_that_fails_leaves_the_other():
    """The first good answer counts, whoever fails before; if both do the chain goes on."""
    slow = never()
    invoker = Slow(2, a=[slow, SpecialistFailed("nan", replica="a/1")])
    asking = asyncio.create_task(dispatcher(invoker).infer(request(), NEVER))
    while len(invoker.asked) < 2:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.002)
    assert not asking.done()
    slow.set_result(b"first")
    assert (await asking).response.payload == b"first"

    slow = never()
    invoker = Slow(2, a=[slow, SpecialistFailed("nan", replica="a/1")])
    asking = asyncio.create_task(dispatcher(invoker).infer(request(), NEVER))
    while len(invoker.asked) < 2:
        await asyncio.sleep(0.001)
    slow.set_exception(SpecialistFailed("inf", replica="a/0"))
    answer = await asking
    assert (answer.specialist, answer.fallback) == ("b", True)


async def test_who_fails_beside_another_is_among_the_attempts():
    """Nor is its replica asked once more, while another one is there."""
    slow = never()
    answers = [slow, SpecialistFailed("nan", replica="a/1"), b"third"]
    invoker = Slow(3, a=answers)
    asking = asyncio.create_task(dispatcher(invoker).infer(request(), NEVER))
    while len(invoker.asked) < 2:
        await asyncio.sleep(0.001)
    slow.set_exception(Unavailable("lost", replica="a/0"))
    answer = await asking
    assert (answer.response.payload, answer.response.replica) == (b"third", "a/2")
    failed = [(each.replica, each.error, each.message) for each in answer.attempts]
    assert failed == [("a/1", "SPECIALIST_FAILED", "nan"), ("a/0", "UNAVAILABLE", "lost")]


@pytest.mark.parametrize(
    "asked", [{"idempotent": False}, {"sequence": "s"}, {"substitute": False}], ids=str
)
async def test_what_may_not_be_asked_twice_is_not(asked):
    """Nor does anybody else answer whom the caller does not want."""
    slow = never()
    invoker = Slow(a=slow)
    asking = asyncio.create_task(dispatcher(invoker).infer(request(**asked), NEVER))
    await asyncio.sleep(0.01)
    slow.set_result(b"only")
    assert (await asking).response.payload == b"only"
    assert len(invoker.asked) == 1


async def test_a_caller_that_leaves_ends_both():
    """Nothing is left behind by a cancelled call."""
    invoker = Slow(2, a=[never(), never()])
    asking = asyncio.create_task(dispatcher(invoker).infer(request(), NEVER))
    while len(invoker.asked) < 2:
        await asyncio.sleep(0.001)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert sorted(invoker.cancelled) == ["a/0", "a/1"]
    assert len(asyncio.all_tasks()) == 1


async def test_second_attempts_keep_to_the_budget():
    """A specialist that has become slow is not asked twice as much."""
    invoker = Slow(2)
    made = dispatcher(invoker)
    while made.budgets.spend("a:1"):
        pass
    slow = invoker.answers["a"] = never()
    asking = asyncio.create_task(made.infer(request(), NEVER))
    await asyncio.sleep(0.01)
    slow.set_result(b"only")
    await asking
    assert len(invoker.asked) == 1


class Payload(bytearray):
    """A payload that a weak reference may be made of."""


async def test_failures_of_both_hold_nothing():
    """The payload is free once the error was handled, without the collector."""
    gc.disable()
    try:
        slow = never()
        second = SpecialistFailed("nan", replica="a/1")
        invoker = Slow(2, a=[slow, second], b=SpecialistFailed("inf", replica="b/0"))
        asked = request()
        asked.payload = Payload(b"x")
        left = weakref.ref(asked.payload)
        asking = asyncio.create_task(dispatcher(invoker).infer(asked, NEVER))
        del asked
        while len(invoker.asked) < 2:
            await asyncio.sleep(0.001)
        slow.set_exception(SpecialistFailed("0/0", replica="a/0"))
        with pytest.raises(SpecialistFailed, match="3 attempts failed"):
            await asking
        invoker.answers.clear()
        del asking, slow, second
        await asyncio.sleep(0)  # the task that has failed is in use until then
        assert left() is None
    finally:
        gc.enable()

"""Shadow calls and what is told of attempts, over fakes."""

from __future__ import annotations

import asyncio

import pytest

from fabric.core.deadlines import NEVER
from fabric.core.errors import InvalidRequest, SpecialistFailed
from fabric.core.requests import InferRequest
from fabric.dispatch import Dispatcher
from fabric.testing import FakeInvoker, ManualClock, planner, route, specialist


class Told:
    """Remembers what is told of attempts."""

    def __init__(self, clock):
        self.clock = clock
        self.all = []

    def __call__(self, request, candidate, response, error, seconds, *, is_shadow):
        payload = response and response.payload
        reason = error and error.reason
        self.all.append((request.request, candidate.card.key, payload, reason, seconds, is_shadow))


class Slow(FakeInvoker):
    """Each call takes a second."""

    def __init__(self, clock, **answers):
        super().__init__(**answers)
        self.clock = clock

    async def infer(self, card, request, deadline):
        self.clock.advance(1.0)
        return await super().infer(card, request, deadline)


def opened(invoker, clock):
    told = Told(clock)
    plans = planner(map(specialist, "abc"), [route("r", "a", "b", "c")])
    return Dispatcher(plans, invoker, clock, told), told


def asked(request="1", **more):
    return InferRequest("r", "", b"x", request=request, **more)


async def settled(dispatcher):
    """Returns when no shadow call is left."""
    while dispatcher.shadows._tasks:
        await asyncio.wait(dispatcher.shadows._tasks)


async def test_each_attempt_at_a_request_with_an_id_is_told_of():
    """The failed ones with their reasons, and all with their seconds."""
    clock = ManualClock()
    invoker = Slow(clock, a=SpecialistFailed("nan", replica="a/0"))
    dispatcher, told = opened(invoker, clock)
    await dispatcher.infer(asked(), NEVER)
    assert told.all == [
        ("1", "a:1", None, "SPECIALIST_FAILED", 1.0, False),
        ("1", "b:1", b"b", None, 1.0, False),
    ]


async def test_nothing_is_told_of_a_request_without_an_id():
    """It costs nothing where nobody learns."""
    dispatcher, told = opened(FakeInvoker(), ManualClock())
    await dispatcher.infer(asked(request=""), NEVER)
    assert told.all == []


async def test_nothing_is_told_of_what_the_caller_left():
    """How long it would have taken, and whether it would have failed, nobody knows."""
    dispatcher, told = opened(FakeInvoker(a=asyncio.CancelledError()), ManualClock())
    with pytest.raises(asyncio.CancelledError):
        await dispatcher.infer(asked(), NEVER)
    assert told.all == []


async def test_the_first_response_of_a_stream_is_told_of():
    """As the attempt that it ends."""
    dispatcher, told = opened(FakeInvoker(a=(b"1", b"2")), ManualClock())
    async for _ in dispatcher.stream(asked(), NEVER):
        pass
    assert told.all == [("1", "a:1", b"1", None, 0.0, False)]


async def test_a_shadow_is_asked_after_the_answer_was_given():
    """With its own timeout, from when the request came."""
    clock = ManualClock(100.0)
    invoker = Slow(clock, b=SpecialistFailed("nan", replica="b/0"))
    dispatcher, told = opened(invoker, clock)
    answer = await dispatcher.infer(asked(shadow="b:1"), NEVER)
    assert (answer.specialist, answer.attempts) == ("a", ())
    assert [name for name, *_ in invoker.asked] == ["a"]

    await settled(dispatcher)
    assert told.all[1:] == [("1", "b:1", None, "SPECIALIST_FAILED", 1.0, True)]
    name, deadline, avoid = invoker.asked[1]
    assert (name, deadline.at, avoid) == ("b", 130.0, frozenset())


async def test_a_shadow_follows_a_fallback_too():
    """Unless that is who has answered."""
    for shadow, expected in (("b:1", "ab"), ("c:1", "abc")):
        invoker = FakeInvoker(a=SpecialistFailed("nan", replica="a/0"))
        dispatcher, _ = opened(invoker, ManualClock())
        await dispatcher.infer(asked(shadow=shadow), NEVER)
        await settled(dispatcher)
        assert "".join(name for name, *_ in invoker.asked) == expected


@pytest.mark.parametrize(
    "more", [{"shadow": "z:1"}, {"shadow": "a:1"}, {"shadow": "b:1", "sequence": "7"}]
)
async def test_who_cannot_be_asked_is_no_shadow(more):
    """Who is no candidate, who has answered, and whoever would remember a sequence."""
    invoker = FakeInvoker()
    dispatcher, _ = opened(invoker, ManualClock())
    await dispatcher.infer(asked(**more), NEVER)
    await settled(dispatcher)
    assert [name for name, *_ in invoker.asked] == ["a"]


async def test_an_answer_that_others_follow_has_no_shadow():
    """What has one answer only would fail at such a request, and show nothing."""
    invoker = FakeInvoker(a=(b"1", b"2"))
    dispatcher, _ = opened(invoker, ManualClock())
    async for _ in dispatcher.stream(asked(shadow="b:1"), NEVER):
        pass
    await settled(dispatcher)
    assert [name for name, *_ in invoker.asked] == ["a"]


async def test_a_stream_of_one_answer_has_a_shadow():
    """Which is given the same request."""
    given = []

    class Reading(FakeInvoker):
        async def infer(self, card, request, deadline):
            given.append(request.payload)
            return await super().infer(card, request, deadline)

    dispatcher, _ = opened(Reading(), ManualClock())
    async for _ in dispatcher.stream(asked(shadow="b:1"), NEVER):
        pass
    await settled(dispatcher)
    assert given == [b"x"]


async def test_who_is_busy_is_no_shadow():
    """It is counted, and so is the one that comes when its time is over."""
    clock = ManualClock()
    invoker = FakeInvoker()
    invoker.busy = {"b"}
    dispatcher, told = opened(invoker, clock)
    await dispatcher.infer(asked(shadow="b:1"), NEVER)
    await settled(dispatcher)
    invoker.busy = set()
    await dispatcher.infer(asked(shadow="b:1"), NEVER)
    clock.advance(31.0)
    await settled(dispatcher)
    assert dispatcher.shadows.skipped == 2
    assert not any(is_shadow for *_, is_shadow in told.all)


async def test_shadows_are_bounded(monkeypatch):
    """In number and in bytes; what is too many is skipped and counted."""
    monkeypatch.setattr("fabric.dispatch.shadows._MOST", 3)
    monkeypatch.setattr("fabric.dispatch.shadows._MOST_BYTES", 20)
    dispatcher, _ = opened(FakeInvoker(), ManualClock())
    for _ in range(5):
        await dispatcher.infer(asked(shadow="b:1"), NEVER)
    assert (len(dispatcher.shadows._tasks), dispatcher.shadows.skipped) == (3, 2)
    await settled(dispatcher)
    large = asked(shadow="b:1")
    large.payload = bytes(21)
    await dispatcher.infer(large, NEVER)
    assert (len(dispatcher.shadows._tasks), dispatcher.shadows.skipped) == (0, 3)
    assert dispatcher.shadows._bytes == 0


async def test_closing_ends_the_shadows():
    """Nothing is said of them, and no task is left."""

    class Held(FakeInvoker):
        async def infer(self, card, request, deadline):
            response = await super().infer(card, request, deadline)
            if card.name == "b":
                await asyncio.Event().wait()
            return response

    invoker = Held()
    dispatcher, told = opened(invoker, ManualClock())
    before = asyncio.all_tasks()
    await dispatcher.infer(asked(shadow="b:1"), NEVER)
    while len(invoker.asked) < 2:
        await asyncio.sleep(0)
    await dispatcher.close()
    assert asyncio.all_tasks() == before
    assert [key for _, key, *_ in told.all] == ["a:1"]


async def test_a_bug_in_a_shadow_call_is_logged(caplog):
    """And costs nobody an answer."""
    dispatcher, _ = opened(FakeInvoker(b=RuntimeError("bug")), ManualClock())
    await dispatcher.infer(asked(shadow="b:1"), NEVER)
    await settled(dispatcher)
    await asyncio.sleep(0)
    assert "unexpected error in a shadow call" in caplog.text


async def test_an_invalid_request_is_told_of_and_has_no_shadow():
    """Nobody could answer it."""
    invoker = FakeInvoker(a=InvalidRequest("no"))
    dispatcher, told = opened(invoker, ManualClock())
    with pytest.raises(InvalidRequest):
        await dispatcher.infer(asked(shadow="b:1"), NEVER)
    await settled(dispatcher)
    assert [reason for _, _, _, reason, *_ in told.all] == ["INVALID_REQUEST"]


async def test_what_must_not_be_answered_twice_has_no_shadow():
    """One answer is all that its caller allows."""
    for idempotent in (True, False):
        invoker = FakeInvoker()
        dispatcher, _ = opened(invoker, ManualClock())
        await dispatcher.infer(asked(shadow="b:1", idempotent=idempotent), NEVER)
        await settled(dispatcher)
        assert [name for name, *_ in invoker.asked] == (["a", "b"] if idempotent else ["a"])

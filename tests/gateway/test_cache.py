"""Answers that are kept: what is given to whom, until when, and who waits for a call."""

from __future__ import annotations

import asyncio
import contextlib
import gc

import pytest
from running import until

from fabric import telemetry
from fabric.api.inference.v2.open_inference_pb2 import ModelInferRequest
from fabric.core.cards import Caching
from fabric.core.deadlines import NEVER, Deadline
from fabric.core.errors import DeadlineExceeded, Overloaded, SpecialistFailed, Unavailable
from fabric.core.requests import InferRequest, InferResponse
from fabric.core.tensors import Signature
from fabric.gateway.cache import Cache
from fabric.testing import ManualClock, specialist

TTL = 10.0
MOST = 1 << 20


class Pool:
    """Calls stay open until the test ends them; the replicas run what it says."""

    def __init__(self):
        self.ill = set()
        self.running = {"model"}
        self.busy = False
        self.calls = []
        self.cancelled = 0

    def models(self, key):
        return set(self.running)

    def promises(self, card, seconds, tenant="", priority=0):
        return not self.busy

    async def infer(self, card, request, deadline):
        call = asyncio.get_running_loop().create_future()
        self.calls.append((call, request, deadline))
        request.asked = f"r{len(self.calls)}"
        try:
            return await call
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def stream(self, card, request, deadline):
        yield InferResponse(b"one", "r1")

    def answer(self, payload=b"y", place=-1):
        self.calls[place][0].set_result(InferResponse(payload, "r1"))

    def fail(self, error, place=-1):
        self.calls[place][0].set_exception(error)

    async def asked(self, count=1):
        """Returns when so many calls were made, in all."""
        await until(lambda: len(self.calls) >= count)


def card(name="s", ttl=TTL, **said):
    return specialist(name, cache=None if ttl is None else Caching(ttl=ttl), **said).card


CARD = card()


def request(x=b"1", id="", tenant="", **said):
    message = ModelInferRequest(id=id, raw_input_contents=[x], parameters=said.pop("own", None))
    message.inputs.add(name="x", datatype="UINT8", shape=[len(x)])
    return InferRequest("s", "", message.SerializeToString(), tenant=tenant, **said)


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def pool():
    return Pool()


@pytest.fixture
async def cache(pool, clock):
    made = Cache(pool, MOST, clock)
    yield made
    await made.close()
    assert not made._sharing._tasks
    assert not made._sharing._calls


@pytest.fixture
def ask(cache):
    """Asks in a task."""

    def ask(asked=None, of=CARD, deadline=NEVER):
        return asyncio.create_task(cache.infer(of, asked or request(), deadline))

    return ask


@pytest.fixture
def keep(pool, ask):
    """Has an answer kept."""

    async def keep(asked=None, payload=b"y", of=CARD):
        task = ask(asked, of)
        await pool.asked(len(pool.calls) + 1)
        pool.answer(payload)
        return await task

    return keep


async def left(task):
    """Cancels *task* and returns when it has ended as cancelled."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# ------------------------------------------------------------------ hits
async def test_an_answer_is_given_again(cache, clock, keep):
    """To an equal request, with its age, and the id of that request."""
    first = await keep(request(id="one"))
    assert first.reused is None
    clock.advance(2.5)
    again = await cache.infer(CARD, request(id="two"), NEVER)
    assert (again.payload, again.replica) == (b"y", "r1")
    assert (again.reused.age, again.reused.id) == (2.5, "two")


async def test_an_answer_is_given_again_until_its_time_is_over(cache, clock, pool, keep):
    """By what the card says now; then the specialist is asked again."""
    await keep()
    clock.advance(TTL)
    assert (await cache.infer(CARD, request(), NEVER)).reused.age == TTL
    longer = card(ttl=TTL + 2)
    clock.advance(1)
    assert (await cache.infer(longer, request(), NEVER)).reused.age == TTL + 1
    assert (await keep(payload=b"new")).reused is None
    assert (await cache.infer(CARD, request(), NEVER)).payload == b"new"
    assert len(pool.calls) == 2


async def test_a_hit_asks_no_replica(cache, pool, keep):
    """So it is given where all are busy, or gone."""
    await keep()
    pool.busy = True
    assert cache.promises(CARD, 1.0)
    assert (await cache.infer(CARD, request(), Deadline(0.0))).payload == b"y"
    pool.running.clear()
    assert (await cache.infer(CARD, request(), NEVER)).payload == b"y"
    assert len(pool.calls) == 1


async def test_tenants_do_not_share(pool, ask, keep):
    """Neither what is kept, nor a call."""
    await keep(request(tenant="a"))
    tasks = [ask(request(tenant=tenant)) for tenant in ("b", "", "b")]
    await pool.asked(3)
    assert len(pool.calls) == 3
    pool.answer(b"for b", 1)
    pool.answer(b"for nobody", 2)
    payloads = [(await task).payload for task in tasks]
    assert payloads == [b"for b", b"for nobody", b"for b"]


async def test_specialists_do_not_share(cache, keep):
    """Nor do versions of one."""
    for of in (card("s"), card("t"), card("s", version="2")):
        await keep(payload=of.key.encode(), of=of)
    for of in (card("s"), card("t"), card("s", version="2")):
        assert (await cache.infer(of, request(), NEVER)).payload == of.key.encode()


async def test_a_new_model_has_answers_of_its_own(cache, pool, keep):
    """Under the same name and version; the old one's come back with it."""
    await keep(payload=b"old")
    pool.running = {"other"}
    assert (await keep(payload=b"new")).payload == b"new"
    assert (await cache.infer(CARD, request(), NEVER)).payload == b"new"
    pool.running = {"model"}
    assert (await cache.infer(CARD, request(), NEVER)).payload == b"old"


async def test_nothing_is_kept_while_replicas_differ(cache, pool, keep):
    """Nobody knows which of them will answer, nor is anything given again."""
    await keep(payload=b"old")
    pool.running = {"model", "other"}
    assert [(await keep(payload=p)).payload for p in (b"1", b"2")] == [b"1", b"2"]
    pool.running = {"model"}
    assert (await cache.infer(CARD, request(), NEVER)).payload == b"old"
    assert len(cache.kept) == 1


async def test_an_answer_of_a_model_that_came_meanwhile_is_not_kept(cache, pool, ask):
    """It is given to who asked, and not taken for one of the model before it."""
    task = ask()
    await asyncio.sleep(0)  # it has looked, and its call has not begun
    pool.running = {"other"}
    await pool.asked()
    pool.answer()
    assert (await task).payload == b"y"
    assert len(cache.kept) == 0


async def test_what_replicas_lend_is_copied(cache, keep):
    """They take it back."""
    lent = bytearray(b"lent")
    first = await keep(payload=memoryview(lent))
    assert isinstance(first.payload, memoryview)
    lent[:] = b"gone"
    assert (await cache.infer(CARD, request(), NEVER)).payload == b"lent"


# ------------------------------------------------------------------ what is not kept
@pytest.mark.parametrize(
    ("of", "said"),
    [
        (card(ttl=None), {}),
        (card(signature=Signature(random=True)), {}),
        (CARD, {"sequence": "7"}),
        (CARD, {"idempotent": False}),
        (CARD, {"own": {"sequence_id": {"int64_param": 7}}}),
        (CARD, {"own": {"priority": {"string_param": "wrong"}}}),
    ],
    ids=["card", "random", "sequence", "once", "unread-sequence", "wrong"],
)
async def test_what_has_no_equal_is_asked_each_time(cache, pool, ask, of, said):
    """And at the same time, if it comes so."""
    tasks = [ask(request(**said), of) for _ in range(2)]
    await pool.asked(2)
    pool.answer(b"1", 0)
    pool.answer(b"2", 1)
    assert [(await task).payload for task in tasks] == [b"1", b"2"]
    assert (len(cache.kept), cache.uses) == (0, {})


async def test_without_room_nothing_is_kept(pool, clock):
    """Nor shared: nobody asked for it."""
    cache = Cache(pool, 0, clock)
    tasks = [asyncio.create_task(cache.infer(CARD, request(), NEVER)) for _ in range(2)]
    await pool.asked(2)
    pool.answer(b"1", 0)
    pool.answer(b"2", 1)
    assert [(await task).payload for task in tasks] == [b"1", b"2"]


async def test_answers_on_a_stream_are_not_kept(cache):
    """They are the pool's."""
    assert [each.payload async for each in cache.stream(CARD, request(), NEVER)] == [b"one"]
    assert len(cache.kept) == 0


async def test_an_error_is_given_to_all_who_wait_and_not_kept(cache, pool, ask, keep):
    """To each as its own, which knows who failed."""
    tasks = [ask() for _ in range(3)]
    await pool.asked()
    pool.fail(SpecialistFailed("nan", replica="r7"))
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert [(type(e), e.message, e.replica) for e in errors] == 3 * [
        (SpecialistFailed, "nan", "r7")
    ]
    assert len(set(map(id, errors))) == 3
    assert (await keep()).reused is None
    assert len(pool.calls) == 2


async def test_an_error_leaves_no_cycles_behind(pool, ask):
    """Garbage that has to be looked for, and keeps the request for so long."""
    task = ask()
    await pool.asked()
    gc.collect()
    gc.disable()
    try:
        pool.fail(SpecialistFailed("of a cycle"))
        with contextlib.suppress(SpecialistFailed):
            await task
        del task
        pool.calls.clear()
        await asyncio.sleep(0)
        left = [each for each in gc.get_objects() if isinstance(each, SpecialistFailed)]
        assert not [each for each in left if each.message == "of a cycle"]
    finally:
        gc.enable()


async def test_a_bug_reaches_all_who_wait(pool, ask):
    """As it is, for the log."""
    tasks = [ask() for _ in range(2)]
    await pool.asked()
    pool.fail(ZeroDivisionError())
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(error) for error in errors] == 2 * [ZeroDivisionError]


async def test_who_is_busy_refuses_at_once(cache, pool, ask):
    """Where nothing is kept; others than replicas of such cards are not asked twice."""
    pool.busy = True
    with pytest.raises(Overloaded):
        await ask()
    assert not cache.promises(card(ttl=None), 1.0)
    assert not cache.promises(CARD, 0.0)
    assert not pool.calls


# ------------------------------------------------------------------ calls that are shared
async def test_equal_requests_share_one_call(cache, pool, ask):
    """Whoever did not make it has its answer from another request, with its own id."""
    tasks = [ask(request(id=name)) for name in ("a", "b", "c")]
    await pool.asked()
    pool.answer()
    first, *others = [await task for task in tasks]
    assert first.reused is None
    assert [(each.reused.age, each.reused.id) for each in others] == [(0.0, "b"), (0.0, "c")]
    assert len(pool.calls) == 1
    uses = cache.uses["s:1"]
    assert (uses.misses.count, uses.hits.count) == (1, 2)


async def test_an_answer_that_is_too_large_to_keep_is_shared(cache, pool, ask):
    """By those who wait."""
    tasks = [ask() for _ in range(2)]
    await pool.asked()
    pool.answer(bytes(MOST))
    assert [len((await task).payload) for task in tasks] == [MOST, MOST]
    assert len(cache.kept) == 0


@pytest.mark.parametrize(
    "said",
    [
        {"x": b"2"},
        {"own": {"timeout": {"int64_param": 5}}},
        {"own": {"priority": {"uint64_param": 1}}},
        {"avoid": frozenset({"r1"})},
    ],
    ids=["input", "timeout", "priority", "avoid"],
)
async def test_who_asks_otherwise_has_a_call_of_its_own(pool, ask, said):
    """What is asked of whom, and how long it may wait there."""
    tasks = [ask(), ask(request(**said))]
    await pool.asked(2)
    pool.answer(place=0)
    pool.answer(place=1)
    await asyncio.gather(*tasks)


async def test_how_long_a_request_may_wait_changes_no_answer(cache, keep):
    """Once there is one."""
    await keep()
    said = {"timeout": {"int64_param": 5}, "priority": {"uint64_param": 1}}
    assert (await cache.infer(CARD, request(own=said), NEVER)).reused is not None


@pytest.mark.parametrize("leaving", [(0,), (1,), (0, 1), (0, 2)])
async def test_one_who_leaves_costs_the_others_nothing(pool, ask, leaving):
    """Also if it was the first."""
    tasks = [ask() for _ in range(3)]
    await pool.asked()
    for place in leaving:
        await left(tasks[place])
    assert not pool.cancelled
    pool.answer()
    for place in {0, 1, 2} - set(leaving):
        assert (await tasks[place]).payload == b"y"


async def test_when_all_have_left_the_call_ends(cache, pool, ask, keep):
    """And who comes afterwards has another one."""
    tasks = [ask() for _ in range(2)]
    await pool.asked()
    for task in tasks:
        await left(task)
    assert not cache._sharing._calls
    after = ask()
    await pool.asked(2)
    assert pool.cancelled == 1
    pool.answer()
    assert (await after).payload == b"y"


async def test_who_comes_as_the_last_one_leaves_has_a_call_of_its_own(pool, ask):
    """In the same turn of the loop, when the one before is about to end."""
    task = ask()
    await pool.asked()
    task.cancel()
    after = ask()
    await pool.asked(2)
    pool.answer()
    assert (await after).payload == b"y"
    assert task.cancelled()


async def test_who_leaves_before_the_call_is_on_its_way_has_asked_nobody(cache, pool, ask):
    """Neither before it has looked, nor when it has."""
    await left(ask())
    assert not pool.calls
    task = ask()
    await asyncio.sleep(0)
    await left(task)
    await until(lambda: not cache._sharing._tasks)
    assert len(pool.calls) == pool.cancelled


async def test_who_leaves_while_its_digest_is_made_asks_nobody(cache, pool, ask):
    """That of a large request is made in a thread."""
    task = ask(request(bytes(1 << 22)))
    await asyncio.sleep(0)
    assert not task.done()
    await left(task)
    assert not pool.calls


async def test_large_requests_are_kept_as_small_ones(cache, pool, keep):
    """By their digest, which is made once for all candidates."""
    large = request(bytes(1 << 20))
    await keep(large)
    content = large.content
    assert (await cache.infer(CARD, large, NEVER)).payload == b"y"
    assert large.content is content


async def test_who_waits_keeps_its_own_deadline(cache, pool, clock, ask):
    """The call goes on for whoever has more time."""
    slow = ask(deadline=Deadline(clock() + 60))
    await pool.asked()
    quick = ask(deadline=Deadline(clock() + 0.005))
    with pytest.raises(DeadlineExceeded, match="s:1 did not answer in time"):
        await quick
    assert not pool.cancelled
    pool.answer()
    assert (await slow).payload == b"y"


async def test_a_call_that_was_late_for_the_first_goes_on_for_the_others(pool, clock, ask):
    """With the time that they have, if that is any."""
    first = ask(deadline=Deadline(clock() + 60))
    await pool.asked()
    second = ask(deadline=Deadline(clock() + 90))
    await asyncio.sleep(0)
    pool.fail(DeadlineExceeded("late", replica="r1"))
    await pool.asked(2)
    assert [deadline.at - clock() for _, _, deadline in pool.calls] == [60, 90]
    pool.answer()
    assert (await first).payload == (await second).payload == b"y"


async def test_a_call_that_was_late_for_all_names_who_was(pool, clock, ask):
    """The others have too little time to begin again."""
    first = ask(deadline=Deadline(clock() + 60))
    await pool.asked()
    second = ask(deadline=Deadline(clock() + 60.001))
    await asyncio.sleep(0)
    clock.advance(60)
    pool.fail(DeadlineExceeded("late", replica="r1"))
    for task in (first, second):
        with pytest.raises(DeadlineExceeded, match="late") as caught:
            await task
        assert caught.value.replica == "r1"
    assert len(pool.calls) == 1


async def test_closing_ends_what_is_shared(cache, pool, ask):
    """Those who wait are told."""
    tasks = [ask() for _ in range(2)]
    await pool.asked()
    await cache.close()
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(error) for error in errors] == 2 * [Unavailable]
    assert pool.cancelled == 1


async def test_all_who_wait_know_who_was_asked(pool, ask):
    """So that what is asked beside it goes elsewhere."""
    requests = [request() for _ in range(2)]
    tasks = [ask(each) for each in requests]
    await pool.asked()
    await until(lambda: all(each.asked == "r1" for each in requests))
    pool.answer()
    await asyncio.gather(*tasks)


async def test_what_the_first_does_to_its_request_does_not_reach_the_call(pool, ask):
    """It may be tried elsewhere, and traced, while others wait for that call."""
    own = request(trace=b"trace", avoid=frozenset({"r1"}))
    task = ask(own)
    await asyncio.sleep(0)
    own.trace, own.avoid = b"", frozenset({"r1", "r2"})
    await pool.asked()
    _, sent, _ = pool.calls[0]
    assert (sent.payload, sent.trace, sent.avoid) == (own.payload, b"trace", frozenset({"r1"}))
    pool.answer()
    await task


# ------------------------------------------------------------------ stale answers
async def test_a_stale_answer_is_there_until_it_is_too_old(cache, clock, pool, keep):
    """Beyond its time, without replicas, and with its age."""
    await keep(request(id="one"))
    clock.advance(3 * TTL)
    pool.running.clear()
    stale = cache.stale(CARD, request(id="two"), 3 * TTL)
    assert (stale.payload, stale.reused.age, stale.reused.id) == (b"y", 3 * TTL, "two")
    assert cache.stale(CARD, request(), 3 * TTL - 1) is None
    pool.running = {"model", "other"}
    assert cache.stale(CARD, request(), 3 * TTL) is not None


async def test_a_stale_answer_is_no_less_somebodys_own(cache, keep):
    """Of one tenant, to one request, of one specialist, and only where that may be kept."""
    await keep(request(tenant="a"))
    assert cache.stale(CARD, request(tenant="a"), 1.0) is not None
    assert cache.stale(CARD, request(tenant="b"), 1.0) is None
    assert cache.stale(CARD, request(b"2", tenant="a"), 1.0) is None
    assert cache.stale(card("t"), request(tenant="a"), 1.0) is None
    assert cache.stale(card(ttl=None), request(tenant="a"), 1.0) is None


async def test_what_is_gone_is_forgotten(cache, pool, keep):
    """With its answers and counts, at once."""
    others = card("t")
    await keep()
    await keep(of=others)
    cache.retain({"t:1"})
    assert (len(cache.kept), set(cache.uses)) == (1, {"t:1"})
    assert cache.stale(CARD, request(), 1.0) is None
    assert cache.stale(others, request(), 1.0) is not None


# ------------------------------------------------------------------ told
async def test_hits_and_misses_are_counted_with_their_time(cache, clock, pool, ask):
    """A miss until it has its call, and a hit until it has its answer."""
    tasks = [ask() for _ in range(2)]
    await pool.asked()
    clock.advance(2)
    pool.answer()
    await asyncio.gather(*tasks)
    await cache.infer(CARD, request(), NEVER)
    uses = cache.uses["s:1"]
    assert (uses.misses.count, uses.misses.seconds) == (1, 0)
    assert (uses.hits.count, uses.hits.seconds) == (2, 2)


async def test_the_attempts_span_says_whether_it_was_a_hit(cache, pool, ask, monkeypatch):
    """Also where the answer was another request's."""
    said = []
    monkeypatch.setattr(telemetry, "is_enabled", lambda: True)
    monkeypatch.setattr(telemetry, "note", lambda name, value: said.append((name, value)))
    tasks = [ask() for _ in range(2)]
    await pool.asked()
    pool.answer()
    await asyncio.gather(*tasks)
    await cache.infer(CARD, request(), NEVER)
    assert said == [("fabric.cache", value) for value in ("miss", "hit", "hit")]

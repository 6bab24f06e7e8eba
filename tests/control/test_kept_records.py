"""What routes learn from, in the store."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import select

from fabric.api.routing.v1 import learning_service_pb2 as pb
from fabric.control import records as module
from fabric.control.records import Records
from fabric.control.store import Superseded, Writes, opened
from fabric.control.tables import REQUESTS
from fabric.core.errors import Conflict, Overloaded, Unavailable
from fabric.testing import ManualClock, route


def decision(request: str, route: str = "r", time: float = 1.0, **fields: object) -> pb.Decision:
    known = ["a:1", "b:1"]
    return pb.Decision(request=request, route=route, time=time, candidates=known, **fields)


def outcome(request: str, specialist: str = "a:1", **fields: object) -> pb.Outcome:
    return pb.Outcome(request=request, specialist=specialist, seconds=0.1, **fields)


def score(request: str, value: float = 1.0, **fields: object) -> pb.Feedback:
    return pb.Feedback(request=request, score=value, **fields)


@pytest.fixture
async def store(store_url):
    async with opened(store_url) as store:
        await store.load()
        await store.write(Writes(routes={name: route(name, "a") for name in "rs"}))
        yield store


@pytest.fixture
async def records(store):
    made = Records(store, 100, ManualClock(1e6))
    await made.load(["r", "s"])
    return made


async def test_what_is_recorded_is_joined_by_request(records):
    """Decisions, outcomes and feedback of one request are one record; the latest come first."""
    await records.record([decision("x"), decision("y", time=2.0)], [outcome("x"), outcome("y")])
    assert await records.submit([score("x"), score("y", 0.5)]) == 0
    await records.record([decision("z", "s", 3.0)], [])

    assert await records.latest("r", "", 10) == [
        pb.Record(
            decision=decision("y", time=2.0), outcomes=[outcome("y")], feedback=[score("y", 0.5)]
        ),
        pb.Record(decision=decision("x"), outcomes=[outcome("x")], feedback=[score("x")]),
    ]
    assert [each.decision.request for each in await records.latest("", "", 2)] == ["z", "y"]
    assert [each.decision.request for each in await records.latest("", "x", 2)] == ["x"]


async def test_what_comes_late_and_again_is_kept_once(records):
    """In any order: outcomes and feedback wait for their decision, and repeats change nothing."""
    shadow = outcome("x", "b:1", is_shadow=True)
    assert await records.submit([score("x"), score("never")]) == 2
    await records.record([], [shadow])
    assert await records.latest("", "", 10) == []
    for _ in range(2):
        await records.record([decision("x")], [outcome("x")])
    await records.record([], [shadow])
    assert await records.submit([score("x")]) == 0

    (record,) = await records.latest("", "", 10)
    assert record.outcomes == [shadow, outcome("x")]
    assert record.feedback == [score("x")]


async def test_what_is_said_again_takes_the_place_of_what_was_said_before(records):
    """Under its id, or by default of the same request and specialist; also within one call."""
    await records.record([decision("x"), decision("y")], [])
    await records.submit([score("x", 0.1), score("x", 0.2), score("x", 0.3, specialist="b:1")])
    await records.submit([score("x", 0.4), score("x", 0.5, id="1")])
    await records.submit([score("y", 0.6, id="1")])

    said = {each.decision.request: list(each.feedback) for each in await records.latest("", "", 10)}
    assert sorted(said["x"], key=lambda each: each.score) == [
        score("x", 0.3, specialist="b:1"),
        score("x", 0.4),
    ]
    assert said["y"] == [score("y", 0.6, id="1")]


async def test_the_newest_requests_of_a_route_are_kept(records, monkeypatch):
    """The oldest go with all that was said of them; other routes keep theirs."""
    monkeypatch.setattr(module, "_SLACK", 10)
    await records.record([decision("other", "s", 0.5)], [])
    for start in range(0, 300, 30):
        made = [decision(f"x{n}", time=1.0 + n) for n in range(start, start + 30)]
        await records.record(made, [outcome(each.request) for each in made])
        await records.submit([score(each.request) for each in made])

    kept = await records.latest("r", "", 1000)
    assert 100 <= len(kept) <= 110
    assert kept[0].decision.request == "x299"
    assert len(await records.latest("s", "", 10)) == 1
    assert await records.labels("r", 0.0) == (len(kept), len(kept))
    assert await records.submit([score("x0")]) == 1


async def test_what_waits_for_its_decision_does_not_wait_for_ever(store, monkeypatch):
    """It is gone when there is too much of it, or after a day."""
    monkeypatch.setattr(module, "_SLACK", 10)
    monkeypatch.setattr(module, "_WAITING_KEPT", 50)
    clock = ManualClock(1e6)
    records = Records(store, 100, clock)
    for start in range(0, 120, 20):
        clock.advance(1)
        await records.submit([score(f"x{n}") for n in range(start, start + 20)])
    await records.record([decision("x0"), decision("x119")], [])
    found = {each.decision.request: len(each.feedback) for each in await records.latest("", "", 9)}
    assert found == {"x0": 0, "x119": 1}

    clock.advance(86_400)
    await records.submit([score(f"y{n}") for n in range(60)])
    await records.record([decision("x118")], [])
    (record,) = await records.latest("", "x118", 9)
    assert not record.feedback


async def test_too_much_about_one_request_is_refused(records):
    """What would be too much is refused as a whole, while others' feedback is taken."""
    await records.record([decision("x"), decision("y")], [])
    await records.submit([score("x", id=str(n)) for n in range(64)])
    refused, taken = await asyncio.gather(
        records.submit([score("y"), score("x", id="64")]),
        records.submit([score("x", 0.0, id="0")]),
        return_exceptions=True,
    )

    assert isinstance(refused, Conflict)
    assert "of request 'x' 64 different things were said" in refused.message
    assert taken == 0
    assert await records.labels("r", 0.0) == (1, 1)


async def test_labels_are_counted_from_a_time_on(store):
    """Requests are counted, not what was said of them."""
    clock = ManualClock(1e6)
    records = Records(store, 100, clock)
    await records.record([decision("x"), decision("y"), decision("z", "s")], [])
    await records.submit([score("x"), score("x", id="again"), score("z"), score("never")])
    clock.advance(10)
    await records.submit([score("y")])

    assert await records.labels("r", 0.0) == (2, 2)
    assert await records.labels("r", 1e6 + 5) == (2, 1)
    assert await records.labels("none", 0.0) == (0, 0)


async def test_a_route_that_goes_takes_its_records_along(records, store):
    """Also one that went while nobody looked."""
    await records.record([decision("x"), decision("z", "s")], [])
    await records.submit([score("x"), score("z")])
    await store.write(Writes(routes={"r": None}))
    assert [each.decision.request for each in await records.latest("", "", 9)] == ["z"]

    await Records(store, 100).load(["r"])
    assert await records.latest("", "", 9) == []
    assert await records.submit([score("x")]) == 1


async def test_what_is_decided_while_its_route_goes_is_not_stored(records, store):
    """Nor how it went; all that comes along is."""
    async with store.writing():
        deleting = asyncio.ensure_future(store.write(Writes(routes={"r": None})))
        await asyncio.sleep(0)
        late = asyncio.ensure_future(
            records.record([decision("x"), decision("z", "s")], [outcome("x"), outcome("z")])
        )
        await asyncio.sleep(0)
    await asyncio.gather(deleting, late)

    (kept,) = await records.latest("", "", 9)
    assert (kept.decision, list(kept.outcomes)) == (decision("z", "s"), [outcome("z")])
    async with store.transaction() as connection:
        stored = await connection.execute(select(REQUESTS.c.request))
        assert stored.scalars().all() == ["z"]


async def test_many_calls_share_a_transaction(records, store, monkeypatch):
    """What comes while one is written is written together."""
    begun = 0
    writing = store.writing

    def counted():
        nonlocal begun
        begun += 1
        return writing()

    monkeypatch.setattr(store, "writing", counted)
    await asyncio.gather(
        *(records.record([decision(f"x{n}")], []) for n in range(50)),
        *(records.submit([score(f"x{n}")]) for n in range(50)),
    )

    assert begun <= 3
    assert await records.labels("r", 0.0) == (50, 50)


async def test_a_caller_that_leaves_costs_the_others_nothing(records):
    """What it gave is stored, as is what came with it."""
    leaving = asyncio.ensure_future(records.record([decision("x")], []))
    staying = asyncio.ensure_future(records.record([decision("y")], []))
    await asyncio.sleep(0)
    leaving.cancel()
    await staying
    await records.close()

    assert len(await records.latest("r", "", 9)) == 2


async def test_more_than_the_store_can_take_is_refused(records, monkeypatch):
    """What waits is bounded; it may be sent again."""
    monkeypatch.setattr(module, "_MOST_PENDING", 60)
    calls = [records.record([decision("x")], [outcome("x")]) for _ in range(4)]
    results = await asyncio.gather(*calls, return_exceptions=True)

    assert [type(each) for each in results].count(Overloaded) == 3
    await records.record([decision("y")], [])


async def test_one_that_is_followed_by_another_records_no_more(records, store, store_url):
    """It is told so, and knows that it must end."""
    async with opened(store_url) as other:
        await other.load()
    with pytest.raises(Superseded):
        await records.record([decision("x")], [])
    assert store.superseded.is_set()


@pytest.mark.parametrize("error", [Unavailable("it is away"), ZeroDivisionError("a bug")])
async def test_a_store_that_fails_fails_the_calls_that_need_it(records, store, monkeypatch, error):
    """All that were together, and none after; whatever went wrong."""

    @asynccontextmanager
    async def away():
        raise error
        yield

    with monkeypatch.context() as patched:
        patched.setattr(store, "writing", away)
        calls = records.record([decision("x")], []), records.submit([score("x")])
        results = await asyncio.gather(*calls, return_exceptions=True)
    assert results == [error, error]

    await records.record([decision("x")], [])
    assert await records.submit([score("x")]) == 0

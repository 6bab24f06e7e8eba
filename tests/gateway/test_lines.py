"""Who is next in a line."""

from __future__ import annotations

import asyncio

import pytest

from fabric.gateway.lines import Line


@pytest.fixture
def line():
    return Line()


async def steps():
    for _ in range(5):
        await asyncio.sleep(0)


def entering(line, seen, name, order=0, settled=None):
    async def enter():
        await line.turn(order, settled)
        seen.append(name)

    return asyncio.create_task(enter())


async def test_one_has_its_turn_and_the_others_wait(line):
    """In the order in which they came."""
    seen = []
    tasks = [entering(line, seen, name) for name in "abc"]
    for count in (1, 2, 3):
        await steps()
        assert seen == list("abc")[:count]
        assert len(line) == 4 - count
        line.release()
    await asyncio.gather(*tasks)
    assert len(line) == 0


async def test_the_lowest_order_is_first_once_it_is_settled(line):
    """Whoever has it may have come late."""
    seen, here = [], asyncio.Event()
    late = entering(line, seen, "second", 2, here.wait)
    await steps()
    early = entering(line, seen, "first", 1, here.wait)
    behind = entering(line, seen, "third", 3)
    await steps()
    assert seen == []
    here.set()
    for _ in range(3):
        await steps()
        line.release()
    await asyncio.gather(late, early, behind)
    assert seen == ["first", "second", "third"]


async def test_who_leaves_holds_nobody_up(line):
    """While it settles, while it waits, and in the moment its turn comes."""
    seen = []
    settling = entering(line, seen, "settling", 1, asyncio.Event().wait)
    waiting = entering(line, seen, "waiting", 3)
    next_ = entering(line, seen, "next", 2)
    last = entering(line, seen, "last", 4)
    await steps()
    waiting.cancel()
    settling.cancel()
    await steps()
    assert (seen, len(line)) == (["next"], 2)
    leaving = entering(line, seen, "leaving", 3)
    await steps()
    line.release()
    leaving.cancel()
    await steps()
    assert seen == ["next", "last"]
    line.release()
    assert len(line) == 0
    await asyncio.gather(settling, waiting, next_, last, leaving, return_exceptions=True)


async def test_a_turn_passes_by_who_is_just_leaving(line):
    """A wait that is cancelled in the moment of a release takes no turn."""
    seen = []
    holder, leaving, stays = (entering(line, seen, name) for name in "abc")
    await steps()
    leaving.cancel()
    line.release()
    await asyncio.gather(holder, leaving, stays, return_exceptions=True)
    assert (seen, len(line)) == (["a", "c"], 1)
    line.release()
    assert len(line) == 0

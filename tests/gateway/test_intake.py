"""Bodies of requests on their way in."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest

from fabric.core.errors import DeadlineExceeded, InvalidRequest, Overloaded
from fabric.gateway.intake import SMALL, Disconnected, Held, Intake, Room

LARGE = 2 * SMALL


def framed(size):
    return b"\0" + size.to_bytes(4, "big") + b"a" * size


class Body:
    """What `receive` gives: chunks of a body, then the end of the connection."""

    def __init__(self, body=b"", cut=1 << 18, *, ends=True):
        self.parts = [body[at : at + cut] for at in range(0, len(body), cut)] or [b""]
        self.ends = ends
        self.read = 0

    def __call__(self):
        event = asyncio.get_running_loop().create_future()
        if self.read < len(self.parts):
            self.read += 1
            more = self.read < len(self.parts) or not self.ends
            part = self.parts[self.read - 1]
            event.set_result({"type": "http.request", "body": part, "more_body": more})
        elif self.ends:
            event.set_result({"type": "http.disconnect"})
        return event


def intake(most=1 << 24, room=1 << 23, patience=60.0):
    return Intake(most, room, patience)


@pytest.mark.parametrize("cut", [1, 2, 7, 1 << 20])
async def test_a_message_is_read_however_it_is_cut(cut):
    """With its prefix, and without waiting for what comes behind it."""
    body = Body(framed(100), cut)

    assert await intake().message(body) == framed(100)
    assert body.read == len(body.parts)


async def test_large_messages_wait_for_room_and_are_not_read_meanwhile():
    """In their order; a small one needs none, and room is free again with the last reference."""
    taking = intake(room=3 * SMALL)
    first = await taking.message(Body(framed(LARGE)))
    assert isinstance(first, Held)
    second = Body(framed(LARGE))
    waiting = asyncio.create_task(taking.message(second))
    assert await taking.message(Body(framed(10))) == framed(10)
    await asyncio.sleep(0)
    assert (second.read, waiting.done()) == (1, False)

    view = memoryview(first)
    del first
    await asyncio.sleep(0)
    assert not waiting.done()
    del view
    gc.collect()
    assert await waiting == framed(LARGE)


async def test_a_message_larger_than_all_room_comes_in_alone():
    """It waits until nothing else is held, and then others wait for it."""
    taking = intake(room=SMALL)

    assert len(await taking.message(Body(framed(4 * SMALL)))) == 4 * SMALL + 5
    gc.collect()
    assert len(await taking.message(Body(framed(4 * SMALL)))) == 4 * SMALL + 5


async def test_garbage_holds_no_room_from_who_waits(monkeypatch):
    """However late Python would look for it; and what is dropped meanwhile is found too."""
    monkeypatch.setattr("fabric.gateway.intake._SWEEP", 0.01)
    room = Room(10)
    dropped = []
    gc.disable()
    try:
        for is_dropped_later in (False, True):
            cycle = [await room.take(10)]
            cycle.append(cycle)
            if is_dropped_later:
                dropped.append(cycle)
            del cycle
            waiting = asyncio.create_task(room.take(10))
            await asyncio.sleep(0)
            dropped.clear()
            async with asyncio.timeout(5):
                await waiting
            del waiting
    finally:
        gc.enable()


async def test_nobody_waits_for_room_for_ever():
    """Who has it may be slow; the one behind it is told after a while, and takes none."""
    taking = intake(room=SMALL, patience=0.01)
    held = await taking.take(LARGE)
    with pytest.raises(Overloaded, match=f"no room for {LARGE} bytes in 0.01 s"):
        await taking.take(LARGE)
    del held
    await taking.take(LARGE)


async def test_who_leaves_while_it_waits_takes_no_room():
    """Neither before its turn nor at the very moment of it."""
    room = Room(10)
    held = await room.take(10)
    gone, next_ = (asyncio.create_task(room.take(10)) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    del held
    next_.cancel()
    await asyncio.gather(gone, next_, return_exceptions=True)

    async with asyncio.timeout(1):
        await room.take(10)


async def test_room_that_a_thread_gives_back_wakes_who_waits_for_it():
    """On the loop's own thread, though the loop has nothing else to do."""
    room = Room(10)
    held = [await room.take(10)]
    waiting = asyncio.create_task(room.take(10))
    await asyncio.sleep(0)

    thread = threading.Timer(0.01, held.clear)
    thread.start()
    async with asyncio.timeout(60):  # the loop sleeps until then, unless it is woken
        await waiting
    thread.join()


async def test_what_is_no_whole_message_is_refused():
    """Too short, too long, two of them, more than is allowed, and cut off."""
    for body, error in (
        (b"", InvalidRequest),
        (b"\0\0\0", InvalidRequest),
        (framed(10)[:-1], InvalidRequest),
        (framed(10) + b"b", InvalidRequest),
        (framed(LARGE) + b"b", InvalidRequest),
        (framed(LARGE)[:-1], InvalidRequest),
        (framed(1 << 24), Overloaded),
    ):
        with pytest.raises(error):
            await intake().message(Body(body))
    with pytest.raises(Overloaded, match="4294967300 bytes, 16777216 are allowed"):
        await intake().message(Body(b"\0\xff\xff\xff\xff", ends=False))


def filling(rest, error=None):
    """Fills a buffer with *rest*, and then fails with *error* if there is one."""

    async def fill(body, size, patience):
        body += rest
        if error is not None:
            raise error

    return fill


async def test_a_message_is_collected_where_room_was_taken_at_once():
    """Without its prefix, and whole."""
    taking = intake()
    for size in (10, LARGE):
        body = taking.take_at_once(size + 5)
        body += framed(size)[:7]
        assert await taking.collected(body, size + 5, filling(framed(size)[7:])) == framed(size)[5:]
    with pytest.raises(InvalidRequest, match="exactly one gRPC message"):
        await taking.collected(bytearray(), 15, filling(framed(10) + b"a"))
    with pytest.raises(InvalidRequest, match="exactly one gRPC message"):
        await taking.collected(bytearray(), 15, filling(framed(9)))
    with pytest.raises(DeadlineExceeded):
        await taking.collected(bytearray(), 15, filling(b"", TimeoutError()))
    with pytest.raises(Disconnected):
        await taking.collected(bytearray(), 15, filling(b"", OSError()))


async def test_room_is_taken_at_once_or_not_at_all():
    """Nobody passes those who wait, and nobody gets more than is allowed."""
    taking = intake(most=4 * SMALL, room=3 * SMALL)
    assert taking.take_at_once(4 * SMALL + 1) is None
    assert taking.take_at_once(4 * SMALL) is None  # more than all room: it has to come in alone
    first = taking.take_at_once(LARGE)
    assert taking.take_at_once(LARGE) is None
    waiting = asyncio.create_task(taking.take(LARGE))
    await asyncio.sleep(0)
    assert taking.take_at_once(SMALL + 1) is None
    assert taking.take_at_once(SMALL) is not None
    del first
    await waiting
    assert taking.take_at_once(SMALL) is not None


async def test_a_body_that_stops_coming_is_given_up():
    """After the time without a byte; the room it took is free."""
    taking = intake(room=SMALL, patience=0.01)
    for size in (1, LARGE):
        stalled = Body(framed(size)[:4] if size == 1 else framed(size)[:-1], ends=False)
        with pytest.raises(DeadlineExceeded, match="nothing of the request came"):
            await taking.message(stalled)
    assert await taking.message(Body(framed(LARGE))) == framed(LARGE)


async def test_a_client_that_leaves_ends_the_reading():
    """Before the first byte and between two."""
    gone = Body()
    gone.read = 1
    with pytest.raises(Disconnected):
        await intake().message(gone)
    cut = Body(framed(LARGE)[: SMALL // 2], ends=False)
    reading = asyncio.create_task(intake().message(cut))
    await asyncio.sleep(0)
    cut.ends = True
    cut.parts.append(b"")
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


async def test_a_body_says_its_length_if_it_is_large():
    """So that there is room for it before it is read."""
    taking = intake()
    assert await taking.body(Body(b"abc"), None) == b"abc"
    assert await taking.body(Body(b"a" * SMALL), None) == b"a" * SMALL
    assert len(await taking.body(Body(b"a" * LARGE), LARGE)) == LARGE
    with pytest.raises(InvalidRequest, match="comes with its Content-Length"):
        await taking.body(Body(b"a" * LARGE), None)
    with pytest.raises(Overloaded):
        await taking.body(Body(b"a" * LARGE), 1 << 25)


async def test_who_leaves_just_as_room_is_given_is_passed_by():
    """The next one has it, and all that was given comes back."""
    room = Room(10)
    held = await room.take(10)
    gone, stays = (asyncio.create_task(room.take(10)) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    del held
    await asyncio.gather(gone, return_exceptions=True)
    async with asyncio.timeout(1):
        await stays

"""Large frames of local links, which are written to memory that both ends have."""

from __future__ import annotations

import asyncio
import gc
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import until
from test_link import Echo, Held, linked

from fabric.core.deadlines import NEVER
from fabric.core.errors import Unavailable
from fabric.link import frames, memory
from fabric.link.client import Link
from fabric.link.frames import ELSEWHERE, RESPONSE, Limits
from fabric.link.memory import Lent, borrowed

LARGE = bytes(range(256)) * 4096


@given(st.lists(st.one_of(st.integers(1, 3000), st.integers(-20, -1)), max_size=60))
def test_what_is_written_stays_until_it_is_freed(steps):
    """In whatever order places are taken and freed, none overlaps another, and none is lost."""
    lent = Lent(1 << 14)
    seen = borrowed(lent.offer)
    held: dict[int, bytes] = {}
    try:
        for number, step in enumerate(steps):
            if step > 0:
                data = bytes([number % 251]) * step
                place = lent.write((data[:1], data[1:]), step)
                if place is not None:
                    assert (place + step) % 64 == 0
                    held[place] = data
            elif held:
                place = list(held)[step % len(held)]
                del held[place]
                assert lent.free(place)
            assert all(seen[at : at + len(data)] == data for at, data in held.items())
        beside = {place + 1 for place in held} - held.keys()
        assert not any(map(lent.free, beside))
        for place in held:
            assert lent.free(place)
        assert lent.is_idle
        whole = (1 << 14) - 64
        assert lent.write((bytes(whole),), whole) is not None
    finally:
        lent.close()


def test_only_what_was_offered_is_borrowed(tmp_path):
    """A path that leads nowhere, to something else, or to nothing that can be mapped is refused."""
    lent = Lent(1 << 13)
    try:
        token, path = lent.offer[:32], lent.offer[32:]
        other = tmp_path / "other"
        other.write_bytes(bytes(4096))
        (tmp_path / "empty").touch()
        for offer in (
            bytes(32) + path,
            token + bytes(other),
            token + bytes(tmp_path / "empty"),
            token + bytes(tmp_path / "none"),
            token + bytes(tmp_path),
            token + b"\0",
            token[:5],
        ):
            assert borrowed(offer) is None
        assert borrowed(lent.offer)[:32] == token
    finally:
        lent.close()


def test_what_was_written_takes_no_memory_for_ever():
    """The pages go back to the system, and the memory can be written again."""
    lent = Lent(1 << 22)
    try:
        place = lent.write((bytes(1 << 21),), 1 << 21)
        written = os.fstat(lent._file).st_blocks
        lent.free(place)
        lent.shrink()
        assert os.fstat(lent._file).st_blocks < written // 100
        place = lent.write((LARGE,), len(LARGE))
        assert borrowed(lent.offer)[place : place + len(LARGE)] == LARGE
    finally:
        lent.close()


async def taken(server, link):
    """Both ends have the memory of the other."""
    (peer,) = server.peers
    await link.call(LARGE, NEVER)
    await until(lambda: link._lent.is_taken and peer._lent.is_taken)
    return peer


OFTEN = Limits(ping_interval=0.02)


async def test_large_frames_are_not_sent():
    """Requests and answers are read where they were written, and are free when nobody reads."""
    async with linked(Echo(), OFTEN) as (server, link):
        peer = await taken(server, link)
        answers = await asyncio.gather(*(link.call(LARGE[at:], NEVER) for at in range(8)))
        assert [bytes(answer) for answer in answers] == [LARGE[at:] for at in range(8)]
        assert not peer._lent.is_idle
        del answers
        await until(lambda: link._lent.is_idle and peer._lent.is_idle)


async def test_what_is_free_is_told_with_what_comes_next(monkeypatch):
    """Without a write of its own, which would wake the peer for nothing else."""
    async with linked(Echo()) as (server, link):
        peer = await taken(server, link)
        answer = await link.call(LARGE, NEVER)
        assert link._lent.is_idle
        flushes = []
        monkeypatch.setattr(link, "_flush", lambda: flushes.append(1) or Link._flush(link))
        del answer
        for _ in range(5):
            await asyncio.sleep(0)
        assert not flushes
        assert not peer._lent.is_idle
        await link.call(b"small", NEVER)
        assert peer._lent.is_idle
        assert len(flushes) == 1


async def test_what_memory_has_no_room_for_is_sent(monkeypatch):
    """Nobody waits for whoever reads slowly."""
    monkeypatch.setattr(frames, "Lent", lambda: Lent(3 << 20))
    async with linked(Echo()) as (server, link):
        await taken(server, link)
        held = [await link.call(LARGE, NEVER) for _ in range(6)]
        assert all(bytes(answer) == LARGE for answer in held)


async def test_a_peer_that_does_not_find_the_memory_is_sent_all(monkeypatch):
    """As one in another container."""
    monkeypatch.setattr(frames, "borrowed", lambda offer: None)
    async with linked(Echo()) as (_, link):
        for _ in range(3):
            assert bytes(await link.call(LARGE, NEVER)) == LARGE
        assert not link._lent.is_taken


async def test_a_system_without_such_memory_sends_all(monkeypatch):
    """It is asked once."""

    def none():
        raise OSError("no such call")

    monkeypatch.setattr(frames, "Lent", none)
    async with linked(Echo()) as (_, link):
        for _ in range(3):
            assert bytes(await link.call(LARGE, NEVER)) == LARGE
        assert not link._is_local


async def test_tcp_lends_nothing(monkeypatch):
    """Its ends may be on two machines."""
    monkeypatch.setattr("fabric.link.client.connected", lambda address: None)
    async with linked(Echo()) as (_, link):
        for _ in range(2):
            assert bytes(await link.call(LARGE, NEVER)) == LARGE
        assert link._lent is None


async def test_an_answer_outlives_its_link():
    """Whoever reads it has the memory, be the link gone or the process."""
    async with linked(Echo()) as (server, link):
        await taken(server, link)
        answer = await link.call(LARGE, NEVER)
    assert bytes(answer) == LARGE
    del answer
    gc.collect()
    await asyncio.sleep(0)


async def test_a_cancelled_call_gives_its_memory_back():
    """When the replica has dropped it."""
    handler = Held()
    async with linked(handler, OFTEN) as (_, link):
        task = asyncio.create_task(link.call(LARGE, NEVER))
        (await handler.calls.get()).respond(LARGE)
        await task
        await until(lambda: link._lent.is_taken)
        task = asyncio.create_task(link.call(LARGE, NEVER))
        calls = [await handler.calls.get()]
        assert not link._lent.is_idle
        task.cancel()
        await until(lambda: calls[0].is_cancelled)
        calls.clear()
        await until(lambda: link._lent.is_idle)


async def test_memory_is_given_back_to_the_system_after_a_while(monkeypatch):
    """Once nothing large is on its way."""
    monkeypatch.setattr(frames, "_IDLE", 0.01)
    async with linked(Echo(), OFTEN) as (server, link):
        await taken(server, link)
        await link.call(LARGE, NEVER)
        await until(lambda: os.fstat(link._lent._file).st_blocks < len(LARGE) // 512 // 10)


@pytest.mark.parametrize(
    ("kind", "flags", "payload"),
    [
        (RESPONSE, ELSEWHERE, bytes(16)),
        (RESPONSE, ELSEWHERE, b"short"),
        (RESPONSE, ELSEWHERE, (1 << 62).to_bytes(8, "little") * 2),
        (frames.FREE, 0, bytes(8)),
        (frames.FREE, 0, b"short"),
        (frames.MEMORY, 0, bytes(40)),
    ],
)
async def test_a_peer_that_speaks_of_memory_that_is_not_there_loses_its_link(kind, flags, payload):
    """Before and after memory was lent."""
    for is_taken in (False, True):
        async with linked(Echo()) as (server, link):
            if is_taken:
                await taken(server, link)
            (peer,) = server.peers
            if kind == RESPONSE and is_taken and len(payload) == 16 and not any(payload):
                payload = (memory.SIZE - 8).to_bytes(8, "little") + bytes([16]) + bytes(7)
            if kind == frames.MEMORY and not is_taken:
                continue  # an offer that cannot be found is passed over
            peer.send(kind, 1, flags, payload)
            await asyncio.wait_for(link.gone, 5)
            with pytest.raises(Unavailable):
                await link.call(b"x", NEVER)

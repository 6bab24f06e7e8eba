"""Whether a peer that owes answers is heard."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest
from running import Held, until

from fabric.core.deadlines import NEVER, Deadline
from fabric.core.errors import Unavailable
from fabric.link.client import connect
from fabric.link.frames import Hello, Limits
from fabric.link.hearing import Hearing
from fabric.link.server import LinkServer

LIMITS = Limits()
QUICK = Limits(quiet=0.01, patience=0.05, silence=60.0)


class Peer:
    """What is heard of a peer, as the test says; the clock moves by itself from look to look."""

    def __init__(self, limits=LIMITS, *, is_known=True):
        self.hearing = Hearing(limits)
        self.is_known = is_known
        self.now = self.heard = 100.0
        self.due = self.now + self.hearing.begin(self.now)

    def look(self, late=0.0):
        """Whether a ping is sent."""
        self.now = self.due + late
        asks, seconds = self.hearing.look(self.now, self.heard, is_known=self.is_known)
        assert seconds > 0.0
        self.due = self.now + seconds
        return asks

    def until_silent(self):
        """Seconds from the ping on."""
        while not self.look():
            pass
        asked = self.now
        while not self.hearing.is_silent:
            assert not self.look()
        return self.now - asked

    def pong(self, after):
        while not self.look():
            pass
        self.heard = self.now + after
        self.hearing.ponged(self.heard)
        self.now = self.heard


def test_a_peer_that_says_nothing_is_asked_and_given_up():
    """Half a second after its last word."""
    peer = Peer()
    assert peer.until_silent() == pytest.approx(0.3, abs=0.01)
    assert peer.now - peer.heard == pytest.approx(0.5, abs=0.01)


def test_whoever_is_heard_is_not_asked():
    """Until it has said nothing for a while."""
    peer = Peer()
    peer.heard = 100.15
    assert not peer.look()
    assert peer.due == pytest.approx(100.35)
    assert peer.look()


@pytest.mark.parametrize("after", [0.0, 0.29])
def test_anything_that_is_heard_counts_as_an_answer(after):
    """Be it in the same moment, as clocks have it."""
    peer = Peer()
    assert peer.look()
    peer.heard = peer.now + after
    peer.look()
    assert not peer.hearing.is_silent


def test_a_silent_peer_that_is_heard_again_is_back():
    """It is asked again when it falls silent again."""
    peer = Peer()
    peer.until_silent()
    assert not peer.look()
    assert peer.hearing.is_silent
    peer.heard = peer.now
    assert not peer.look()
    assert not peer.hearing.is_silent
    assert peer.until_silent() == pytest.approx(0.3, abs=0.01)


def test_who_has_answered_nothing_so_far_has_longer():
    """First runs take long."""
    assert Peer(is_known=False).until_silent() == pytest.approx(1.0, abs=0.01)


def test_who_was_slow_to_answer_pings_has_longer():
    """Three times as long, up to half of the silence that ends a link."""
    peer = Peer()
    peer.pong(0.25)
    assert peer.until_silent() == pytest.approx(0.75, abs=0.02)
    peer = Peer()
    peer.pong(2.0)
    peer.pong(0.001)
    assert peer.until_silent() == pytest.approx(2.5, abs=0.01)


def test_a_slow_answer_is_half_forgotten_in_ten_seconds():
    """So who hung once is soon given up as soon as anybody, though no ping was sent meanwhile."""
    peer = Peer()
    peer.pong(0.4)
    for seconds, longer in ((10, 0.6), (20, 0.3)):
        peer.heard = peer.due + seconds
        peer.look(late=seconds)
        assert not peer.hearing.is_silent
        assert peer.until_silent() == pytest.approx(longer, abs=0.02)
        peer.heard = peer.now


@pytest.mark.parametrize(("late", "longer"), [(0.05, 0.05), (3.0, 0.3)])
def test_a_loop_that_was_busy_hears_nobody(late, longer):
    """So whoever is asked has as much longer, and not for ever."""
    peer = Peer()
    assert peer.look()
    peer.look(late=late)
    assert not peer.hearing.is_silent
    since = peer.now
    peer.look(late=late)
    assert peer.hearing.is_silent
    assert peer.now - since == pytest.approx(late + longer)


# ------------------------------------------------------------------ on a link
class Stopped:
    """A server that reads nothing for a while, as one whose process is stopped."""

    def __init__(self, server):
        (self._peer,) = server.peers

    def __enter__(self):
        self._peer._transport.pause_reading()

    def __exit__(self, *exc):
        self._peer._transport.resume_reading()


@contextlib.asynccontextmanager
async def linked(handler):
    """A link that has answered something."""
    changes = []
    server = LinkServer(Hello(replica="r", specialist="s"), handler)
    link = await connect(await server.start(), QUICK, lambda: changes.append(link.is_silent))
    try:
        first = asyncio.create_task(link.call(b"first", NEVER))
        (await handler.next()).respond(b"ok")
        await first
        yield server, link, changes
    finally:
        link.close()
        await link.gone
        await server.close()


async def test_calls_to_a_silent_replica_fail():
    """They name it, as do those that are begun then, until it is heard again; it forgets them."""
    handler = Held()
    async with linked(handler) as (server, link, changes):
        with Stopped(server):
            calls = [asyncio.create_task(link.call(b"x", NEVER)) for _ in range(3)]
            for call in calls:
                with pytest.raises(Unavailable, match="of s says nothing") as caught:
                    await call
                assert caught.value.replica == "r"
            assert (link.is_silent, link.can_serve, changes) == (True, True, [True])
            with pytest.raises(Unavailable, match="says nothing"):
                await link.call(b"x", NEVER)
            with pytest.raises(Unavailable, match="says nothing"):
                await link.ask_statistics(Deadline.after(5))
        await until(lambda: not link.is_silent)
        assert changes == [True, False]
        for _ in calls:
            await handler.next()
        await until(lambda: not server.in_flight)
        again = asyncio.create_task(link.call(b"x", NEVER))
        (await handler.next()).respond(b"back")
        assert await again == b"back"


async def test_a_patient_call_waits_for_a_silent_replica():
    """Be it begun before or then."""
    handler = Held()
    async with linked(handler) as (server, link, _):
        with Stopped(server):
            calls = [asyncio.create_task(link.call(b"x", NEVER, is_patient=True))]
            await until(lambda: link.is_silent)
            calls.append(asyncio.create_task(link.call(b"y", NEVER, is_patient=True)))
            await asyncio.sleep(0.05)
            assert link.in_flight == 2
        for _ in calls:
            (await handler.next()).respond(b"late")
        assert await asyncio.gather(*calls) == [b"late"] * 2
        assert not link._patient


async def test_a_stream_that_has_begun_waits_for_a_silent_replica():
    """One that has not fails, and the replica does nothing more for it."""
    handler = Held()
    async with linked(handler) as (server, link, _):
        begun = link.stream(b"x", NEVER)
        first = asyncio.create_task(anext(begun))
        call = await handler.next()
        call.send(b"1")
        assert await first == (b"1", False)
        with Stopped(server):
            other = link.stream(b"x", NEVER)
            with pytest.raises(Unavailable, match="says nothing"):
                await anext(other)
            call.respond(b"2")
            assert await anext(begun) == (b"2", True)
        await begun.aclose()
        late = await handler.next()
        await until(lambda: late.is_cancelled)
        assert not link._patient


async def test_a_replica_that_is_busy_with_its_model_is_not_silent():
    """It answers pings meanwhile."""
    handler = Held()
    async with linked(handler) as (_, link, changes):
        task = asyncio.create_task(link.call(b"x", NEVER))
        call = await handler.next()
        await asyncio.sleep(0.2)
        call.respond(b"done")
        assert await task == b"done"
        assert changes == []


async def test_a_gateway_that_was_busy_takes_nobody_for_silent():
    """It could not hear."""
    handler = Held()
    async with linked(handler) as (_, link, changes):
        task = asyncio.create_task(link.call(b"x", NEVER))
        call = await handler.next()
        for _ in range(5):
            time.sleep(0.07)
            await asyncio.sleep(0)
        call.respond(b"done")
        assert await task == b"done"
        assert changes == []


async def test_an_idle_link_is_not_looked_at():
    """Its timer ends with the calls, and there is never more than one."""
    handler = Held()
    async with linked(handler) as (_, link, _):
        tasks = [asyncio.create_task(link.call(b"x", NEVER)) for _ in range(3)]
        calls = [await handler.next() for _ in tasks]
        assert link._looking is not None
        for call in calls:
            call.respond(b"y")
        await asyncio.gather(*tasks)
        await until(lambda: link._looking is None)

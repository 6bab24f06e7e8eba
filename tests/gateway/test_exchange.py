"""The credit of a body, and the buffer that it goes to."""

from __future__ import annotations

import asyncio

import pytest

from fabric.gateway.exchange import WINDOW, Exchange, Gone
from fabric.gateway.headers import Head


class Wire:
    """Counts the credit that it gives."""

    def __init__(self):
        self.credits = []

    def credit(self, stream, size):
        self.credits.append(size)


@pytest.fixture
def wire():
    return Wire()


@pytest.fixture
async def exchange(wire):
    return Exchange(wire, 1, Head({}, None, None), 0)


async def filling(exchange, body, size, patience=10.0):
    task = asyncio.create_task(exchange.fill(body, size, patience))
    await asyncio.sleep(0)
    return task


async def test_a_body_that_there_is_room_for_has_credit_at_once(wire, exchange):
    """For all of it, and what comes goes where it belongs."""
    size = 16 * WINDOW
    assert exchange.feed((memoryview(b"ab"),))
    event = await exchange.receive()
    body = bytearray(event["body"])
    assert exchange.feed((memoryview(b"cd"),))
    task = await filling(exchange, body, size)
    assert sum(wire.credits) == size
    assert len(wire.credits) == 1
    chunk = memoryview(bytes(WINDOW))
    for _ in range(15):
        assert exchange.feed((chunk,))
    assert exchange.feed((chunk[:-4],))
    assert len(wire.credits) == 1
    assert exchange.end()
    await task
    assert len(body) == size
    assert body.startswith(b"abcd")


async def test_more_than_all_of_a_body_is_noticed(exchange):
    """By whoever reads it; more than the window beyond it is not taken."""
    body = bytearray()
    task = await filling(exchange, body, 10)
    assert exchange.feed((memoryview(bytes(11)),))
    await task
    assert len(body) == 11
    assert not exchange.feed((memoryview(bytes(2 * WINDOW)),))


async def test_credit_for_a_giant_comes_as_it_does(wire, exchange):
    """HTTP/2 has none for 2 GiB at once."""
    size = 3 << 30
    task = await filling(exchange, bytearray(), size)
    assert sum(wire.credits) < 1 << 31
    exchange.received = exchange._allowed - 1
    assert exchange.feed((memoryview(b"x"),))
    assert WINDOW + sum(wire.credits) - exchange.received < 1 << 31
    assert len(wire.credits) == 2
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_client_that_leaves_ends_the_wait(exchange):
    """And is not taken for one that has said all."""
    task = await filling(exchange, bytearray(), 10)
    exchange.leave()
    with pytest.raises(Gone):
        await task


async def test_a_body_that_stops_coming_is_given_up(exchange):
    """Not while a little comes now and then."""
    task = await filling(exchange, bytearray(), 100, patience=0.05)
    for _ in range(5):
        await asyncio.sleep(0.03)
        exchange.feed((memoryview(b"x"),))
    assert not task.done()
    with pytest.raises(TimeoutError):
        await task

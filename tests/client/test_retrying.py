"""Calls that are made once more."""

from __future__ import annotations

import asyncio
import socket

import numpy as np
import pytest
from gateways import recording_gateway
from test_clients import Threaded

import fabric
from fabric.client import calls, retrying
from fabric.client.retrying import Retries
from fabric.core.errors import (
    DeadlineExceeded,
    Overloaded,
    SpecialistFailed,
    Unavailable,
)
from fabric.resilience.budgets import _BURST
from fabric.testing import ManualClock

X = {"x": np.array([[1, 2]], np.float32)}
LOST = Unavailable("no fabric answers")


# ------------------------------------------------------------------ when
@pytest.fixture
def clock():
    return ManualClock()


def begun(clock, timeout=None, draw=0.0, **said):
    return Retries(clock, lambda: draw).begin(calls.infer("m", X, timeout=timeout, **said))


def pauses(attempts, failure=LOST, lost=True):
    found = []
    while (pause := attempts.pause(failure, lost=lost)) is not None:
        found.append(pause)
    return found


@pytest.mark.parametrize(("draw", "longer"), [(0.0, 1.0), (1.0, 1.5)])
def test_pauses_grow_and_differ(clock, draw, longer):
    """There are seven, of up to half as much again."""
    seconds = [0.05, 0.15, 0.45, 1.35, 2.0, 2.0, 2.0]
    found = pauses(begun(clock, draw=draw))
    assert found == pytest.approx([longer * each for each in seconds])


def test_no_attempt_begins_after_the_timeout(clock):
    """What there is of it goes to the attempt that is made."""
    attempts = begun(clock, timeout=1.0)
    assert attempts.left() == 1.0
    clock.advance(0.9)
    assert attempts.pause(LOST, lost=True) == 0.05
    assert attempts.left() == pytest.approx(0.1)
    assert attempts.pause(LOST, lost=True) is None


def test_a_gateway_says_when_to_come_again(clock):
    """Nobody comes sooner, nor where there is no time for that, nor where it says nothing of it."""

    def pause(seconds, timeout):
        failure = Unavailable("none", retry_after=seconds)
        return begun(clock, timeout=timeout).pause(failure, lost=False)

    assert pause(0.4, timeout=0.5) == 0.4
    assert pause(0.01, timeout=0.5) == 0.05
    assert pause(0.4, timeout=0.4) is None
    assert pause(0.4, timeout=None) is None
    assert pause(0.0, timeout=0.5) is None


@pytest.mark.parametrize(
    "failure", [Overloaded("full"), DeadlineExceeded("late"), SpecialistFailed("nan")], ids=repr
)
def test_what_was_answered_is_not_asked_again(clock, failure):
    """There is no room, or no time, or it has been done."""
    assert pauses(begun(clock), failure, lost=False) == []


@pytest.mark.parametrize(
    "said",
    [
        {"idempotent": False},
        {"parameters": {"fabric_idempotent": False}},
        {"parameters": {"sequence_id": 7, "sequence_start": True}},
    ],
    ids=str,
)
def test_what_must_not_be_answered_twice_is_sent_once(clock, said):
    """Nobody knows whether it was."""
    assert pauses(begun(clock, **said)) == []


def test_calls_other_than_inferences_are_made_once(clock):
    """Whoever changes something looks what came of it."""
    for call in (calls.apply(), calls.live(), calls.load("m")):
        assert pauses(Retries(clock).begin(call)) == []


def test_what_is_down_is_hardly_asked_more_than_it_is_called(clock):
    """Of many calls only a fifth is made again, once those of one bad moment have been."""
    retries = Retries(clock)
    call = calls.infer("m", X)
    again = sum(len(pauses(retries.begin(call))) for _ in range(1000))
    assert again == pytest.approx(_BURST + 0.2 * 1000, abs=50)


# ------------------------------------------------------------------ over real connections
@pytest.fixture
def _quick(monkeypatch):
    """Nobody waits for long."""
    monkeypatch.setattr(retrying, "_FIRST", 0.001)
    monkeypatch.setattr(retrying, "_LONGEST", 0.05)


SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
"""An empty frame, before which gRPC sends no request."""


def lost(listener):
    """Takes one request, and ends its connection, and that is all."""
    connection, _ = listener.accept()
    with connection:
        connection.sendall(SETTINGS)
        taken = b""
        while b"digits" not in taken and (more := connection.recv(1 << 16)):
            taken += more
    listener.close()


@pytest.fixture(params=[fabric.AsyncClient, Threaded])
def client_of(request):
    return request.param


async def test_a_request_that_is_lost_is_sent_again(client_of):
    """Also while nobody is there, until the gateway is back."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    client = client_of(f"127.0.0.1:{port}")
    asked = asyncio.create_task(client.infer("digits", X, timeout=10.0))
    await asyncio.to_thread(lost, listener)
    async with recording_gateway(port) as gateway:
        assert (await asked)["y"].tolist() == [[2, 4]]
        assert len(gateway.requests) == 1
        await client.close()


async def test_a_request_that_is_lost_and_not_idempotent_is_not(client_of):
    """Its error says that nobody answers there."""
    listener = socket.create_server(("127.0.0.1", 0))
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    client = client_of(address)
    asked = asyncio.create_task(client.infer("digits", X, timeout=10.0, idempotent=False))
    await asyncio.to_thread(lost, listener)
    with pytest.raises(Unavailable, match=f"no fabric answers at {address}"):
        await asked
    await client.close()


@pytest.mark.usefixtures("_quick")
async def test_a_gateway_that_says_when_is_asked_again(client_of, gateway):
    """Until it has somebody to ask, or the attempts are made."""
    gateway.fail = Unavailable("no replica of 'digits:1' is ready", retry_after=0.01)
    client = client_of(gateway.address)
    asked = asyncio.create_task(client.infer("digits", X, timeout=10.0))
    while len(gateway.requests) < 3:
        await asyncio.sleep(0.001)
    gateway.fail = None
    assert (await asked)["y"].tolist() == [[2, 4]]

    gateway.requests.clear()
    gateway.fail = Unavailable("no replica of 'digits:1' is ready", retry_after=0.01)
    with pytest.raises(Unavailable, match=r"^no replica of 'digits:1' is ready$"):
        await client.infer("digits", X, timeout=10.0)
    assert len(gateway.requests) == 8
    await client.close()


async def test_who_has_no_time_hears_why_at_once(client_of, gateway):
    """And not that there was none."""
    gateway.fail = Unavailable("no replica of 'digits:1' is ready", retry_after=60.0)
    client = client_of(gateway.address)
    with pytest.raises(Unavailable, match=r"^no replica of 'digits:1' is ready$"):
        await client.infer("digits", X, timeout=30.0)
    assert len(gateway.requests) == 1
    await client.close()


async def test_a_caller_that_leaves_is_not_asked_for_again(gateway):
    """Cancelled between two attempts, it makes no other."""
    gateway.fail = Unavailable("none", retry_after=60.0)
    async with fabric.AsyncClient(gateway.address) as client:
        asked = asyncio.create_task(client.infer("digits", X, timeout=100.0))
        await gateway.left.wait()
        await asyncio.sleep(0.01)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
    assert len(gateway.requests) == 1

"""Unary gRPC by hand, without a socket."""

from __future__ import annotations

import asyncio
import base64
import gzip
import itertools
import math
import random
import time
import zlib
from urllib.parse import unquote

import pytest

from fabric.core.deadlines import NEVER
from fabric.core.errors import InvalidRequest, NotFound, Overloaded, Unimplemented
from fabric.gateway import grpc
from fabric.gateway.compression import Compression
from fabric.gateway.grpc import Disconnected, deadline_of, fail, unless_gone
from fabric.gateway.intake import Intake
from fabric.wire.status import from_details

DISCONNECT = {"type": "http.disconnect"}


def body(data, more=False):
    return {"type": "http.request", "body": data, "more_body": more}


def receiving(*events):
    """An ASGI `receive` that gives *events*, and then nothing for ever."""
    queue = asyncio.Queue()
    for event in events:
        queue.put_nowait(event)
    return queue.get


@pytest.fixture(scope="module")
def compression():
    made = Compression(5000)
    yield made
    made.close()


@pytest.fixture
def read(compression):
    def read(receive, max_bytes, encoding=b"gzip"):
        scope = {"headers": [(b"grpc-encoding", encoding)] if encoding else []}
        return grpc.read(scope, receive, Intake(max_bytes, 1 << 26, 60.0), compression)

    return read


def framed(message, size=None, flag=0):
    return bytes((flag,)) + (len(message) if size is None else size).to_bytes(4, "big") + message


# ------------------------------------------------------------------ requests
@pytest.mark.parametrize("cuts", [(), (1,), (4, 5, 6), (5,), (8,)])
async def test_a_message_is_read_however_it_is_cut(read, cuts):
    """Chunks end wherever buffers did."""
    data = framed(b"abc")
    points = [0, *cuts, len(data)]
    chunks = [data[a:b] for a, b in itertools.pairwise(points)]
    events = [body(chunk, more=True) for chunk in chunks[:-1]] + [body(chunks[-1])]
    assert await read(receiving(*events), 100) == b"abc"


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", InvalidRequest),
        (b"\0\0\0\0", InvalidRequest),
        (framed(b"abc", 4), InvalidRequest),
        (framed(b"abc", 2), InvalidRequest),
        (framed(b"abc") + framed(b""), InvalidRequest),
        (framed(b"abc", flag=1), InvalidRequest),
        (framed(b"a" * 100), Overloaded),
    ],
)
async def test_what_is_not_one_whole_message_is_refused(read, data, error):
    """By what is wrong with it."""
    with pytest.raises(error):
        await read(receiving(body(data)), 100)
    with pytest.raises(error):
        await read(receiving(body(data, more=True), body(b"")), 100)


async def test_a_message_that_is_too_large_is_refused_before_it_is_whole(read):
    """By the length that it says, so that no more than the limit is ever held."""
    with pytest.raises(Overloaded, match="205 bytes, 100 are allowed"):
        await read(receiving(body(framed(bytes(200))[:60], more=True)), 100)


async def test_a_client_that_leaves_in_the_middle_is_noticed(read):
    """Nobody is answered."""
    with pytest.raises(Disconnected):
        await read(receiving(DISCONNECT), 100)
    with pytest.raises(Disconnected):
        await read(receiving(body(b"\0", more=True), DISCONNECT), 100)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (b"2H", 7200),
        (b"3M", 180),
        (b"5S", 5),
        (b"50m", 0.05),
        (b"99999999u", 99.999999),
        (b"0n", 0),
    ],
)
def test_timeouts_become_deadlines(text, seconds):
    """In each of gRPC's units."""
    assert deadline_of(text).remaining(time.monotonic()) == pytest.approx(seconds, abs=0.1)


def test_without_a_timeout_there_is_no_deadline():
    """Nobody waits less than for ever."""
    assert deadline_of(b"") is NEVER
    assert deadline_of(b"").remaining(time.monotonic()) == math.inf


@pytest.mark.parametrize("text", [b"5", b"S", b"5s", b"-5S", b"5.5S", b"123456789S", b"\xff\xffS"])
def test_what_is_no_timeout_is_refused(text):
    """It is shown."""
    with pytest.raises(InvalidRequest, match="grpc-timeout"):
        deadline_of(text)


# ------------------------------------------------------------------ compression
WAYS = {b"gzip": gzip, b"deflate": zlib}


@pytest.mark.parametrize("encoding", WAYS)
@pytest.mark.parametrize("size", [0, 10, 5000])
async def test_a_compressed_message_is_inflated(read, encoding, size):
    """To so many bytes at most."""
    data = framed(WAYS[encoding].compress(bytes(size)), flag=1)
    assert await read(receiving(body(data)), 1000, encoding) == bytes(size)


@pytest.mark.parametrize("encoding", WAYS)
@pytest.mark.parametrize("size", [5001, 1 << 18, 1 << 24])
async def test_a_bomb_is_refused(read, encoding, size):
    """Before it has gone off."""
    data = framed(WAYS[encoding].compress(bytes(size)), flag=1)
    with pytest.raises(Overloaded, match="over 5000 bytes"):
        await read(receiving(body(data)), 1 << 20, encoding)


@pytest.mark.parametrize(
    ("encoding", "data", "error"),
    [
        (b"gzip", b"", InvalidRequest),
        (b"gzip", b"no gzip", InvalidRequest),
        (b"gzip", gzip.compress(b"abc")[:-1], InvalidRequest),
        (b"deflate", zlib.compress(b"abc") + b"!", InvalidRequest),
        (b"", gzip.compress(b"abc"), InvalidRequest),
        (b"identity", gzip.compress(b"abc"), InvalidRequest),
        (b"br", b"abc", Unimplemented),
    ],
)
async def test_what_is_not_compressed_as_it_says_is_refused(read, encoding, data, error):
    """An encoding that nobody knows is told apart from a message that is broken."""
    with pytest.raises(error):
        await read(receiving(body(framed(data, flag=1))), 1000, encoding)


async def test_a_large_message_is_inflated_off_the_loop():
    """It goes on meanwhile; what comes out is the same."""
    compression = Compression(1 << 26)
    message = random.Random(1).randbytes(1 << 16) * 100
    scope = {"headers": [(b"grpc-encoding", b"gzip")]}
    data = framed(gzip.compress(message, 1), flag=1)
    intake = Intake(len(data), 1 << 26, 60.0)
    reading = asyncio.create_task(grpc.read(scope, receiving(body(data)), intake, compression))
    turns = 0
    while not reading.done():
        turns += 1
        await asyncio.sleep(0)
    assert await reading == message
    assert turns > 3
    compression.close()


@pytest.mark.parametrize(
    ("sent_in", "taken", "size", "answered_in"),
    [
        (b"gzip", b"identity, deflate, gzip", 600, b"gzip"),
        (b"deflate", b"identity,deflate", 600, b"deflate"),
        (b"gzip", b"identity,gzip", 1 << 17, b"gzip"),
        (b"gzip", b"identity,gzip", 100, None),
        (b"gzip", b"identity", 600, None),
        (b"identity", b"identity,gzip", 600, None),
        (b"br", b"br", 600, None),
    ],
)
async def test_an_answer_is_compressed_as_the_request(
    compression, sent_in, taken, size, answered_in
):
    """If the client takes that, and it is worth it."""
    sent = Sent()
    scope = {"headers": [(b"grpc-encoding", sent_in), (b"grpc-accept-encoding", taken)]}
    await grpc.respond(scope, sent, (bytes(size),), compression)
    start, message, trailers = sent
    assert dict(start["headers"]).get(b"grpc-encoding") == answered_in
    flag, length, data = message["body"][0], message["body"][1:5], message["body"][5:]
    assert (flag, int.from_bytes(length, "big")) == (answered_in is not None, len(data))
    assert (WAYS[answered_in].decompress(data) if answered_in else data) == bytes(size)
    assert trailers["headers"] == [(b"grpc-status", b"0")]


async def test_a_failed_call_says_what_it_could_be_compressed_in():
    """For a client whose encoding is not known here."""
    sent = Sent()
    await fail(sent, Unimplemented("br"))
    assert dict(sent[0]["headers"])[b"grpc-accept-encoding"] == b"identity,deflate,gzip"


# ------------------------------------------------------------------ answers
class Sent(list):
    async def __call__(self, message):
        self.append(message)


async def test_an_answer_is_one_frame_and_two_trailers(compression):
    """The parts of a message are one message."""
    sent = Sent()
    parts = b"ab", memoryview(b"c")
    await grpc.respond({"headers": []}, sent, parts, compression)
    start, message, trailers = sent
    assert (start["status"], start["trailers"]) == (200, True)
    assert message["body"] == framed(b"abc")
    assert trailers["headers"] == [(b"grpc-status", b"0")]


@pytest.mark.parametrize("text", ["x" * 20_000, "☃" * 20_000])
async def test_a_long_message_is_shortened_to_what_clients_take(text):
    """Status and reason arrive; gRPC clients refuse more than 8 KiB of headers."""
    sent = Sent()
    await fail(sent, NotFound(text))
    headers = sent[0]["headers"]
    assert sum(len(name) + len(value) for name, value in headers) < 8192
    assert dict(headers)[b"grpc-status"] == b"5"
    assert dict(headers)[b"grpc-message"].endswith(b"... (shortened)")


@pytest.mark.parametrize("text", ["plain", "100 % größer\nals ☃", ""])
async def test_an_error_is_trailers_only(text):
    """Status, percent-encoded message and details, which clients read back as the error."""
    sent = Sent()
    await fail(sent, NotFound(text))
    headers = dict(sent[0]["headers"])
    assert headers[b"grpc-status"] == b"5"
    message = headers[b"grpc-message"].decode("ascii")
    assert message.isprintable()
    assert unquote(message) == text
    encoded = headers[b"grpc-status-details-bin"]
    details = base64.b64decode(encoded + b"=" * (-len(encoded) % 4))
    error = from_details(5, text, details)
    assert (type(error), error.message) == (NotFound, text)
    assert sent[1]["body"] == b""


# ------------------------------------------------------------------ while it is answered
async def test_a_client_that_leaves_cancels_its_answer():
    """And nothing else of the task that gives it."""
    events = asyncio.Queue()
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def answer():
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async def call():
        with pytest.raises(Disconnected):
            await unless_gone(events.get, answer())
        return asyncio.current_task().cancelling()

    task = asyncio.create_task(call())
    await started.wait()
    events.put_nowait(body(b""))  # the end of the request's body says nothing
    await asyncio.sleep(0)
    assert not cancelled.is_set()
    events.put_nowait(DISCONNECT)
    assert await task == 0
    assert cancelled.is_set()


async def test_an_answer_that_comes_first_wins():
    """A client that leaves at the same time, or afterwards, disturbs nobody."""
    events = asyncio.Queue()

    async def answer():
        events.put_nowait(DISCONNECT)
        return b"here"

    assert await unless_gone(events.get, answer()) == b"here"
    events.put_nowait(DISCONNECT)
    await asyncio.sleep(0)
    assert asyncio.current_task().cancelling() == 0


async def test_a_cancelled_task_is_cancelled_and_not_disconnected():
    """Who ends the gateway is not taken for a client."""
    started = asyncio.Event()

    async def answer():
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(unless_gone(receiving(), answer()))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_of_the_answer_passes():
    """As it was raised."""

    async def answer():
        raise NotFound("no such model")

    with pytest.raises(NotFound, match="no such model"):
        await unless_gone(receiving(), answer())

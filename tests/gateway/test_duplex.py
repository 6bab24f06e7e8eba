"""gRPC calls of many messages by hand, without a socket."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import random

import pytest

from fabric.core.errors import DeadlineExceeded, InvalidRequest, NotFound, Overloaded
from fabric.gateway.compression import Compression
from fabric.gateway.duplex import Requests, converse
from fabric.gateway.intake import Disconnected, Intake

COMPRESSION = Compression(5000)
DISCONNECT = {"type": "http.disconnect"}


def body(data, more=True):
    return {"type": "http.request", "body": data, "more_body": more}


def framed(message, flag=0):
    return bytes((flag,)) + len(message).to_bytes(4, "big") + message


class Client:
    """The server's end: gives what the test says, and keeps what it is sent."""

    def __init__(self, *events):
        self.events = asyncio.Queue()
        self.asked = 0
        self.sent = []
        self.room = asyncio.Semaphore(1000)
        for event in events:
            self.say(event)

    def say(self, event):
        self.events.put_nowait(event)

    async def receive(self):
        self.asked += 1
        return await self.events.get()

    async def send(self, event):
        if event["type"] == "http.response.body":
            await self.room.acquire()
        self.sent.append(event)

    @property
    def messages(self):
        bodies = [e["body"] for e in self.sent if e["type"] == "http.response.body"]
        assert all(each[:5] == framed(each[5:])[:5] for each in bodies if each)
        return [each[5:] for each in bodies if each]

    @property
    def status(self):
        return dict(self.sent[-1]["headers"])[b"grpc-status"]

    def converse(self, handler, headers=(), max_bytes=1000):
        scope = {"headers": list(headers), "path": "/a/B"}
        limits = Intake(max_bytes, 1 << 24, 60.0), COMPRESSION
        return converse(handler, scope, self.receive, self.send, *limits, lambda error: error)


async def read(*events, max_bytes=1000, encoding=b"gzip", patience=60.0):
    """The messages that *events* make."""
    scope = {"headers": [(b"grpc-encoding", encoding)]}
    intake = Intake(max_bytes, 1 << 24, patience)
    requests = Requests(scope, Client(*events).receive, intake, COMPRESSION)
    try:
        return [message async for message in requests]
    finally:
        requests.end()


MESSAGES = [b"", b"abc", b"", b"x" * 900, b"y"]


@pytest.mark.parametrize("seed", range(50))
async def test_messages_are_read_however_they_are_cut(seed):
    """Chunks end wherever buffers did, and may be empty."""
    draw = random.Random(seed)
    data = b"".join(map(framed, MESSAGES))
    points = [0, *sorted(draw.choices(range(len(data) + 1), k=draw.randrange(40))), len(data)]
    chunks = [body(data[a:b]) for a, b in itertools.pairwise(points)]
    if draw.random() < 0.5:
        chunks[-1]["more_body"] = False
    else:
        chunks.append(body(b"", more=False))
    assert await read(*chunks) == MESSAGES


async def test_a_call_may_have_no_message():
    """It is over when its half is closed."""
    assert await read(body(b"", more=False)) == []


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (framed(b"abc")[:-1], InvalidRequest),
        (framed(b"") + b"\0", InvalidRequest),
        (framed(b"abc", flag=1), InvalidRequest),
        (framed(b"a" * 1001), Overloaded),
        (b"\0\xff\xff\xff\xff", Overloaded),
    ],
)
async def test_what_is_no_plain_message_is_refused(data, error):
    """By what is wrong with it."""
    with pytest.raises(error):
        await read(body(data), body(b"", more=False))


async def test_each_message_may_be_compressed():
    """Or not, on one call."""
    data = framed(b"a") + framed(gzip.compress(bytes(900)), flag=1) + framed(b"b")
    assert await read(body(data), body(b"", more=False)) == [b"a", bytes(900), b"b"]


async def test_answers_are_compressed_as_the_requests():
    """Those that are worth it."""
    client = Client(body(framed(b"a") + framed(bytes(900)), more=False))
    accepted = [(b"grpc-encoding", b"gzip"), (b"grpc-accept-encoding", b"gzip")]
    await client.converse(echo, accepted)
    small, large = [event["body"] for event in client.sent if event.get("body")]
    assert dict(client.sent[0]["headers"])[b"grpc-encoding"] == b"gzip"
    assert small == framed(b"a!")
    assert large[0] == 1
    assert gzip.decompress(large[5:]) == bytes(900) + b"!"


async def test_no_more_is_taken_ahead_than_a_little():
    """A client that sends and is not read is held back, and read on when somebody asks."""
    client = Client(*[body(framed(b"x" * 99_995)) for _ in range(100)])
    intake = Intake(1 << 20, 1 << 24, 60.0)
    requests = Requests({"headers": []}, client.receive, intake, COMPRESSION)
    while client.asked < 11:
        await asyncio.sleep(0)
    for _ in range(100):
        await asyncio.sleep(0)
    assert client.asked == 11
    for _ in range(99):
        assert len(await anext(requests)) == 99_995
    requests.end()


async def test_a_message_larger_than_what_is_taken_ahead_is_read():
    """It is asked for."""
    data = framed(bytes(5_000_000))
    chunks = [body(data[at : at + 50_000]) for at in range(0, len(data), 50_000)]
    (message,) = await read(*chunks, body(b"", more=False), max_bytes=6_000_000)
    assert message == bytes(5_000_000)


async def test_large_messages_wait_for_room():
    """That of a message is given back with it; meanwhile the client is held back."""
    intake = Intake(1 << 24, 3 << 20, 60.0)
    data = framed(bytes(2 << 20))
    calls = []
    for _ in range(2):
        client = Client(*[body(data[at : at + 50_000]) for at in range(0, len(data), 50_000)])
        calls.append((client, Requests({"headers": []}, client.receive, intake, COMPRESSION)))
    (_, one), (held_back, other) = calls
    message = await anext(one)
    waiting = asyncio.create_task(anext(other))
    for _ in range(200):
        await asyncio.sleep(0)
    assert not waiting.done()
    assert held_back.asked * 50_000 < 1.1 * (1 << 20)
    del message
    assert len(await waiting) == 2 << 20
    for _, requests in calls:
        requests.end()


async def test_a_message_that_has_been_cut_waits_for_no_room():
    """It will never be whole."""
    intake = Intake(1 << 24, 1 << 20, 60.0)
    held = await intake.take(1 << 20 | 1)
    client = Client(body(framed(bytes(2 << 20))[:1000], more=False))
    requests = Requests({"headers": []}, client.receive, intake, COMPRESSION)
    with pytest.raises(InvalidRequest, match="middle of a gRPC message"):
        await anext(requests)
    requests.end()
    del held


@pytest.mark.parametrize("size", [100, 2 << 20])
async def test_a_message_that_stops_coming_is_given_up(size):
    """It would keep its room for ever."""
    started = body(framed(bytes(size))[:-1])
    with pytest.raises(DeadlineExceeded, match="without a pause"):
        await read(started, max_bytes=1 << 24, patience=0.01)


async def echo(requests, scope):
    async for message in requests:
        yield message, b"!"


async def test_answers_go_out_while_requests_come_in():
    """Each as a message of its own, and the status behind the last."""
    client = Client()
    task = asyncio.create_task(client.converse(echo))
    for number in range(3):
        client.say(body(framed(b"%d" % number)))
        while len(client.messages) <= number:
            await asyncio.sleep(0)
    client.say(body(b"", more=False))
    await task
    assert client.messages == [b"0!", b"1!", b"2!"]
    assert (client.sent[0]["type"], client.status) == ("http.response.start", b"0")


async def test_a_call_without_an_answer_has_a_status():
    """And nothing else."""
    client = Client(body(b"", more=False))
    await client.converse(echo)
    assert (client.messages, client.status) == ([], b"0")


async def failing(requests, scope):
    async for message in requests:
        if message == b"fail":
            raise NotFound("no more")
        yield (message,)


async def test_an_error_before_the_first_answer_is_trailers_only():
    """As that of a unary call."""
    client = Client(body(framed(b"fail")))
    await client.converse(failing)
    assert [event["type"] for event in client.sent] == ["http.response.start", "http.response.body"]
    assert dict(client.sent[0]["headers"])[b"grpc-status"] == b"5"


async def test_an_error_behind_answers_is_their_status():
    """What was given stays given."""
    client = Client(body(framed(b"a") + framed(b"fail")))
    await client.converse(failing)
    assert (client.messages, client.status) == ([b"a"], b"5")
    assert dict(client.sent[-1]["headers"])[b"grpc-message"] == b"no more"


async def test_a_deadline_ends_the_call():
    """Whoever waits for what."""
    client = Client(body(framed(b"a")))
    await client.converse(echo, [(b"grpc-timeout", b"20m")])
    assert (client.messages, client.status) == ([b"a!"], b"4")


class Endless:
    """Answers for ever, and says what it gave and how it ended."""

    def __init__(self):
        self.given = 0
        self.ended = asyncio.Event()

    async def __call__(self, requests, scope):
        try:
            async for _ in requests:
                while True:
                    self.given += 1
                    yield (b"x",)
        finally:
            self.ended.set()


async def test_a_slow_client_holds_the_answers_back():
    """No answer is asked for before the one before it is on its way."""
    client, endless = Client(body(framed(b"go"))), Endless()
    client.room = asyncio.Semaphore(3)
    task = asyncio.create_task(client.converse(endless))
    while endless.given < 4:
        await asyncio.sleep(0)
    for _ in range(100):
        await asyncio.sleep(0)
    assert (endless.given, len(client.messages)) == (4, 3)
    client.say(DISCONNECT)
    with pytest.raises(Disconnected):
        await task
    assert endless.ended.is_set()


@pytest.mark.parametrize("half_closed", [False, True])
async def test_a_client_that_leaves_while_it_waits_ends_the_call(half_closed):
    """Whether its half is closed or not."""
    client = Client(body(framed(b"a"), more=not half_closed))
    ended = asyncio.Event()

    async def waiting(requests, scope):
        try:
            yield (await anext(requests),)
            await asyncio.Event().wait()
        finally:
            ended.set()

    task = asyncio.create_task(client.converse(waiting))
    while not client.messages:
        await asyncio.sleep(0)
    client.say(DISCONNECT)
    with pytest.raises(Disconnected):
        await task
    assert ended.is_set()


async def test_a_client_that_leaves_between_answers_is_noticed_by_sending():
    """It raises then."""
    client = Client(body(framed(b"go")))
    endless = Endless()

    async def send(event):
        if endless.given > 5:
            raise OSError
        await client.send(event)

    limits = Intake(1000, 1 << 24, 60.0), COMPRESSION
    scope = {"headers": []}
    with pytest.raises(Disconnected):
        await converse(endless, scope, client.receive, send, *limits, lambda error: error)
    assert endless.ended.is_set()


@pytest.mark.parametrize("message", [b"a", b"fail"])
async def test_a_client_that_leaves_during_the_end_of_the_call_is_told_nothing_more(message):
    """Whether sending says so, or the client was slow to take what came before; nobody logs it."""
    explained = []

    def explain(error):
        explained.append(error)
        return error

    async def until_the_status(event):
        if event["type"] != "http.response.start" and not event.get("more_body"):
            raise OSError

    client = Client(body(framed(b"a") + framed(message), more=False))
    limits = Intake(1000, 1 << 24, 60.0), COMPRESSION
    with pytest.raises(Disconnected):
        await converse(failing, {"headers": []}, client.receive, until_the_status, *limits, explain)
    assert all(isinstance(error, NotFound) for error in explained)


async def test_a_client_that_leaves_while_its_error_waits_to_be_sent_ends_the_call():
    """It did not read what came before."""
    client = Client(body(framed(b"a") + framed(b"fail"), more=False))
    client.room = asyncio.Semaphore(1)
    task = asyncio.create_task(client.converse(failing))
    while not client.messages:
        await asyncio.sleep(0)
    client.say(DISCONNECT)
    with pytest.raises(Disconnected):
        await task


async def test_who_ends_the_gateway_is_not_taken_for_a_client():
    """The task ends as cancelled."""
    client, endless = Client(), Endless()
    task = asyncio.create_task(client.converse(endless))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

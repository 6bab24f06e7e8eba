"""HTTP/2 by hand, with another implementation's client and with frames that none would send."""

from __future__ import annotations

import asyncio
import gc
import itertools
import struct
import zlib

import h2.config
import h2.connection
import h2.events
import h2.settings
import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from running import PATIENCE, until

from fabric.core.errors import Internal, NotFound
from fabric.gateway.exchange import WINDOW
from fabric.gateway.http2 import MAX_STREAMS, PREFACE, Connection
from fabric.gateway.server import Server

DATA, HEADERS, RST, SETTINGS, PUSH, PING, GOAWAY, CREDIT, MORE = 0, 1, 3, 4, 5, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY = 1, 1, 4, 8, 32
CALL = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/a.B/Double"),
    (":authority", "host"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
]
SUM = [(":path", "/a.B/Sum") if name == ":path" else (name, value) for name, value in CALL]
OTHER = [(":method", "POST"), (":scheme", "http"), (":path", "/echo"), (":authority", "host")]


def framed(message):
    return b"\0" + struct.pack(">I", len(message)) + message


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">IBI", len(payload) << 8 | kind, flags, stream) + payload


def block(headers):
    return hpack.Encoder().encode(headers)


BLOCK = block(CALL)
ASK = frame(HEADERS, END_HEADERS, 1, BLOCK)
BODY = framed(b"abc")


class Double:
    """Answers calls with their message twice, and other requests with their bodies as they come."""

    def __init__(self):
        self.calls = self.cancelled = self.left = self.collected = 0
        self.most, self.patience = 1 << 22, 60.0
        self.go = asyncio.Event()
        self.go.set()

    def handler(self, scope):
        return getattr(self, scope["path"].removeprefix("/a.B/").lower(), None)

    def room(self, size):
        return bytearray() if size <= self.most else None

    async def message(self, body, size, fill):
        self.collected += 1
        try:
            await fill(body, size, self.patience)
        except TimeoutError:
            raise NotFound("the rest") from None
        return body[5:]

    async def grow(self, payload, scope):
        return (bytes(int(payload)),)

    async def sum(self, payload, scope):
        return (b"%d" % zlib.crc32(payload),)

    def refuse(self, payload, scope):
        raise NotFound("at once")

    def explained(self, scope, error):
        return error if isinstance(error, NotFound) else Internal(f"{scope['path']}: {error}")

    async def double(self, payload, scope):
        self.calls += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if payload == b"fail":
            raise NotFound("100 % nothing")
        if payload == b"bug":
            raise ValueError("bug")
        return payload, memoryview(payload)

    async def __call__(self, scope, receive, send):
        self.calls += 1
        started = False
        while (event := await receive())["type"] == "http.request":
            await self.go.wait()
            if not started:
                headers = [(b"x-path", scope["raw_path"]), (b"x-query", scope["query_string"])]
                await send({"type": "http.response.start", "status": 201, "headers": headers})
                started = True
            body, more = event["body"], event["more_body"]
            await send({"type": "http.response.body", "body": body, "more_body": more})
            if not more:
                return
        self.left += 1


@pytest.fixture
async def service():
    return Double()


@pytest.fixture
async def server(service):
    async with Server(service, "127.0.0.1", 0, patience=60.0) as made:
        yield made


class Client:
    """A client by the library h2 that keeps what it hears."""

    def __init__(self, **said):
        config = h2.config.H2Configuration(validate_outbound_headers=False)
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.h2.update_settings(said.get("settings", {}))
        self.events = []
        self.bodies = {}
        self.is_reading = said.get("is_reading", True)

    async def connect(self, server):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", server.port)
        self.flush()
        self.task = asyncio.create_task(self._listen())
        await until(lambda: self.heard(h2.events.RemoteSettingsChanged))
        return self

    async def close(self):
        self.writer.close()
        await self.task

    def flush(self):
        self.writer.write(self.h2.data_to_send())

    async def _listen(self):
        while data := await self.reader.read(1 << 16):
            for event in self.h2.receive_data(data):
                self.events.append(event)
                if isinstance(event, h2.events.DataReceived):
                    body = self.bodies.setdefault(event.stream_id, bytearray())
                    body += event.data
                    if self.is_reading:
                        self.h2.acknowledge_received_data(
                            event.flow_controlled_length, event.stream_id
                        )
            self.flush()

    def ask(self, headers, body=None, ends=True):
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, headers, end_stream=ends and body is None)
        if body is not None:
            self.h2.send_data(stream, body, end_stream=ends)
        self.flush()
        return stream

    def begin(self, headers):
        """A request whose headers go together with the first of its body."""
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, headers)
        return stream

    async def go_on(self, stream, body, ends=True):
        """Sends *body* in frames as most clients make them, as there is room for it."""
        sent = 0
        while sent < len(body):
            room = self.h2.local_flow_control_window(stream)
            part = body[sent : sent + min(room, 1 << 14)]
            sent += len(part)
            if part:
                self.h2.send_data(stream, part, end_stream=ends and sent == len(body))
                continue
            self.flush()
            await until(lambda: self.h2.local_flow_control_window(stream))
        self.flush()

    def heard(self, kind, stream=None):
        found = [e for e in self.events if isinstance(e, kind)]
        return [e for e in found if stream in (None, getattr(e, "stream_id", None))]

    async def end(self, stream):
        """Of the answer on *stream*, all its headers."""
        kinds = h2.events.StreamEnded | h2.events.StreamReset
        await until(lambda: self.heard(kinds, stream))
        kinds = h2.events.ResponseReceived | h2.events.TrailersReceived
        return dict(header for event in self.heard(kinds, stream) for header in event.headers)


@pytest.fixture
async def client(server):
    made = await Client().connect(server)
    yield made
    await made.close()


# ------------------------------------------------------------------ answers
async def test_a_call_is_answered_in_three_frames(client):
    """Headers, the message behind its five bytes, and trailers."""
    stream = client.ask(CALL, framed(b"abc"))
    headers = await client.end(stream)
    assert headers[b":status"] == b"200"
    assert (headers[b"content-type"], headers[b"grpc-status"]) == (b"application/grpc", b"0")
    assert client.bodies[stream] == framed(b"abcabc")
    assert len(client.heard(h2.events.DataReceived, stream)) == 1


async def test_many_calls_at_a_time_are_told_apart(client, service):
    """Also when later ones are answered first."""
    service.go.clear()
    streams = {client.ask(CALL, framed(b"%d" % n)): b"%d" % n for n in range(50)}
    await until(lambda: service.calls == 50)
    service.go.set()
    for stream, message in streams.items():
        await client.end(stream)
        assert client.bodies[stream] == framed(2 * message)


@pytest.mark.parametrize(("body", "status"), [(b"fail", b"5"), (b"bug", b"13")])
async def test_a_call_that_fails_says_so(client, body, status):
    """As the service explains it, and the connection goes on."""
    stream = client.ask(CALL, framed(body))
    headers = await client.end(stream)
    assert headers[b"grpc-status"] == status
    assert stream not in client.bodies
    assert (await client.end(client.ask(CALL, framed(b""))))[b"grpc-status"] == b"0"


async def test_a_call_that_is_refused_before_it_begins_says_so(client, server):
    """Nothing is made for it, and nothing is left of it."""
    headers = [(name, "/a.B/Refuse" if name == ":path" else value) for name, value in CALL]
    stream = client.ask(headers, framed(b"x"))
    assert (await client.end(stream))[b"grpc-status"] == b"5"
    (connection,) = server._connections
    assert not connection._exchanges
    assert (await client.end(client.ask(CALL, framed(b""))))[b"grpc-status"] == b"0"


@pytest.mark.parametrize("size", [16_378, 16_379, 16_380, 60_000, 3_000_000])
async def test_no_frame_is_larger_than_the_client_takes(server, size):
    """However much room there is; here 16 KiB, as of clients that say nothing."""
    client = await Client(settings={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1 << 24}).connect(
        server
    )
    client.h2.increment_flow_control_window(1 << 24)
    grow = [(name, "/a.B/Grow" if name == ":path" else value) for name, value in CALL]
    stream = client.ask(grow, framed(b"%d" % size))
    await client.end(stream)
    assert len(client.bodies[stream]) == 5 + size
    await client.close()


async def test_errors_leave_no_cycles_behind(client):
    """Garbage that has to be looked for costs more than the answers of an overloaded gateway."""
    refused = [(name, "/a.B/Refuse" if name == ":path" else value) for name, value in CALL]
    gc.collect()
    gc.disable()
    try:
        for _ in range(10):
            await client.end(client.ask(CALL, framed(b"fail")))
            await client.end(client.ask(refused, framed(b"x")))
        left = [each for each in gc.get_objects() if isinstance(each, NotFound)]
        assert not {each.message for each in left} & {"100 % nothing", "at once"}
    finally:
        gc.enable()


async def test_what_is_no_call_is_for_the_asgi_application(client):
    """With the path as it came, the query, and the body as it comes."""
    headers = [(name, "/a%20b?c=d" if name == ":path" else value) for name, value in OTHER]
    stream = client.ask(headers, b"abc", ends=False)
    await until(lambda: client.bodies.get(stream) == b"abc")
    client.h2.send_data(stream, b"def", end_stream=True)
    client.flush()
    answer = await client.end(stream)
    assert (answer[b":status"], answer[b"x-path"], answer[b"x-query"]) == (
        b"201",
        b"/a%20b",
        b"c=d",
    )
    assert client.bodies[stream] == b"abcdef"


async def test_a_request_without_a_body_is_answered(client):
    """Its headers are its end."""
    stream = client.ask(OTHER)
    assert (await client.end(stream))[b":status"] == b"201"


@pytest.mark.parametrize("size", [1 << 15, (1 << 20) + 100, 3 << 20])
async def test_a_call_in_pieces_goes_to_its_handler(client, service, size):
    """As the whole that its pieces make, be it larger than the window or not."""
    message = bytes(range(251)) * (size // 251)
    stream = client.begin(SUM)
    await client.go_on(stream, framed(message))
    assert (await client.end(stream))[b"grpc-status"] == b"0"
    assert client.bodies[stream] == framed(b"%d" % zlib.crc32(message))
    assert (service.collected, service.calls) == (1, 0)


async def test_a_call_there_is_no_room_for_is_for_the_asgi_application(client, service):
    """It waits there until there is some."""
    service.most = 1 << 14
    body = framed(bytes(1 << 15))
    stream = client.begin(CALL)
    await client.go_on(stream, body)
    await client.end(stream)
    assert client.bodies[stream] == body  # this one's application echoes
    assert service.collected == 0


async def test_a_call_that_stops_in_the_middle_is_given_up(client, service):
    """And is told why; what still comes of it is passed by."""
    service.patience = 0.01
    stream = client.begin(CALL)
    await client.go_on(stream, framed(bytes(1 << 15))[:-1], ends=False)
    assert (await client.end(stream))[b"grpc-message"] == b"the rest"
    assert service.calls == 0
    assert (await client.end(client.ask(CALL, BODY)))[b"grpc-status"] == b"0"


async def test_a_call_whose_client_leaves_in_the_middle_never_begins(client, server, service):
    """Nobody waits for the rest of it."""
    stream = client.begin(CALL)
    await client.go_on(stream, framed(bytes(1 << 15))[:-1], ends=False)
    await until(lambda: service.collected)
    (connection,) = server._connections
    assert connection.tasks
    client.h2.reset_stream(stream)
    client.flush()
    await until(lambda: not connection.tasks)
    assert service.calls == 0


async def test_a_call_in_tiny_pieces_is_for_the_asgi_application(client, service):
    """It takes as many as there are."""
    stream = client.ask(CALL, framed(b"abc")[:3], ends=False)
    await until(lambda: service.calls)
    client.h2.send_data(stream, framed(b"abc")[3:], end_stream=True)
    client.flush()
    await client.end(stream)
    assert client.bodies[stream] == framed(b"abc")  # this one's application echoes


# ------------------------------------------------------------------ windows
async def test_an_answer_is_sent_as_the_client_has_room(server):
    """Never ahead of its window, in frames as large as it takes, and other calls go on."""
    client = await Client(is_reading=False).connect(server)
    message = b"0123456789" * 4_000
    stream = client.ask(CALL, framed(message))
    await until(lambda: len(client.bodies.get(stream, b"")) == (1 << 16) - 1)
    other = client.ask(CALL, framed(b"fail"))
    assert (await client.end(other))[b"grpc-status"] == b"5"
    assert not client.heard(h2.events.StreamEnded, stream)
    client.h2.increment_flow_control_window(50_000)
    client.flush()
    client.h2.increment_flow_control_window(50_000, stream)
    client.flush()
    assert (await client.end(stream))[b"grpc-status"] == b"0"
    assert client.bodies[stream] == framed(2 * message)
    assert max(len(e.data) for e in client.heard(h2.events.DataReceived)) <= 1 << 14
    await client.close()


async def test_a_window_may_change_while_an_answer_waits(server):
    """To more by the client's settings, for streams that are there already."""
    small = {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 10}
    client = await Client(is_reading=False, settings=small).connect(server)
    await until(lambda: client.heard(h2.events.SettingsAcknowledged))
    stream = client.ask(CALL, framed(b"0123456789"))
    await until(lambda: len(client.bodies.get(stream, b"")) == 10)
    client.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1000})
    client.flush()
    await client.end(stream)
    assert client.bodies[stream] == framed(b"01234567890123456789")
    await client.close()


async def test_a_body_that_is_not_read_holds_its_client_back(client, service):
    """At a window of its own, so that others on the connection are not."""
    service.go.clear()
    stream = client.ask(OTHER, ends=False, body=b"")
    sent = 0
    while sent < WINDOW:
        await until(lambda: client.h2.local_flow_control_window(stream))
        room = min(client.h2.local_flow_control_window(stream), 1 << 14)
        client.h2.send_data(stream, bytes(room))
        client.flush()
        sent += room
    for _ in range(100):
        await asyncio.sleep(0)
    assert client.h2.local_flow_control_window(stream) < WINDOW
    service.go.set()
    await client.end(client.ask(OTHER))
    client.h2.end_stream(stream)
    client.flush()
    await client.end(stream)
    assert len(client.bodies[stream]) == sent


# ------------------------------------------------------------------ leaving
async def test_a_call_whose_client_leaves_is_cancelled_at_once(client, service):
    """By a reset of its stream, and by the end of the connection."""
    service.go.clear()
    stream, _ = client.ask(CALL, framed(b"")), client.ask(CALL, framed(b""))
    await until(lambda: service.calls == 2)
    client.h2.reset_stream(stream)
    client.flush()
    await until(lambda: service.cancelled == 1)
    await client.close()
    await until(lambda: service.cancelled == 2)


async def test_a_call_whose_client_leaves_before_it_begins_never_does(server, service):
    """Not even the coroutine that was made for it."""
    reset = frame(RST, 0, 1, struct.pack(">I", 8))
    await said(server, ASK + frame(DATA, END_STREAM, 1, BODY) + reset)
    assert service.calls == 0


async def test_an_application_hears_that_its_client_left(client, service):
    """Where it listens."""
    stream = client.ask(OTHER, b"a", ends=False)
    await until(lambda: client.bodies.get(stream))
    client.h2.reset_stream(stream)
    client.flush()
    await until(lambda: service.left == 1)


class Raw:
    """A connection whose frames the test writes; h2 takes no frame after a GOAWAY."""

    def __init__(self, server):
        self._server = server

    async def __aenter__(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._server.port)
        self.writer.write(PREFACE + frame(SETTINGS, 0, 0))
        return self

    async def __aexit__(self, *exc):
        self.writer.close()

    async def until(self, *ends):
        """The frames up to one that has all of *ends* in it, or up to the end."""
        frames = []
        async with asyncio.timeout(PATIENCE):
            while not frames or not all(end in frames[-1] for end in ends):
                try:
                    head, flags, stream = struct.unpack(">IBI", await self.reader.readexactly(9))
                    payload = await self.reader.readexactly(head >> 8)
                except (asyncio.IncompleteReadError, ConnectionError):
                    break
                frames.append((head & 255, flags, stream, payload))
        return frames


async def test_what_is_here_is_answered_while_the_server_drains(server, service):
    """And what is on its way; then the connection ends by itself, and nobody else gets in."""
    service.go.clear()
    port = server.port
    async with Raw(server) as raw:
        raw.writer.write(ASK + frame(DATA, END_STREAM, 1, BODY))
        await until(lambda: service.calls == 1)
        draining = asyncio.create_task(server.drain(PATIENCE))
        *_, (*_, ping) = await raw.until(PING)
        encoder = hpack.Encoder()
        encoder.encode(CALL)
        for stream in (3, 5):
            raw.writer.write(frame(HEADERS, END_HEADERS, stream, encoder.encode(CALL)))
            raw.writer.write(frame(DATA, END_STREAM, stream, BODY))
            if stream == 3:
                raw.writer.write(frame(PING, ACK, 0, ping))
        await until(lambda: service.calls == 2)
        *_, (*_, last) = await raw.until(GOAWAY)
        assert last == bytes((0, 0, 0, 3, 0, 0, 0, 0))
        assert not draining.done()
        service.go.set()
        frames = await raw.until("the end")
    assert [stream for kind, _, stream, _ in frames if kind == DATA] == [1, 3]
    assert [stream for kind, _, stream, _ in frames if kind == RST] == [5]
    await draining
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_who_does_not_end_is_ended(service):
    """After the time for it, with the server."""
    service.go.clear()
    async with Server(service, "127.0.0.1", 0, patience=60.0) as server, Raw(server) as raw:
        raw.writer.write(ASK + frame(DATA, END_STREAM, 1, BODY))
        await until(lambda: service.calls)
        await server.drain(0.01)
        assert not service.cancelled
    assert service.cancelled == 1


async def test_who_says_nothing_is_not_waited_for():
    """Nor who begins and does not go on."""
    async with Server(Double(), "127.0.0.1", 0, patience=0.01) as server:
        for start in (b"", b"P"):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(start)
            async with asyncio.timeout(5):
                assert await reader.read() == b""
            writer.close()


# ------------------------------------------------------------------ frames
async def said(server, data, *, is_settled=True):
    """The frames that answer *data*; with *is_settled* also those of all that is worked on then."""
    async with Raw(server) as raw:
        raw.writer.write(data + frame(PING, 0, 0, b"all read"))
        frames = await raw.until(b"all read")
        if is_settled:
            await until(lambda: not server._tasks())
        raw.writer.write(frame(PING, 0, 0, b"the last"))
        return frames + await raw.until(b"the last")


def codes(frames, kind):
    at = 4 if kind == GOAWAY else 0
    return [int.from_bytes(p[at : at + 4], "big") for k, _, _, p in frames if k == kind]


@pytest.mark.parametrize(
    "request_frames",
    [
        ASK + frame(DATA, END_STREAM, 1, BODY),
        ASK + frame(DATA, END_STREAM | PADDED, 1, b"\3" + BODY + bytes(3)),
        frame(HEADERS, END_HEADERS | PADDED, 1, b"\2" + BLOCK + bytes(2))
        + frame(DATA, END_STREAM, 1, BODY),
        frame(HEADERS, END_HEADERS | PRIORITY, 1, bytes(5) + BLOCK)
        + frame(DATA, END_STREAM, 1, BODY),
        frame(HEADERS, END_HEADERS | PRIORITY | PADDED, 1, b"\1" + bytes(5) + BLOCK + b"\0")
        + frame(2, 0, 1, bytes(5))
        + frame(0x99, 255, 1, b"?")
        + frame(DATA, END_STREAM, 1, BODY),
        frame(HEADERS, 0, 1, BLOCK[:3])
        + frame(MORE, 0, 1, BLOCK[3:7])
        + frame(MORE, END_HEADERS, 1, BLOCK[7:])
        + frame(DATA, END_STREAM, 1, BODY),
    ],
    ids=["plain", "padded", "padded headers", "priority", "all", "continued"],
)
async def test_frames_may_come_in_any_form(server, request_frames):
    """That RFC 9113 knows, and unknown ones between them."""
    frames = await said(server, request_frames)
    data = [payload for kind, _, _, payload in frames if kind == DATA]
    assert (data, codes(frames, GOAWAY)) == ([framed(b"abcabc")], [])


async def test_a_body_in_pieces_may_end_with_trailers(server):
    """Or with an empty frame."""
    frames = await said(
        server,
        frame(HEADERS, END_HEADERS, 1, block(OTHER))
        + frame(DATA, 0, 1, b"abc")
        + frame(HEADERS, END_HEADERS | END_STREAM, 1, block([("x-end", "1")]))
        + frame(HEADERS, END_HEADERS, 3, block(OTHER))
        + frame(DATA, 0, 3, b"def")
        + frame(DATA, END_STREAM, 3),
    )
    assert sorted(payload for kind, _, _, payload in frames if kind == DATA) == [b"abc", b"def"]


def with_header(name, value):
    return [(n, v) for n, v in CALL if n != name] + ([(name, value)] if value else [])


@pytest.mark.parametrize(
    "headers",
    [
        with_header(":path", None),
        with_header(":method", None),
        [*CALL, (":status", "200")],
        [*CALL, (":path", "/")],
        [("x", "y"), *CALL],
        with_header("te", "gzip"),
        with_header("connection", "close"),
        with_header("Upper", "case"),
        with_header("x", "a\nb"),
        with_header("content-length", "many"),
        with_header("content-length", "4"),
    ],
)
async def test_a_malformed_request_ends_alone(server, headers):
    """By a reset of its stream; the next one on the connection is answered."""
    encoder = hpack.Encoder()
    frames = await said(
        server,
        frame(HEADERS, END_HEADERS, 1, encoder.encode(headers))
        + frame(DATA, END_STREAM, 1, BODY)
        + frame(HEADERS, END_HEADERS, 3, encoder.encode(CALL))
        + frame(DATA, END_STREAM, 3, BODY),
    )
    assert codes(frames, RST) == [1]
    assert [stream for kind, _, stream, _ in frames if kind == DATA] == [3]
    assert codes(frames, GOAWAY) == []


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (frame(DATA, 0, 1, b"a"), 1),
        (frame(DATA, 0, 0, b"a"), 1),
        (frame(RST, 0, 1, bytes(4)), 1),
        (frame(HEADERS, END_HEADERS, 2, BLOCK), 1),
        (frame(PUSH, 0, 1, bytes(4)), 1),
        (frame(MORE, END_HEADERS, 1, BLOCK), 1),
        (frame(HEADERS, 0, 1, BLOCK) + frame(DATA, 0, 1), 1),
        (frame(HEADERS, 0, 1, BLOCK) + frame(MORE, 0, 3, BLOCK), 1),
        (ASK + ASK, 1),
        (ASK + frame(DATA, END_STREAM | PADDED, 1, b"\4abc"), 1),
        (ASK + frame(DATA, END_STREAM | PADDED, 1), 1),
        (frame(HEADERS, 0, 1, BLOCK) + 62 * frame(MORE, 0, 1, bytes(1000)), 11),
        (frame(HEADERS, 0, 1, BLOCK) + frame(MORE, 0, 1), 11),
        (frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\x0f"), 9),
        (frame(HEADERS, END_HEADERS, 1, b"\x80"), 9),
        (frame(HEADERS, END_HEADERS, 1, block([*CALL, ("x", "y" * 70_000)])[: 1 << 20]), 9),
        (frame(PING, 0, 0, b"short"), 6),
        (frame(SETTINGS, 0, 0, b"cut"), 6),
        (frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 1 << 31)), 3),
        (frame(SETTINGS, 0, 0, struct.pack(">HI", 5, 1)), 1),
        (frame(CREDIT, 0, 0, b"cut"), 6),
        (frame(CREDIT, 0, 0, bytes(4)), 1),
        (2 * frame(CREDIT, 0, 0, b"\x7f\xff\xff\xff"), 3),
        (struct.pack(">IBI", ((1 << 20) + 1) << 8, 0, 1), 6),
    ],
)
async def test_who_breaks_the_rules_ends_the_connection(server, wrong, code):
    """With the number of what was broken, and at no other's cost."""
    assert codes(await said(server, wrong), GOAWAY) == [code]
    client = await Client().connect(server)
    assert (await client.end(client.ask(CALL, BODY)))[b"grpc-status"] == b"0"
    await client.close()


async def test_more_than_a_streams_window_ends_the_connection(server, service):
    """Whatever is not read takes no more memory than that."""
    service.go.clear()
    start = frame(HEADERS, END_HEADERS, 1, block(OTHER)) + frame(DATA, 0, 1, b"a")
    wrong = start + 3 * frame(DATA, 0, 1, bytes(WINDOW // 2))
    assert codes(await said(server, wrong, is_settled=False), GOAWAY) == [3]


@pytest.mark.parametrize("credit", [bytes(4), b"\x7f\xff\xff\xff"])
async def test_a_credit_that_cannot_be_ends_its_stream(server, service, credit):
    """And no other."""
    service.go.clear()
    start = frame(HEADERS, END_HEADERS, 1, block(OTHER)) + frame(DATA, 0, 1, b"a")
    frames = await said(server, start + frame(CREDIT, 0, 1, credit), is_settled=False)
    assert (len(codes(frames, RST)), codes(frames, GOAWAY)) == (1, [])


async def test_requests_beyond_the_limit_are_refused(server, service):
    """So that they may be sent again."""
    service.go.clear()
    encoder = hpack.Encoder()
    ask = b"".join(
        frame(HEADERS, END_HEADERS, stream, encoder.encode(CALL))
        + frame(DATA, END_STREAM, stream, BODY)
        for stream in range(1, 2 * MAX_STREAMS + 5, 2)
    )
    frames = await said(server, ask, is_settled=False)
    assert codes(frames, RST) == [7, 7]
    assert service.calls == MAX_STREAMS


async def test_streams_that_are_reset_at_once_count_until_they_are_over(server, service):
    """A client cannot have more worked on by resetting what it asks."""
    encoder = hpack.Encoder()
    ask = b"".join(
        frame(HEADERS, END_HEADERS, stream, encoder.encode(OTHER))
        + frame(RST, 0, stream, struct.pack(">I", 8))
        for stream in range(1, 8 * MAX_STREAMS, 2)
    )
    frames = await said(server, ask)
    assert codes(frames, GOAWAY) == []
    assert service.calls == 0


async def test_a_client_without_a_table_is_told_that_there_is_none(server):
    """Before the first headers after its settings, as RFC 7541 asks."""
    zero = frame(SETTINGS, 0, 0, struct.pack(">HI", 1, 0))
    ask = frame(HEADERS, END_HEADERS, 3, BLOCK) + frame(DATA, END_STREAM, 3, BODY)
    frames = await said(server, zero + ASK + frame(DATA, END_STREAM, 1, BODY) + ask)
    starts = [payload[:1] for kind, _, _, payload in frames if kind == HEADERS]
    assert starts[0] == b"\x20"
    assert b"\x20" not in starts[1:]


async def test_a_client_that_does_not_read_is_not_read_from(server):
    """What waits to be written stays bounded."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1)
    wide = struct.pack(">HI", 4, (1 << 31) - 1)
    writer.write(PREFACE + frame(SETTINGS, 0, 0, wide))
    writer.write(frame(CREDIT, 0, 0, struct.pack(">I", (1 << 31) - (1 << 16))))
    encoder = hpack.Encoder()
    for stream in range(1, 1000, 2):
        ask = frame(HEADERS, END_HEADERS, stream, encoder.encode(CALL))
        writer.write(ask + frame(DATA, END_STREAM, stream, framed(bytes(100_000))))
    await until(lambda: server._connections)
    (connection,) = server._connections
    await until(lambda: connection._is_full)
    for _ in range(1000):
        await asyncio.sleep(0)
    assert connection._transport.get_write_buffer_size() < 4 << 20
    assert connection._last < 999
    writer.transport.abort()
    assert reader


# ------------------------------------------------------------------ wherever reads are cut
class Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self):
        super().__init__()
        self.written = b""

    def write(self, data):
        self.written += bytes(data)

    def set_write_buffer_limits(self, high=None, low=None):
        pass

    def close(self):
        pass

    def is_closing(self):
        return False


ENCODER = hpack.Encoder()
DIALOGUE = (
    PREFACE
    + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 1 << 20))
    + frame(HEADERS, END_HEADERS, 1, ENCODER.encode(CALL))
    + frame(DATA, END_STREAM, 1, framed(b"abc"))
    + frame(HEADERS, END_HEADERS, 3, ENCODER.encode(OTHER))
    + frame(HEADERS, 0, 5, (BYTES := ENCODER.encode(OTHER))[:2])
    + frame(MORE, END_HEADERS, 5, BYTES[2:])
    + frame(DATA, 0, 3, b"0123456789")
    + frame(DATA, PADDED | END_STREAM, 5, b"\3defgh" + bytes(3))
    + frame(PING, 0, 0, b"whatever")
    + frame(DATA, END_STREAM, 3, b"xyz")
    + frame(HEADERS, END_HEADERS | END_STREAM, 7, ENCODER.encode(OTHER))
)


@given(st.lists(st.integers(1, len(DIALOGUE)), max_size=12))
@settings(deadline=None)
def test_reads_may_be_cut_anywhere(cuts):
    """Each stream is answered the same."""

    async def dialogue():
        transport, living = Transport(), set()
        connection = Connection(Double(), {"type": "http"}, living)
        connection.connection_made(transport)
        points = [0, *sorted(set(cuts)), len(DIALOGUE)]
        for at, end in itertools.pairwise(points):
            connection.data_received(DIALOGUE[at:end])
            await asyncio.sleep(0)
        while tasks := connection.tasks:
            await asyncio.wait(tasks)
            await asyncio.sleep(0)
        connection.connection_lost(None)
        assert not living
        return transport.written

    answer = asyncio.run(dialogue())
    bodies, at = {}, 0
    while at < len(answer):
        head, _, stream = struct.unpack_from(">IBI", answer, at)
        size, kind = head >> 8, head & 255
        if kind == DATA:
            bodies[stream] = bodies.get(stream, b"") + answer[at + 9 : at + 9 + size]
        assert kind not in (RST, GOAWAY)
        at += 9 + size
    assert bodies.pop(1) in (framed(b"abcabc"), framed(b"abc"))  # straight, or as it came in pieces
    assert bodies.pop(7, b"") == b""
    assert bodies == {3: b"0123456789xyz", 5: b"defgh"}

"""gRPC-Web and CORS around applications of the test's own, without a socket."""

from __future__ import annotations

import asyncio
import base64
import itertools
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.core.errors import NotFound
from fabric.gateway import grpc
from fabric.gateway.compression import Compression
from fabric.gateway.duplex import converse
from fabric.gateway.intake import Disconnected, Intake
from fabric.gateway.web import GrpcWeb, open_to_browsers

BINARY, TEXT = "application/grpc-web+proto", "application/grpc-web-text+proto"
PLAIN = "application/grpc"
LIMITS = Intake(1 << 20, 1 << 24, 60.0), Compression(0)
ORIGIN = "https://example.org"
TRAILERS = 0x80


def body(data, more=True):
    return {"type": "http.request", "body": data, "more_body": more}


def framed(message, flag=0):
    return bytes((flag,)) + len(message).to_bytes(4, "big") + message


@dataclass
class Browser:
    """The server's end of one call: gives *events*, and then is quiet."""

    events: list[dict]
    sent: list[dict] = field(default_factory=list)

    async def receive(self):
        if not self.events:
            await asyncio.Event().wait()
        return self.events.pop(0)

    async def send(self, event):
        self.sent.append(event)

    async def call(self, app, content_type=None, *, method="POST", **headers):
        listed = {"content-type": content_type} if content_type else {}
        listed |= {name.replace("_", "-"): value for name, value in headers.items()}
        pairs = [(name.encode(), value.encode()) for name, value in listed.items()]
        scope = {"type": "http", "method": method, "path": "/a.B/C", "headers": pairs}
        await app(scope, self.receive, self.send)
        return self

    @property
    def headers(self):
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}

    @property
    def chunks(self):
        """All that came behind the start, and was the whole body."""
        chunks = self.sent[1:]
        assert {event["type"] for event in chunks} == {"http.response.body"}
        assert [event["more_body"] for event in chunks] == [True] * (len(chunks) - 1) + [False]
        return [event["body"] for event in chunks]


class Echo:
    """An application that speaks gRPC: answers each message with itself, and fails for b"bad"."""

    def __init__(self):
        self.scope = None
        self.is_left = False

    async def __call__(self, scope, receive, send):
        self.scope = scope
        try:
            await converse(self.answers, scope, receive, send, *LIMITS, lambda error: error)
        except Disconnected:
            self.is_left = True

    async def answers(self, requests, scope):
        async for request in requests:
            if request == b"bad":
                raise NotFound("é: there is none")
            yield (request,)


def coded(kind, data):
    return base64.b64encode(data) if "text" in kind else data


def decoded(kind, chunk):
    return base64.b64decode(chunk, validate=True) if "text" in kind else chunk


# ------------------------------------------------------------------ gRPC-Web
@pytest.mark.parametrize(
    "kind", [BINARY, TEXT, "application/grpc-web", "application/grpc-web-text"]
)
async def test_a_call_is_one_in_grpc(kind):
    """For the application; the browser has its trailers in the last chunk, each coded by itself."""
    app = Echo()
    data = coded(kind, framed(b"1") + framed(b"23"))
    browser = Browser([body(data, more=False)])
    await browser.call(GrpcWeb(app), kind, te="x", x_own="y", content_length=str(len(data)))
    assert dict(app.scope["headers"]) == {
        b"content-type": kind.replace("-web", "").replace("-text", "").encode(),
        b"te": b"trailers",
        b"x-own": b"y",
    }
    assert browser.headers["content-type"] == kind
    assert not browser.sent[0]["trailers"]
    assert [decoded(kind, chunk) for chunk in browser.chunks if chunk] == [
        framed(b"1"),
        framed(b"23"),
        framed(b"grpc-status: 0\r\n", TRAILERS),
    ]


@pytest.mark.parametrize("kind", [BINARY, TEXT])
async def test_an_error_behind_messages_is_in_the_trailers(kind):
    """With its text and details."""
    browser = Browser([body(coded(kind, framed(b"1") + framed(b"bad")), more=False)])
    await browser.call(GrpcWeb(Echo()), kind)
    *_, last = browser.chunks
    trailers = decoded(kind, last)
    lines = trailers[5:].decode().split("\r\n")
    assert trailers == framed(trailers[5:], TRAILERS)
    assert lines[:2] == ["grpc-status: 5", "grpc-message: %C3%A9: there is none"]
    assert lines[2].startswith("grpc-status-details-bin: ")


@pytest.mark.parametrize("kind", [BINARY, TEXT])
async def test_an_error_without_messages_is_in_the_headers(kind):
    """And the body empty."""
    browser = await Browser([body(coded(kind, framed(b"bad")), more=False)]).call(
        GrpcWeb(Echo()), kind
    )
    assert (browser.headers["content-type"], browser.headers["grpc-status"]) == (kind, "5")
    assert browser.chunks == [b""]


@pytest.mark.parametrize(("asked", "accepted"), [(BINARY, TEXT), (TEXT, BINARY)])
async def test_the_answer_is_what_is_accepted(asked, accepted):
    """Where that is gRPC-Web; it need not be of the request's kind."""
    browser = Browser([body(coded(asked, framed(b"1")), more=False)])
    await browser.call(GrpcWeb(Echo()), asked, accept=f"{accepted}, */*")
    assert browser.headers["content-type"] == accepted
    assert decoded(accepted, browser.chunks[0]) == framed(b"1")


async def test_several_events_of_trailers_are_one_frame():
    """As ASGI lets an application send them."""

    async def app(scope, receive, send):
        await send(grpc.START)
        await send({"type": "http.response.body"})
        for name, more in ((b"grpc-status", True), (b"x-own", False)):
            headers = [(name, b"0")]
            await send(
                {"type": "http.response.trailers", "headers": headers, "more_trailers": more}
            )

    browser = await Browser([]).call(GrpcWeb(app), BINARY)
    assert browser.chunks == [b"", framed(b"grpc-status: 0\r\nx-own: 0\r\n", TRAILERS)]


@pytest.mark.parametrize(
    "kind", [None, "application/grpc", "application/json", "application/grpc-webs"]
)
async def test_what_is_no_grpc_web_is_passed_by(kind):
    """Scope, `receive` and `send` are the application's own."""
    seen = []

    async def app(*given):
        seen.append(given)

    browser = Browser([])
    await browser.call(GrpcWeb(app), kind)
    scope = {"type": "lifespan"}
    await GrpcWeb(app)(scope, browser.receive, browser.send)
    assert seen[0][1:] == (browser.receive, browser.send)
    assert seen[1] == (scope, browser.receive, browser.send)


async def test_an_answer_that_is_no_grpc_stays_as_it_is():
    """As of an application that refuses the call in HTTP."""

    async def app(scope, receive, send):
        headers = [(b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 415, "headers": headers})
        await send({"type": "http.response.body", "body": b"no", "more_body": False})

    browser = await Browser([]).call(GrpcWeb(app), TEXT)
    assert (browser.sent[0]["status"], browser.headers) == (415, {"content-type": "text/plain"})
    assert browser.chunks == [b"no"]


async def test_an_answer_is_taken_as_fast_as_the_browser_reads():
    """`send` returns when the server's has."""
    room = asyncio.Semaphore(0)
    given = 0

    async def app(scope, receive, send):
        nonlocal given
        await send(grpc.START)
        for _ in range(10):
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            given += 1

    async def send(event):
        await room.acquire()

    scope = {"type": "http", "headers": [(b"content-type", TEXT.encode())]}
    call = asyncio.create_task(GrpcWeb(app)(scope, None, send))
    for expected in range(10):
        room.release()
        for _ in range(10):
            await asyncio.sleep(0)
        assert given == expected
    room.release()
    await call


# ------------------------------------------------------------------ base64
async def read(*chunks):
    """What the application reads of a body in base64; and what its own events were."""
    events = []

    async def app(scope, receive, send):
        events.append(await receive())
        while events[-1].get("more_body"):
            events.append(await receive())

    cut = [body(chunk, number < len(chunks) - 1) for number, chunk in enumerate(chunks)]
    browser = await Browser(cut).call(GrpcWeb(app), TEXT)
    return events, browser


def at_once(coroutine):
    """What a coroutine gives that waits for nothing; hypothesis is not async."""
    with pytest.raises(StopIteration) as end:
        coroutine.send(None)
    return end.value.value


@given(
    st.lists(st.binary(max_size=20), max_size=6),
    st.lists(st.integers(0, 200), max_size=8),
)
def test_base64_may_be_cut_anywhere(segments, points):
    """And each of its segments be padded; a chunk becomes one at once, as far as it goes."""
    data = b"".join(map(base64.b64encode, segments))
    at = [0, *sorted(min(point, len(data)) for point in points), len(data)]
    chunks = [data[start:end] for start, end in itertools.pairwise(at)]
    events, browser = at_once(read(*chunks))
    assert b"".join(event["body"] for event in events) == b"".join(segments)
    assert [event["more_body"] for event in events] == [True] * (len(chunks) - 1) + [False]
    assert not browser.sent


@given(st.binary(max_size=20), st.data())
def test_all_that_can_be_decoded_is_at_once(value, data):
    """No more waits for what is behind it than three characters."""
    text = base64.b64encode(value)
    cut = data.draw(st.integers(0, len(text)))
    events, _ = at_once(read(text[:cut], text[cut:]))
    assert events[0]["body"] == base64.b64decode(text[: cut - cut % 4])


BAD = b"!!!! AAE AA=A A=== ==== A=AA AAEC= AAEC==== AAEC\xff".split()


@pytest.mark.parametrize("wrong", [*BAD, b"AAEC\n"])
async def test_what_is_no_base64_is_refused(wrong):
    """With a status, and the application sees a client that left."""
    events, browser = await read(b"AAEC", wrong)
    assert [event["type"] for event in events] == ["http.request", "http.disconnect"]
    assert (browser.headers["content-type"], browser.headers["grpc-status"]) == (TEXT, "3")
    assert browser.headers["grpc-message"].startswith("the body is not valid base64: ")
    assert browser.chunks == [b""]


async def test_nobody_need_hear_that_it_is_refused():
    """The browser may be gone when it is told."""

    async def send(event):
        raise OSError

    browser = Browser([body(b"!!!!")])
    browser.send = send
    await browser.call(GrpcWeb(Echo()), TEXT)


async def test_what_is_no_base64_behind_answers_ends_them():
    """The status is in the trailers; the call of the application is over."""
    app, events = Echo(), asyncio.Queue()
    browser = Browser([])
    browser.receive = events.get
    events.put_nowait(body(base64.b64encode(framed(b"1"))))
    call = asyncio.create_task(browser.call(GrpcWeb(app), TEXT))
    while len(browser.sent) < 2:
        await asyncio.sleep(0)
    events.put_nowait(body(b"!!!!"))
    await call
    assert app.is_left
    first, last = [base64.b64decode(chunk) for chunk in browser.chunks]
    assert first == framed(b"1")
    assert last.startswith(bytes((TRAILERS,)))
    assert b"\r\ngrpc-message: the body is not valid base64" in last


async def test_what_is_no_base64_behind_the_end_of_the_answer_is_no_news():
    """The answer stands."""

    async def app(scope, receive, send):
        await send(grpc.START)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        await send(grpc.OK_TRAILERS)
        assert (await receive())["type"] == "http.disconnect"
        assert (await receive())["type"] == "http.disconnect"

    browser = await Browser([body(b"!!!!")]).call(GrpcWeb(app), TEXT)
    _, last = browser.chunks
    assert base64.b64decode(last) == framed(b"grpc-status: 0\r\n", TRAILERS)


async def test_a_browser_that_leaves_is_gone_for_the_application():
    """Whatever was still to be decoded."""
    app = Echo()
    browser = await Browser([body(b"AA"), {"type": "http.disconnect"}]).call(GrpcWeb(app), TEXT)
    assert app.is_left
    assert not browser.sent


# ------------------------------------------------------------------ CORS
PREFLIGHT = {"access_control_request_method": "POST"}


@pytest.mark.parametrize("origins", [[ORIGIN], ["*"]])
async def test_a_page_is_told_what_it_may_do(origins):
    """Before it calls, without a question to the application."""
    opened = open_to_browsers(None, origins)
    asked = "content-type, x-grpc-web, x-user-agent, grpc-timeout, fabric-timeout"
    told = await Browser([]).call(
        opened,
        method="OPTIONS",
        origin=ORIGIN,
        access_control_request_headers=asked,
        **PREFLIGHT,
    )
    assert told.sent[0]["status"] == 200
    assert told.headers["access-control-allow-origin"] == origins[0]
    assert told.headers["access-control-allow-methods"] == "GET, HEAD, POST, OPTIONS"
    assert told.headers["access-control-max-age"] == "600"
    assert set(asked.split(", ")) <= set(told.headers["access-control-allow-headers"].split(", "))


async def test_a_page_of_another_origin_may_nothing():
    """Neither ask nor read."""
    opened = open_to_browsers(GrpcWeb(Echo()), [ORIGIN])
    told = await Browser([]).call(opened, method="OPTIONS", origin="https://a.org", **PREFLIGHT)
    answer = await Browser([body(b"", more=False)]).call(opened, BINARY, origin="https://a.org")
    for each in (told, answer):
        assert "access-control-allow-origin" not in each.headers


async def test_a_page_may_read_the_status_of_what_it_calls():
    """In the headers that it is shown; no answer changes those of another."""
    opened = open_to_browsers(Echo(), [ORIGIN])
    for _ in range(2):
        answer = await Browser([body(framed(b"1"), more=False)]).call(opened, PLAIN, origin=ORIGIN)
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert "grpc-status-details-bin" in answer.headers["access-control-expose-headers"]
        assert [name for name, _ in answer.sent[0]["headers"]].count(b"vary") == 1
    plain = await Browser([body(framed(b"1"), more=False)]).call(opened, PLAIN)
    assert "access-control-allow-origin" not in plain.headers
    assert grpc.START["headers"] == [(b"content-type", b"application/grpc")]


def test_without_origins_there_is_nothing_in_front():
    """That is the default."""
    app = Echo()
    assert open_to_browsers(app, ()) is app

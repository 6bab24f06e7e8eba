"""Calls passed on to a control plane that does as each test says, on a real port."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import random
import socket
from contextlib import aclosing

import grpc
import grpc.aio
import pytest
from running import until

from fabric.api.catalog.v1 import catalog_service_pb2_grpc
from fabric.api.routing.v1 import learning_service_pb2_grpc
from fabric.core.errors import (
    Conflict,
    FabricError,
    InvalidRequest,
    NotFound,
    Overloaded,
    Unavailable,
    Unimplemented,
)
from fabric.gateway.mirror import channel_to
from fabric.gateway.relay import Relay, _send, heard, metadata_of
from fabric.wire.status import DETAILS_KEY, to_details

SERVICE = "fabric.api.catalog.v1.CatalogService"
LEARNING = "fabric.api.routing.v1.LearningService"
CODES = {code.value[0]: code for code in grpc.StatusCode}
MIB = 1 << 20


class Plane:
    """The control plane: unary calls, Watch and Renew, each answered by `answer`.

    That is an async generator of answers, from the requests and the context of a call.
    """

    def __init__(self, answer):
        self.answer = answer
        self.begun = 0
        self.open = 0
        self.written = 0

    async def _stream(self, requests, context):
        self.begun += 1
        self.open += 1
        try:
            async with aclosing(self.answer(requests, context)) as answers:
                async for answer in answers:
                    await context.write(answer)
                    self.written += 1
        except FabricError as error:
            await context.abort(
                CODES[error.code], error.message, ((DETAILS_KEY, to_details(error)),)
            )
        finally:
            self.open -= 1

    async def _unary(self, request, context):
        await self._stream(only(request), context)

    @contextlib.asynccontextmanager
    async def started(self, port=0):
        server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
        methods = {
            "List": grpc.unary_stream_rpc_method_handler(self._unary),
            "Watch": grpc.unary_stream_rpc_method_handler(self._unary),
            "Renew": grpc.stream_stream_rpc_method_handler(self._stream),
        }
        learning = {"Train": grpc.unary_stream_rpc_method_handler(self._unary)}
        for service, each in ((SERVICE, methods), (LEARNING, learning)):
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, each),))
        self.server = server
        self.port = server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        try:
            async with channel_to(f"127.0.0.1:{self.port}") as channel:
                yield channel
        finally:
            await server.stop(None)


async def only(*messages):
    for message in messages:
        yield message


class Caller:
    """The requests of a call that stays open; `taken` of them were asked for."""

    def __init__(self, *messages):
        self.queue = asyncio.Queue()
        self.taken = 0
        for message in messages:
            self.queue.put_nowait(message)

    def __aiter__(self):
        return self

    async def __anext__(self):
        message = await self.queue.get()
        if isinstance(message, Exception):
            raise message
        self.taken += 1
        return message


def called(channel, method, requests, headers=(), quiet=15.0):
    """The answers to a call."""
    path = f"/{LEARNING if method == 'Train' else SERVICE}/{method}"
    handler = Relay(channel, quiet).stream_handlers()[path]
    return handler(requests, {"path": path, "headers": list(headers)})


async def answered(channel, method, requests, headers=(), quiet=15.0):
    """All answers to a call, whole."""
    answers = called(channel, method, requests, headers, quiet)
    return [b"".join(parts) async for parts in answers]


async def echo(requests, context):
    async for request in requests:
        yield request


async def hang(requests, context):
    await asyncio.Event().wait()
    yield b""


def tasks():
    """All but those of the server, which makes new ones at any time."""
    return {task for task in asyncio.all_tasks() if "aio/server.pyx" not in repr(task)}


async def settled(count):
    """What *count* gives when it has stopped growing."""
    last, same = count(), 0
    while same < 30:
        await asyncio.sleep(0.001)
        now = count()
        last, same = now, same + 1 if now == last else 0
    return last


# ------------------------------------------------------------------ what is passed on
def test_there_is_a_handler_for_every_call_of_the_control_plane():
    """By the path that its clients use."""
    servicers = {
        SERVICE: catalog_service_pb2_grpc.CatalogServiceServicer,
        LEARNING: learning_service_pb2_grpc.LearningServiceServicer,
    }
    assert Relay(None).stream_handlers().keys() == {
        f"/{service}/{name}"
        for service, servicer in servicers.items()
        for name in vars(servicer)
        if name[0].isupper()
    }


@pytest.mark.parametrize("method", ["List", "Watch", "Renew"])
@pytest.mark.parametrize("message", [b"", b"\0any bytes\xff", bytearray(2 * MIB)])
async def test_messages_arrive_byte_for_byte(method, message):
    """Both ways, and however large."""
    async with Plane(echo).started() as channel:
        assert await answered(channel, method, only(message)) == [message]


async def test_the_end_of_the_requests_is_passed_on():
    """The last answer comes behind it."""

    async def count(requests, context):
        number = 0
        async for _ in requests:
            number += 1
            yield b"one"
        yield b"%d in all" % number

    async with Plane(count).started() as channel:
        assert await answered(channel, "Renew", only(b"", b"")) == [b"one", b"one", b"2 in all"]
        assert await answered(channel, "Renew", only()) == [b"0 in all"]


async def test_each_answer_comes_before_the_next_is_asked_for():
    """As a conversation: the caller waits for one before it sends on."""
    caller = Caller(b"1")
    async with Plane(echo).started() as channel, aclosing(called(channel, "Renew", caller)) as call:
        assert await anext(call) == (b"1",)
        caller.queue.put_nowait(b"2")
        assert await anext(call) == (b"2",)


@pytest.mark.parametrize("method", ["List", "Watch"])
async def test_a_unary_call_without_a_request_is_refused(method):
    """By its name."""
    async with Plane(echo).started() as channel:
        with pytest.raises(InvalidRequest, match=f"{method} takes one message, and none came"):
            await answered(channel, method, only())


async def test_the_deadline_is_passed_on():
    """What is left of it; none where the caller has none."""
    seen = []

    async def note(requests, context):
        seen.append(context.time_remaining())
        yield b""

    async with Plane(note).started() as channel:
        for method in ("List", "Renew"):
            await answered(channel, method, only(b""), [(b"grpc-timeout", b"20S")])
            await answered(channel, method, only(b""))
    assert all(0 < left < 21 for left in seen[::2])  # gRPC's clients round up
    assert seen[1::2] == [None, None]


# ------------------------------------------------------------------ metadata
async def test_the_callers_own_metadata_are_passed_on():
    """Not what is about the connection, and binary ones as bytes."""
    headers = [
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
        (b"user-agent", b"a"),
        (b"host", b"a"),
        (b"grpc-accept-encoding", b"gzip"),
        (b"sec-fetch-mode", b"\xff"),
        (b"traceparent", b"00-1-2-01"),
        (b"x-twice", b"1"),
        (b"x-twice", b"2, 3"),
        (b"x-own-bin", b"AAEC/w,,AA=="),
    ]
    seen = []

    async def note(requests, context):
        seen.extend(context.invocation_metadata())
        yield b""

    async with Plane(note).started() as channel:
        await answered(channel, "List", only(b""), headers)
    assert [(name, value) for name, value in seen if name != "user-agent"] == [
        ("traceparent", "00-1-2-01"),
        ("x-twice", "1"),
        ("x-twice", "2, 3"),
        ("x-own-bin", b"\0\1\2\xff"),
        ("x-own-bin", b""),
        ("x-own-bin", b"\0"),
    ]


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        (b"x!", b"a", "header 'x!' is no name of metadata"),
        (b"X", b"a", "header 'X' is no name of metadata"),
        (b"", b"a", "header '' is no name of metadata"),
        (b"x", b"\xe9", "header 'x' has a value that is not printable ASCII"),
        (b"x", b"a\tb", "header 'x' has a value that is not printable ASCII"),
        (b"x-bin", b"!!!!", "header 'x-bin' is not valid base64"),
        (b"x-bin", b"AAEC,A", "header 'x-bin' is not valid base64"),
        (b"x-bin", b"AA==AA==", "header 'x-bin' is not valid base64"),
    ],
)
def test_a_header_that_grpc_cannot_carry_is_refused_by_its_name(name, value, text):
    """With what would be right."""
    with pytest.raises(InvalidRequest, match=text):
        list(metadata_of([(b"x-fine", b"a"), (name, value)]))


async def test_odd_headers_of_one_caller_cost_no_other():
    """They are refused or arrive as they are, and a call beside them goes on on one connection."""
    draw = random.Random(7)
    names = b"x", b"x-bin", b"y-bin", b"x.y_0", b"X", b"x y", b"\xff", b":p", b"grpc-z", b"bin"
    values = b"", b"a", b" a b", b"!!!!", b"AAEC", b"AA,AA==", b"\0", b"\x7f", b"\xe9", b"a\n"
    seen = []

    async def note(requests, context):
        seen.append([each for each in context.invocation_metadata() if each[0] != "user-agent"])
        async for request in requests:
            yield request

    caller, refused = Caller(), 0
    async with (
        Plane(note).started() as channel,
        aclosing(called(channel, "Renew", caller)) as other,
    ):
        for number in range(300):
            headers = [(draw.choice(names), draw.choice(values)) for _ in range(draw.randrange(4))]
            try:
                assert await answered(channel, "List", only(b"a"), headers) == [b"a"]
            except InvalidRequest:
                refused += 1
            else:
                assert seen[-1] == list(metadata_of(headers))
            caller.queue.put_nowait(b"%d" % number)
            assert await anext(other) == (b"%d" % number,)
    assert 50 < refused < 250


async def test_more_headers_than_the_control_plane_takes_are_too_many_alone():
    """Its refusal is the caller's, and a call beside it goes on."""
    caller = Caller(b"1", b"2")
    async with (
        Plane(echo).started() as channel,
        aclosing(called(channel, "Renew", caller)) as other,
    ):
        await anext(other)
        with pytest.raises(Overloaded, match="metadata size exceeds"):
            await answered(channel, "List", only(b""), [(b"x", b"a" * 50_000)])
        assert await anext(other) == (b"2",)


# ------------------------------------------------------------------ errors
@pytest.mark.parametrize("method", ["List", "Watch", "Renew"])
@pytest.mark.parametrize(
    "error", [NotFound("no specialist 'é'"), Conflict("100 %"), Unavailable("stopping")], ids=repr
)
async def test_an_error_is_told_as_it_was_said(method, error):
    """Code, text and details, behind the answers before it."""

    async def fail(requests, context):
        yield b"1"
        raise error

    async with Plane(fail).started() as channel:
        call = called(channel, method, only(b""))
        assert await anext(call) == (b"1",)
        with pytest.raises(type(error)) as raised:
            await anext(call)
    assert to_details(raised.value) == to_details(error)


@pytest.mark.parametrize("method", ["List", "Watch"])
async def test_a_request_that_is_refused_on_its_way_is_told_why(method):
    """However much of it was still to be sent."""

    async def fail(requests, context):
        raise NotFound("none")
        yield b""

    async with Plane(fail).started() as channel:
        for _ in range(20):
            with pytest.raises(NotFound, match="none"):
                await answered(channel, method, only(bytes(MIB)))


async def test_a_call_that_the_control_plane_lacks_is_unimplemented():
    """As of one of another version."""
    async with Plane(echo).started() as channel:
        with pytest.raises(Unimplemented):
            await answered(channel, "Apply", only(b""))


@pytest.mark.parametrize("method", ["List", "Renew"])
async def test_a_control_plane_that_is_away_is_unavailable(method):
    """And said to be."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        async with channel_to(f"127.0.0.1:{port}") as channel:
            with pytest.raises(Unavailable, match="the control plane does not answer"):
                await answered(channel, method, only(b""))


@pytest.mark.parametrize("method", ["List", "Watch", "Renew"])
async def test_a_control_plane_that_dies_is_unavailable(method):
    """To whoever waits for it."""
    plane = Plane(hang)
    async with plane.started() as channel:
        call = asyncio.create_task(answered(channel, method, only(b"")))
        await until(lambda: plane.open)
        await plane.server.stop(None)
        with pytest.raises(Unavailable, match="the control plane does not answer"):
            await call


async def test_a_quiet_unary_call_is_given_up_and_no_stream_is():
    """Watch and Renew may be quiet for as long as they like, and Train takes long."""
    go = asyncio.Event()

    async def late(requests, context):
        await go.wait()
        yield b"late"

    plane = Plane(late)
    async with plane.started() as channel:
        streams = [
            asyncio.create_task(answered(channel, method, only(b""), quiet=0.02))
            for method in ("Watch", "Renew", "Train")
        ]
        await until(lambda: plane.open == 3)
        with pytest.raises(Unavailable, match=r"does not answer: nothing came for 0\.02 s"):
            await answered(channel, "List", only(b""), quiet=0.02)
        await until(lambda: plane.open == 3)  # it has heard of the end of the fourth
        go.set()
        assert await asyncio.gather(*streams) == [[b"late"]] * 3


@pytest.mark.parametrize("method", ["List", "Watch", "Renew"])
async def test_what_is_wrong_with_a_request_ends_the_call(method):
    """For the caller by what it is, for the control plane as cancelled."""
    plane, wrong = Plane(echo), InvalidRequest("the request ends in the middle")
    async with plane.started() as channel:
        caller = Caller(b"1", wrong) if method == "Renew" else Caller(wrong)
        with pytest.raises(InvalidRequest, match="in the middle"):
            await answered(channel, method, caller)
        await until(lambda: not plane.open)


async def test_a_call_that_ends_early_takes_no_more_requests():
    """It does not wait for the caller to have sent all."""

    async def once(requests, context):
        async for request in requests:
            yield request
            return

    caller = Caller(b"1")
    async with Plane(once).started() as channel:
        assert await answered(channel, "Renew", caller) == [b"1"]
    caller.queue.put_nowait(b"2")
    await asyncio.sleep(0)
    assert caller.taken == 1


async def test_a_call_that_ends_together_with_its_requests_is_no_failure_of_its_own():
    """gRPC's library then fails to say that there are no more; why it ended is read elsewhere."""

    class Ended:
        async def write(self, message):
            pass

        async def done_writing(self):
            raise grpc.aio.InternalError

    async def requests():
        yield b"last"

    await _send(requests(), Ended())


# ------------------------------------------------------------------ back-pressure
@pytest.mark.parametrize("method", ["Watch", "Renew"])
async def test_a_slow_caller_holds_the_control_plane_back(method):
    """Answers are asked for one by one; the network holds a few."""

    async def pour(requests, context):
        for _ in range(100):
            yield bytes(MIB)

    plane = Plane(pour)
    async with plane.started() as channel, aclosing(called(channel, method, only(b""))) as call:
        await anext(call)
        assert await settled(lambda: plane.written) < 20
        assert len([answer async for answer in call]) == 99


async def test_a_slow_control_plane_holds_the_caller_back():
    """Requests are taken one by one; the network holds a few."""
    go = asyncio.Event()

    async def wait(requests, context):
        await go.wait()
        async for _ in requests:
            yield b""

    caller = Caller(*[bytes(MIB)] * 100)
    async with Plane(wait).started() as channel, aclosing(called(channel, "Renew", caller)) as call:
        first = asyncio.create_task(anext(call))
        await until(lambda: caller.taken)
        assert await settled(lambda: caller.taken) < 20
        go.set()
        await first
        for _ in range(99):
            await anext(call)


# ------------------------------------------------------------------ callers that leave
@pytest.mark.parametrize("turns", [*range(12), 1000])
@pytest.mark.parametrize("message", [b"a", bytes(4 * MIB)], ids=len)
@pytest.mark.parametrize("method", ["List", "Watch", "Renew"])
async def test_a_caller_that_leaves_ends_the_call(method, message, turns):
    """At whatever wait: after so many turns of the loop, nothing is left of it at either end."""
    plane = Plane(hang)
    async with plane.started() as channel:
        before = tasks()
        call = asyncio.create_task(answered(channel, method, Caller(message)))
        for _ in range(turns):
            await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await until(lambda: not plane.open and tasks() <= before)


@pytest.mark.parametrize("method", ["List", "Watch", "Renew"])
async def test_a_caller_that_leaves_between_two_answers_ends_the_call(method):
    """The generator of its answers is closed where it gave one."""

    async def one(requests, context):
        yield b"1"
        await asyncio.Event().wait()

    plane = Plane(one)
    async with plane.started() as channel:
        call = called(channel, method, Caller(b"a"))
        await anext(call)
        await call.aclose()
        await until(lambda: not plane.open)


def test_binary_metadata_may_come_with_and_without_padding():
    """As gRPC's specification has it."""
    for size in range(8):
        value = bytes(range(size))
        coded = base64.b64encode(value)
        for sent in (coded, coded.rstrip(b"=")):
            assert list(metadata_of([(b"x-bin", sent)])) == [("x-bin", value)]


async def test_what_goes_wrong_once_all_is_answered_is_not_the_callers(caplog):
    """The rest is heard, and the log has what was not."""
    told = []

    async def hear(request):
        told.append(request)
        if request == b"bad":
            raise ValueError("of all things")

    async with Plane(echo).started() as channel:
        handler = heard(Relay(channel).stream_handlers()[f"/{SERVICE}/Renew"], hear)
        scope = {"path": f"/{SERVICE}/Renew", "headers": []}
        answers = [b"".join(parts) async for parts in handler(only(b"bad", b"good"), scope)]

    assert answers == told == [b"bad", b"good"]
    assert "of all things" in caplog.text

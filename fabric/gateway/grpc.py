"""Unary gRPC over ASGI, by hand: five bytes before the message and two trailers after it.

The rules are those of gRPC over HTTP/2 (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
A library that does this for us costs ten times the time of everything else the gateway does.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    MutableMapping,
)
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import quote

from google.protobuf.message import DecodeError
from google.protobuf.message import Message as ProtoMessage

from fabric.core.deadlines import NEVER, Deadline
from fabric.core.errors import FabricError, InvalidRequest, error_of
from fabric.gateway.intake import PREFIX, Disconnected
from fabric.wire.status import DETAILS_KEY, to_details

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Parts = tuple[bytes | memoryview, ...]
Handler = Callable[[bytes, Scope], Coroutine[Any, Any, Parts]]
"""From the message of a request, and its ASGI scope, to the parts of what answers it.

It may refuse at once, before it gives a coroutine."""
StreamHandler = Callable[[AsyncIterator[bytes], Scope], AsyncGenerator[Parts, None]]
"""The same for the messages of a call that may have any number of them, both ways."""

if TYPE_CHECKING:
    from fabric.gateway.coding import Coding
    from fabric.gateway.compression import Compression
    from fabric.gateway.intake import Intake

T = TypeVar("T")
M = TypeVar("M", bound=ProtoMessage)

SERVICE = "/inference.GRPCInferenceService/"
"""Where the calls of the Open Inference Protocol are."""
LARGE = 1 << 20
"""Bytes from which on an answer is sent in pieces, and of one of them."""

_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
HEADERS = [(b"content-type", b"application/grpc")]
OK = [(b"grpc-status", b"0")]
_ACCEPTED = (b"grpc-accept-encoding", b"identity,deflate,gzip")
START: Message = {
    "type": "http.response.start",
    "status": 200,
    "headers": HEADERS,
    "trailers": True,
}
WORTH_COMPRESSING = 512
"""Bytes of an answer from which on it is compressed for clients that compress their requests."""
OK_TRAILERS = {
    "type": "http.response.trailers",
    "headers": OK,
    "more_trailers": False,
}


def decoded(cls: type[M], payload: bytes) -> M:
    """Raises InvalidRequest unless *payload* is a message of *cls*."""
    try:
        return cls.FromString(payload)
    except DecodeError as error:
        raise InvalidRequest(f"the request is no {cls.DESCRIPTOR.full_name}") from error


def is_grpc(scope: Scope) -> bool:
    """Whether it is a gRPC call; those of gRPC-Web are not, before they have become some."""
    kind = header(scope, b"content-type")
    return kind.startswith(b"application/grpc") and kind[16:17] in (b"", b"+", b";")


async def read(scope: Scope, receive: Receive, intake: Intake, compression: Compression) -> bytes:
    """The one message of a unary request.

    Raises:
        Disconnected: the client left before it was complete.
        InvalidRequest: it is not one whole message.
        Overloaded: it is larger than it may be, or what comes out of it.
        DeadlineExceeded: it stopped coming.
        Unimplemented: it is compressed in a way that is not known.
    """
    body = await intake.message(receive)
    if body[0]:
        return await compression.inflated(bytes(body[PREFIX:]), scope)
    if isinstance(body, bytes):
        return body[PREFIX:]
    del body[:PREFIX]  # of a large one, which is not copied
    return cast("bytes", body)  # whatever reads a message takes any buffer


async def unless_gone(receive: Receive, answer: Coroutine[Any, Any, T]) -> T:
    """What *answer* gives, unless the client leaves first, which cancels it.

    For calls whose request has been read to its end.

    Raises:
        Disconnected: the client left.
    """
    departure = Departure(receive)
    departure.watch()
    try:
        return await answer
    except asyncio.CancelledError:
        if departure.was_it():
            raise Disconnected from None
        raise
    finally:
        departure.end()


class Departure:
    """Cancels the task that made it when the client leaves, from `watch` to `end`."""

    __slots__ = ("_event", "_is_client_gone", "_is_over", "_receive", "_task")

    def __init__(self, receive: Receive) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101
        self._task = task
        self._receive = receive
        self._event: asyncio.Future[Message] | None = None
        self._is_client_gone = False
        self._is_over = False

    def watch(self) -> None:
        """Listens to what comes next, which is the client's departure if its request has ended."""
        self._event = asyncio.ensure_future(self._receive())
        self._event.add_done_callback(self._heard)

    def was_it(self) -> bool:
        """Whether the task was cancelled for this alone, which then is no cancellation any more."""
        return self._is_client_gone and self._task.uncancel() == 0

    def end(self) -> None:
        self._is_over = True
        if self._event is not None:
            self._event.cancel()

    def _heard(self, event: asyncio.Future[Message]) -> None:
        if self._is_over or event.cancelled():
            return
        if event.result()["type"] == "http.disconnect":
            self._is_client_gone = True
            self._task.cancel()
        else:
            self.watch()


async def respond(scope: Scope, send: Send, parts: Parts, compression: Compression) -> None:
    """Answers with the message that *parts* make.

    Raises:
        Disconnected: the client left meanwhile.
    """
    size = sum(map(len, parts))
    flag, start = b"\0", START
    if size >= WORTH_COMPRESSING and (coding := compression.agreed(scope)) is not None:
        flag, start = b"\1", start_in(coding)
        parts = (await compression.deflated(parts, coding),)
        size = len(parts[0])
    prefix = flag + size.to_bytes(4, "big")
    try:
        await send(start)
        if size > LARGE:
            await send_in_pieces(send, (prefix, *parts))
        else:
            body = b"".join((prefix, *parts))
            await send({"type": "http.response.body", "body": body, "more_body": False})
        await send(OK_TRAILERS)
    except OSError:  # as ASGI has it
        raise Disconnected from None


async def send_in_pieces(send: Send, parts: Parts) -> None:
    """The whole body as fast as the client takes it, and never the whole in one more copy."""
    for part in parts:
        view = memoryview(part)
        for at in range(0, len(view), LARGE):
            piece = view[at : at + LARGE]
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def start_in(coding: Coding | None) -> Message:
    """The start of an answer whose messages may be in *coding*."""
    if coding is None:
        return START
    return {**START, "headers": [*HEADERS, (b"grpc-encoding", coding.value.encode())]}


async def fail(send: Send, error: FabricError) -> None:
    """Answers with the status of *error* and its details, as trailers only."""
    headers = [*HEADERS, _ACCEPTED, *status_of(error)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def status_of(error: FabricError) -> tuple[tuple[bytes, bytes], ...]:
    """The trailers that say *error*."""
    return _status(error.code, error.reason, error.message, error.retry_after)


@lru_cache(256)  # many fail of the same, above all when that has to be told quickly
def _status(
    code: int, reason: str, message: str, retry_after: float
) -> tuple[tuple[bytes, bytes], ...]:
    quoted = quote(message, safe=_UNESCAPED, errors="replace")
    if len(quoted) > _LONGEST_MESSAGE:
        kept = len(message) * _LONGEST_MESSAGE // len(quoted)
        message = f"{message[:kept]} ... (shortened)"
        quoted = quote(message, safe=_UNESCAPED, errors="replace")
    error = error_of(code, reason, message)
    error.retry_after = retry_after
    details = base64.b64encode(to_details(error)).rstrip(b"=")
    return (
        (b"grpc-status", b"%d" % code),
        (b"grpc-message", quoted.encode()),
        (DETAILS_KEY.encode(), details),
    )


# Clients take 8 KiB of headers, and the message travels in two of them.
_LONGEST_MESSAGE = 2000
# "Percent-Encoded": what is printable ASCII stays as it is, but for the percent sign.
_UNESCAPED = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


def header(scope: Scope, name: bytes) -> bytes:
    """The first value of a header; empty if there is none."""
    return next((value for key, value in scope["headers"] if key == name), b"")


def deadline_of(value: bytes) -> Deadline:
    """The point in time that a `grpc-timeout` header sets; NEVER if it is empty.

    Raises:
        InvalidRequest: it is no timeout.
    """
    if not value:
        return NEVER
    unit = _UNITS.get(value[-1:])
    if unit is None or not value[:-1].isdigit() or len(value) > 9:
        raise InvalidRequest(f"grpc-timeout {value.decode(errors='replace')!r} is not valid")
    return Deadline(time.monotonic() + int(value[:-1]) * unit)

"""gRPC calls with any number of messages both ways, over ASGI and by hand as the unary ones."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, cast

from fabric.core.errors import DeadlineExceeded, FabricError, InvalidRequest
from fabric.gateway.grpc import (
    OK_TRAILERS,
    WORTH_COMPRESSING,
    Departure,
    deadline_of,
    fail,
    header,
    start_in,
    status_of,
)
from fabric.gateway.intake import PREFIX, SMALL, Disconnected

if TYPE_CHECKING:
    from collections.abc import Callable

    from fabric.gateway.compression import Compression
    from fabric.gateway.grpc import Message, Parts, Receive, Scope, Send, StreamHandler
    from fabric.gateway.intake import Intake

_READ_AHEAD = 1 << 20
"""Bytes that are taken before anybody asks for them; then the client is held back."""


class Requests(Departure):
    """The messages of a call as they come; `async for` ends where the client closes its half.

    The task that made it is cancelled when the client leaves, until `end`. While more waits here
    than is taken ahead, that is noticed only when something is read or sent.
    """

    def __init__(
        self, scope: Scope, receive: Receive, intake: Intake, compression: Compression
    ) -> None:
        super().__init__(receive)
        self._scope = scope
        self._intake = intake
        self._compression = compression
        self._data = b""
        self._at = 0
        self._chunks: list[bytes] = []
        """What has come behind `_data`."""
        self._unread = 0
        self._is_held = False
        self._news: asyncio.Event | None = asyncio.Event()
        """None from the end of the body on."""
        self.watch()

    def __aiter__(self) -> Requests:
        return self

    async def __anext__(self) -> bytes:
        """
        Raises:
            InvalidRequest: the body ends in the middle of a message.
            Overloaded: the message is larger than is allowed, or what comes out of it.
            DeadlineExceeded: it stopped coming.
            Unimplemented: it is compressed in a way that is not known.
        """
        if not await self._has(PREFIX):
            if self._unread:
                raise _cut()
            raise StopAsyncIteration
        prefix = self._take(PREFIX)
        message = await self._message(int.from_bytes(prefix[1:], "big"))
        if prefix[0]:
            return await self._compression.inflated(bytes(message), self._scope)
        return cast("bytes", message)  # whatever reads a message takes any buffer

    async def _message(self, size: int) -> bytes | bytearray:
        if self._news is None and self._unread < size:
            raise _cut()  # before it is given room
        buffer = await self._intake.take(size)
        if size <= SMALL:
            await self._must_have(size)
            return self._take(size)
        while (missing := size - len(buffer)) > 0:
            await self._must_have(1)
            buffer += self._take(min(missing, self._unread))
        return buffer

    async def _must_have(self, size: int) -> None:
        try:
            async with asyncio.timeout(self._intake.patience):
                if not await self._has(size):
                    raise _cut()
        except TimeoutError:
            raise self._intake.interrupted() from None

    async def _has(self, size: int) -> bool:
        """Whether *size* bytes are there before the body ends."""
        while self._unread < size:
            if self._news is None:
                return False
            if self._is_held:
                self._is_held = False
                self.watch()
            self._news.clear()
            await self._news.wait()
        return True

    def _take(self, size: int) -> bytes:
        """The next *size* bytes, which are there; each is copied twice at most."""
        if len(self._data) - self._at < size:
            self._data = b"".join((self._data[self._at :], *self._chunks))
            self._at = 0
            self._chunks.clear()
        taken = self._data[self._at : self._at + size]
        self._at += size
        self._unread -= size
        if not self._unread:
            self._data, self._at = b"", 0
        return taken

    def _heard(self, event: asyncio.Future[Message]) -> None:
        if self._is_over or event.cancelled():
            return
        said = event.result()
        news = self._news
        if news is None or said["type"] != "http.request":
            super()._heard(event)
            return
        if body := said.get("body", b""):
            self._chunks.append(body)
            self._unread += len(body)
        if not said.get("more_body", False):
            self._news = None
            self.watch()
        elif self._unread >= _READ_AHEAD:
            self._is_held = True
        else:
            self.watch()
        news.set()


def _cut() -> InvalidRequest:
    return InvalidRequest("the request ends in the middle of a gRPC message")


class Responses:
    """The half of a call that goes to the client."""

    def __init__(self, scope: Scope, send: Send, compression: Compression) -> None:
        self._send = send
        self._compression = compression
        self._coding = compression.agreed(scope)
        self._is_begun = False

    async def message(self, parts: Parts) -> None:
        """Sends one message; returns when there is room for the next.

        Raises:
            Disconnected: the client left.
        """
        flag, size = b"\0", sum(map(len, parts))
        if self._coding is not None and size >= WORTH_COMPRESSING:
            parts = (await self._compression.deflated(parts, self._coding),)
            flag, size = b"\1", len(parts[0])
        await self._begin()
        body = b"".join((flag, size.to_bytes(4, "big"), *parts))
        await self._sent({"type": "http.response.body", "body": body, "more_body": True})

    async def finish(self) -> None:
        """Ends the call as it should; raises Disconnected."""
        await self._begin()
        await self._end(OK_TRAILERS)

    async def fail(self, error: FabricError) -> None:
        """Ends the call with the status of *error*, behind what was sent; raises Disconnected."""
        if not self._is_begun:
            await fail(self._sent, error)
            return
        headers = status_of(error)
        await self._end(
            {"type": "http.response.trailers", "headers": headers, "more_trailers": False}
        )

    async def _begin(self) -> None:
        if not self._is_begun:
            self._is_begun = True
            await self._sent(start_in(self._coding))

    async def _end(self, trailers: Message) -> None:
        await self._sent({"type": "http.response.body", "body": b"", "more_body": False})
        await self._sent(trailers)

    async def _sent(self, event: Message) -> None:
        try:
            await self._send(event)
        except OSError:  # as ASGI has it
            raise Disconnected from None


async def converse(
    handler: StreamHandler,
    scope: Scope,
    receive: Receive,
    send: Send,
    intake: Intake,
    compression: Compression,
    explained: Callable[[Exception], FabricError],
) -> None:
    """Answers a call with what *handler* gives, and its error as *explained*.

    Raises:
        Disconnected: the client left; *handler* was closed.
    """
    requests = Requests(scope, receive, intake, compression)
    responses = Responses(scope, send, compression)
    try:
        await _answer(handler, scope, requests, responses, explained)
    except asyncio.CancelledError:
        if requests.was_it():
            raise Disconnected from None
        raise
    finally:
        requests.end()


async def _answer(
    handler: StreamHandler,
    scope: Scope,
    requests: Requests,
    responses: Responses,
    explained: Callable[[Exception], FabricError],
) -> None:
    try:
        left = deadline_of(header(scope, b"grpc-timeout")).remaining(time.monotonic())
        async with asyncio.timeout(left if left < float("inf") else None):
            async with aclosing(handler(requests, scope)) as answers:
                async for parts in answers:
                    await responses.message(parts)
    except Disconnected:
        raise
    except TimeoutError:
        await responses.fail(DeadlineExceeded("the deadline of the call has passed"))
    except Exception as error:  # noqa: BLE001 - it is explained, and logged there
        await responses.fail(explained(error))
    else:
        await responses.finish()

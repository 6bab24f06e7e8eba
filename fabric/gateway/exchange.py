"""One stream of an HTTP/2 connection: a request and its answer, as ASGI has them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from fabric.gateway.headers import encoded, status

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from fabric.gateway.grpc import Message
    from fabric.gateway.headers import Head

WINDOW = (1 << 20) + (1 << 16)
"""Bytes of a body that a client may send ahead of who reads it: a MiB of elements, and what goes
before them."""
_MOST_AHEAD = 1 << 30
"""The same where there is room for the whole body; HTTP/2 has no credit for all that may come."""


class Gone(OSError):
    """The client is not there any more, as ASGI says it to who sends."""


class Wire(Protocol):
    """What an exchange needs of its connection."""

    def headers(self, exchange: Exchange, block: bytes, *, ends: bool) -> None: ...

    def data(self, exchange: Exchange, data: bytes | memoryview, *, ends: bool) -> None:
        """Sends what there is `room` for."""

    def room(self, exchange: Exchange) -> int:
        """Bytes that may be sent now."""

    def wait(self, exchange: Exchange) -> None:
        """Sees to it that `Exchange.notice` is called when there may be room."""

    def credit(self, stream: int, size: int) -> None:
        """Lets the client send *size* bytes more on *stream*, or on all together if it is 0."""

    def over(self, exchange: Exchange) -> None:
        """Nobody works on *exchange* any more."""


class Exchange:
    """One request and its answer; `task` works on it."""

    __slots__ = (
        "_allowed",
        "_chunks",
        "_has_trailers",
        "_is_read",
        "_news",
        "_start",
        "_wire",
        "answer",
        "filled",
        "has_ended",
        "head",
        "id",
        "is_answered",
        "is_gone",
        "most",
        "received",
        "task",
        "window",
    )

    def __init__(self, wire: Wire, number: int, head: Head, window: int) -> None:
        self._wire = wire
        self.id = number
        self.head = head
        self.window = window
        """Bytes of the answer that the client has room for on this stream."""
        self.received = 0
        """Bytes of the body so far."""
        self.has_ended = False
        """The client has said all."""
        self.is_gone = False
        """The client hears nothing more."""
        self.is_answered = False
        """The client has been told all."""
        self.task: asyncio.Task[None] | None = None
        self.answer: Coroutine[Any, Any, Any] | None = None
        """What that waits for, if it has begun."""
        self._allowed = WINDOW
        """Bytes of the body that the client has credit for, from its start."""
        self._chunks: list[bytes] = []
        self.filled: bytearray | None = None
        """Where the body goes as it comes,"""
        self.most = 0
        """and how many bytes it has at most."""
        self._is_read = False
        """The end of the body has been read."""
        self._news: asyncio.Event | None = None
        self._start: bytes | None = None
        """The block of headers that waits for the first part of the body."""
        self._has_trailers = False
        """Whether trailers follow the body."""

    # ------------------------------------------------------------------ for the connection
    def feed(self, parts: Sequence[memoryview]) -> bool:
        """The client has sent *parts*, which are copied; False if it had no credit for so much."""
        size = sum(map(len, parts))
        self.received += size
        if self.filled is not None:
            for part in parts:
                self.filled += part
            if len(self.filled) > self.most:
                self.notice()
            elif self._allowed <= self.most:
                self._allow_rest()
        elif size:
            self._chunks += map(bytes, parts)
            self.notice()
        return self.received <= self._allowed

    def collect(self, body: bytearray, size: int) -> None:
        """What comes from now on goes to *body*, until that has more than *size* bytes.

        The client need not wait for credit for what there is room for.
        """
        self.filled, self.most = body, size
        if self._allowed <= size:  # one byte more than all shows that there are more
            self._allow_rest()

    def end(self) -> bool:
        """The client has said all; False if it is not as much as it had promised."""
        self.has_ended = True
        self.notice()
        return self.head.length in (None, self.received)

    def leave(self) -> None:
        """The client is gone."""
        self.is_gone = True
        self.notice()

    def notice(self) -> None:
        """Something has happened, there may be room for more of the answer."""
        if self._news is not None:
            self._news.set()

    def work(self, task: asyncio.Task[None]) -> None:
        """From now on *task* sees to the answer."""
        self.task = task
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._wire.over(self)
        if self.answer is not None:
            self.answer.close()  # it has not begun where its task was cancelled before it
        if not task.cancelled():
            task.result()  # there is no exception that is not ours to mend

    # ------------------------------------------------------------------ ASGI
    async def receive(self) -> Message:
        """The next part of the body; after all of it, when the client has left."""
        while not (self.is_gone or self._chunks or (self.has_ended and not self._is_read)):
            await self._hear()
        if self.is_gone:
            return {"type": "http.disconnect"}
        chunks, self._chunks = self._chunks, []
        self._is_read = self.has_ended
        if self.has_ended:
            return {"type": "http.request", "body": b"".join(chunks), "more_body": False}
        self._allow(self.received + WINDOW)
        body = b"".join(chunks)
        return {"type": "http.request", "body": body, "more_body": True, "fill": self.fill}

    async def fill(self, body: bytearray, size: int, patience: float) -> None:
        """Appends the rest of the request's body to *body*, which has what was received before.

        Returns at the end of the body, or when it has more than *size* bytes.

        Raises:
            Gone: the client left.
            TimeoutError: nothing came for so many seconds.
        """
        for chunk in self._chunks:
            body += chunk
        self._chunks.clear()
        self.collect(body, size)
        try:
            while not (self.is_gone or self.has_ended or len(body) > size):
                before = self.received
                try:
                    async with asyncio.timeout(patience):
                        await self._hear()
                except TimeoutError:
                    if self.received == before:
                        raise
        finally:
            self.filled = None
        if self.is_gone:
            raise Gone
        self._is_read = self.has_ended

    def _allow_rest(self) -> None:
        if self._allowed <= self.received + WINDOW:
            self._allow(min(self.most, self.received + _MOST_AHEAD) + WINDOW)

    def _allow(self, size: int) -> None:
        """The client may send so many bytes of the body in all."""
        more = size - self._allowed
        if more >= WINDOW // 2:
            self._allowed = size
            self._wire.credit(self.id, more)

    async def send(self, event: Message) -> None:
        """Sends what *event* says; returns when there is room for more.

        Raises:
            Gone: the client is not there any more.
        """
        if self.is_gone:
            raise Gone
        kind = event["type"]
        if kind == "http.response.start":
            self._start = status(event["status"]) + encoded(event["headers"])
            self._has_trailers = event.get("trailers", False)
        elif kind == "http.response.body":
            ends = not (event.get("more_body", False) or self._has_trailers)
            await self._begin(event.get("body", b""), ends=ends)
        elif kind == "http.response.trailers":
            self._wire.headers(self, encoded(event["headers"]), ends=True)

    async def _begin(self, body: bytes | memoryview, *, ends: bool) -> None:
        start, self._start = self._start, None
        if start is not None:
            self._wire.headers(self, start, ends=ends and not body)
        elif ends and not body:
            self._wire.data(self, body, ends=True)
        await self.send_body(body, ends=ends)

    async def send_body(self, body: bytes | memoryview, *, ends: bool = False) -> None:
        """Sends *body*, as there is room for it.

        Raises:
            Gone: the client is not there any more.
        """
        rest = memoryview(body)
        while rest:
            room = self._wire.room(self)
            if room > 0:
                self._wire.data(self, rest[:room], ends=ends and len(rest) <= room)
                rest = rest[room:]
            else:
                self._wire.wait(self)
                await self._hear()
            if self.is_gone:
                raise Gone

    async def _hear(self) -> None:
        """Returns when something has happened."""
        if self._news is None:
            self._news = asyncio.Event()
        self._news.clear()
        await self._news.wait()

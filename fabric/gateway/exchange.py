"""One stream of an HTTP/2 connection: a request and its answer, as ASGI has them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from fabric.gateway.headers import encoded, status

if TYPE_CHECKING:
    from fabric.gateway.grpc import Message
    from fabric.gateway.headers import Head

WINDOW = 1 << 20
"""Bytes of a body that a client may send ahead of who reads it."""


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
        "_chunks",
        "_has_trailers",
        "_is_read",
        "_news",
        "_owed",
        "_start",
        "_unread",
        "_wire",
        "has_ended",
        "head",
        "id",
        "is_answered",
        "is_gone",
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
        self._chunks: list[memoryview] = []
        self._unread = 0
        self._owed = 0
        """Bytes that were read, and that the client has no new credit for yet."""
        self._is_read = False
        """The end of the body has been read."""
        self._news: asyncio.Event | None = None
        self._start: bytes | None = None
        """The block of headers that waits for the first part of the body."""
        self._has_trailers = False
        """Whether trailers follow the body."""

    # ------------------------------------------------------------------ for the connection
    def feed(self, data: memoryview) -> bool:
        """The client has sent *data*; False if it had no credit for so much."""
        self.received += len(data)
        self._unread += len(data)
        if data:
            self._chunks.append(data)
            self.notice()
        return self._unread + self._owed <= WINDOW

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
        body = b"".join(chunks)
        self._unread = 0
        self._is_read = self.has_ended
        if not self.has_ended:
            self._owed += len(body)
            if self._owed >= WINDOW // 2:
                self._wire.credit(self.id, self._owed)
                self._owed = 0
        return {"type": "http.request", "body": body, "more_body": not self.has_ended}

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
            await self._body(event.get("body", b""), ends=ends)
        elif kind == "http.response.trailers":
            self._wire.headers(self, encoded(event["headers"]), ends=True)

    async def _body(self, body: bytes | memoryview, *, ends: bool) -> None:
        start, self._start = self._start, None
        if start is not None:
            self._wire.headers(self, start, ends=ends and not body)
        elif ends and not body:
            self._wire.data(self, body, ends=True)
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

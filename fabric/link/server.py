"""The replica's end of its links."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Protocol

from fabric.core.errors import FabricError, InvalidRequest, Overloaded
from fabric.link.frames import (
    CANCEL,
    CREDIT,
    CREDIT_AT_FIRST,
    DEFAULT_LIMITS,
    DRAIN,
    ERROR,
    HAS_TRACE,
    HELLO,
    MORE,
    PREFIX,
    REQUEST,
    RESPONSE,
    STATISTICS,
    STREAM,
    FramedProtocol,
    Hello,
    Limits,
    decode_hello,
    encode_error,
    encode_hello,
)
from fabric.link.local import listening

if TYPE_CHECKING:
    from collections.abc import Callable

_LEAVING = 1.0
"""Seconds for a link's last bytes when the server closes."""
_UNTRACED = PREFIX.size
"""Bytes before the message of a request,"""
_TRACED = PREFIX.size + 25
"""and with the packed W3C trace context: trace id, span id, flags."""


class Call:
    """One request. Answer it once, now or later, with `respond` or `fail`."""

    __slots__ = ("_id", "_peer", "expires", "is_cancelled", "on_cancel", "payload", "trace")

    def __init__(
        self,
        peer: Peer,
        request_id: int,
        payload: bytes | memoryview,
        expires: float,
        trace: bytes,
    ) -> None:
        self._peer = peer
        self._id = request_id
        self.payload = payload
        """The `ModelInferRequest` message."""
        self.expires = expires
        """On this process's `time.monotonic`; `math.inf` for never."""
        self.trace = trace
        self.is_cancelled = False
        """The caller left, or its link is gone."""
        self.on_cancel: Callable[[], None] | None = None

    def respond(self, *parts: bytes | memoryview) -> None:
        """Answers with the `ModelInferResponse` message that *parts* make.

        Ignored when cancelled. The parts are not copied, and so must stay as they are.
        """
        self.on_cancel = None  # it may hold what holds this call
        if not self.is_cancelled:
            self._peer.answer(self._id, RESPONSE, *parts)

    def fail(self, error: FabricError) -> None:
        """Answers with *error*; ignored when cancelled."""
        self.on_cancel = None
        if not self.is_cancelled:
            self._peer.answer(self._id, ERROR, encode_error(error))

    def cancel(self) -> None:
        self.is_cancelled = True
        callback, self.on_cancel = self.on_cancel, None
        if callback is not None:
            callback()


class StreamCall(Call):
    """A request that may be answered with any number of responses before its last one.

    `send` those, each after `has_room`, then end it with `respond`, with nothing where there is
    no last response, or with `fail`.
    """

    __slots__ = ("_credit", "_room")

    def __init__(
        self,
        peer: Peer,
        request_id: int,
        payload: bytes | memoryview,
        expires: float,
        trace: bytes,
    ) -> None:
        super().__init__(peer, request_id, payload, expires, trace)
        self._credit = CREDIT_AT_FIRST
        self._room = asyncio.Event()
        self._room.set()

    def send(self, *parts: bytes | memoryview) -> None:
        """Gives a message, as `respond` does, that others follow."""
        if not self.is_cancelled:
            self._peer.send(RESPONSE, self._id, MORE, *parts)
            self.add_credit(-1)

    async def has_room(self) -> None:
        """Returns when caller and link have room for one more response, or the caller is gone."""
        await self._room.wait()
        await self._peer.is_writable()

    def cancel(self) -> None:
        self._room.set()
        super().cancel()

    def add_credit(self, responses: int) -> None:
        self._credit += responses
        if self._credit > 0:
            self._room.set()
        else:
            self._room.clear()


class Handler(Protocol):
    """What answers the calls of a server."""

    def handle(self, call: Call) -> None:
        """Called on the loop for every request, which may be a `StreamCall`; must not block."""

    def statistics(self) -> bytes:
        """A `ModelStatistics` message: what was done so far."""


class LinkServer:
    """Listens for links and hands their requests to a handler."""

    def __init__(self, hello: Hello, handler: Handler, limits: Limits = DEFAULT_LIMITS) -> None:
        self.hello = hello
        self.handler = handler
        self.limits = limits
        self.peers: set[Peer] = set()
        self.in_flight = 0
        self.is_draining = False
        self._idle = asyncio.Event()
        """Set when nothing is in flight any more while it drains."""
        self.address = ""
        """`host:port`, once started."""
        self._alone = asyncio.Event()
        """Set when there is no peer any more."""
        self._server: asyncio.Server | None = None
        self._local: asyncio.Server | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listens; returns the address as `host:port`."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Peer(self), host, port)
        self.address = f"{host}:{self._server.sockets[0].getsockname()[1]}"
        if (local := listening(self.address)) is not None:
            self._local = await loop.create_unix_server(lambda: Peer(self), sock=local)
        return self.address

    @property
    def is_serving(self) -> bool:
        return self._server is not None and self._server.is_serving()

    async def drain(self, patience: float) -> None:
        """Tells every peer to send nothing new; returns when all calls are answered.

        What is unanswered after *patience* seconds is left to `close`. Requests that were on
        their way when the peers heard of it are still answered.
        """
        self.is_draining = True
        self.left(0)
        for peer in self.peers:
            peer.send(DRAIN, 0)
        try:
            async with asyncio.timeout(patience):
                await self._idle.wait()
        except TimeoutError:
            pass

    async def close(self) -> None:
        """Ends all links; calls that are unanswered fail at their callers as unavailable."""
        if self._server is None:
            return
        self._server.close()
        if self._local is not None:
            self._local.close()
        for peer in tuple(self.peers):
            peer.close()
        try:
            async with asyncio.timeout(_LEAVING):
                while self.peers:
                    self._alone.clear()
                    await self._alone.wait()
        except TimeoutError:
            for peer in tuple(self.peers):
                peer.abort("it does not read its last answers")

    def left_by(self, peer: Peer) -> None:
        """The link to *peer* is gone."""
        self.peers.discard(peer)
        self._alone.set()

    def left(self, calls: int) -> None:
        """So many are not in flight any more."""
        self.in_flight -= calls
        if self.is_draining and not self.in_flight:
            self._idle.set()


class Peer(FramedProtocol):
    """One link, as the server sees it."""

    def __init__(self, server: LinkServer) -> None:
        super().__init__(server.limits)
        self._server = server
        self._handler = server.handler
        self._calls: dict[int, Call] = {}
        self._is_greeted = False
        self._hello_timer: asyncio.TimerHandle | None = None

    def answer(self, request_id: int, kind: int, *parts: bytes | memoryview) -> None:
        if self._calls.pop(request_id, None) is not None:
            self._server.left(1)
            self.send(kind, request_id, 0, *parts)

    def frame_received(
        self, kind: int, request_id: int, flags: int, payload: bytes | memoryview
    ) -> None:
        if kind == REQUEST and self._is_greeted:
            self._request(request_id, flags, payload)
        elif kind == CREDIT:
            self._credit(request_id, payload)
        elif kind == CANCEL:
            call = self._calls.pop(request_id, None)
            if call is not None:
                self._server.left(1)
                call.cancel()
        elif kind == STATISTICS and self._is_greeted:
            self.send(RESPONSE, request_id, 0, self._handler.statistics())
        elif kind == HELLO and not self._is_greeted:
            self._greet(payload)
        else:
            self.abort(f"frame of kind {kind} is out of place")

    def _request(self, request_id: int, flags: int, payload: bytes | memoryview) -> None:
        start = _TRACED if flags & HAS_TRACE else _UNTRACED
        if len(payload) < start or request_id in self._calls:
            self.abort("a malformed request")
            return
        if len(self._calls) >= self.limits.max_in_flight:
            error = Overloaded(f"{len(self._calls)} requests are in flight on this link")
            self.send(ERROR, request_id, 0, encode_error(error))
            return
        (left,) = PREFIX.unpack_from(payload)
        expires = time.monotonic() + left / 1e6 if left else math.inf
        trace = bytes(payload[_UNTRACED:start]) if flags & HAS_TRACE else b""
        made = StreamCall if flags & STREAM else Call
        call = made(self, request_id, payload[start:], expires, trace)
        self._calls[request_id] = call
        self._server.in_flight += 1
        self._handler.handle(call)

    def _credit(self, request_id: int, payload: bytes | memoryview) -> None:
        call = self._calls.get(request_id)
        if len(payload) != PREFIX.size or not isinstance(call, StreamCall | None):
            self.abort("a malformed credit")
        elif call is not None:
            call.add_credit(*PREFIX.unpack(payload))

    def _greet(self, payload: bytes | memoryview) -> None:
        try:
            decode_hello(payload)
        except InvalidRequest as error:
            self.send(ERROR, 0, 0, encode_error(error))
            self.close()
            return
        self._is_greeted = True
        self.accept()
        if self._hello_timer is not None:
            self._hello_timer.cancel()
        self.send(HELLO, 0, 0, encode_hello(self._server.hello))
        if self._server.is_draining:
            self.send(DRAIN, 0)

    # A peer that does not read its answers is not read from either: what waits stays bounded.
    def pause_writing(self) -> None:
        super().pause_writing()
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._transport is not None:
            self._transport.resume_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._server.peers.add(self)
        timeout = self.limits.hello_timeout
        self._hello_timer = self._loop.call_later(timeout, self.abort, "no greeting in time")

    def closed(self) -> None:
        self._server.left_by(self)
        if self._hello_timer is not None:
            self._hello_timer.cancel()
        calls, self._calls = self._calls, {}
        self._server.left(len(calls))
        for call in calls.values():
            call.cancel()

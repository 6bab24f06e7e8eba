"""The gateway's end of a link."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from fabric.core.errors import (
    DeadlineExceeded,
    FabricError,
    InvalidRequest,
    Overloaded,
    Unavailable,
)
from fabric.link.frames import (
    CANCEL,
    DEFAULT_LIMITS,
    DRAIN,
    ERROR,
    HAS_TRACE,
    HELLO,
    PREFIX,
    REQUEST,
    RESPONSE,
    FramedProtocol,
    Hello,
    Limits,
    decode_error,
    decode_hello,
    encode_hello,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from fabric.core.deadlines import Deadline

_MOST_MICROSECONDS = 2**32 - 1


class Link(FramedProtocol):
    """A connection to one replica that carries many requests at once. Made by `connect`."""

    def __init__(self, limits: Limits, on_change: Callable[[], None]) -> None:
        super().__init__(limits)
        self.peer = Hello()
        self.is_draining = False
        self.calls: dict[int, asyncio.Future[bytes | memoryview]] = {}
        self.gone = self._loop.create_future()
        """Done when the link is lost or closed."""
        self._greeted: asyncio.Future[Hello] = self._loop.create_future()
        self._last_id = 0
        self._on_change = on_change

    @property
    def in_flight(self) -> int:
        return len(self.calls)

    @property
    def can_serve(self) -> bool:
        return self.is_open and not self.is_draining

    async def call(
        self, payload: bytes, deadline: Deadline, trace: bytes = b""
    ) -> bytes | memoryview:
        """The replica's response to *payload*. Cancelling it cancels the replica's work.

        Raises:
            Unavailable: the link is lost, before or after the request was sent.
            Overloaded: too many requests are in flight here, or the replica has no room.
            DeadlineExceeded: no response came in time.
            FabricError: what else the replica answers.
        """
        if not self.is_open:
            raise self._lost()
        if len(self.calls) >= self.limits.max_in_flight:
            raise Overloaded(
                f"{len(self.calls)} requests are in flight to one replica",
                replica=self.peer.replica,
            )
        remaining = deadline.remaining(time.monotonic())
        if remaining <= 0:
            raise DeadlineExceeded("the deadline had passed before the request was sent")
        self._last_id = request_id = (self._last_id + 1) & 0xFFFFFFFF or 1
        answer: asyncio.Future[bytes | memoryview] = self._loop.create_future()
        self.calls[request_id] = answer
        timer = None
        if remaining < float("inf"):
            timer = self._loop.call_later(remaining, self._expire, request_id)
        try:
            if self._blocked is not None:
                await asyncio.wait((answer, self._blocked), return_when=asyncio.FIRST_COMPLETED)
                if answer.done():
                    return answer.result()
            left = min(int(remaining * 1e6), _MOST_MICROSECONDS) if timer else 0
            if trace:
                self.send(REQUEST, request_id, HAS_TRACE, PREFIX.pack(left), trace, payload)
            else:
                self.send(REQUEST, request_id, 0, PREFIX.pack(left), payload)
            return await answer
        except asyncio.CancelledError:
            answer.cancel()
            self.send(CANCEL, request_id)
            raise
        finally:
            if timer is not None:
                timer.cancel()
            self.calls.pop(request_id, None)
            del answer  # its exception has a traceback that holds this frame, and the payload

    def _expire(self, request_id: int) -> None:
        answer = self.calls.get(request_id)
        if answer is not None and not answer.done():
            self.send(CANCEL, request_id)
            error = DeadlineExceeded(
                f"{self.peer.specialist or 'the replica'} did not answer in time",
                replica=self.peer.replica,
            )
            answer.set_exception(error)

    # ------------------------------------------------------------------ frames
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.send(HELLO, 0, 0, encode_hello(Hello()))

    def frame_received(
        self, kind: int, request_id: int, flags: int, payload: bytes | memoryview
    ) -> None:
        if kind == RESPONSE:
            answer = self.calls.get(request_id)
            if answer is not None and not answer.done():
                answer.set_result(payload)
        elif kind == ERROR:
            self._failed(request_id, decode_error(payload))
        elif kind == DRAIN:
            self.is_draining = True
            self._on_change()
        elif kind == HELLO and not self._greeted.done():
            try:
                self._greeted.set_result(decode_hello(payload))
                self.accept()
            except InvalidRequest as error:
                self._greeted.set_exception(error)

    def _failed(self, request_id: int, error: FabricError) -> None:
        error.replica = self.peer.replica
        answer = self.calls.get(request_id)
        if answer is not None and not answer.done():
            answer.set_exception(error)
        elif not request_id and not self._greeted.done():
            self._greeted.set_exception(error)

    def closed(self) -> None:
        if not self._greeted.done():
            self._greeted.set_exception(self._lost())
        for answer in self.calls.values():
            if not answer.done():
                answer.set_exception(self._lost())
        if not self.gone.done():
            self.gone.set_result(None)
        self._on_change()

    def _lost(self) -> Unavailable:
        who = self.peer.specialist or "the replica"
        return Unavailable(f"the link to a replica of {who} is lost", replica=self.peer.replica)

    async def greeted(self) -> Hello:
        """The replica's greeting."""
        return await self._greeted


def _ignore() -> None:
    pass


async def connect(
    address: str, limits: Limits = DEFAULT_LIMITS, on_change: Callable[[], None] = _ignore
) -> Link:
    """A link to the replica at *address* (`host:port`), greeted by it.

    *on_change* is called when the link begins to drain and when it is gone.

    Raises:
        Unavailable: nobody answers there in time.
        InvalidRequest: the peer speaks another protocol.
    """
    host, _, port = address.rpartition(":")
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(limits.hello_timeout):
            _, link = await loop.create_connection(lambda: Link(limits, on_change), host, int(port))
            try:
                link.peer = await link.greeted()
            except BaseException:
                link.close()
                raise
    except (OSError, TimeoutError, ValueError) as error:  # ValueError: it is no address
        raise Unavailable(f"no link to {address}: {str(error) or 'no greeting in time'}") from error
    return link

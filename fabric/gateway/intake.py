"""How requests come in: bounded each by itself and all together, and not for ever."""

from __future__ import annotations

import asyncio
import gc
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, cast

from fabric.core.errors import DeadlineExceeded, InvalidRequest, Overloaded

if TYPE_CHECKING:
    from fabric.gateway.grpc import Message, Receive

SMALL = 1 << 20
"""Bytes of a body that takes no room: as many of every stream may be on their way anyway."""
PREFIX = 5
"""Bytes before a gRPC message: a flag, and its length."""
_SWEEP = 1.0
"""Seconds between two looks for garbage while somebody waits for room."""


Fill = Callable[[bytearray, int, float], Awaitable[None]]
"""See `Exchange.fill`."""


class Disconnected(Exception):
    """The client is gone; nobody waits for an answer."""


class Room:
    """Bytes that may be held at once, given out in the order of asking: of what waits nothing has
    been read, and so nobody knows its priority.

    Room is free again when nobody refers to what took it. Errors refer to the frames that they went
    through, and those often to the errors, so that garbage may hold room until Python looks for
    such cycles, which it does the later the less goes on. It looks here before anybody waits.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._left = size
        self.waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        """Those who asked for so much, the first first."""
        self.returned: deque[int] = deque()
        """Room that is free again and not yet counted as such."""
        self._swept = False
        """Garbage was looked for just now."""

    async def take(self, size: int) -> Held:
        """An empty buffer for *size* bytes, once there is room; for more than all, once all is."""
        loop = asyncio.get_running_loop()
        size = min(size, self._size)
        place = (size, loop.create_future())
        self.waiting.append(place)
        self.admit()
        self._sweep()
        try:
            await place[1]
        except asyncio.CancelledError:
            if place in self.waiting:
                self.waiting.remove(place)
            elif not place[1].cancelled():  # its turn came together with the end
                self._left += size
            self.admit()
            raise
        return Held(self, size, loop)

    def take_at_once(self, size: int) -> Held | None:
        """The same, if there is room now and nobody waits for some."""
        self.admit()
        if self.waiting or size > self._left:
            return None
        self._left -= size
        return Held(self, size, asyncio.get_running_loop())

    def admit(self) -> None:
        """Whoever there is room for has it."""
        while self.returned:
            self._left += self.returned.popleft()
        while self.waiting and self.waiting[0][0] <= self._left:
            size, turn = self.waiting.popleft()
            if not turn.done():
                self._left -= size
                turn.set_result(None)

    def _sweep(self) -> None:
        if self.waiting and not self._swept:
            self._swept = True
            asyncio.get_running_loop().call_later(_SWEEP, self._sweep_again)
            gc.collect()
            self.admit()

    def _sweep_again(self) -> None:
        self._swept = False
        self._sweep()


class Held(bytearray):
    """A buffer that takes room for as long as anybody refers to it, in whatever thread."""

    def __init__(self, room: Room, size: int, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._room = room
        self._taken = size
        self._loop = loop

    def __del__(self) -> None:
        self._room.returned.append(self._taken)
        if not self._room.waiting:  # whoever comes next counts it
            return
        try:  # it may be the end of the loop, or of the stack: then the next one sees to it
            self._loop.call_soon_threadsafe(self._room.admit)
        except RuntimeError:
            return


class Intake:
    """Reads the bodies of requests.

    Args:
        most: Bytes of one body.
        room: Bytes of all bodies together that are larger than `SMALL`. While there is no room
            for one it is not read, so that its sender is held back.
        patience: Seconds without a byte after which a body that has begun is given up.
    """

    def __init__(self, most: int, room: int, patience: float) -> None:
        self.most = most
        self._room = Room(room)
        self.patience = patience

    async def message(self, receive: Receive) -> bytes | bytearray:
        """The body of a unary gRPC request: one message behind its prefix.

        Raises:
            Disconnected: the client left before it was complete.
            InvalidRequest: it is not one whole message.
            Overloaded: it is larger than it may be.
            DeadlineExceeded: it stopped coming.
        """
        event = await receive()
        if event["type"] != "http.request":
            raise Disconnected
        body: bytes | bytearray = event.get("body", b"")
        while event.get("more_body", False):
            if len(body) >= PREFIX:
                size = PREFIX + int.from_bytes(body[1:PREFIX], "big")
                body = await self._rest(receive, event, body, size)
                break
            event = await self._next(receive)
            body = body + event.get("body", b"")
        if len(body) < PREFIX:
            raise InvalidRequest("the request holds no gRPC message")
        size = PREFIX + int.from_bytes(body[1:PREFIX], "big")
        self._check(size)
        _check_whole(body, size)
        return body

    async def collected(self, body: bytearray, size: int, fill: Fill) -> bytearray:
        """The message, without its prefix, that goes to *body*, which is to have *size* bytes.

        Raises what `message` raises.
        """
        await self._fill(body, size, fill)
        _check_whole(body, size)
        del body[:PREFIX]  # nothing is copied for it
        return body

    async def body(self, receive: Receive, length: int | None) -> bytes:
        """The body of an HTTP request of the given Content-Length.

        Raises:
            Disconnected: the client left before it was complete.
            InvalidRequest: it is large, and its length was not said before.
            Overloaded: it is larger than it may be.
            DeadlineExceeded: it stopped coming.
        """
        event = await receive()
        if event["type"] != "http.request":
            raise Disconnected
        body: bytes = event.get("body", b"")
        if not event.get("more_body", False):
            self._check(len(body))
            return body
        size = length if length is not None else SMALL
        body = cast("bytes", await self._rest(receive, event, body, size))  # as good as
        if len(body) > size:
            raise InvalidRequest(f"a body of more than {size} bytes comes with its Content-Length")
        return body

    async def take(self, size: int) -> bytearray:
        """An empty buffer for *size* bytes, once there is room.

        Raises:
            Overloaded: so many are not allowed, or there was no room for too long.
        """
        self._check(size)
        if size <= SMALL:
            return bytearray()
        try:
            async with asyncio.timeout(self.patience):
                return await self._room.take(size)
        except TimeoutError:
            text = f"there was no room for {size} bytes in {self.patience:g} s: send fewer at once"
            raise Overloaded(text) from None

    def take_at_once(self, size: int) -> bytearray | None:
        """The same, if it is allowed and there is room now."""
        if size > self.most:
            return None
        return bytearray() if size <= SMALL else self._room.take_at_once(size)

    async def _rest(
        self, receive: Receive, event: Message, start: bytes | bytearray, size: int
    ) -> bytearray:
        """The body that begins with *start*, which ends with that of *event*; of one that is
        longer than *size* some more."""
        body = await self.take(size)
        body += start
        if (fill := event.get("fill")) is not None:
            await self._fill(body, size, fill)
            return body
        more = True
        while more and len(body) <= size:
            event = await self._next(receive)
            body += event.get("body", b"")
            more = event.get("more_body", False)
        return body

    async def _fill(self, body: bytearray, size: int, fill: Fill) -> None:
        try:
            await fill(body, size, self.patience)
        except TimeoutError:
            raise self.interrupted() from None
        except OSError:
            raise Disconnected from None

    def interrupted(self) -> DeadlineExceeded:
        """What is told whose body stopped coming."""
        return DeadlineExceeded(
            f"nothing of the request came for {self.patience:g} s: send it without a pause"
        )

    def _check(self, size: int) -> None:
        if size > self.most:
            text = f"the message has {size} bytes, {self.most} are allowed"
            raise Overloaded(text, retry_after=0.0)

    async def _next(self, receive: Receive) -> Message:
        """The next part of a body; raises Disconnected and DeadlineExceeded."""
        try:
            async with asyncio.timeout(self.patience):
                message = await receive()
        except TimeoutError:
            raise self.interrupted() from None
        if message["type"] != "http.request":
            raise Disconnected
        return message


def _check_whole(body: bytes | bytearray, size: int) -> None:
    if len(body) != size:
        raise InvalidRequest("a unary request holds exactly one gRPC message")

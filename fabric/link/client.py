"""The gateway's end of a link."""

from __future__ import annotations

import asyncio
import logging
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
    CREDIT,
    CREDIT_AT_FIRST,
    DEFAULT_LIMITS,
    DRAIN,
    ERROR,
    HAS_TRACE,
    HELLO,
    MORE,
    PING,
    PREFIX,
    REQUEST,
    RESPONSE,
    STATISTICS,
    STREAM,
    FramedProtocol,
    Hello,
    Limits,
    decode_error,
    decode_hello,
    encode_hello,
)
from fabric.link.hearing import Hearing
from fabric.link.latencies import Latencies
from fabric.link.local import connected
from fabric.link.pace import Pace

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from fabric.core.deadlines import Deadline

log = logging.getLogger(__name__)

_MOST_MICROSECONDS = 2**32 - 1
_LATER = 1.75
"""Nearly all answers come within so many times what they take on average."""
_ONE = 1 / 16
"""The weight of an answer among those before it."""
_NO_DEADLINE = PREFIX.pack(0)
_INFINITE = float("inf")
_LUMP = CREDIT_AT_FIRST // 2
"""So many responses of a stream are read before the replica hears of the room they leave."""


class Link(FramedProtocol):
    """A connection to one replica that carries many requests at once. Made by `connect`."""

    def __init__(self, limits: Limits, on_change: Callable[[], None]) -> None:
        super().__init__(limits)
        self.peer = Hello()
        self.is_draining = False
        self.calls: dict[int, asyncio.Future[bytes | memoryview]] = {}
        """The answers that are awaited, of streams the last, by id."""
        self._streams: dict[int, asyncio.Queue[bytes | memoryview]] = {}
        """Responses that others follow, and nothing behind them, by id."""
        self.gone = self._loop.create_future()
        """Done when the link is lost or closed."""
        self._greeted: asyncio.Future[Hello] = self._loop.create_future()
        self._last_id = 0
        self._pace = Pace()
        self.latencies = Latencies()
        """Of what was answered; what was not in time counts as twice what was waited."""
        self.usual = 0.0
        """Seconds that answers take, on average; 0 before the first."""
        self._promised = 0
        """Requests of this turn of the loop that are on their way to here."""
        self._on_change = on_change
        self._hearing = Hearing(limits)
        self._looking: asyncio.TimerHandle | None = None
        """While there are calls."""
        self._patient: set[int] = set()
        """Calls that do not end because the replica is silent."""

    @property
    def in_flight(self) -> int:
        return len(self.calls)

    @property
    def can_serve(self) -> bool:
        return self.is_open and not self.is_draining

    @property
    def is_silent(self) -> bool:
        """Whether it owes answers and says nothing, though it was asked whether it lives.

        It may come back, and until it does only patient calls are made.
        """
        return self._hearing.is_silent

    def promises(self, seconds: float) -> bool:
        """Whether a further request may be answered within *seconds*, by the pace so far.

        If so it counts as in flight until the next turn of the loop, when it will be.
        """
        promised = self._promised
        if self._pace.wait(len(self.calls) + promised) * _LATER > seconds:
            return False
        if not promised:
            self._loop.call_soon(self._forget)
        self._promised = promised + 1
        return True

    def _forget(self) -> None:
        self._promised = 0

    async def call(
        self, payload: bytes, deadline: Deadline, trace: bytes = b"", *, is_patient: bool = False
    ) -> bytes | memoryview:
        """The replica's response to *payload*. Cancelling it cancels the replica's work.

        Raises:
            Unavailable: the link is lost, before or after the request was sent, or the replica is
                silent and the call is not patient.
            Overloaded: too many requests are in flight here, or the replica has no room.
            DeadlineExceeded: no response came in time.
            FabricError: what else the replica answers.
        """
        ahead, begun = len(self.calls), time.monotonic()
        request_id, answer, left, timer = self._begin(deadline, is_patient)
        try:
            if self._blocked is not None:
                await asyncio.wait((answer, self._blocked), return_when=asyncio.FIRST_COMPLETED)
                if answer.done():
                    return answer.result()
            if trace:
                self.send(REQUEST, request_id, HAS_TRACE, left, trace, payload)
            else:
                self.send(REQUEST, request_id, 0, left, payload)
            response = await answer
            taken = time.monotonic() - begun
            self._pace.answered(taken, ahead)
            self.latencies.add(taken)
            self.usual += (taken - self.usual) * _ONE
            return response
        except DeadlineExceeded as error:
            error.waited = time.monotonic() - begun
            self.latencies.add(2 * error.waited)
            raise
        except asyncio.CancelledError:
            waited = time.monotonic() - begun
            if waited > self._pace.wait(ahead):  # or nobody would know how long it can take
                self.latencies.add(waited)
            answer.cancel()
            self.send(CANCEL, request_id)
            raise
        finally:
            if timer is not None:
                timer.cancel()
            self.calls.pop(request_id, None)
            if is_patient:
                self._patient.discard(request_id)
            del answer  # its exception has a traceback that holds this frame, and the payload

    async def stream(
        self, payload: bytes, deadline: Deadline, trace: bytes = b"", *, is_patient: bool = False
    ) -> AsyncGenerator[tuple[bytes | memoryview, bool], None]:
        """The replica's responses to *payload* as they come, each with whether it is the last.

        There is always a last one, and it may be empty. The replica is held back while a few
        responses wait to be read. Closing or cancelling it cancels the replica's work; close it,
        unless it has come to its end. From the first response on it is patient.

        Raises:
            FabricError: what `call` raises, after any number of responses.
        """
        request_id, last, left, timer = self._begin(deadline, is_patient)
        arrived = self._streams[request_id] = asyncio.Queue(CREDIT_AT_FIRST + 1)

        def ended(_: asyncio.Future[bytes | memoryview]) -> None:
            self.calls.pop(request_id, None)
            arrived.put_nowait(b"")

        last.add_done_callback(ended)
        try:
            if self._blocked is not None:
                await asyncio.wait((last, self._blocked), return_when=asyncio.FIRST_COMPLETED)
            if not last.done():
                flags = STREAM | HAS_TRACE if trace else STREAM
                self.send(REQUEST, request_id, flags, left, trace, payload)
            del payload
            taken = 0
            while response := await arrived.get():
                yield response, False
                taken += 1
                if taken == _LUMP:
                    self.send(CREDIT, request_id, 0, PREFIX.pack(taken))
                    taken = 0
            yield last.result(), True
        finally:
            if timer is not None:
                timer.cancel()
            del self._streams[request_id]
            self._patient.discard(request_id)
            if not last.done():
                last.cancel()
                self.send(CANCEL, request_id)
            elif not last.cancelled():
                last.exception()  # it counts as seen, though the reader left before
            del last

    async def ask_statistics(self, deadline: Deadline) -> bytes:
        """The replica's `ModelStatistics` message.

        Raises:
            FabricError: what `call` raises.
        """
        request_id, answer, _, timer = self._begin(deadline)
        try:
            self.send(STATISTICS, request_id)
            return bytes(await answer)
        finally:
            if timer is not None:
                timer.cancel()
            self.calls.pop(request_id, None)
            del answer

    def _begin(
        self, deadline: Deadline, is_patient: bool = False
    ) -> tuple[int, asyncio.Future[bytes | memoryview], bytes, asyncio.TimerHandle | None]:
        """A new call: its id, its answer to be, the time left as a frame has it, and its timer."""
        if not self.is_open:
            raise self._lost()
        if self._hearing.is_silent and not is_patient:
            raise self._unheard()
        if len(self.calls) >= self.limits.max_in_flight:
            raise Overloaded(
                f"{len(self.calls)} requests are in flight to one replica",
                replica=self.peer.replica,
            )
        now = time.monotonic()
        remaining = deadline.remaining(now)
        if remaining <= 0:
            raise DeadlineExceeded("the deadline had passed before the request was sent")
        self._last_id = request_id = (self._last_id + 1) & 0xFFFFFFFF or 1
        answer: asyncio.Future[bytes | memoryview] = self._loop.create_future()
        self.calls[request_id] = answer
        if is_patient:
            self._patient.add(request_id)
        if self._looking is None:
            first = self._hearing.begin(self._loop.time())
            self._looking = self._loop.call_later(first, self._look)
        if remaining == _INFINITE:
            return request_id, answer, _NO_DEADLINE, None
        timer = self._loop.call_later(remaining, self._expire, request_id)
        left = PREFIX.pack(min(int(remaining * 1e6), _MOST_MICROSECONDS))
        return request_id, answer, left, timer

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
        if kind == RESPONSE and not flags & MORE:
            answer = self.calls.get(request_id)
            if answer is not None and not answer.done():
                answer.set_result(payload)
        elif kind == RESPONSE:
            self._arrived(request_id, payload)
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

    def _arrived(self, request_id: int, payload: bytes | memoryview) -> None:
        arrived = self._streams.get(request_id)
        if arrived is None:  # it was cancelled
            return
        if not payload or arrived.qsize() >= CREDIT_AT_FIRST:
            self.abort("a response of a stream is empty, or there is no room for it")
        else:
            self._patient.add(request_id)
            arrived.put_nowait(payload)

    def _failed(self, request_id: int, error: FabricError) -> None:
        error.replica = self.peer.replica
        answer = self.calls.get(request_id)
        if answer is not None and not answer.done():
            answer.set_exception(error)
        elif not request_id and not self._greeted.done():
            self._greeted.set_exception(error)

    # ------------------------------------------------------------------ silence
    def ponged(self) -> None:
        self._hearing.ponged(self._loop.time())

    def _look(self) -> None:
        """Looks whether the replica lives, for as long as it owes answers or is silent."""
        self._looking = None
        was_silent = self.is_silent
        if self._transport is None or not (self.calls or was_silent):
            return
        now = self._loop.time()
        self._notice_progress(self._transport, now)
        heard = now if now < self._busy_until else self._heard
        asks, seconds = self._hearing.look(now, heard, is_known=self.usual > 0.0)
        self._looking = self._loop.call_later(seconds, self._look)
        if asks:
            self.send(PING, 0)
        if self.is_silent is not was_silent:
            if self.is_silent:
                self._give_up()
            self._on_change()

    def _give_up(self) -> None:
        """Ends the calls that others may answer."""
        log.warning("replica %s owes answers and says nothing", self.peer.replica)
        for request_id, answer in self.calls.items():
            if request_id not in self._patient and not answer.done():
                answer.set_exception(self._unheard())
                self.send(CANCEL, request_id)

    def closed(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
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
        error = Unavailable(f"the link to a replica of {who} is lost", replica=self.peer.replica)
        error.begun = True
        return error

    def _unheard(self) -> Unavailable:
        who = self.peer.specialist or "the replica"
        return Unavailable(
            f"a replica of {who} says nothing, not even to a ping", replica=self.peer.replica
        )

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

    def made() -> Link:
        return Link(limits, on_change)

    try:
        async with asyncio.timeout(limits.hello_timeout):
            if (local := connected(address)) is not None:
                _, link = await loop.create_unix_connection(made, sock=local)
            else:
                _, link = await loop.create_connection(made, host, int(port))
            try:
                link.peer = await link.greeted()
            except BaseException:
                link.close()
                raise
    except (OSError, TimeoutError, ValueError) as error:  # ValueError: it is no address
        raise Unavailable(f"no link to {address}: {str(error) or 'no greeting in time'}") from error
    return link

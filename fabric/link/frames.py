"""Frames, and the protocol that both ends share.

A frame is a header of 12 bytes, little-endian, then its payload:

    u32 length of the payload · u32 request id · u8 kind · u8 flags · u16 zero

    HELLO     JSON of `Hello`; each side's first frame, the client's first
    REQUEST   u32 microseconds left (0: no deadline), trace context if flagged, ModelInferRequest;
              flagged STREAM if the caller takes any number of responses
    RESPONSE  ModelInferResponse, flagged MORE if others follow; the last of a stream may be empty
    ERROR     u8 code, u8 length of the reason, reason, message; id 0 ends the link
    CANCEL    nothing; the caller is gone
    PING      nothing; answered by a PING with the flag PONG
    DRAIN     nothing; the replica takes nothing new on any link from now on
    CREDIT    u32 further responses of a stream that the caller has room for, beyond the first 16;
              the last one of a stream needs none
    STATISTICS  nothing; answered by a RESPONSE with ModelStatistics
    MEMORY    what the peer finds memory by that the sender writes large frames to, see
              `fabric.link.memory`; with the flag TAKEN the answer of who has found it
    FREE      u64 place in that memory which its reader is done with

The payload of a frame flagged ELSEWHERE is in that memory: u64 place, u64 length.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import struct
import threading
import weakref
from dataclasses import asdict, dataclass, fields
from enum import IntEnum
from typing import TYPE_CHECKING, cast

import numpy as np

from fabric.core.errors import FabricError, InvalidRequest, error_of
from fabric.link.memory import ALIGNED, Lent, borrowed

if TYPE_CHECKING:
    import mmap

log = logging.getLogger(__name__)

HEADER = struct.Struct("<IIBBH")
HEADER_SIZE = HEADER.size
PREFIX = struct.Struct("<I")
_PLACE = struct.Struct("<Q")
_PLACED = struct.Struct("<QQ")
PROTOCOL = 1

HAS_TRACE = 1
STREAM = 2
MORE = 1
PONG = 1
TAKEN = 1
ELSEWHERE = 128
CREDIT_AT_FIRST = 16
"""Responses of a stream that may be on their way before the caller says that it has room."""

_COALESCE = 1 << 16
_WORTH_LENDING = 1 << 17
"""Bytes of a frame from which on it is not sent within a machine, only where it is."""
_IDLE = 1.0
"""Seconds without a large frame after which those before take no memory any more."""
_MOST_READ = 1 << 18
_LARGE = 1 << 24
_SLOWEST = 1e8
"""Bytes of a large frame that a peer takes in within one second, at least."""
_MAX_GREETING = 1 << 12


class Frame(IntEnum):
    HELLO = 1
    REQUEST = 2
    RESPONSE = 3
    ERROR = 4
    CANCEL = 5
    PING = 6
    DRAIN = 7
    CREDIT = 8
    STATISTICS = 9
    MEMORY = 10
    FREE = 11


# Plain numbers for the hot path: comparing with a member of an IntEnum costs an attribute each.
HELLO, REQUEST, RESPONSE, ERROR, CANCEL, PING, DRAIN, CREDIT, STATISTICS, MEMORY, FREE = (
    int(kind) for kind in Frame
)


@dataclass(frozen=True, kw_only=True)
class Hello:
    """Who is at the other end."""

    replica: str = ""
    specialist: str = ""
    version: str = ""
    digest: str = ""
    """Of what its answers follow from, the same for all that answer alike."""
    protocol: int = PROTOCOL


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one link may take; seconds and bytes."""

    max_frame_bytes: int = 2**31 + _MAX_GREETING
    """Larger frames end the link before anything is allocated for them. The largest message that
    protobuf allows fits, with what goes before it."""
    max_in_flight: int = 4096
    high_water_bytes: int = 1 << 22
    """Bytes waiting to be written above which the sender waits."""
    hello_timeout: float = 5.0
    ping_interval: float = 1.0
    silence: float = 5.0
    """A peer that is not heard of for so long, pings included, is taken for dead."""
    quiet: float = 0.2
    """A peer that owes answers and is not heard of for so long is asked whether it lives,"""
    patience: float = 0.3
    """and is taken for silent if it says nothing for so long, or longer where pings took long."""


DEFAULT_LIMITS = Limits()


def encode_hello(hello: Hello) -> bytes:
    return json.dumps(asdict(hello)).encode()


def decode_hello(payload: bytes | memoryview) -> Hello:
    """Raises InvalidRequest unless *payload* is a greeting of this version of the protocol."""
    try:
        said = json.loads(bytes(payload))
        hello = Hello(**{f.name: said[f.name] for f in fields(Hello) if f.name in said})
    except (ValueError, TypeError) as error:
        raise InvalidRequest("the link's first frame is no greeting") from error
    if hello.protocol != PROTOCOL:
        raise InvalidRequest(f"the peer speaks link protocol {hello.protocol}, this is {PROTOCOL}")
    return hello


def encode_error(error: FabricError) -> bytes:
    reason = error.reason.encode()
    message = error.message.encode(errors="replace")
    return bytes((int(error.code), len(reason))) + reason + message


def decode_error(payload: bytes | memoryview) -> FabricError:
    if len(payload) < 2:
        return FabricError("the peer sent an error without a code")
    end = 2 + payload[1]
    reason, message = bytes(payload[2:end]), bytes(payload[end:])
    return error_of(payload[0], reason.decode(errors="replace"), message.decode(errors="replace"))


class _Read(threading.local):
    """What was read last, of whichever of a thread's links: it is cut into frames at once."""

    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(_MOST_READ))


_read = _Read()


class FramedProtocol(asyncio.BufferedProtocol):
    """One end of a link: cuts the stream into frames and writes a loop turn's frames at once.

    Subclasses get every frame in `frame_received`, and `closed` once at the end.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._max_frame = _MAX_GREETING
        self._rest = b""
        """The beginning of a header."""
        self._begun: tuple[int, int, int, memoryview] | None = None
        """Kind, id, flags and payload of a frame whose end has not come."""
        self._missing: memoryview | None = None
        """Where the rest of that payload belongs."""
        self._out: list[bytes | memoryview] = []
        self._flush_is_due = False
        self._blocked: asyncio.Future[None] | None = None
        self._heard = self._loop.time()
        self._due = 0.0
        """When silence is looked at next."""
        self._busy_until = 0.0
        """Until then the peer may well have its hands full with what it was sent."""
        self._waiting = 0
        self._ping_timer: asyncio.TimerHandle | None = None
        self._is_local = False
        """Both ends are on one machine."""
        self._lent: Lent | None = None
        """Where large frames go, from the first on."""
        self._borrowed: mmap.mmap | None = None
        """Where those of the peer are."""
        self._shrink_timer: asyncio.TimerHandle | None = None

    # ------------------------------------------------------------------ for subclasses
    def frame_received(
        self, kind: int, request_id: int, flags: int, payload: bytes | memoryview
    ) -> None:
        """A whole frame; large payloads are views on what was read, not copies."""
        raise NotImplementedError

    def closed(self) -> None:
        """The link is gone, whoever ended it."""
        raise NotImplementedError

    def ponged(self) -> None:
        """The peer has answered a ping."""

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def accept(self) -> None:
        """The peer has greeted as it should: frames may now be as large as the limits say."""
        self._max_frame = self.limits.max_frame_bytes

    def send(self, kind: int, request_id: int, flags: int = 0, *parts: bytes | memoryview) -> None:
        """Sends a frame with the other frames of this turn of the loop; lost if the link is."""
        length = 0
        for part in parts:
            length += len(part)
        if length >= _WORTH_LENDING and (place := self._lend(parts, length)) is not None:
            parts, flags = (_PLACED.pack(place, length),), flags | ELSEWHERE
            length = _PLACED.size
        if length > _LARGE:
            now = self._loop.time()
            self._busy_until = max(now, self._busy_until) + length / _SLOWEST
        self._out.append(HEADER.pack(length, request_id, kind, flags, 0))
        self._out.extend(parts)
        if not self._flush_is_due:
            self._flush_is_due = True
            self._loop.call_soon(self._flush)

    def _lend(self, parts: tuple[bytes | memoryview, ...], length: int) -> int | None:
        """Where *parts* are now; None if they have to be sent."""
        if not self._is_local:
            return None
        lent = self._lent
        if lent is None:
            try:
                self._lent = lent = Lent()
            except OSError:
                self._is_local = False
                return None
            self.send(MEMORY, 0, 0, lent.offer)
        if not lent.is_taken:
            return None
        if self._shrink_timer is not None:
            self._shrink_timer.cancel()
            self._shrink_timer = None
        return lent.write(parts, length)

    def abort(self, why: str) -> None:
        """Ends the link at once."""
        if self._transport is not None:
            log.warning("link to %s ends: %s", self._transport.get_extra_info("peername"), why)
            self._transport.abort()

    def close(self) -> None:
        """Writes what is due, then ends the link."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    # ------------------------------------------------------------------ writing
    async def is_writable(self) -> None:
        """Returns when what waits to be written is little enough for more, or the link is gone."""
        while self._blocked is not None:
            await asyncio.shield(self._blocked)

    def _flush(self) -> None:
        self._flush_is_due = False
        out, self._out = self._out, []
        if not out or self._transport is None or self._transport.is_closing():
            return
        if len(out) <= 2 or sum(map(len, out)) > _COALESCE:
            self._transport.writelines(out)
        else:
            self._transport.write(b"".join(out))

    def pause_writing(self) -> None:
        self._blocked = self._loop.create_future()

    def resume_writing(self) -> None:
        blocked, self._blocked = self._blocked, None
        if blocked is not None:
            blocked.set_result(None)

    # ------------------------------------------------------------------ reading
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=self.limits.high_water_bytes)
        self._due = self._loop.time() + self.limits.ping_interval
        self._ping_timer = self._loop.call_later(self.limits.ping_interval, self._ping)
        made = transport.get_extra_info("socket")
        self._is_local = made is not None and made.family == socket.AF_UNIX

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._ping_timer, self._shrink_timer):
            if timer is not None:
                timer.cancel()
        self._is_local = False
        self._borrowed = None
        if self._lent is not None:
            self._lent.close()
            self._lent = None
        self._transport = None
        FramedProtocol.resume_writing(self)
        self.closed()

    def get_buffer(self, sizehint: int) -> memoryview:
        return _read.buffer if self._missing is None else self._missing

    def buffer_updated(self, nbytes: int) -> None:
        self._heard = self._loop.time()
        if self._missing is None:
            data = bytes(_read.buffer[:nbytes])
            self._cut(self._rest + data if self._rest else data)
            return
        self._missing = self._missing[nbytes:]
        if not self._missing and self._begun is not None:
            kind, request_id, flags, payload = self._begun
            self._begun = self._missing = None
            self._dispatch(kind, request_id, flags, _lent(payload))

    def _cut(self, data: bytes) -> None:
        offset, end = 0, len(data)
        while end - offset >= HEADER_SIZE:
            length, request_id, kind, flags, _ = HEADER.unpack_from(data, offset)
            if length > self._max_frame:
                self.abort(f"a frame of {length} bytes, {self._max_frame} are allowed")
                return
            start = offset + HEADER_SIZE
            offset = start + length
            if offset > end:
                memory = _memory(length)
                here = end - start
                memory[:here] = data[start:]
                self._begun = (kind, request_id, flags, memory)
                self._missing = memory[here:]
                self._rest = b""
                return
            self._dispatch(kind, request_id, flags, data[start:offset])
        self._rest = data[offset:]

    def _dispatch(
        self, kind: int, request_id: int, flags: int, payload: bytes | memoryview
    ) -> None:
        if flags & ELSEWHERE:
            if (found := self._found(payload)) is None:
                self.abort("a frame is where there is nothing")
                return
            self.frame_received(kind, request_id, flags & ~ELSEWHERE, found)
        elif kind < MEMORY and kind != PING:
            self.frame_received(kind, request_id, flags, payload)
        elif kind == PING:
            if flags & PONG:
                self.ponged()
            else:
                self.send(PING, 0, PONG)
        elif kind == FREE and len(payload) == _PLACE.size:
            self._freed(*_PLACE.unpack(payload))
        elif kind == MEMORY and flags & TAKEN:
            if self._lent is not None:
                self._lent.is_taken = True
        elif kind == MEMORY and self._is_local and self._borrowed is None:
            self._borrowed = borrowed(payload)
            if self._borrowed is not None:
                self.send(MEMORY, 0, TAKEN)
        else:
            self.abort(f"frame of kind {kind} is out of place")

    # ------------------------------------------------------------------ large frames
    def _found(self, place: bytes | memoryview) -> memoryview | None:
        """The payload that is at *place* in the peer's memory, which is free with its last view."""
        if self._borrowed is None or len(place) != _PLACED.size:
            return None
        begin, length = _PLACED.unpack(place)
        if begin + length > min(len(self._borrowed), self._max_frame + begin):
            return None
        view = np.frombuffer(self._borrowed, np.uint8, length, begin)
        weakref.finalize(view, self._unread, begin).atexit = False
        return view.data

    def _unread(self, place: int) -> None:
        """Nobody reads what is at *place* any more; called in whatever thread was the last."""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self.send, FREE, 0, 0, _PLACE.pack(place))

    def _freed(self, place: int) -> None:
        if self._lent is None or not self._lent.free(place):
            self.abort("what is freed was not lent")
        elif self._lent.is_idle:
            self._shrink_timer = self._loop.call_later(_IDLE, self._lent.shrink)

    # ------------------------------------------------------------------ liveness
    def _ping(self) -> None:
        if self._transport is None:
            return
        now = self._loop.time()
        self._notice_progress(self._transport, now)
        self._heard += max(0.0, now - self._due)  # the loop was busy: nobody could be heard
        self._due = now + self.limits.ping_interval
        silent = now - self._heard
        if silent > self.limits.silence and now > self._busy_until:
            self.abort(f"nothing was heard for {silent:.1f} s")
            return
        if silent >= self.limits.ping_interval:
            self.send(PING, 0)
        self._ping_timer = self._loop.call_later(self.limits.ping_interval, self._ping)

    def _notice_progress(self, transport: asyncio.Transport, now: float) -> None:
        """Counts a peer that takes what it is sent as heard."""
        waiting = transport.get_write_buffer_size()
        if waiting < self._waiting:  # a long frame holds back the pings behind it, not the link
            self._heard = now
        self._waiting = waiting


def _memory(size: int) -> memoryview:
    """Room for a message of so many bytes, which ends at an aligned address.

    Elements of a tensor that end a message then lie as their datatype and ONNX Runtime have them.
    """
    room = np.empty(size + ALIGNED, np.uint8)
    begin = -(room.ctypes.data + size) % ALIGNED
    return room[begin : begin + size].data


def _lent(payload: memoryview) -> bytes | memoryview:
    """Small payloads are bytes, which are faster for whatever is done with them."""
    return payload.toreadonly() if len(payload) > _COALESCE else bytes(payload)

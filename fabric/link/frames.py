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
"""

from __future__ import annotations

import asyncio
import json
import logging
import struct
import threading
from dataclasses import asdict, dataclass, fields
from enum import IntEnum
from typing import cast

import numpy as np

from fabric.core.errors import FabricError, InvalidRequest, error_of

log = logging.getLogger(__name__)

HEADER = struct.Struct("<IIBBH")
HEADER_SIZE = HEADER.size
PREFIX = struct.Struct("<I")
PROTOCOL = 1

HAS_TRACE = 1
STREAM = 2
MORE = 1
PONG = 1
CREDIT_AT_FIRST = 16
"""Responses of a stream that may be on their way before the caller says that it has room."""

_COALESCE = 1 << 16
_MOST_READ = 1 << 18
_ALIGNED = 64
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


# Plain numbers for the hot path: comparing with a member of an IntEnum costs an attribute each.
HELLO, REQUEST, RESPONSE, ERROR, CANCEL, PING, DRAIN, CREDIT, STATISTICS = (
    int(kind) for kind in Frame
)


@dataclass(frozen=True, kw_only=True)
class Hello:
    """Who is at the other end."""

    replica: str = ""
    specialist: str = ""
    version: str = ""
    digest: str = ""
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

    # ------------------------------------------------------------------ for subclasses
    def frame_received(
        self, kind: int, request_id: int, flags: int, payload: bytes | memoryview
    ) -> None:
        """A whole frame; large payloads are views on what was read, not copies."""
        raise NotImplementedError

    def closed(self) -> None:
        """The link is gone, whoever ended it."""
        raise NotImplementedError

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
        if length > _LARGE:
            now = self._loop.time()
            self._busy_until = max(now, self._busy_until) + length / _SLOWEST
        self._out.append(HEADER.pack(length, request_id, kind, flags, 0))
        self._out.extend(parts)
        if not self._flush_is_due:
            self._flush_is_due = True
            self._loop.call_soon(self._flush)

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

    def connection_lost(self, exc: Exception | None) -> None:
        if self._ping_timer is not None:
            self._ping_timer.cancel()
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
        if kind != PING:
            self.frame_received(kind, request_id, flags, payload)
        elif not flags & PONG:
            self.send(PING, 0, PONG)

    # ------------------------------------------------------------------ liveness
    def _ping(self) -> None:
        if self._transport is None:
            return
        now = self._loop.time()
        waiting = self._transport.get_write_buffer_size()
        if waiting < self._waiting:  # a long frame holds back the pings behind it, not the link
            self._heard = now
        self._waiting = waiting
        self._heard += max(0.0, now - self._due)  # the loop was busy: nobody could be heard
        self._due = now + self.limits.ping_interval
        silent = now - self._heard
        if silent > self.limits.silence and now > self._busy_until:
            self.abort(f"nothing was heard for {silent:.1f} s")
            return
        if silent >= self.limits.ping_interval:
            self.send(PING, 0)
        self._ping_timer = self._loop.call_later(self.limits.ping_interval, self._ping)


def _memory(size: int) -> memoryview:
    """Room for a message of so many bytes, which ends at an aligned address.

    Elements of a tensor that end a message then lie as their datatype and ONNX Runtime have them.
    """
    room = np.empty(size + _ALIGNED, np.uint8)
    begin = -(room.ctypes.data + size) % _ALIGNED
    return room[begin : begin + size].data


def _lent(payload: memoryview) -> bytes | memoryview:
    """Small payloads are bytes, which are faster for whatever is done with them."""
    return payload.toreadonly() if len(payload) > _COALESCE else bytes(payload)

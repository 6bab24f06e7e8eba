"""As much of an HTTP/2 client as a load generator needs: unary gRPC calls on one connection.

A client library takes longer for a request than the servers that are measured.
"""

from __future__ import annotations

import socket
import struct
from collections import deque
from typing import TYPE_CHECKING

from hpack import Decoder, Encoder

from tests.benchmarks.processes import Failed

if TYPE_CHECKING:
    from collections.abc import Sequence

NO_STATUS = 2
"""gRPC's UNKNOWN, of a stream that ended without saying."""
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEAD = struct.Struct(">HBBBI")
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _END_HEADERS, _ACK, _PADDED, _PRIORITY = 0x1, 0x4, 0x1, 0x8, 0x20
_HEADER_TABLE_SIZE, _ENABLE_PUSH, _MAX_STREAMS, _WINDOW = 1, 2, 3, 4
_FIRST_WINDOW = 65_535
_LARGEST_FRAME = 16_384
_LARGEST_WINDOW = 2**31 - 1
_RECEIVE = 1 << 18


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return _HEAD.pack(len(payload) >> 8, len(payload) & 0xFF, kind, flags, stream) + payload


class Connection:
    """Calls wait in a queue until flow control lets them out; `receive` tells which have ended.

    The server is told to keep no table of headers, so that equal blocks mean the same and each is
    decoded once.
    """

    def __init__(self, address: str, path: str, bodies: Sequence[bytes], timeout: str = "") -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self._calls = [_call(address, path, body, timeout) for body in bodies]
        self._sizes = [len(body) for body in bodies]
        self._window = self._stream_window = _FIRST_WINDOW
        self._most_streams = 1 << 30
        self._unread = b""
        self._credit = 0
        """Bytes that came and were not given back to the server's window yet."""
        self._next_stream = 1
        self._streams: dict[int, int] = {}
        """The calls on their way, by stream."""
        self._queue: deque[int] = deque()
        self._statuses: dict[bytes, int] = {}
        settings = ((_HEADER_TABLE_SIZE, 0), (_ENABLE_PUSH, 0), (_WINDOW, _LARGEST_WINDOW))
        said = b"".join(struct.pack(">HI", *setting) for setting in settings)
        grown = struct.pack(">I", _LARGEST_WINDOW - _FIRST_WINDOW)
        self._out = bytearray(_PREFACE + _frame(_SETTINGS, 0, 0, said))
        self._out += _frame(_WINDOW_UPDATE, 0, 0, grown)

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def wants_to_write(self) -> bool:
        return bool(self._out)

    def begin(self, call: int) -> None:
        """Queues the call number *call*; its body is the one whose turn it is."""
        self._queue.append(call)

    def flush(self) -> None:
        """Sends as much as the server takes now."""
        while self._queue and len(self._streams) < self._most_streams:
            which = self._queue[0] % len(self._calls)
            size = self._sizes[which]
            if size > min(self._window, self._stream_window):
                break
            self._window -= size
            stream = self._next_stream
            self._next_stream += 2
            self._streams[stream] = self._queue.popleft()
            number = stream.to_bytes(4, "big")
            for head, rest in self._calls[which]:
                self._out += head + number + rest
        if self._out:
            try:
                del self._out[: self._socket.send(self._out)]
            except BlockingIOError:
                return

    def receive(self) -> list[tuple[int, int]]:
        """The calls that have ended, and their gRPC statuses.

        Raises:
            Failed: the server closed the connection.
        """
        data = self._socket.recv(_RECEIVE)
        if not data:
            raise Failed("the server closed the connection")
        data = self._unread + data
        ended: list[tuple[int, int]] = []
        at, end = 0, len(data)
        while end - at >= 9:
            high, low, kind, flags, stream = _HEAD.unpack_from(data, at)
            after = at + 9 + (high << 8 | low)
            if after > end:
                break
            if kind == _DATA:
                self._credit += after - at - 9
            elif kind == _HEADERS:  # gRPC's C core ends an expired call more than once
                if flags & _END_STREAM and stream in self._streams:
                    status = self._status(data[at + 9 : after], flags)
                    ended.append((self._streams.pop(stream), status))
            else:
                self._other(kind, flags, stream, data[at + 9 : after], ended)
            at = after
        self._unread = data[at:]
        if self._credit > _LARGEST_WINDOW >> 2:
            self._out += _frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", self._credit))
            self._credit = 0
        return ended

    def close(self) -> None:
        self._socket.close()

    def _other(self, kind: int, flags: int, stream: int, payload: bytes, ended: list) -> None:
        if kind == _RST_STREAM and stream in self._streams:
            ended.append((self._streams.pop(stream), NO_STATUS))
        elif kind == _SETTINGS and not flags & _ACK:
            for name, value in struct.iter_unpack(">HI", payload):
                if name == _MAX_STREAMS:
                    self._most_streams = value
                elif name == _WINDOW:
                    self._stream_window = value
            self._out += _frame(_SETTINGS, _ACK, 0)
        elif kind == _PING and not flags & _ACK:
            self._out += _frame(_PING, _ACK, 0, payload)
        elif kind == _WINDOW_UPDATE and stream == 0:
            self._window += int.from_bytes(payload, "big")
        elif kind == _GOAWAY:
            raise Failed(f"the server sends the client away: {payload[8:]!r}")

    def _status(self, block: bytes, flags: int) -> int:
        known = self._statuses.get(block)
        if known is None:
            plain = block
            if flags & _PADDED:
                plain = plain[1 : len(plain) - plain[0]]
            if flags & _PRIORITY:
                plain = plain[5:]
            headers = dict(Decoder().decode(plain))
            known = self._statuses[block] = int(headers.get("grpc-status", NO_STATUS))
        return known


def _call(address: str, path: str, body: bytes, timeout: str) -> list[tuple[bytes, bytes]]:
    """The frames of one call, each without the four bytes of its stream."""
    if len(body) > _FIRST_WINDOW:
        raise ValueError(f"a body of {len(body)} bytes is too large for this client")
    headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", address),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ]
    if timeout:
        headers.append(("grpc-timeout", timeout))
    # Sensitive headers are put into no table: the block means the same every time.
    block = Encoder().encode([(name, value, True) for name, value in headers])
    pieces = [body[i : i + _LARGEST_FRAME] for i in range(0, len(body), _LARGEST_FRAME)]
    frames = [_frame(_HEADERS, _END_HEADERS, 0, block)]
    frames += [_frame(_DATA, 0, 0, piece) for piece in pieces[:-1]]
    frames.append(_frame(_DATA, _END_STREAM, 0, pieces[-1]))
    return [(frame[:5], frame[9:]) for frame in frames]

"""HTTP/2 by hand: many requests in flight on one connection, at little cost, and wrong if need be.

The client asks for no compression of headers, so equal blocks of them mean equal headers.
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass, field

import hpack
from fuzz_cases import PREFACE, frame

_WINDOW = 2**31 - 1
_LARGEST = 16384
_END_STREAM, _END_HEADERS = 1, 4
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE, _MORE = 0, 1, 3, 4, 6, 7, 8, 9


@dataclass(slots=True)
class Response:
    headers: dict[bytes, bytes] = field(default_factory=dict)
    """Trailers too."""
    size: int = 0
    body: bytes = b""
    """Its beginning."""
    reset: int | None = None
    """The error with which the server ended the stream."""


class Lost(Exception):
    """The server ended the connection."""


class Connection(asyncio.Protocol):
    """One HTTP/2 connection. `ask` sends a request; its future has the response."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._next = 1
        self._window = 65535
        self._stream_window = 65535
        self._waiting: dict[int, tuple[asyncio.Future[Response], Response]] = {}
        self._encoder = hpack.Encoder()
        self._encoder.header_table_size = 0
        self._blocks: dict[tuple, bytes] = {}
        self._decoded: dict[bytes, list[tuple[bytes, bytes]]] = {}
        self._headers: tuple[int, int, bytes] | None = None
        self._room = asyncio.Event()
        self._room.set()
        self.error = ""

    @classmethod
    async def open(cls, host: str, port: int) -> Connection:
        _, made = await asyncio.get_running_loop().create_connection(cls, host, port)
        return made

    def connection_made(self, transport) -> None:
        self._transport = transport
        settings = struct.pack(">HIHIHI", 1, 0, 2, 0, 4, _WINDOW)
        more = frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", _WINDOW - 65535))
        transport.write(PREFACE + frame(_SETTINGS, 0, 0, settings) + more)

    @property
    def is_open(self) -> bool:
        return not self._transport.is_closing() and self._next < 2**31 - 1

    def close(self) -> None:
        self._transport.close()

    def connection_lost(self, exc) -> None:
        for future, _ in self._waiting.values():
            if not future.done():
                future.set_exception(Lost(self.error or "the connection was closed"))
        self._waiting.clear()
        self._room.set()

    def block(self, headers) -> bytes:
        """The encoded *headers*; remembered."""
        made = self._blocks.get(headers)
        if made is None:
            if len(self._blocks) > 5000:
                self._blocks.clear()
            made = self._blocks[headers] = self._encoder.encode(headers, huffman=False)
        return made

    async def ask(self, headers, body: bytes, ends: bool = True) -> asyncio.Future[Response]:
        """Sends a request; where it does not end, it is reset, and the response is empty."""
        while len(body) > self._window and self.is_open:
            self._room.clear()
            await self._room.wait()
        if not self.is_open:
            raise Lost(self.error or "the connection was closed")
        stream, self._next = self._next, self._next + 2
        self._window -= len(body)
        future = asyncio.get_running_loop().create_future()
        flags = _END_STREAM if ends and not body else 0
        parts = _headers(stream, self.block(headers), flags)
        for at in range(0, len(body), _LARGEST):
            piece = body[at : at + _LARGEST]
            last = ends and at + _LARGEST >= len(body)
            parts.append(frame(_DATA, _END_STREAM if last else 0, stream, piece))
        if ends:
            self._waiting[stream] = (future, Response())
        else:
            parts.append(frame(_RESET, 0, stream, struct.pack(">I", 8)))
            future.set_result(Response())
        self._transport.write(b"".join(parts))
        return future

    # -------------------------------------------------------------- what comes
    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        at, end = 0, len(buffer)
        while end - at >= 9:
            length = int.from_bytes(buffer[at : at + 3], "big")
            if end - at < 9 + length:
                break
            kind, flags = buffer[at + 3], buffer[at + 4]
            stream = int.from_bytes(buffer[at + 5 : at + 9], "big") & 0x7FFFFFFF
            self._frame(kind, flags, stream, bytes(buffer[at + 9 : at + 9 + length]))
            at += 9 + length
        del buffer[:at]

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _DATA:
            if (waiting := self._waiting.get(stream)) is not None:
                waiting[1].size += len(payload)
                waiting[1].body = (waiting[1].body + payload)[:400]
            self._transport.write(
                frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", len(payload))) if payload else b""
            )
        elif kind == _HEADERS:
            self._headers = (stream, flags, payload)
            if flags & _END_HEADERS:
                self._end_of_headers()
            return
        elif kind == _MORE and self._headers is not None:
            at, first, begun = self._headers
            self._headers = (at, first, begun + payload)
            if flags & _END_HEADERS:
                self._end_of_headers()
            return
        elif kind == _SETTINGS and not flags & 1:
            self._transport.write(frame(_SETTINGS, 1, 0))
        elif kind == _PING and not flags & 1:
            self._transport.write(frame(_PING, 1, 0, payload))
        elif kind == _WINDOW_UPDATE and stream == 0:
            self._window += struct.unpack(">I", payload)[0]
            self._room.set()
        elif kind == _RESET:
            self._ended(stream, struct.unpack(">I", payload)[0])
            return
        elif kind == _GOAWAY:
            code = int.from_bytes(payload[4:8], "big")
            self.error = f"the server went away with {code}: {payload[8:200]!r}"
            self._transport.close()
            return
        if kind == _DATA and flags & _END_STREAM:
            self._ended(stream)

    def _end_of_headers(self) -> None:
        stream, flags, block = self._headers or (0, 0, b"")
        self._headers = None
        found = self._decoded.get(block)
        if found is None:
            if len(self._decoded) > 5000:
                self._decoded.clear()
            decoder = hpack.Decoder()
            decoder.max_header_list_size = 1 << 20
            found = self._decoded[block] = decoder.decode(block, raw=True)
        if (waiting := self._waiting.get(stream)) is not None:
            waiting[1].headers.update(found)
        if flags & _END_STREAM:
            self._ended(stream)

    def _ended(self, stream: int, reset: int | None = None) -> None:
        if (waiting := self._waiting.pop(stream, None)) is not None:
            future, response = waiting
            response.reset = reset
            if not future.done():
                future.set_result(response)


def _headers(stream: int, block: bytes, flags: int) -> list[bytes]:
    """The frames of a block of headers, which may be longer than one may be."""
    if len(block) <= _LARGEST:
        return [frame(_HEADERS, flags | _END_HEADERS, stream, block)]
    parts = [frame(_HEADERS, flags, stream, block[:_LARGEST])]
    for at in range(_LARGEST, len(block), _LARGEST):
        last = _END_HEADERS if at + _LARGEST >= len(block) else 0
        parts.append(frame(_MORE, last, stream, block[at : at + _LARGEST]))
    return parts


async def pour(host: str, port: int, data: bytes, patience: float) -> bytes:
    """Sends *data* on a connection of its own, ends it, and returns what comes back.

    Raises:
        TimeoutError: the server neither answered nor closed in *patience* seconds.
    """
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(data)
        if writer.can_write_eof():
            writer.write_eof()
        async with asyncio.timeout(patience):
            return await reader.read(1 << 16)
    except TimeoutError:
        raise
    except OSError:  # it has ended already
        return b""
    finally:
        writer.close()

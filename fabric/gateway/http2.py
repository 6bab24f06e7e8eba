"""HTTP/2 by hand: the server's end of one connection (RFC 9113).

A library for it costs several times what all else costs that a request needs. A unary gRPC call
goes from its frames straight to its handler: in one piece, as nearly all do, or by a buffer where
its pieces go as they come. Its answer goes into three frames that are made at once, unless it is
large. Whatever else comes is an `Exchange` from the beginning, and for the ASGI application.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol, cast

import hpack

from fabric.gateway.exchange import WINDOW, Exchange, Gone
from fabric.gateway.grpc import HEADERS, OK, status_of
from fabric.gateway.headers import MOST_BYTES, NO_TABLE, Heads, Malformed, encoded, status
from fabric.gateway.intake import PREFIX
from fabric.link.frames import reading

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from fabric.core.errors import FabricError
    from fabric.gateway.grpc import Handler, Parts, Receive, Scope, Send
    from fabric.gateway.intake import Fill

log = logging.getLogger(__name__)

Data = bytes | memoryview

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_STREAMS = 1024
"""Requests of one connection at a time; further ones are refused, and may be sent again."""
HIGH_WATER = 1 << 20
"""Bytes waiting to be written beyond which nothing more is read."""

_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PUSH, _PING, _GOAWAY, _CREDIT, _MORE = (
    *(0, 1, 3, 4, 5, 6, 7, 8, 9),
)
_END_STREAM = _ACK = 0x1
_END_HEADERS, _PADDED, _PRIORITY = 0x4, 0x8, 0x20
_WHOLE, _SHIFTED = _END_HEADERS | _END_STREAM, _PADDED | _PRIORITY
_TABLE_SIZE, _CONCURRENT, _INITIAL_WINDOW, _MAX_FRAME, _MAX_HEADERS = 1, 3, 4, 5, 6
_NO_ERROR, _PROTOCOL, _INTERNAL, _FLOW, _CLOSED, _SIZE, _REFUSED, _COMPRESSION, _CALM = (
    *(0, 1, 2, 3, 5, 6, 7, 9, 11),
)
_FRAME = struct.Struct(">IBI")  # 24 bits of length and 8 of kind, flags, stream
_WORD = struct.Struct(">I")
_SETTING = struct.Struct(">HI")
_ROUND = b"draining"
_DEFAULT_WINDOW = (1 << 16) - 1
_DEFAULT_TABLE = 4096
_WIDEST = (1 << 31) - 1
_CONNECTION_WINDOW = 1 << 24
"""Bytes on their way on all streams together."""
_LARGEST_FRAME = 1 << 20
_COALESCED = 1 << 16
"""Bytes that are copied to be written at once."""
_TURN = WINDOW
"""Bytes of large answers that are written at once: each write wakes the client."""

_OK_START = status(200) + encoded(HEADERS)
_OK_END = encoded(OK)
_ANSWER = struct.Struct(f">IBI{len(_OK_START)}sIBIBI")  # headers, and data up to the message
_END_OF_ANSWER = struct.Struct(f">IBI{len(_OK_END)}s")
_START_FRAME = len(_OK_START) << 8 | _HEADERS
_END_FRAME = len(_OK_END) << 8 | _HEADERS


_encoded_once = lru_cache(256)(encoded)


class Broken(Exception):
    """The client breaks the protocol's rules, which ends the connection with an error's number."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


class Service(Protocol):
    """What answers the requests of connections."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""

    def handler(self, scope: Scope) -> Handler | None:
        """What answers a call given its message alone; None if it takes all of ASGI."""

    def room(self, size: int) -> bytearray | None:
        """A buffer for a message of *size* bytes; None if there is no room for it now."""

    async def message(self, body: bytearray, size: int, fill: Fill) -> bytes:
        """The message behind its prefix that *fill* appends to *body*; *size* bytes are both."""

    def explained(self, scope: Scope, error: Exception) -> FabricError:
        """What the caller is told of *error*."""


class Connection(asyncio.BufferedProtocol):
    """One connection, whose requests *service* answers.

    Their scopes have in common what is *shared*. It is one of *living* until nobody works on any of
    them any more.
    """

    def __init__(self, service: Service, shared: Scope, living: set[Connection]) -> None:
        self._service = service
        self._living = living
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._heads = Heads(shared, service.handler)
        self._rest = b""
        """The beginning of a frame."""
        self._is_greeted = False
        self._cut: tuple[int, int, int] | None = None
        """Of a frame of data whose end has not come: its stream, the bytes left, its flags."""
        self._block: tuple[int, int, bytearray] | None = None
        """Stream, flags and headers of a request that CONTINUATION frames follow."""
        self._exchanges: dict[int, Exchange] = {}
        """Those that are worked on, by stream."""
        self._begun: list[Exchange] = []
        """Those whose headers came with what is being read."""
        self._last = 0
        """The highest stream that the client has opened."""
        self._received = 0
        """Bytes of data that the connection has no new credit for yet."""
        self._window = self._initial = _DEFAULT_WINDOW
        """Bytes that the client has room for on all streams together, and on a new one."""
        self._largest = 1 << 14
        """Bytes that the client takes in one frame."""
        self._prefix = b""
        """Of the next block of headers."""
        self._out: list[Data] = []
        """What this turn of the loop has to write."""
        self._much = 0
        """Bytes of it that are of large answers."""
        self._waiting: set[Exchange] = set()
        """Those that have more to say than there was room for."""
        self._is_full = False
        self._is_leaving = False
        """No new requests are taken, and the end of the last exchange is that of the connection."""

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """All that work on answers."""
        return [each.task for each in self._exchanges.values() if each.task is not None]

    # ------------------------------------------------------------------ the connection
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=HIGH_WATER)
        self._living.add(self)
        settings = (
            (_CONCURRENT, MAX_STREAMS),
            (_INITIAL_WINDOW, WINDOW),
            (_MAX_FRAME, _LARGEST_FRAME),
            (_MAX_HEADERS, MOST_BYTES),
        )
        self._send(_SETTINGS, 0, 0, b"".join(_SETTING.pack(*each) for each in settings))
        self.credit(0, _CONNECTION_WINDOW - _DEFAULT_WINDOW)

    def connection_lost(self, exc: Exception | None) -> None:
        for exchange in list(self._exchanges.values()):
            self._leave(exchange)
        self._is_leaving = True
        self._end_if_over()

    def pause_writing(self) -> None:
        self._is_full = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._is_full = False
        self._transport.resume_reading()
        self._notice()

    def drain(self) -> None:
        """Takes no more requests from when the client knows, and ends with the last of them.

        The client is told twice, the second time when it has certainly heard the first: what it
        had sent meanwhile is answered (RFC 9113, section 6.8).
        """
        self._go_away(_WIDEST, _NO_ERROR)
        self._send(_PING, 0, 0, _ROUND)

    def close(self) -> None:
        """Ends at once, and with it all that is worked on."""
        self._transport.abort()

    def get_buffer(self, sizehint: int) -> memoryview:
        return reading.buffer

    def buffer_updated(self, nbytes: int) -> None:
        data = reading.buffer[:nbytes]
        self.data_received(data if nbytes > _COALESCED else bytes(data))  # parts of bytes cost less

    def data_received(self, data: Data) -> None:
        """Takes *data* apart. Whoever keeps some of it copies that: it is read over again."""
        if self._transport.is_closing():
            return
        try:
            self._read(self._rest + data if self._rest else data)
        except Broken as error:
            self._fail(error.code, str(error))
        except hpack.HPACKError as error:
            self._fail(_COMPRESSION, str(error))
        begun, self._begun = self._begun, []
        for exchange in begun:
            if exchange.task is None and not exchange.is_gone:
                exchange.work(self._loop.create_task(self._answer(exchange)))

    def _fail(self, code: int, why: str) -> None:
        log.info("a client breaks the rules of HTTP/2, its connection ends: %s", why)
        self._go_away(self._last, code)
        self._close()

    # ------------------------------------------------------------------ what comes
    def _read(self, data: Data) -> None:
        at, end = 0, len(data)
        self._rest = b""
        if not self._is_greeted:
            if not PREFACE.startswith(bytes(data[: len(PREFACE)])):
                raise Broken(_PROTOCOL, "it does not begin with a preface")
            if end < len(PREFACE):
                self._rest = bytes(data)
                return
            at, self._is_greeted = len(PREFACE), True
        elif self._cut is not None:
            at = self._go_on(data, 0, *self._cut)
        while end - at >= _FRAME.size:
            head, flags, stream = _FRAME.unpack_from(data, at)
            size, kind = head >> 8, head & 0xFF
            start = at + _FRAME.size
            stop = start + size
            if self._block is not None and kind != _MORE:
                raise Broken(_PROTOCOL, "the headers of a request are interrupted")
            if size > _LARGEST_FRAME:
                raise Broken(_SIZE, f"a frame of {size} bytes")
            if stop > end:
                if kind == _DATA and not flags & _PADDED:
                    at = self._go_on(data, start, stream, size, flags)
                break
            if kind == _DATA and flags:
                self._data(stream, flags, data, start, stop)
            elif kind == _DATA:
                stop = self._go_on(data, start, stream, size, flags)
            elif kind == _HEADERS:
                self._headers(stream, flags, bytes(data[start:stop]))
            else:
                self._other(kind, flags, stream, bytes(data[start:stop]))
            at = stop
        self._rest = bytes(data[at:])

    def _other(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _CREDIT:
            self._credited(stream, payload)
        elif kind == _RST_STREAM:
            if (exchange := self._known(stream)) is not None:
                self._leave(exchange)
        elif kind == _SETTINGS:
            self._settings(flags, payload)
        elif kind == _PING:
            self._ping(flags, payload)
        elif kind == _MORE:
            self._more(stream, flags, payload)
        elif kind == _GOAWAY:
            self._is_leaving = True
            self._end_if_over()
        elif kind == _PUSH:
            raise Broken(_PROTOCOL, "a client pushes")

    def _known(self, stream: int) -> Exchange | None:
        """The exchange of *stream*, unless it is over."""
        exchange = self._exchanges.get(stream)
        if exchange is None and (stream > self._last or not stream):
            raise Broken(_PROTOCOL, f"stream {stream} goes on, and has not begun")
        return exchange

    def _headers(self, stream: int, flags: int, payload: bytes) -> None:
        if flags & _SHIFTED:
            payload = _unpadded(payload, flags)[5 if flags & _PRIORITY else 0 :]
        if flags & _END_HEADERS:
            self._request(stream, flags, payload)
        else:
            self._block = (stream, flags, bytearray(payload))

    def _more(self, stream: int, flags: int, payload: bytes) -> None:
        if self._block is None or self._block[0] != stream:
            raise Broken(_PROTOCOL, "headers go on that have not begun")
        block = self._block[2]
        block += payload
        if len(block) > MOST_BYTES or not payload:
            raise Broken(_CALM, "headers without an end")
        if flags & _END_HEADERS:
            first, self._block = self._block[1], None
            self._request(stream, first, bytes(block))

    def _request(self, stream: int, flags: int, block: bytes) -> None:
        if stream <= self._last:
            self._trailers(stream, flags, block)
            return
        if not stream & 1:
            raise Broken(_PROTOCOL, "a client opens a stream of the server")
        self._last = stream
        try:
            head = self._heads.of(block)
        except Malformed:
            self._reset(stream, _PROTOCOL)
            return
        if self._is_leaving or len(self._exchanges) >= MAX_STREAMS:
            self._reset(stream, _REFUSED)
            return
        self._exchanges[stream] = exchange = Exchange(self, stream, head, self._initial)
        self._begun.append(exchange)
        if flags & _END_STREAM:
            self._end(exchange)

    def _trailers(self, stream: int, flags: int, block: bytes) -> None:
        """Those of a request say nothing that anybody asks for, but that it ends."""
        self._heads.fields(block)
        exchange = self._known(stream)
        if exchange is not None and not exchange.is_gone:
            if exchange.has_ended or not flags & _END_STREAM:
                raise Broken(_PROTOCOL, "headers in the middle of a request")
            self._end(exchange)

    def _data(self, stream: int, flags: int, data: Data, start: int, stop: int) -> None:
        if flags & _PADDED:
            self._count(stop - start)
            data = _unpadded(bytes(data[start:stop]), flags)
            start, stop = 0, len(data)
        exchange = self._known(stream)
        if exchange is None:
            self._count(stop - start)
        elif (
            (handler := exchange.head.handler) is not None
            and flags & _END_STREAM
            and exchange.task is None
            and not exchange.received
            and exchange.head.length in (None, stop - start)
            and int.from_bytes(data[start : start + PREFIX], "big") == stop - start - PREFIX
        ):  # a whole message, and not compressed: the first of the five bytes is 0
            self._count(stop - start)
            exchange.has_ended = True
            try:
                answer = handler(bytes(data[start + PREFIX : stop]), exchange.head.scope)
            except Exception as error:  # noqa: BLE001 - it is explained, and logged there
                self._refuse(exchange, error)
                self.over(exchange)
            else:
                exchange.answer = answer
                exchange.work(self._loop.create_task(self._call(exchange, answer)))
        else:
            self._feed(exchange, flags, (memoryview(data)[start:stop],))

    def _go_on(self, data: Data, at: int, stream: int, left: int, flags: int) -> int:
        """Takes from *at* on the *left* bytes to come of a frame of data, and the frames of its
        *stream* that follow it, as those of a large body do. Returns where they end, or *data*."""
        view, end = memoryview(data), len(data)
        parts = []
        while True:
            part = view[at : at + left]
            parts.append(part)
            at += len(part)
            left -= len(part)
            if left or flags & _END_STREAM or end - at < _FRAME.size:
                break
            head, following, number = _FRAME.unpack_from(data, at)
            size = head >> 8
            if head & 0xFF or number != stream or following & _PADDED or size > _LARGEST_FRAME:
                break
            at += _FRAME.size
            left, flags = size, following
        self._cut = (stream, left, flags) if left else None
        self._feed(self._known(stream), 0 if left else flags, parts)
        return at

    def _feed(self, exchange: Exchange | None, flags: int, parts: Sequence[memoryview]) -> None:
        self._count(sum(map(len, parts)))
        if exchange is None or exchange.is_gone:
            return
        if exchange.has_ended:
            self._abandon(exchange, _CLOSED)
            return
        if not exchange.received and exchange.task is None and parts:
            self._expect(exchange, parts[0])
        if not exchange.feed(parts):
            raise Broken(_FLOW, "more data than there is room for")
        if flags & _END_STREAM:
            self._end(exchange)

    def _expect(self, exchange: Exchange, start: memoryview) -> None:
        """A body begins with *start*: if it is the message of a call, it goes where room is."""
        if exchange.head.handler is not None and len(start) >= PREFIX and not start[0]:
            size = PREFIX + int.from_bytes(start[1:PREFIX], "big")
            if (body := self._service.room(size)) is not None:
                exchange.collect(body, size)

    def _end(self, exchange: Exchange) -> None:
        if not exchange.end():
            self._abandon(exchange, _PROTOCOL)

    def _count(self, size: int) -> None:
        """The connection's credit comes back at once; it is streams that are held back."""
        self._received += size
        if self._received >= _CONNECTION_WINDOW // 2:
            self.credit(0, self._received)
            self._received = 0

    def _settings(self, flags: int, payload: bytes) -> None:
        if flags & _ACK:
            return
        if len(payload) % _SETTING.size:
            raise Broken(_SIZE, "settings that are cut")
        for name, value in _SETTING.iter_unpack(payload):
            if name == _INITIAL_WINDOW:
                if value > _WIDEST:
                    raise Broken(_FLOW, "a window that is too wide")
                for exchange in self._exchanges.values():
                    exchange.window += value - self._initial
                self._initial = value
            elif name == _MAX_FRAME:
                if not 1 << 14 <= value < 1 << 24:
                    raise Broken(_PROTOCOL, "a size of frames that cannot be")
                self._largest = min(value, _LARGEST_FRAME)
            elif name == _TABLE_SIZE and value < _DEFAULT_TABLE:
                self._prefix = NO_TABLE
        self._send(_SETTINGS, _ACK, 0)
        self._notice()

    def _ping(self, flags: int, payload: bytes) -> None:
        if len(payload) != len(_ROUND):
            raise Broken(_SIZE, "a ping that is cut")
        if not flags & _ACK:
            self._send(_PING, _ACK, 0, payload)
        elif payload == _ROUND:
            self._go_away(self._last, _NO_ERROR)
            self._is_leaving = True
            self._end_if_over()

    def _credited(self, stream: int, payload: bytes) -> None:
        if len(payload) != _WORD.size:
            raise Broken(_SIZE, "a credit that is cut")
        more = _WORD.unpack(payload)[0] & _WIDEST
        if not stream:
            self._window += more
            if not more or self._window > _WIDEST:
                raise Broken(_FLOW if more else _PROTOCOL, "a credit that cannot be")
            self._notice()
        elif (exchange := self._known(stream)) is not None:
            exchange.window += more
            if not more or exchange.window > _WIDEST:
                self._abandon(exchange, _FLOW if more else _PROTOCOL)
            exchange.notice()

    # ------------------------------------------------------------------ what goes
    async def _answer(self, exchange: Exchange) -> None:
        """Has the application answer, which hears of a client that leaves."""
        if exchange.filled is not None and exchange.head.handler is not None:
            await self._collect(exchange, exchange.filled, exchange.head.handler)
            return
        with suppress(Gone):
            await self._service(exchange.head.scope, exchange.receive, exchange.send)

    async def _collect(self, exchange: Exchange, body: bytearray, handler: Handler) -> None:
        """Answers a unary call whose message goes to *body* as it comes."""
        try:
            message = await self._service.message(body, exchange.most, exchange.fill)
            answer = handler(message, exchange.head.scope)
        except Exception as error:  # noqa: BLE001 - it is explained, and logged there
            self._refuse(exchange, error)
        else:
            await self._call(exchange, answer)

    async def _call(self, exchange: Exchange, answer: Coroutine[Any, Any, Parts]) -> None:
        """Answers a unary call; when its client leaves, it is cancelled."""
        try:
            parts = await answer
        except Exception as error:  # noqa: BLE001 - it is explained, and logged there
            self._refuse(exchange, error)
            return
        size = 0
        for part in parts:
            size += len(part)
        whole = size + PREFIX
        if self._prefix or whole > min(self._largest, self.room(exchange)):
            await self._send_slowly(exchange, size, parts)
            return
        stream = exchange.id
        self._window -= whole
        exchange.is_answered = True
        self._write(
            _ANSWER.pack(
                *(_START_FRAME, _END_HEADERS, stream, _OK_START),
                *(whole << 8 | _DATA, 0, stream, 0, size),
            ),
            *parts,
            _END_OF_ANSWER.pack(_END_FRAME, _WHOLE, stream, _OK_END),
        )

    async def _send_slowly(self, exchange: Exchange, size: int, parts: Parts) -> None:
        """Answers with one message of *size* bytes, as there is room for it."""
        self.headers(exchange, _OK_START, ends=False)
        with suppress(Gone):
            for part in (b"\0" + _WORD.pack(size), *parts):
                await exchange.send_body(part)
            self.headers(exchange, _OK_END, ends=True)

    def _refuse(self, exchange: Exchange, error: Exception) -> None:
        """A function of its own: what holds the error must not be in a frame that this holds."""
        told = self._service.explained(exchange.head.scope, error)
        self.headers(exchange, _OK_START + _encoded_once(status_of(told)), ends=True)

    def headers(self, exchange: Exchange, block: bytes, *, ends: bool) -> None:
        block = self._prefix + block
        self._prefix = b""
        first = block[: self._largest]
        rest = block[self._largest :]
        flags = _END_STREAM if ends else 0
        self._send(_HEADERS, flags | (0 if rest else _END_HEADERS), exchange.id, first)
        while rest:
            first, rest = rest[: self._largest], rest[self._largest :]
            self._send(_MORE, 0 if rest else _END_HEADERS, exchange.id, first)
        exchange.is_answered = ends

    def data(self, exchange: Exchange, data: Data, *, ends: bool) -> None:
        size, stream, largest = len(data), exchange.id, self._largest
        self._window -= size
        exchange.window -= size
        exchange.is_answered = ends
        last = max(0, size - 1) // largest * largest
        parts: list[Data] = []
        if last:
            head = _FRAME.pack(largest << 8 | _DATA, 0, stream)
            for at in range(0, last, largest):
                parts += (head, data[at : at + largest])
        flags = _END_STREAM if ends else 0
        parts += (_FRAME.pack(size - last << 8 | _DATA, flags, stream), data[last:])
        self._write(*parts)
        self._much += size
        if self._much > _TURN:
            self._flush()

    def room(self, exchange: Exchange) -> int:
        if self._is_full:
            return 0
        return min(self._window, exchange.window, _TURN)

    def wait(self, exchange: Exchange) -> None:
        self._waiting.add(exchange)

    def credit(self, stream: int, size: int) -> None:
        self._send(_CREDIT, 0, stream, _WORD.pack(size))

    def over(self, exchange: Exchange) -> None:
        del self._exchanges[exchange.id]
        self._waiting.discard(exchange)
        if not exchange.is_gone and not (exchange.is_answered and exchange.has_ended):
            self._reset(exchange.id, _NO_ERROR if exchange.is_answered else _INTERNAL)
        exchange.leave()
        self._end_if_over()

    def _notice(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for exchange in waiting:
            exchange.notice()

    def _leave(self, exchange: Exchange) -> None:
        exchange.leave()
        if exchange.task is None:
            del self._exchanges[exchange.id]
        elif exchange.head.handler is not None:  # others hear of it by `receive`
            exchange.task.cancel()

    def _abandon(self, exchange: Exchange, code: int) -> None:
        self._reset(exchange.id, code)
        self._leave(exchange)

    def _end_if_over(self) -> None:
        if self._is_leaving and not self._exchanges:
            self._living.discard(self)
            self._close()

    def _close(self) -> None:
        self._flush()
        self._transport.close()

    def _reset(self, stream: int, code: int) -> None:
        self._send(_RST_STREAM, 0, stream, _WORD.pack(code))

    def _go_away(self, last: int, code: int) -> None:
        self._send(_GOAWAY, 0, 0, _WORD.pack(last) + _WORD.pack(code))

    def _send(self, kind: int, flags: int, stream: int, payload: bytes = b"") -> None:
        self._write(_FRAME.pack(len(payload) << 8 | kind, flags, stream), payload)

    def _write(self, *parts: Data) -> None:
        """Writes *parts* with all else of this turn of the loop."""
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out += parts

    def _flush(self) -> None:
        out, self._out = self._out, []
        much, self._much = self._much, 0
        if self._transport.is_closing():  # the client is gone, or was ended
            return
        if much > _COALESCED:
            self._transport.writelines(out)
        elif out:
            self._transport.write(b"".join(out))


def _unpadded(payload: bytes, flags: int) -> bytes:
    if not flags & _PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise Broken(_PROTOCOL, "more padding than there is")
    return payload[1 : len(payload) - payload[0]]

"""The port of a gateway: HTTP/2 and HTTP/1.1, told apart by their first bytes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Self, cast

from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from fabric.gateway.http2 import PREFACE, Connection

if TYPE_CHECKING:
    from collections.abc import Callable

    from fabric.gateway.grpc import Message, Receive, Scope, Send
    from fabric.gateway.http2 import Service

_TOLD_BY = PREFACE[:3]  # no method of HTTP/1.1 begins so
_POLL = 0.02
_BACKLOG = 1024
_KEPT_ALIVE = 75
"""Seconds that a connection of HTTP/1.1 may be idle between two requests."""


class Server:
    """Has *service* answer whoever connects to *host* and *port*, while used with `async with`.

    A client has *patience* seconds to begin. With *shares_port* other processes may listen there as
    well, and each gets some of the connections.
    """

    def __init__(
        self, service: Service, host: str, port: int, *, patience: float, shares_port: bool = False
    ) -> None:
        self._service = service
        self._listen = (host, port)
        self._patience = patience
        self._shares_port = shares_port
        self._http1 = _Http1(service)
        self._undecided: set[_Undecided] = set()
        self._connections: set[Connection] = set()
        self._listener: asyncio.Server

    async def __aenter__(self) -> Self:
        """Raises OSError when it cannot listen there."""
        loop = asyncio.get_running_loop()
        host, port = self._listen
        self._listener = await loop.create_server(
            lambda: _Undecided(self._undecided, self._patience, self._speaking),
            host,
            port,
            backlog=_BACKLOG,
            reuse_port=self._shares_port or None,
        )
        return self

    @property
    def port(self) -> int:
        """Where it listens, also if it was told to find a free one."""
        return int(self._listener.sockets[0].getsockname()[1])

    async def __aexit__(self, *exc: object) -> None:
        """Ends what is not answered yet."""
        self._listener.close()
        for waiting in list(self._undecided):
            waiting.close()
        for connection in list(self._connections):
            connection.close()
        self._http1.close()
        while tasks := self._tasks():
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def drain(self, seconds: float) -> None:
        """Takes nothing new; returns when all is answered, or after so many seconds."""
        self._listener.close()
        for waiting in list(self._undecided):
            waiting.close()
        for connection in list(self._connections):
            connection.drain()
        self._http1.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._connections or self._http1.state.connections:
                    await asyncio.sleep(_POLL)

    def _speaking(self, transport: asyncio.Transport, start: bytes) -> Connection | H11Protocol:
        """What answers a client that begins with *start*."""
        if start != _TOLD_BY:
            return self._http1.protocol()
        shared: Scope = {
            "type": "http",
            "http_version": "2",
            "client": transport.get_extra_info("peername"),
            "server": transport.get_extra_info("sockname"),
        }
        return Connection(self._service, shared, self._connections)

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [
            *(task for connection in self._connections for task in connection.tasks),
            *self._http1.state.tasks,
        ]


class _Undecided(asyncio.Protocol):
    """A connection whose client has not said what it speaks."""

    def __init__(
        self,
        undecided: set[_Undecided],
        patience: float,
        speaking: Callable[[asyncio.Transport, bytes], Connection | H11Protocol],
    ) -> None:
        self._undecided = undecided
        self._patience = patience
        self._speaking = speaking
        self._data = b""
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._undecided.add(self)
        self._timer = asyncio.get_running_loop().call_later(self._patience, self.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._undecided.discard(self)

    def data_received(self, data: bytes) -> None:
        self._data += data
        start = self._data[: len(_TOLD_BY)]
        if len(start) < len(_TOLD_BY) and _TOLD_BY.startswith(start):
            return
        self.connection_lost(None)
        protocol = self._speaking(self._transport, start)
        self._transport.pause_reading()  # who has a buffer of its own is read into it from then on
        self._transport.set_protocol(protocol)
        self._transport.resume_reading()
        protocol.connection_made(self._transport)
        protocol.data_received(self._data)

    def close(self) -> None:
        self._transport.abort()


class _Http1:
    """HTTP/1.1, by uvicorn."""

    def __init__(self, service: Service) -> None:
        logging.getLogger("uvicorn").setLevel(logging.ERROR)  # else noise on the port is a warning

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            async def sent(event: Message) -> None:
                if event["type"] != "http.response.trailers":  # HTTP/1.1 has none to speak of
                    await send(event)

            await service(scope, receive, sent)

        self._config = Config(
            answer,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=_KEPT_ALIVE,
        )
        self._config.load()
        self.state = ServerState()

    def protocol(self) -> H11Protocol:
        return H11Protocol(self._config, self.state, {})

    def drain(self) -> None:
        """Each connection ends with its answer."""
        for connection in self._connections():
            connection.shutdown()

    def close(self) -> None:
        for connection in self._connections():
            connection.transport.abort()

    def _connections(self) -> list[H11Protocol]:
        return cast("list[H11Protocol]", list(self.state.connections))

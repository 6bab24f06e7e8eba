"""A network between a gateway and a replica that is as bad as a test wants it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
import time
from typing import Self

_READ = 1 << 16
_AHEAD = 256
"""Reads that are on their way in one direction at most."""
_AT_ONCE = struct.pack("ii", 1, 0)
"""Closes with a reset, whatever has not been sent."""


class Proxy:
    """Passes on what comes at `address` to *target*, both ways, in a thread of its own.

    What a test sets holds from the next byte on: `with Proxy() as proxy`.
    """

    def __init__(self) -> None:
        self.address = ""
        self.target = ""
        """`host:port`; connections before there is one are reset."""
        self.delay = 0.0
        """Seconds that each byte is on its way."""
        self.rate = float("inf")
        """Bytes a second of one direction of one connection."""
        self.is_silent = False
        """Nothing arrives any more, in no direction, and nobody is told."""
        self.passed = 0
        """Bytes so far."""
        self._cuts = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chaos")

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._wait(asyncio.start_server(self._connected, "127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *exc: object) -> None:
        self._wait(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """The next bytes that pass arrive by half, and then their connection is reset."""
        self._cuts = 1

    def heal(self) -> None:
        """All is well; a connection that was silent is lost, for what it swallowed is gone."""
        self.delay, self.rate = 0.0, float("inf")
        if self.is_silent:
            self._wait(self._reset())
        self.is_silent = False

    def _wait(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _reset(self) -> None:
        for writer in tuple(self._open):
            _abort(writer)

    async def _end(self) -> None:
        self._server.close()
        await self._reset()
        while self._open:
            await asyncio.sleep(0.001)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._open.add(writer)
            try:
                host, _, port = self.target.rpartition(":")
                back, forth = await asyncio.open_connection(host, int(port))
                self._open.add(forth)
                try:
                    async with asyncio.TaskGroup() as tasks:
                        tasks.create_task(self._pass(reader, forth))
                        tasks.create_task(self._pass(back, writer))
                except* OSError:
                    pass
                finally:
                    _abort(forth)
                    self._open.discard(forth)
            finally:
                _abort(writer)
                self._open.discard(writer)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Raises ConnectionError at the end of either."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_AHEAD)

        async def arriving() -> None:
            while data := await reader.read(_READ):
                await under_way.put((time.monotonic() + self.delay, data))
            raise ConnectionResetError

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(arriving())
            while True:
                due, data = await under_way.get()
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                await self._deliver(data, writer)

    async def _deliver(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        if self.is_silent:
            return
        if self._cuts:
            self._cuts -= 1
            writer.write(data[: len(data) // 2])
            await writer.drain()
            raise ConnectionResetError
        step = len(data) if self.rate == float("inf") else max(1, int(self.rate / 20))
        for start in range(0, len(data), step):
            part = data[start : start + step]
            writer.write(part)
            await writer.drain()
            self.passed += len(part)
            await asyncio.sleep(len(part) / self.rate)


def _abort(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        made = writer.get_extra_info("socket")
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    writer.transport.abort()

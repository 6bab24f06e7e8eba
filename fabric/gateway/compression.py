"""gRPC messages in and out of gzip and deflate."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from fabric.core.errors import InvalidRequest, Overloaded, Unimplemented
from fabric.gateway.coding import Coding, deflated, inflated
from fabric.gateway.grpc import header

if TYPE_CHECKING:
    from fabric.gateway.grpc import Parts, Scope

_CODINGS = {b"gzip": Coding.GZIP, b"deflate": Coding.DEFLATE}
_LARGE = 1 << 16
"""Bytes; with more it pays to leave the event loop alone."""
_QUICK = 1 << 18
"""Bytes that come out of a small message in no time; it may also be a bomb."""


class Compression:
    """Inflates messages to *max_bytes* at most. Has threads for large ones until closed."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._workers = ThreadPoolExecutor(2, "fabric-compression")

    def close(self) -> None:
        self._workers.shutdown(cancel_futures=True)

    def agreed(self, scope: Scope) -> Coding | None:
        """The coding of a call's answers: that of its requests, if the client takes it as well."""
        encoding = header(scope, b"grpc-encoding")
        if encoding not in _CODINGS:
            return None
        taken = header(scope, b"grpc-accept-encoding").split(b",")
        return _CODINGS[encoding] if encoding in map(bytes.strip, taken) else None

    async def inflated(self, message: bytes, scope: Scope) -> bytes:
        """A request's *message*, which says that it is compressed, as it was before.

        Raises:
            InvalidRequest: it is not what `grpc-encoding` says.
            Overloaded: it has more than so many bytes, of which no more are ever made.
            Unimplemented: nobody here knows the encoding.
        """
        encoding = header(scope, b"grpc-encoding")
        if encoding in (b"", b"identity"):
            raise InvalidRequest("the message is compressed, and no grpc-encoding says how")
        if encoding not in _CODINGS:
            raise Unimplemented(
                f"grpc-encoding '{encoding.decode('latin-1')}' is not supported; "
                "use gzip or deflate"
            )
        if len(message) <= _LARGE:
            try:
                return inflated(message, encoding, min(_QUICK, self._max_bytes))
            except Overloaded:
                pass
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._workers, inflated, message, encoding, self._max_bytes
        )

    async def deflated(self, parts: Parts, coding: Coding) -> bytes:
        """The message that *parts* make, in *coding*."""
        message = b"".join(parts)
        if len(message) <= _LARGE:
            return deflated(message, coding)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._workers, deflated, message, coding)

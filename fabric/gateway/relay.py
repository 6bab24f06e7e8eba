"""Calls of the control plane that reach the gateway's port, passed on to it byte for byte."""

from __future__ import annotations

import asyncio
import binascii
import logging
import re
import time
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc.aio

from fabric.api.catalog.v1 import catalog_service_pb2
from fabric.api.routing.v1 import learning_service_pb2
from fabric.core.deadlines import NEVER
from fabric.core.errors import InvalidRequest, Unavailable
from fabric.gateway.grpc import deadline_of, header
from fabric.gateway.mirror import AWAY
from fabric.wire.status import from_rpc

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Awaitable,
        Callable,
        Iterable,
        Iterator,
    )

    from fabric.gateway.grpc import Parts, Scope, StreamHandler

log = logging.getLogger(__name__)

_RETURN = 3.0
"""Seconds for the control plane to be there again; connecting to it is tried every two."""
QUIET = 15.0
"""Seconds without an answer after which a unary call is given up."""
_SLOW = ("Train",)
"""Unary calls that may take any time."""
SERVICES = tuple(
    service
    for file in (catalog_service_pb2, learning_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
)
_END = grpc.aio.EOF
_CUT_SHORT = "Internal error from Core"  # gRPC's library says so instead of the status that came
_NAME = re.compile(rb"[0-9a-z_.-]+")
_TEXT = re.compile(rb"[ -~]*")
# What is about a connection or the body of a request, or what browsers add, is nobody's metadata.
_NO_METADATA = frozenset(
    b"accept accept-encoding accept-language cache-control connection content-encoding"
    b" content-length content-type cookie expect host keep-alive origin pragma priority"
    b" proxy-authorization proxy-connection referer te trailer transfer-encoding upgrade"
    b" user-agent x-grpc-web x-user-agent".split()
)
_RESERVED = (b":", b"grpc-", b"access-control-", b"sec-")


def heard(handler: StreamHandler, hear: Callable[[bytes], Awaitable[None]]) -> StreamHandler:
    """As *handler*; *hear* is given what it has been asked, once it has answered.

    What is wrong then is this gateway's alone, and nothing of it is told to the caller.
    """

    async def answering(
        requests: AsyncIterator[bytes], scope: Scope
    ) -> AsyncGenerator[Parts, None]:
        asked: list[bytes] = []

        async def noted() -> AsyncGenerator[bytes, None]:
            async for request in requests:
                asked.append(bytes(request))
                yield request

        async with aclosing(handler(noted(), scope)) as answers:
            async for parts in answers:
                yield parts
        for request in asked:
            try:
                await hear(request)
            except Exception:
                log.exception("what was said by %s is not heard here", scope["path"])

    return answering


class Relay:
    """Answers calls as the control plane behind *channel* does, with its messages and errors."""

    def __init__(self, channel: grpc.aio.Channel, quiet: float = QUIET) -> None:
        self._channel = channel
        self._quiet = quiet

    def stream_handlers(self) -> dict[str, StreamHandler]:
        """One for each call that this version of the control plane has."""
        handlers: dict[str, StreamHandler] = {}
        for service in SERVICES:
            for method in service.methods:
                is_slow = method.server_streaming or method.name in _SLOW
                quiet = None if is_slow else self._quiet
                is_stream = method.client_streaming
                handler = self._stream if is_stream else partial(self._single, quiet)
                handlers[f"/{service.full_name}/{method.name}"] = handler
        return handlers

    async def _single(
        self, quiet: float | None, requests: AsyncIterator[bytes], scope: Scope
    ) -> AsyncGenerator[Parts, None]:
        """A call with one request, which goes out whole.

        Written as on a stream, a message that is refused on its way would hide what refused it:
        gRPC's library then says "Internal error from Core".
        """
        request = await anext(requests, None)
        if request is None:
            raise InvalidRequest(f"{scope['path']} takes one message, and none came")
        await self._reached()
        start = self._channel.unary_stream(scope["path"])
        call = start(bytes(request), **_terms(scope))
        del request
        try:
            while (answer := await _next(call, quiet)) is not _END:
                yield (answer,)
        finally:
            call.cancel()

    async def _stream(
        self, requests: AsyncIterator[bytes], scope: Scope
    ) -> AsyncGenerator[Parts, None]:
        """A call with any number of requests; what is wrong with one of them ends it."""
        await self._reached()
        call = self._channel.stream_stream(scope["path"])(**_terms(scope))
        tasks = [sending := asyncio.create_task(_send(requests, call))]
        try:
            while True:
                reading = asyncio.create_task(_next(call, None))
                tasks[1:] = [reading]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                if sending.done():
                    sending.result()
                if (answer := await reading) is _END:
                    return
                yield (answer,)
        finally:
            call.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _reached(self) -> None:
        """Returns when the control plane is there, which may have been started again just now.

        Raises:
            Unavailable: it is not.
        """
        try:
            async with asyncio.timeout(_RETURN):
                await self._channel.channel_ready()
        except TimeoutError:
            raise Unavailable(AWAY) from None


async def _next(call: Any, quiet: float | None) -> Any:
    """The next answer; `_END` after the last.

    Raises:
        FabricError: the call has failed, by what the control plane said.
        Unavailable: it said nothing, or is away.
    """
    try:
        async with asyncio.timeout(quiet):
            return await call.read()
    except grpc.aio.AioRpcError as error:
        if error.details() == _CUT_SHORT:
            text = "the control plane ended the call while it was sent a message"
            raise Unavailable(text) from None
        raise from_rpc(error, AWAY) from None
    except TimeoutError:
        raise Unavailable(f"{AWAY}: nothing came for {quiet:g} s") from None


async def _send(requests: AsyncIterator[bytes], call: Any) -> None:
    """Passes on each request when there is room for it, then that there are no more."""
    try:
        async for request in requests:
            await call.write(bytes(request))
            del request  # it may be large, and the next one be long in coming
        await call.done_writing()
    except (grpc.aio.AioRpcError, grpc.aio.InternalError, asyncio.InvalidStateError):
        return  # the call has ended, and whoever reads it learns why


def _terms(scope: Scope) -> dict[str, Any]:
    """How the call is made: with the caller's deadline and metadata."""
    deadline = deadline_of(header(scope, b"grpc-timeout"))
    left = None if deadline is NEVER else max(0.0, deadline.remaining(time.monotonic()))
    return {"timeout": left, "metadata": tuple(metadata_of(scope["headers"]))}


def metadata_of(headers: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[str, str | bytes]]:
    """The caller's own metadata, as gRPC's library takes them.

    Raises:
        InvalidRequest: gRPC could not carry a header. It would fail the call without its name.
    """
    for name, value in headers:
        if name in _NO_METADATA or name.startswith(_RESERVED):
            continue
        shown = repr(name.decode("latin-1"))
        if not _NAME.fullmatch(name):
            raise InvalidRequest(
                f"header {shown} is no name of metadata: use lower-case letters, digits, '_', '-'"
                " and '.'"
            )
        if name.endswith(b"-bin"):
            for part in value.split(b","):
                yield name.decode(), _binary(shown, part.strip())
        elif _TEXT.fullmatch(value):
            yield name.decode(), value.decode()
        else:
            raise InvalidRequest(
                f"header {shown} has a value that is not printable ASCII: use a name that ends in"
                " '-bin', and base64"
            )


def _binary(shown: str, value: bytes) -> bytes:
    try:
        return binascii.a2b_base64(value + b"=" * (-len(value) % 4), strict_mode=True)
    except binascii.Error as error:
        raise InvalidRequest(f"header {shown} is not valid base64: {error}") from None

"""What browsers need: gRPC-Web in place of gRPC, and leave to call from pages of other origins.

gRPC-Web has its trailers behind the messages, and may all be base64
(https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md).
"""

from __future__ import annotations

import binascii
import contextlib
import re
from typing import TYPE_CHECKING

from starlette.middleware.cors import CORSMiddleware

from fabric.core.errors import InvalidRequest
from fabric.gateway.grpc import fail, header, status_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from fabric.gateway.grpc import Message, Receive, Scope, Send

    Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_KIND = re.compile(rb"application/grpc-web(-text)?(\+[^;,\s]+)?(?=[;,\s]|$)", re.IGNORECASE)
_TRAILERS = b"\x80"
_TAKEN = (
    *("content-type", "content-encoding", "inference-header-content-length", "fabric-timeout"),
    *("fabric-tenant", "grpc-timeout", "traceparent", "tracestate", "x-grpc-web", "x-user-agent"),
)
_GIVEN = (
    *("grpc-status", "grpc-message", "grpc-status-details-bin"),
    *("content-encoding", "inference-header-content-length"),
)


def open_to_browsers(app: Application, origins: Sequence[str]) -> Application:
    """*app* as pages of *origins* may call it; `*` is all of them."""
    if not origins:
        return app

    async def copying(scope: Scope, receive: Receive, send: Send) -> None:
        """The middleware writes into the start of an answer, of which ours have one for all."""

        async def send_copy(event: Message) -> None:
            await send({**event})

        await app(scope, receive, send_copy)

    return CORSMiddleware(
        copying,
        allow_origins=origins,
        allow_methods=("GET", "HEAD", "POST", "OPTIONS"),
        allow_headers=_TAKEN,
        expose_headers=_GIVEN,
        max_age=600,
    )


class GrpcWeb:
    """*app*, which speaks gRPC, as an application that speaks gRPC-Web as well."""

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = _KIND.match(header(scope, b"content-type")) if scope["type"] == "http" else None
        if kind is None:
            await self._app(scope, receive, send)
            return
        answer = _Answer(_KIND.match(header(scope, b"accept")) or kind, send)
        if not kind[1]:
            await self._app(_as_grpc(scope, kind), receive, answer.send)
            return
        request = _TextRequest(receive)
        await self._app(_as_grpc(scope, kind), request.receive, answer.send)
        if request.error is not None:
            with contextlib.suppress(OSError):  # as ASGI has it where the browser is gone
                await answer.fail(request.error)


def _as_grpc(scope: Scope, kind: re.Match[bytes]) -> Scope:
    """The scope of the same call in gRPC."""
    dropped = b"content-type", b"content-length", b"te"
    headers = [each for each in scope["headers"] if each[0] not in dropped]
    headers += [(b"content-type", b"application/grpc" + (kind[2] or b"")), (b"te", b"trailers")]
    return {**scope, "headers": headers}


class _TextRequest:
    """A body that is base64, cut anywhere, of segments that may each be padded."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._rest = b""
        """What is no four characters yet."""
        self.error: InvalidRequest | None = None
        """For whoever sent what is no base64; the application has been told that it is gone."""

    async def receive(self) -> Message:
        if self.error is not None:
            return {"type": "http.disconnect"}
        event = await self._receive()
        if event["type"] != "http.request":
            return event
        try:
            body = self._decoded(event.get("body", b""), event.get("more_body", False))
        except binascii.Error as error:
            self.error = InvalidRequest(f"the body is not valid base64: {error}")
            return {"type": "http.disconnect"}
        return {**event, "body": body}

    def _decoded(self, chunk: bytes, more: bool) -> bytes:
        """What can be decoded with *chunk*, which others follow if there are *more*.

        Raises binascii.Error. The library stops at padding, so the four characters that end with
        it are decoded by themselves.
        """
        text = self._rest + chunk
        whole = len(text) - len(text) % 4 if more else len(text)
        self._rest = text[whole:]
        parts, at = [], 0
        while at < whole:
            padding = text.find(b"=", at, whole)
            padded = whole if padding < 0 else padding // 4 * 4
            end = padded if padded > at else at + 4
            parts.append(binascii.a2b_base64(text[at:end], strict_mode=True))
            at = end
        return b"".join(parts)


class _Answer:
    """Takes the events of an answer in gRPC, and sends them on as gRPC-Web of *kind*."""

    def __init__(self, kind: re.Match[bytes], send: Send) -> None:
        self._kind = kind[0]
        self._is_text = kind[1] is not None
        self._send = send
        self._is_begun = False
        self._is_framed = False
        """Whether there are messages, and trailers behind them."""
        self._trailers: list[bytes] = []

    async def send(self, event: Message) -> None:
        if event["type"] == "http.response.start":
            await self._start(event)
        elif event["type"] == "http.response.trailers":
            await self._end(event)
        elif self._is_framed:
            await self._body(event.get("body", b""), more=True)
        else:
            await self._send(event)

    async def fail(self, error: InvalidRequest) -> None:
        """Ends the answer, however far it is, with the status of *error*."""
        if not self._is_begun:
            await fail(self.send, error)
        elif self._is_framed:
            await self._end({"headers": status_of(error)})

    async def _start(self, event: Message) -> None:
        self._is_begun = True
        self._is_framed = event.get("trailers", False)
        headers = [
            (name, self._kind if value.startswith(b"application/grpc") else value)
            for name, value in event["headers"]
        ]
        await self._send({**event, "headers": headers, "trailers": False})

    async def _end(self, event: Message) -> None:
        self._trailers += (b"%s: %s\r\n" % each for each in event["headers"])
        if not event.get("more_trailers", False):
            block = b"".join(self._trailers)
            self._is_framed = False
            await self._body(_TRAILERS + len(block).to_bytes(4, "big") + block, more=False)

    async def _body(self, body: bytes, *, more: bool) -> None:
        if self._is_text:
            body = binascii.b2a_base64(body, newline=False)
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

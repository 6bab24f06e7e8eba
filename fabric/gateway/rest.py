"""REST: each request is one for a gRPC call in another form, and answered by its handler."""

from __future__ import annotations

import asyncio
import math
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote

from fabric.api.inference.v2.open_inference_pb2 import (
    ModelInferRequest,
    ModelInferResponse,
    ModelMetadataRequest,
    ModelMetadataResponse,
)
from fabric.core.errors import FabricError, InvalidRequest, Overloaded, Unimplemented
from fabric.gateway import grpc, openapi
from fabric.gateway.coding import Coding, accepted, deflated, inflated
from fabric.gateway.endpoints import DOCUMENT, ENDPOINTS, Node
from fabric.gateway.intake import Disconnected
from fabric.wire import rest
from fabric.wire.documents import dumps, loads, object_of
from fabric.wire.status import HTTP_STATUS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fabric.gateway.endpoints import Endpoint
    from fabric.gateway.grpc import Handler, Receive, Scope, Send
    from fabric.gateway.intake import Intake

T = TypeVar("T")
Header = tuple[bytes, bytes]

_JSON = (b"content-type", b"application/json")
_BINARY = (b"content-type", b"application/octet-stream")
_JSON_LENGTH = b"inference-header-content-length"
_TIMEOUT = b"fabric-timeout"
_NO_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_LARGE = 1 << 16
"""Bytes; with more it pays to leave the event loop alone."""


class Refused(FabricError):
    """What HTTP has a status of its own for."""

    def __init__(self, status: int, message: str, *headers: Header) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: bytes
    headers: tuple[Header, ...] = (_JSON,)


async def fail(scope: Scope, send: Send, error: FabricError) -> None:
    """Answers with the status and the text of *error*."""
    reply = Reply(HTTP_STATUS[error.code], dumps({"error": error.message}))
    if isinstance(error, Refused):
        reply = replace(reply, status=error.status, headers=(_JSON, *error.headers))
    elif error.retry_after:  # RFC 9110, 10.2.3: in whole seconds
        retry = (b"retry-after", b"%d" % math.ceil(error.retry_after))
        reply = replace(reply, headers=(_JSON, retry))
    await _respond(scope, send, reply)


async def _respond(scope: Scope, send: Send, reply: Reply) -> None:
    """Answers with *reply*, without its body to HEAD. Raises Disconnected."""
    length = (b"content-length", b"%d" % len(reply.body))
    headers = [*reply.headers, *([length] if reply.status != 204 else ())]
    body = b"" if scope["method"] == "HEAD" else reply.body
    try:
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        if len(body) > grpc.LARGE:
            await grpc.send_in_pieces(send, (body,))
        else:
            await send({"type": "http.response.body", "body": body, "more_body": False})
    except OSError:  # as ASGI has it
        raise Disconnected from None


class Rest:
    """Answers by *handlers*, which are by gRPC path. Has a thread for large bodies until closed."""

    def __init__(
        self, handlers: Mapping[str, Handler], intake: Intake, max_inflated_bytes: int
    ) -> None:
        self._handlers = handlers
        self._intake = intake
        self._max_inflated_bytes = max_inflated_bytes
        self._worker = ThreadPoolExecutor(1, "fabric-rest")
        self._root = Node()
        for endpoint in (*ENDPOINTS, DOCUMENT):
            self._root.add(endpoint)
        self._openapi = dumps(openapi.document())

    def close(self) -> None:
        self._worker.shutdown(cancel_futures=True)

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises what `fail` says to the client, or Disconnected."""
        node, values = self._find(scope)
        verb = "GET" if scope["method"] == "HEAD" else scope["method"]
        if verb == "OPTIONS":
            await _respond(scope, send, Reply(204, b"", (_allowed(node),)))
            return
        if verb not in node.endpoints:
            text = f"{scope['method']} is not allowed for {scope['path']}"
            raise Refused(405, text, _allowed(node))
        try:
            body = await self._intake.body(receive, _length(scope))
        except Overloaded as error:
            raise Refused(413, error.message) from error
        answer = self._reply(node.endpoints[verb], values, body, scope)
        await _respond(scope, send, await grpc.unless_gone(receive, answer))

    def _find(self, scope: Scope) -> tuple[Node, list[str]]:
        """Where the path leads, and the names in it, which are percent-encoded one by one."""
        path: bytes = scope["raw_path"]
        segments = path.decode("latin-1").removesuffix("/").split("/")[1:]
        if _NO_ESCAPE.search(path):
            raise InvalidRequest("the path has a '%' without two hexadecimal digits behind it")
        try:
            found = self._root.find([unquote(each, errors="strict") for each in segments])
        except UnicodeDecodeError as error:
            raise InvalidRequest("the path is no text in UTF-8, percent-encoded") from error
        if found is None:
            raise Refused(404, f"there is nothing at {scope['path']}")
        return found

    async def _reply(
        self, endpoint: Endpoint, values: list[str], body: bytes, scope: Scope
    ) -> Reply:
        if endpoint is DOCUMENT:
            return Reply(200, self._openapi)
        handler = self._handlers.get(grpc.SERVICE + endpoint.call)
        if handler is None:
            raise Unimplemented(f"{endpoint.call} is not served")
        headers = dict(scope["headers"])
        names = dict(zip(endpoint.variables, values, strict=True))
        scope = _with_deadline(scope, headers.get(_TIMEOUT))
        body = await self._inflated(body, headers.get(b"content-encoding", b""))
        request: Any = endpoint.request(**names)
        if isinstance(request, ModelInferRequest):
            return await self._infer(handler, request, body, headers, scope)
        document = await self._run(len(body), loads, body) if body else {}
        endpoint.read(request, object_of(document, "the request"))
        for field, value in names.items():  # a body may name them, too
            setattr(request, field, value)
        parts = await handler(request.SerializeToString(), scope)
        response = endpoint.response.FromString(b"".join(parts))
        said = endpoint.write(response)
        if endpoint.truth:
            status = 200 if getattr(response, endpoint.truth) else 400
            return Reply(status, dumps(names | said))
        return Reply(200, b"", ()) if said is None else Reply(200, dumps(said))

    async def _infer(
        self,
        handler: Handler,
        request: ModelInferRequest,
        body: bytes,
        headers: Mapping[bytes, bytes],
        scope: Scope,
    ) -> Reply:
        length = _json_length(headers.get(_JSON_LENGTH), body)
        if length or not body:
            wish = await self._run(len(body), rest.decode, body, length, request)
        else:
            wish = rest.decode_raw(body, request, await self._model(request, scope))
        payload = b"".join(await handler(request.SerializeToString(), scope))
        coding = accepted(headers.get(b"accept-encoding", b""))
        return await self._run(len(payload), _encode, payload, wish, coding)

    async def _model(self, request: ModelInferRequest, scope: Scope) -> ModelMetadataResponse:
        asked = ModelMetadataRequest(name=request.model_name, version=request.model_version)
        metadata = self._handlers[f"{grpc.SERVICE}ModelMetadata"]
        parts = await metadata(asked.SerializeToString(), scope)
        return ModelMetadataResponse.FromString(b"".join(parts))

    async def _inflated(self, body: bytes, coding: bytes) -> bytes:
        if not coding:
            return body
        most = self._max_inflated_bytes
        try:
            return await self._run(most, inflated, body, coding, most)
        except Overloaded as error:
            raise Refused(413, error.message) from error
        except Unimplemented as error:
            raise Refused(415, error.message) from error

    async def _run(self, size: int, work: Callable[..., T], *arguments: Any) -> T:
        """What *work* on so many bytes gives, done in a thread of its own if they are many."""
        if size <= _LARGE:
            return work(*arguments)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._worker, work, *arguments)


def _encode(payload: bytes, wish: rest.Wish, coding: Coding) -> Reply:
    document, binary = rest.encode(ModelInferResponse.FromString(payload), wish)
    headers: tuple[Header, ...] = (_JSON,)
    if binary:
        headers = (_BINARY, (_JSON_LENGTH, b"%d" % len(document)))
    if coding is not Coding.IDENTITY:
        headers = (*headers, (b"content-encoding", coding.value.encode()))
    return Reply(200, deflated(b"".join((document, *binary)), coding), headers)


def _allowed(node: Node) -> Header:
    verbs = {*node.endpoints, "OPTIONS", *(["HEAD"] if "GET" in node.endpoints else [])}
    return b"allow", ", ".join(sorted(verbs)).encode()


def _json_length(value: bytes | None, body: bytes) -> int:
    if value is None:
        return len(body)
    if not value.isdigit() or len(value) > 19 or int(value) > len(body):
        raise InvalidRequest(
            f"Inference-Header-Content-Length is {value.decode('latin-1')!r}, it must be the "
            f"length of the JSON in a body of {len(body)} bytes"
        )
    return int(value)


def _length(scope: Scope) -> int | None:
    length = grpc.header(scope, b"content-length")
    return int(length) if length.isdigit() else None


def _with_deadline(scope: Scope, value: bytes | None) -> Scope:
    """*scope*, with the seconds in *value* as the `grpc-timeout` that handlers know."""
    if value is None:
        return scope
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < 10**7:
        raise InvalidRequest(
            f"Fabric-Timeout {value.decode('latin-1')!r} is no number of seconds, such as 1.5"
        )
    unit, size = (b"u", 10**6) if seconds < 99 else (b"m", 10**3) if seconds < 99_999 else (b"S", 1)
    timeout = (b"grpc-timeout", b"%d%s" % (int(seconds * size), unit))
    return {**scope, "headers": [*scope["headers"], timeout]}

"""What answers the requests of a gateway: gRPC calls by path, and what is no gRPC as REST."""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, cast

from fabric import telemetry
from fabric.api.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from fabric.api.routing.v1.learning_service_pb2_grpc import LearningServiceStub
from fabric.core.errors import FabricError, Internal, Unimplemented
from fabric.gateway import grpc, rest
from fabric.gateway.compression import Compression
from fabric.gateway.descriptors import described
from fabric.gateway.duplex import converse
from fabric.gateway.health import Health
from fabric.gateway.inference import Inference
from fabric.gateway.intake import SMALL, Disconnected, Intake
from fabric.gateway.mirror import channel_to, follow
from fabric.gateway.observing import Logs, Tracing
from fabric.gateway.profiles import Profiles
from fabric.gateway.queries import Queries
from fabric.gateway.records import reported
from fabric.gateway.reflection import Reflection
from fabric.gateway.relay import Relay, heard
from fabric.gateway.replicas import ReplicaPool
from fabric.gateway.repository import Repository
from fabric.gateway.rest import Rest
from fabric.gateway.routing import Routing
from fabric.gateway.shared_memory import SharedMemory
from fabric.gateway.statistics import ModelStatistics
from fabric.gateway.streams import Streams
from fabric.gateway.view import View
from fabric.gateway.web import GrpcWeb, open_to_browsers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fabric.gateway.grpc import Handler, Receive, Scope, Send, StreamHandler
    from fabric.gateway.intake import Fill
    from fabric.gateway.settings import GatewaySettings

log = logging.getLogger(__name__)

LINKING = 5.0
"""Seconds that a gateway which shares a port has for its links, before it takes connections."""
_CALL = re.compile(r"/[^/]*\.[^/]*/[^/]+")  # of gRPC: the name of a service has a dot in it
_FEEDBACK = "/fabric.api.routing.v1.LearningService/SubmitFeedback"
_SPECIAL = frozenset((b"grpc-encoding", b"origin", b"content-encoding"))
"""Headers of calls that need more than to be handled."""


class Application:
    """An ASGI application; `opened` makes one."""

    def __init__(
        self,
        settings: GatewaySettings,
        handlers: dict[str, Handler],
        stream_handlers: dict[str, StreamHandler],
    ) -> None:
        self._handlers = handlers
        self._stream_handlers = stream_handlers
        self._intake = Intake(
            settings.max_message_bytes, settings.max_held_bytes, settings.patience
        )
        most_inflated = min(settings.max_inflated_bytes, settings.max_message_bytes)
        self._compression = Compression(most_inflated)
        self._rest = Rest(handlers, self._intake, most_inflated)
        self._asgi = open_to_browsers(GrpcWeb(self._answer), settings.cors_origins)

    def close(self) -> None:
        self._rest.close()
        self._compression.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._asgi(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        is_grpc = grpc.is_grpc(scope)
        fail = grpc.fail if is_grpc else partial(rest.fail, scope)
        try:
            if not is_grpc:
                await self._other(scope, receive, send)
            elif (handler := self._handlers.get(path)) is not None:
                payload = await grpc.read(scope, receive, self._intake, self._compression)
                parts = await grpc.unless_gone(receive, handler(payload, scope))
                await grpc.respond(scope, send, parts, self._compression)
            else:
                await self._stream(path, scope, receive, send)
        except Disconnected:
            return
        except Exception as error:  # noqa: BLE001 - it is explained, and logged there
            await fail(send, self.explained(scope, error))

    def handler(self, scope: Scope) -> Handler | None:
        """What answers a call of *scope* whose message comes whole and as it is, if that is all."""
        if not grpc.is_grpc(scope) or self._intake.most < SMALL:
            return None
        if any(name in _SPECIAL for name, _ in scope["headers"]):
            return None
        return self._handlers.get(scope["path"])

    def room(self, size: int) -> bytearray | None:
        return self._intake.take_at_once(size)

    async def message(self, body: bytearray, size: int, fill: Fill) -> bytes:
        return cast("bytes", await self._intake.collected(body, size, fill))  # as good as

    def explained(self, scope: Scope, error: Exception) -> FabricError:
        """What the caller is told; the log has the rest of what nobody expected, by number."""
        if isinstance(error, FabricError):
            return error
        bug = uuid.uuid4().hex
        log.error("unexpected error %s in %s", bug, scope["path"], exc_info=error)
        return Internal(f"internal error, logged by the gateway as {bug}")

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        if _CALL.fullmatch(scope["path"]) and scope["method"] != "OPTIONS":
            raise rest.Refused(415, "it is a gRPC call, whose content-type is application/grpc")
        await self._rest.answer(scope, receive, send)

    async def _stream(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        handler = self._stream_handlers.get(path)
        if handler is None:
            raise Unimplemented(f"there is no call {path}, or its headers cannot be read")
        limits = self._intake, self._compression
        await converse(handler, scope, receive, send, *limits, partial(self.explained, scope))


@asynccontextmanager
async def opened(settings: GatewaySettings) -> AsyncIterator[Application]:
    """An application with links to replicas and a watch of the control plane while it is used."""
    control = channel_to(settings.control)
    async with control, ReplicaPool() as pool, asyncio.TaskGroup() as tasks:
        view, stub = _view(pool, settings), CatalogServiceStub(control)
        learning = LearningServiceStub(control)
        kept = (
            follow(stub, view.catalog, view.changed),
            view.follow_live(),
            view.decisions.keep(),
        )
        keeping = [tasks.create_task(each) for each in kept]
        unary, streaming = _handlers(view, stub, learning, settings)
        relayed = Relay(control).stream_handlers()
        relayed[_FEEDBACK] = heard(relayed[_FEEDBACK], view.decisions.hear)
        application = Application(settings, unary, streaming | relayed)
        try:
            if settings.shares_port:  # others answer there meanwhile
                await view.linked(LINKING)
            async with reported(view.records, learning):
                yield application
        finally:
            application.close()
            for task in keeping:
                task.cancel()
            await view.close()


def _view(pool: ReplicaPool, settings: GatewaySettings) -> View:
    return View(pool, settings.region, settings.cache, settings.max_held_bytes)


def _handlers(
    view: View,
    stub: CatalogServiceStub,
    learning: LearningServiceStub,
    settings: GatewaySettings,
) -> tuple[dict[str, Handler], dict[str, StreamHandler]]:
    """By path: those of calls with one message each way, and those of the others."""
    pool = described()
    tracing = Tracing(view, telemetry.sampled_one_in())
    health = Health(view, settings.strict, pool)
    inference = Inference(view, tracing, settings.dialect)
    memory = SharedMemory(settings)
    parts = (
        inference,
        Queries(view, settings),
        Repository(view, stub),
        ModelStatistics(view),
        memory,
        Routing(view, learning),
        Profiles(view),
        health,
        tracing,
        Logs(),
    )
    unary = {path: handler for part in parts for path, handler in part.handlers().items()}
    if settings.shared_memory:  # nobody else pays for it
        unary |= {path: memory.around(each) for path, each in inference.handlers().items()}
    streaming = (
        Streams(view, inference, settings.dialect, memory),
        health,
        Reflection(pool),
    )
    return (
        unary,
        {path: handler for part in streaming for path, handler in part.stream_handlers().items()},
    )

"""The ASGI application that Envoy calls: `fabric.gateway.application:app`."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import uuid
from functools import partial
from typing import TYPE_CHECKING

from fabric import telemetry
from fabric.api.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from fabric.core.errors import FabricError, Internal, Unimplemented
from fabric.gateway import grpc, rest
from fabric.gateway.compression import Compression
from fabric.gateway.descriptors import described
from fabric.gateway.duplex import converse
from fabric.gateway.health import Health
from fabric.gateway.inference import Inference
from fabric.gateway.intake import Disconnected, Intake
from fabric.gateway.mirror import channel_to, follow
from fabric.gateway.observing import Logs, Tracing
from fabric.gateway.queries import Queries
from fabric.gateway.reflection import Reflection
from fabric.gateway.replicas import ReplicaPool
from fabric.gateway.repository import Repository
from fabric.gateway.rest import Rest
from fabric.gateway.routing import Routing
from fabric.gateway.settings import GatewaySettings
from fabric.gateway.shared_memory import SharedMemory
from fabric.gateway.statistics import ModelStatistics
from fabric.gateway.streams import Streams
from fabric.gateway.view import View
from fabric.processes import from_environ, on_lifeline_closed

if TYPE_CHECKING:
    from fabric.gateway.grpc import Handler, Receive, Scope, Send, StreamHandler

log = logging.getLogger(__name__)


class Application:
    """Answers gRPC calls by path, and what is no gRPC as REST.

    Its lifespan owns the links and the watch.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._handlers: dict[str, Handler] = {}
        self._calls = 0
        self._intake = Intake(
            settings.max_message_bytes, settings.max_held_bytes, settings.patience
        )
        most_inflated = min(settings.max_inflated_bytes, settings.max_message_bytes)
        self._compression = Compression(most_inflated)
        self._rest = Rest(self._handlers, self._intake, most_inflated)
        self._stream_handlers: dict[str, StreamHandler] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._call(scope, receive, send)

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        handler = self._handlers.get(path)
        fail = grpc.fail
        self._calls += 1
        scope[grpc.ARRIVAL] = (self._calls, receive)
        try:
            if handler is None and not grpc.is_grpc(scope):
                fail = partial(rest.fail, scope)
                await self._rest.answer(scope, receive, send)
                return
            if handler is None:
                await self._stream(path, scope, receive, send)
                return
            payload = await grpc.read(scope, receive, self._intake, self._compression)
            parts = await grpc.unless_gone(receive, handler(payload, scope))
            await grpc.respond(scope, send, parts, self._compression)
        except FabricError as error:
            await fail(send, error)
        except Disconnected:
            return
        except Exception as error:  # noqa: BLE001 - logged, and told to the caller by number
            await fail(send, _explained(path, error))

    async def _stream(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        handler = self._stream_handlers.get(path)
        if handler is None:
            raise Unimplemented(f"there is no call {path}, or its headers cannot be read")
        explained = partial(_explained, path)
        limits = self._intake, self._compression
        await converse(handler, scope, receive, send, *limits, explained)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        """From the start of Envoy to its end."""
        await receive()
        telemetry.configure("fabric-gateway")
        release = on_lifeline_closed(lambda: os.kill(os.getpid(), signal.SIGTERM))
        control = channel_to(self._settings.control)
        async with control, ReplicaPool() as pool, asyncio.TaskGroup() as tasks:
            view, stub = View(pool), CatalogServiceStub(control)
            handlers, self._stream_handlers = _handlers(view, stub, self._settings)
            self._handlers.update(handlers)
            watch = tasks.create_task(follow(stub, view.catalog, view.changed))
            gc.collect()
            gc.freeze()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            watch.cancel()
        release()
        self._rest.close()
        self._compression.close()
        await asyncio.to_thread(telemetry.shutdown)
        await send({"type": "lifespan.shutdown.complete"})


def _handlers(
    view: View, stub: CatalogServiceStub, settings: GatewaySettings
) -> tuple[dict[str, Handler], dict[str, StreamHandler]]:
    """By path: those of calls with one message each way, and those of the others."""
    pool = described()
    tracing = Tracing(view)
    health = Health(view, settings.strict, pool)
    inference = Inference(view, tracing, settings.dialect)
    memory = SharedMemory(settings)
    parts = (
        inference,
        Queries(view, settings),
        Repository(view, stub),
        ModelStatistics(view),
        memory,
        Routing(view),
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


def _explained(path: str, error: Exception) -> FabricError:
    """What the caller is told; the log has the rest of what nobody expected, by number."""
    if isinstance(error, FabricError):
        return error
    bug = uuid.uuid4().hex
    log.error("unexpected error %s in %s", bug, path, exc_info=error)
    return Internal(f"internal error, logged by the gateway as {bug}")


app = Application(from_environ(GatewaySettings))

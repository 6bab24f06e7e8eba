"""The ASGI application that Envoy calls: `fabric.gateway.application:app`."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import uuid
from typing import TYPE_CHECKING

from fabric import telemetry
from fabric.api.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from fabric.core.errors import FabricError, Internal, Unimplemented
from fabric.gateway import grpc, rest
from fabric.gateway.inference import Inference
from fabric.gateway.mirror import channel_to, follow
from fabric.gateway.observing import Logs, Tracing
from fabric.gateway.queries import Queries
from fabric.gateway.replicas import ReplicaPool
from fabric.gateway.repository import Repository
from fabric.gateway.rest import Rest
from fabric.gateway.routing import Routing
from fabric.gateway.settings import GatewaySettings
from fabric.gateway.view import View
from fabric.processes import from_environ, on_lifeline_closed

if TYPE_CHECKING:
    from fabric.gateway.grpc import Handler, Receive, Scope, Send

log = logging.getLogger(__name__)


class Application:
    """Answers unary gRPC calls by path, and what is no gRPC as REST.

    Its lifespan owns the links and the watch.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._handlers: dict[str, Handler] = {}
        self._calls = 0
        self._rest = Rest(self._handlers, settings.max_message_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._call(scope, receive, send)

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        handler = self._handlers.get(scope["path"])
        fail = grpc.fail
        try:
            if handler is None and not grpc.is_grpc(scope):
                fail = rest.fail
                await self._rest.answer(scope, receive, send)
                return
            if handler is None:
                raise Unimplemented(f"there is no call {scope['path']}")
            self._calls += 1
            scope[grpc.ARRIVAL] = (self._calls, receive)
            payload = await grpc.read(receive, self._settings.max_message_bytes)
            parts = await grpc.unless_gone(receive, handler(payload, scope))
            await grpc.respond(send, *parts)
        except FabricError as error:
            await fail(send, error)
        except grpc.Disconnected:
            return
        except Exception:
            bug = uuid.uuid4().hex
            log.exception("unexpected error %s in %s", bug, scope["path"])
            await fail(send, Internal(f"internal error, logged by the gateway as {bug}"))

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        """From the start of Envoy to its end."""
        await receive()
        telemetry.configure("fabric-gateway")
        release = on_lifeline_closed(lambda: os.kill(os.getpid(), signal.SIGTERM))
        control = channel_to(self._settings.control)
        async with control, ReplicaPool() as pool, asyncio.TaskGroup() as tasks:
            view, stub = View(pool), CatalogServiceStub(control)
            self._handlers.update(_handlers(view, stub, self._settings))
            watch = tasks.create_task(follow(stub, view.catalog, view.changed))
            gc.collect()
            gc.freeze()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            watch.cancel()
        release()
        self._rest.close()
        await asyncio.to_thread(telemetry.shutdown)
        await send({"type": "lifespan.shutdown.complete"})


def _handlers(
    view: View, stub: CatalogServiceStub, settings: GatewaySettings
) -> dict[str, Handler]:
    tracing = Tracing(view)
    parts = (
        Inference(view, tracing),
        Queries(view, settings),
        Repository(view, stub),
        Routing(view),
        tracing,
        Logs(),
    )
    return {path: handler for part in parts for path, handler in part.handlers().items()}


app = Application(from_environ(GatewaySettings))

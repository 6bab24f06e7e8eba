"""The control plane as a process: store, controller, host and gRPC server, put together."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health_pb2
from grpc_health.v1._async import HealthServicer
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from grpc_reflection.v1alpha import reflection

from fabric.api.catalog.v1 import catalog_service_pb2
from fabric.api.catalog.v1.catalog_service_pb2_grpc import add_CatalogServiceServicer_to_server
from fabric.api.routing.v1 import learning_service_pb2
from fabric.api.routing.v1.learning_service_pb2_grpc import add_LearningServiceServicer_to_server
from fabric.control.controller import Controller
from fabric.control.hosts import host_of
from fabric.control.records import Records
from fabric.control.rpc import Errors
from fabric.control.servicer import CatalogServicer, LearningServicer
from fabric.control.store import opened
from fabric.control.training import Studies, Training
from fabric.control.uploads import Uploads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from fabric.control.hosts import Host
    from fabric.control.settings import ControlSettings

log = logging.getLogger(__name__)

SERVICES = tuple(
    service.full_name
    for file in (catalog_service_pb2, learning_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
)
GRACE = 0.5
"""Seconds that calls have for their end when the server stops; streams are ended before."""

OPTIONS = (
    ("grpc.so_reuseport", 0),  # two control planes on one port would share its calls
    ("grpc.max_receive_message_length", -1),  # models may come along
    ("grpc.max_send_message_length", -1),  # a snapshot is as large as the catalog
    # A peer that is gone without a word is noticed within 30 s; clients may ask as often as
    # every 5 s whether we are.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
)


@dataclass(frozen=True)
class Serving:
    """A control plane that answers."""

    controller: Controller
    port: int
    superseded: asyncio.Event
    """Set once another control plane has taken over the store: this one must end."""


@asynccontextmanager
async def serving(
    settings: ControlSettings,
    make_host: Callable[[ControlSettings, str], Host] = host_of,
    studies: Studies = Studies(),
) -> AsyncIterator[Serving]:
    """A control plane that answers, hosts what is declared, and stops cleanly on the way out.

    Raises:
        ValueError: a setting does not hold, or the port is taken.
        Unavailable: the store does not answer.
    """
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(opened(settings.store))
        controller = Controller(store, lease=settings.lease)
        await controller.start()
        records = Records(store, settings.records)
        await records.load(controller.catalog.routes)
        training = Training(controller, records, settings.store, studies)
        server, health = _server(controller, Uploads(settings.uploads), records, training)
        port = _bound(server, settings.listen)
        for service in SERVICES:
            await health.set(service, health_pb2.HealthCheckResponse.SERVING)
        await server.start()
        stack.push_async_callback(_stop, server, health, controller, records)
        host = make_host(settings, settings.address(port))
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        running = [
            tasks.create_task(controller.keep_leases(), name="leases"),
            tasks.create_task(host.run(controller), name="host"),
            tasks.create_task(training.run(), name="training"),
        ]
        for task in running:
            stack.callback(task.cancel)
        log.info("the control plane answers at port %d", port)
        yield Serving(controller, port, store.superseded)


def _server(
    controller: Controller, uploads: Uploads, records: Records, training: Training
) -> tuple[grpc.aio.Server, HealthServicer]:
    server = grpc.aio.server(interceptors=[Errors()], options=OPTIONS)
    health = HealthServicer()
    catalog = CatalogServicer(controller, uploads, training)
    add_CatalogServiceServicer_to_server(catalog, server)
    learning = LearningServicer(controller, records, training)
    add_LearningServiceServicer_to_server(learning, server)
    add_HealthServicer_to_server(health, server)
    names = (*SERVICES, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name)
    reflection.enable_server_reflection((*names, reflection.SERVICE_NAME), server)
    return server, health


def _bound(server: grpc.aio.Server, listen: str) -> int:
    try:
        return int(server.add_insecure_port(listen))
    except RuntimeError as error:
        raise ValueError(f"cannot listen at {listen}: is the port taken?") from error


async def _stop(
    server: grpc.aio.Server, health: HealthServicer, controller: Controller, records: Records
) -> None:
    await health.enter_graceful_shutdown()
    await controller.close()
    await server.stop(GRACE)
    await records.close()

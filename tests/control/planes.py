"""Control planes for tests: the real ones, with hosts that suit."""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import grpc

from fabric.api.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from fabric.control.hosts.local import LocalHost
from fabric.control.server import serving
from fabric.control.settings import ControlSettings
from fabric.control.training import Studies

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from fabric.control.controller import Controller

REPLICA = [sys.executable, str(Path(__file__).with_name("replica.py"))]


class Plane(NamedTuple):
    """A control plane, and what a client of it uses."""

    controller: Controller
    stub: CatalogServiceStub
    channel: grpc.aio.Channel
    port: int


class NoHost:
    """Runs nothing: the test is the host."""

    async def run(self, _desk: object) -> None:
        await asyncio.Event().wait()


def no_host(*_: object) -> NoHost:
    return NoHost()


def local_host(_settings: object, control: str, command: Sequence[str] = REPLICA) -> LocalHost:
    return LocalHost(control, command, grace=1.0)


@asynccontextmanager
async def control_plane(
    url: str,
    make_host: Callable[..., object] = no_host,
    port: int = 0,
    studies: Studies = Studies(),
    **fields: object,
) -> AsyncIterator[Plane]:
    """A control plane on its store, and a client of it."""
    settings = ControlSettings(listen=f"127.0.0.1:{port}", store=url, **fields)
    async with (
        serving(settings, make_host, studies) as control,
        grpc.aio.insecure_channel(f"127.0.0.1:{control.port}") as channel,
    ):
        yield Plane(control.controller, CatalogServiceStub(channel), channel, control.port)


async def until(controller: Controller, condition: Callable[[], object]) -> None:
    """Returns when *condition* holds; it is asked whenever the catalog changes."""
    async with asyncio.timeout(20):
        while not condition():
            await controller.feed.changed(controller.catalog.revision)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])

"""The gateway's copy of the catalog, kept up to date from the control plane."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from fabric.api.catalog.v1 import catalog_service_pb2 as pb
from fabric.wire.changes import from_watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from fabric.api.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
    from fabric.catalog.catalog import Catalog

log = logging.getLogger(__name__)

AWAY = "the control plane does not answer"
"""What a caller is told whose call needs it."""

_FIRST_WAIT = 0.1
_LONGEST_WAIT = 2.0
_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


def channel_to(control: str) -> grpc.aio.Channel:
    """To the control plane at *control*, which may be away."""
    return grpc.aio.insecure_channel(control, options=_OPTIONS)


async def follow(stub: CatalogServiceStub, catalog: Catalog, changed: Callable[[], None]) -> None:
    """Keeps *catalog* as the control plane behind *stub* has it, for ever.

    While the control plane is away the last state stands; afterwards the watch goes on from its
    revision. *changed* is called after every change.
    """
    wait, after = _FIRST_WAIT, 0
    while True:
        try:
            async for message in stub.Watch(pb.WatchRequest(after_revision=after)):
                catalog.update(from_watch(message))
                changed()
                after = catalog.revision
                wait = _FIRST_WAIT
        except grpc.RpcError as error:
            log.warning("no word from the control plane: %s", error.code())
        except ValueError:
            log.exception("the control plane sent a change that this version cannot read")
            after = 0
        await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
        wait = min(2 * wait, _LONGEST_WAIT)

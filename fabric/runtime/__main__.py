"""A replica as a process of its own: `python -m fabric.runtime`, told by `FABRIC_*` variables."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys

import uvloop
from google.protobuf.json_format import Parse

from fabric import telemetry
from fabric.api.catalog.v1 import card_pb2
from fabric.core.cards import Specialist
from fabric.core.errors import FabricError
from fabric.processes import from_environ, until_told_to_stop
from fabric.runtime.replica import Replica
from fabric.runtime.settings import ReplicaSettings
from fabric.wire.cards import from_message

log = logging.getLogger("fabric.runtime")


async def run(settings: ReplicaSettings) -> None:
    """Serves until it is told to stop, then drains; fails when it cannot serve any more."""
    specialist = from_message(Parse(settings.specialist, card_pb2.Specialist()), Specialist)
    async with Replica(specialist, settings.control, node=settings.node) as replica:
        told = asyncio.create_task(until_told_to_stop())
        failed = asyncio.create_task(replica.failed())
        try:
            await asyncio.wait((told, failed), return_when=asyncio.FIRST_COMPLETED)
        finally:
            told.cancel()
            failed.cancel()
        replica.check()


def main() -> None:
    telemetry.configure("fabric-replica")
    try:
        uvloop.run(run(from_environ(ReplicaSettings)))
    except (FabricError, ValueError) as error:
        log.error("the replica did not start or could not go on: %s", error)
        sys.exit(1)
    finally:
        telemetry.shutdown()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()

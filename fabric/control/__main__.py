"""`python -m fabric.control`: a control plane, set up by FABRIC_* variables."""

from __future__ import annotations

import asyncio
import logging
import sys

import uvloop

from fabric import telemetry
from fabric.control.server import serving
from fabric.control.settings import ControlSettings
from fabric.core.errors import FabricError
from fabric.processes import beating, from_environ, until_told_to_stop


async def run(settings: ControlSettings) -> None:
    """Serves until it is told to stop, or until another control plane takes over the store."""
    with beating():
        async with serving(settings) as control:
            told = asyncio.ensure_future(until_told_to_stop())
            superseded = asyncio.ensure_future(control.superseded.wait())
            try:
                await asyncio.wait((told, superseded), return_when=asyncio.FIRST_COMPLETED)
            finally:
                told.cancel()
                superseded.cancel()
                await asyncio.gather(told, superseded, return_exceptions=True)
            if control.superseded.is_set():
                raise FabricError("another control plane has taken over the store")


def main() -> int:
    telemetry.configure("fabric-control")
    try:
        uvloop.run(run(from_environ(ControlSettings)))
    except (FabricError, ValueError) as error:
        logging.getLogger(__name__).error("%s", error)
        return 1
    finally:
        telemetry.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())

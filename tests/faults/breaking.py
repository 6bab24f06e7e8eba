"""Requests that go on while something breaks."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from on_ray import Traffic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fabric import AsyncClient

IN_FLIGHT = 64
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

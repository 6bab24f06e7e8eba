"""Fixtures of the gateway's tests."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import grpc
import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from running import Running


@pytest.fixture
async def channel(running: Running) -> AsyncIterator[grpc.aio.Channel]:
    """For calls that no client of ours would make."""
    async with grpc.aio.insecure_channel(running.address) as made:
        yield made


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """What is entered in it is left at the end of the test."""
    async with AsyncExitStack() as made:
        yield made

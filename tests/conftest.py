"""Fixtures shared by all tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from running import Running

from fabric import AsyncClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A control plane and a gateway for the whole session; tests bring specialists of their own."""
    with Running(tmp_path_factory.mktemp("running")).started() as started:
        yield started


@pytest.fixture
async def client(running: Running) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(running.address) as made:
        yield made

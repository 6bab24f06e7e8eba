"""Fixtures shared by all tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from on_ray import OnRay, Watched, watching
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


@pytest.fixture(scope="session")
def on_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnRay]:
    """A fabric on Ray Serve for the whole session."""
    with OnRay(tmp_path_factory.mktemp("on-ray")) as started:
        yield started


@pytest.fixture(scope="session")
def on_local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnRay]:
    """The same on the local host."""
    with OnRay(tmp_path_factory.mktemp("on-local"), host="local") as started:
        yield started


@pytest.fixture
async def ray_client(on_ray: OnRay) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(on_ray.server) as made:
        yield made


@pytest.fixture
async def watched(ray_client: AsyncClient) -> AsyncIterator[Watched]:
    """The catalog of the fabric on Ray Serve."""
    async with watching(ray_client) as made:
        yield made

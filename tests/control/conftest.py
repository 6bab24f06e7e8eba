"""Stores of both kinds."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from planes import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture(autouse=True)
async def ended_connections() -> AsyncIterator[None]:
    """The thread of a connection that was given up has a last word for the loop of its test."""
    yield
    async with asyncio.timeout(5):
        while any("_connection_worker" in thread.name for thread in threading.enumerate()):
            await asyncio.sleep(0.001)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a PostgreSQL server's `postgres` database, with the server started for it."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        pytest.fail("no PostgreSQL: apt-get install --no-install-recommends postgresql")
    folder = Path(tempfile.mkdtemp(prefix="fabric-pg-", dir="/tmp"))
    user = "postgres" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
    if user:
        shutil.chown(folder, user)
    data, port = folder / "data", free_port()
    subprocess.run(
        [found[-1].with_name("initdb"), "-D", data, "-U", "fabric", "--auth=trust", "-N"],
        user=user,
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=folder,
    )
    server = subprocess.Popen(
        [found[-1], "-D", data, "-p", str(port), "-k", folder, "-h", "127.0.0.1"],
        user=user,
        stderr=subprocess.DEVNULL,
        cwd=folder,
    )
    try:
        ready = [found[-1].with_name("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
        while subprocess.run(ready, check=False).returncode:
            assert server.poll() is None
        yield f"postgresql+asyncpg://fabric@127.0.0.1:{port}/postgres"
    finally:
        server.send_signal(signal.SIGINT)  # its fast shutdown
        server.wait()
        shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'fabric.db'}"
    return _fresh(request.getfixturevalue("postgresql"), tmp_path.name)


def _fresh(url: str, name: str) -> str:
    import asyncpg

    database = "".join(c if c.isalnum() else "_" for c in name.lower())

    async def create() -> None:
        connection = await asyncpg.connect(url.replace("+asyncpg", ""))
        await connection.execute(f'CREATE DATABASE "{database}"')
        await connection.close()

    asyncio.run(create())
    return url.removesuffix("postgres") + database


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path / 'fabric.db'}"

"""A store that takes nothing costs no answer; changes are refused, and made once it does."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing, contextmanager

import pytest
from breaking import traffic_through
from running import until_linked

from fabric.core.errors import Unavailable

pytestmark = pytest.mark.timeout(120)


@contextmanager
def locked(on_local):
    """Somebody else writes to the database, for long."""
    with closing(sqlite3.connect(on_local.state / "fabric.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.rollback()


async def test_a_store_that_is_locked(on_local, local_client, seen, told):
    """Even when a replica dies meanwhile, which cannot be written down."""
    pid = on_local.fabric.processes["control"]
    async with traffic_through(local_client) as traffic:
        with locked(on_local):
            dead, process = next(iter(seen.replicas("double:1").items()))
            os.kill(process, signal.SIGKILL)
            with pytest.raises(Unavailable, match="the store did not answer"):
                await local_client.apply([on_local.scaler("unwritten", 5)])
        await seen.until(lambda: dead not in seen.catalog.replicas)
        await until_linked(local_client, "double", 2)
    count = told("store locked while a replica is killed", traffic)
    assert count.refused == count.lost == count.degraded == 0
    assert on_local.fabric.processes["control"] == pid
    assert "unwritten:1" not in seen.catalog.specialists

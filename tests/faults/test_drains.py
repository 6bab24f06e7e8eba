"""What is told to stop finishes first, and nobody notices."""

from __future__ import annotations

import os
import signal

import pytest
from breaking import traffic_through
from running import until, until_linked

pytestmark = pytest.mark.timeout(120)


async def test_rolling_restart_of_replicas(local_client, seen, told):
    """One after the other is told to stop, and another one is there before the next."""
    async with traffic_through(local_client) as traffic:
        for old, pid in seen.replicas("double:1").items():
            os.kill(pid, signal.SIGTERM)
            await seen.until(lambda old=old: len(seen.replicas("double:1").keys() - {old}) == 2)
            await until_linked(local_client, "double", 2)
    count = told("SIGTERM of the replicas, one after the other", traffic)
    assert count.refused == count.lost == 0


async def test_restart_of_the_control_plane(on_local, local_client, seen, told):
    """Replicas stay where they are."""
    pid, revision = on_local.fabric.processes["control"], seen.catalog.revision
    before = seen.replicas("double:1")
    async with traffic_through(local_client) as traffic:
        os.kill(pid, signal.SIGTERM)
        await seen.until(lambda: seen.catalog.revision > revision)
        await until(lambda: on_local.fabric.processes["control"] != pid)
    count = told("SIGTERM of the control plane", traffic)
    assert count.refused == count.lost == count.degraded == 0
    assert seen.replicas("double:1") == before


async def test_restart_of_a_gateway(on_local, local_client, told):
    """All it has taken is answered, and clients go on with its successor."""
    pid = on_local.fabric.processes["gateway"]
    async with traffic_through(local_client, asks_again=True) as traffic:
        os.kill(pid, signal.SIGTERM)
        await until(lambda: on_local.fabric.processes["gateway"] != pid)
    count = told("SIGTERM of the only gateway, clients ask again", traffic)
    assert count.refused == count.lost == 0

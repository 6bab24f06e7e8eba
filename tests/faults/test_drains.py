"""What is told to stop finishes first, and nobody notices."""

from __future__ import annotations

import os
import signal

import pytest
from breaking import traffic_through, until_listening
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


async def test_rolling_restart_of_gateways(on_local, local_client, told):
    """All that each has taken is answered, and its clients go on with the other one."""
    async with traffic_through(local_client) as traffic:
        for name in ("gateway", "gateway-2"):
            pid = on_local.fabric.processes[name]
            os.kill(pid, signal.SIGTERM)
            await until(lambda name=name, pid=pid: on_local.fabric.processes[name] != pid)
            await until_listening(on_local.server, 2)
    count = told("SIGTERM of two gateways, one after the other", traffic)
    assert count.refused == count.lost == 0

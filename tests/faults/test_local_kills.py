"""What is killed or stopped of a fabric on the local host costs no answer."""

from __future__ import annotations

import os
import signal

import pytest
from breaking import traffic_through, until_listening
from running import until_linked

pytestmark = pytest.mark.timeout(120)
DOUBLES = 2


async def replaced(seen, client, dead):
    """Returns when there are as many replicas of `double` as ever, and none of *dead*."""
    await seen.until(lambda: len(seen.replicas("double:1").keys() - dead) == DOUBLES)
    await until_linked(client, "double", DOUBLES)


async def test_kill_of_a_replica(local_client, seen, told):
    """The other replica answers for it."""
    async with traffic_through(local_client) as traffic:
        dead, pid = next(iter(seen.replicas("double:1").items()))
        os.kill(pid, signal.SIGKILL)
        await replaced(seen, local_client, {dead})
    count = told("kill -9 of one of two replicas", traffic)
    assert count.refused == count.lost == 0


async def test_kill_of_all_replicas(local_client, seen, told):
    """The next specialist of the route answers until they are back."""
    async with traffic_through(local_client) as traffic:
        dead = seen.replicas("double:1")
        for pid in dead.values():
            os.kill(pid, signal.SIGKILL)
        await replaced(seen, local_client, dead.keys())
    count = told("kill -9 of all replicas of a specialist", traffic)
    assert count.refused == count.lost == 0
    assert count.degraded


@pytest.mark.parametrize("hung", [1, DOUBLES])
async def test_stop_of_replicas(local_client, seen, told, hung):
    """Those that hang are given up, and their requests are answered elsewhere."""
    async with traffic_through(local_client) as traffic:
        pids = list(seen.replicas("double:1").values())[:hung]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            await traffic.until_answered()
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        await until_linked(local_client, "double", DOUBLES)
    count = told(f"SIGSTOP of {hung} of two replicas", traffic)
    assert count.refused == count.lost == 0


async def test_kill_of_the_control_plane(on_local, local_client, seen, told):
    """Gateways and replicas go on."""
    pid, revision = on_local.fabric.processes["control"], seen.catalog.revision
    before = seen.replicas("double:1")
    async with traffic_through(local_client) as traffic:
        os.kill(pid, signal.SIGKILL)
        await seen.until(lambda: seen.catalog.revision > revision)
    count = told("kill -9 of the control plane", traffic)
    assert count.refused == count.lost == count.degraded == 0
    assert seen.replicas("double:1") == before


async def test_stop_of_the_control_plane(on_local, local_client, told):
    """Nobody who answers asks it, nor do leases end while it does not look."""
    pid = on_local.fabric.processes["control"]
    async with traffic_through(local_client) as traffic:
        os.kill(pid, signal.SIGSTOP)
        try:
            end = len(traffic.answers) + 2000
            await traffic.until(lambda: len(traffic.answers) >= end)
        finally:
            os.kill(pid, signal.SIGCONT)
    count = told("SIGSTOP of the control plane", traffic)
    assert count.refused == count.lost == count.degraded == 0


async def test_kill_of_gateways(on_local, local_client, told):
    """What was lost with one is sent again, to the other one or to its successor."""
    async with traffic_through(local_client, again=True) as traffic:
        for name in ("gateway", "gateway-2"):
            os.kill(on_local.fabric.processes[name], signal.SIGKILL)
            await traffic.until_answered()
        await until_listening(on_local.server, 2)
    count = told("kill -9 of two gateways in turn", traffic)
    assert count.refused == count.lost == 0

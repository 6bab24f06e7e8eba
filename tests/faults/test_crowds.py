"""More than there is room for: what can be answered is, and the rest is told so at once."""

from __future__ import annotations

import asyncio
import socket
import struct
from pathlib import Path

import pytest
from breaking import IN_FLIGHT, traffic_through
from on_ray import Traffic
from running import until

from fabric.core.cards import Batching
from fabric.testing import specialist

pytestmark = pytest.mark.timeout(120)
CONNECTIONS = 1000
_RESET = struct.pack("ii", 1, 0)


async def test_three_times_the_capacity(local_client, on_local, seen, told):
    """A specialist that works on so many requests at a time is sent three times as many."""
    room = Batching(max_queue=IN_FLIGHT // 3)
    sleeper = specialist(
        "busy", python="sleeping:Sleeper", arguments={"seconds": "0.05"}, batching=room
    )
    await local_client.apply([sleeper])
    await seen.until_ready("busy:1")
    async with Traffic(local_client, "busy", IN_FLIGHT) as traffic:
        await traffic.until(lambda: len(traffic.answers) >= 1000)
    count = told("overload at 3 × capacity", traffic, factors={"busy": 2})
    await local_client.delete("specialist", "busy")
    assert count.lost == 0
    assert count.refused


async def test_priorities_under_overload(local_client, on_local, seen, told):
    """Three times what there is room for, nearly all of it of the lower priority: that is what is
    refused."""
    room = Batching(max_queue=IN_FLIGHT // 3, priorities=2)
    sleeper = specialist(
        "urgent", python="sleeping:Sleeper", arguments={"seconds": "0.05"}, batching=room
    )
    await local_client.apply([sleeper])
    await seen.until_ready("urgent:1")
    flows = {
        level: Traffic(local_client, "urgent", in_flight, parameters={"priority": level})
        for level, in_flight in ((1, 3), (2, IN_FLIGHT - 3))
    }
    async with flows[1] as urgent, flows[2]:
        await urgent.until(lambda: len(urgent.answers) + len(urgent.errors) >= 150)
    first, second = (
        told(f"overload at 3 × capacity: priority {level}", flow, factors={"urgent": 2})
        for level, flow in flows.items()
    )
    await local_client.delete("specialist", "urgent")
    assert first.lost == second.lost == 0
    assert first.refused <= first.right / 20
    assert second.refused > second.right


async def test_connections_that_come_to_nothing(local_client, on_local, told):
    """Opened and dropped: at once, after a few bytes, in the middle of a request, with a reset."""
    starts = (b"", b"PRI * HT", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"POST /v2/models/double/in")
    await local_client.live()  # its own connection stays
    before = await descriptors_at_rest(on_local)
    host, _, port = on_local.server.rpartition(":")

    async def come_and_go(number: int) -> None:
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(starts[number % len(starts)])
        if number % 2:
            made = writer.get_extra_info("socket")
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        await asyncio.sleep(0.01)
        writer.transport.abort()

    async with traffic_through(local_client) as traffic:
        for start in range(0, CONNECTIONS, 100):
            await asyncio.gather(*map(come_and_go, range(start, start + 100)))
    count = told(f"{CONNECTIONS} connections opened and dropped", traffic)
    assert count.refused == count.lost == count.degraded == 0
    await until(lambda: descriptors(on_local) <= before)


async def descriptors_at_rest(fabric) -> int:
    """When the second gateway, too, has its links to all replicas: as many as a second before."""
    before, now = 0, descriptors(fabric)
    while now != before:
        await asyncio.sleep(1)
        before, now = now, descriptors(fabric)
    return now


def descriptors(fabric) -> int:
    """Of both gateways."""
    pids = (fabric.fabric.processes[name] for name in ("gateway", "gateway-2"))
    return sum(1 for pid in pids for _ in Path(f"/proc/{pid}/fd").iterdir())

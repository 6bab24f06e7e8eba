"""Faults at random, for long: nothing is lost, and nothing grows. `make faults ARGS=--soak`."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from breaking import IN_FLIGHT, traffic_through, until_listening
from on_ray import X
from running import until_linked

from fabric.core.cards import Model
from fabric.core.errors import FabricError
from fabric.testing import specialist

MINUTES = float(os.environ.get("FAULTS_SOAK", "30"))
SEED = int(os.environ.get("FAULTS_SEED", "1"))
WARM = 0.2
"""Of the time, before what there is then counts as what there is always."""
GROWTH = 1.1
LONG = 1.0
"""Seconds without an answer that are worth a line."""
pytestmark = pytest.mark.timeout(int(60 * MINUTES) + 300)


@dataclass(frozen=True)
class Size:
    """What a process has at a quiet moment."""

    memory: int
    """Bytes that are resident."""
    descriptors: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> Size:
        folder = Path(f"/proc/{pid}")
        pages = int((folder / "statm").read_text().split()[1])
        entries = [sum(1 for _ in (folder / name).iterdir()) for name in ("fd", "task")]
        return cls(pages * os.sysconf("SC_PAGE_SIZE"), *entries)

    def __str__(self) -> str:
        return f"{self.memory >> 20} MiB, {self.descriptors} descriptors, {self.threads} threads"


class Breaking:
    """The faults: each returns when all is as it was. What is measured lives through them all."""

    def __init__(self, fabric, client, seen) -> None:
        self.fabric = fabric
        self.client = client
        self.seen = seen
        self.faults = (
            self.kill_a_replica,
            self.restart_a_replica,
            self.stop_a_replica,
            self.stop_the_control_plane,
            self.kill_a_gateway,
            self.restart_a_gateway,
            self.drop_connections,
            self.cancel,
            self.deploy_what_is_broken,
        )

    async def _end(self, number: int) -> None:
        dead, pid = random.choice(list(self.seen.replicas("double:1").items()))
        os.kill(pid, number)
        await self.seen.until(lambda: len(self.seen.replicas("double:1").keys() - {dead}) == 2)

    async def kill_a_replica(self) -> None:
        await self._end(signal.SIGKILL)

    async def restart_a_replica(self) -> None:
        await self._end(signal.SIGTERM)

    async def _stop(self, pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(random.uniform(0.5, 3))
        os.kill(pid, signal.SIGCONT)

    async def stop_a_replica(self) -> None:
        await self._stop(random.choice(list(self.seen.replicas("double:1").values())))

    async def stop_the_control_plane(self) -> None:
        await self._stop(self.fabric.processes["control"])

    async def _end_gateway(self, number: int) -> None:
        os.kill(self.fabric.processes["gateway-2"], number)
        await until_listening(self.fabric.server, 1)
        await until_listening(self.fabric.server, 2)

    async def kill_a_gateway(self) -> None:
        await self._end_gateway(signal.SIGKILL)

    async def restart_a_gateway(self) -> None:
        await self._end_gateway(signal.SIGTERM)

    async def drop_connections(self) -> None:
        host, _, port = self.fabric.server.rpartition(":")
        for _ in range(200):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(random.choice((b"", b"PRI", b"POST /v2/models/double/infer HTTP/1.1\r\n")))
            writer.transport.abort()

    async def cancel(self) -> None:
        tasks = [
            asyncio.create_task(self.client.infer("scale", {"x": X})) for _ in range(IN_FLIGHT)
        ]
        await asyncio.sleep(random.uniform(0, 0.02))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def deploy_what_is_broken(self) -> None:
        file = self.fabric.logs.parent.parent / "broken.onnx"
        file.write_bytes(random.randbytes(100))
        await self.client.apply([specialist("broken", model=Model(uri=str(file)))])
        await self.seen.until(lambda: "broken.onnx" in self.seen.status("broken:1").reason)
        await self.client.delete("specialist", "broken")


async def test_nothing_grows(on_local, local_client, seen, told, story):
    """A gateway and the control plane are as large at the end as after the first fifth."""
    random.seed(SEED)
    fabric = on_local.fabric
    breaking = Breaking(fabric, local_client, seen)
    measured = {name: fabric.processes[name] for name in ("gateway", "control")}
    begun, steady = time.monotonic(), {}
    async with traffic_through(local_client, again=True) as traffic:
        while (passed := (time.monotonic() - begun) / (60 * MINUTES)) < 1:
            for fault in random.sample(breaking.faults, len(breaking.faults)):
                before = max(len(traffic.answers) - 1, 0)
                try:
                    await fault()
                except FabricError as error:  # its gateway was killed, or the control plane stopped
                    story(f"{fault.__name__}: {error}")
                await traffic.until_answered()
                if (gap := max(traffic.gaps(before), default=0.0)) > LONG:
                    story(f"{fault.__name__}: no answer for {gap:.1f} s")
            gc.freeze()  # answers are kept, and need not be looked at again and again
            await until_linked(local_client, "double", 2)
            await traffic.until_answered()
            sizes = {name: Size.of(pid) for name, pid in measured.items()}
            if passed >= WARM and not steady:
                steady = sizes
            story(f"{passed:4.0%} {len(traffic.answers)} answers, {sizes}")
    count = told(f"{MINUTES:g} minutes of faults at random", traffic)
    assert count.refused == count.lost == 0
    assert {name: fabric.processes[name] for name in measured} == measured
    for name, was in steady.items():
        assert sizes[name].memory <= GROWTH * was.memory, name
        assert sizes[name].descriptors <= was.descriptors + 2, name
        assert sizes[name].threads <= was.threads, name

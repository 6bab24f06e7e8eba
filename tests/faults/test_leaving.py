"""Work that nobody waits for any more stops, wherever it is."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from breaking import IN_FLIGHT
from counting import Stopped
from on_ray import X
from onnx_models import slow
from running import until

from fabric.core.cards import Model
from fabric.testing import specialist

pytestmark = pytest.mark.timeout(120)
QUIET = 0.3
"""Seconds without work after which a process is at rest."""
ENDLESS = '''
"""A specialist that works until it is stopped, and writes down when."""

import asyncio
import time

from fabric.core.tensors import Signature, TensorSpec

X, Y = (TensorSpec(name=name, datatype="FP32", shape=(-1, 2)) for name in "xy")


class Endless:
    signature = Signature(inputs=(X,), outputs=(Y,))

    def __init__(self, log):
        self.log = log

    async def infer(self, inputs):
        self.say("begun")
        try:
            await asyncio.Event().wait()
        finally:
            self.say("stopped")

    def say(self, what):
        with open(self.log, "a") as log:
            log.write(f"{what} {time.monotonic()}\\n")
'''
CLIENT = """
import asyncio, sys
import numpy as np
from fabric import AsyncClient

async def main():
    async with AsyncClient(sys.argv[1]) as client:
        x = np.ones((1, 2), np.float32)
        await asyncio.gather(*(client.infer("endless", {"x": x}) for _ in range(64)))

asyncio.run(main())
"""


class Log:
    """What `Endless` has written; times are of the machine's monotonic clock."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def times(self, what: str) -> list[float]:
        lines = self._path.read_text().splitlines() if self._path.exists() else ()
        return [float(line.split()[1]) for line in lines if line.startswith(what)]

    async def all_begun(self) -> None:
        await until(lambda: len(self.times("begun")) == IN_FLIGHT)

    async def all_stopped(self, left: float) -> Stopped:
        """What has stopped since *left*, once all has."""
        await until(lambda: len(self.times("stopped")) == IN_FLIGHT)
        return Stopped(IN_FLIGHT, IN_FLIGHT, max(self.times("stopped")) - left)


@pytest.fixture
async def log(on_local, local_client, seen, tmp_path):
    """The log of a specialist `endless`, which is there."""
    (on_local.folder / "endless.py").write_text(ENDLESS)
    arguments = {"log": str(tmp_path / "log")}
    await local_client.apply([specialist("endless", python="endless:Endless", arguments=arguments)])
    await seen.until_ready("endless:1")
    yield Log(tmp_path / "log")
    await local_client.delete("specialist", "endless")


async def test_cancelled_calls_stop(local_client, log, told):
    """By gRPC, on a connection that stays."""
    tasks = [asyncio.create_task(local_client.infer("endless", {"x": X})) for _ in range(IN_FLIGHT)]
    await log.all_begun()
    left = time.monotonic()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    told("calls that are cancelled", await log.all_stopped(left))


async def test_calls_of_a_client_that_is_killed_stop(on_local, log, told):
    """Its connection ends with it."""
    client = subprocess.Popen([sys.executable, "-c", CLIENT, on_local.server])
    with client:
        await log.all_begun()
        left = time.monotonic()
        client.kill()
        told("calls of a client that is killed", await log.all_stopped(left))


async def test_rest_requests_stop_when_their_connections_close(on_local, log, told):
    """Each request has a connection of its own."""
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}
    url = f"http://{on_local.server}/v2/models/endless/infer"
    limits = httpx.Limits(max_connections=IN_FLIGHT)
    async with httpx.AsyncClient(trust_env=False, timeout=60, limits=limits) as client:
        tasks = [asyncio.create_task(client.post(url, json=body)) for _ in range(IN_FLIGHT)]
        await log.all_begun()
        left = time.monotonic()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        told("REST requests whose connections close", await log.all_stopped(left))


async def test_a_run_of_a_model_stops(on_local, local_client, seen, told):
    """In the middle of it, and those that wait for their turn never begin."""
    file = slow(on_local.folder / "slow.onnx", layers=500)
    await local_client.apply([specialist("long-run", model=Model(uri=str(file)))])
    await seen.until_ready("long-run:1")
    (pid,) = seen.replicas("long-run:1").values()
    x = {"x": np.zeros((256, 256), np.float32)}
    begun = cpu_seconds(pid)
    await local_client.infer("long-run", x)
    whole = cpu_seconds(pid) - begun

    tasks = [asyncio.create_task(local_client.infer("long-run", x)) for _ in range(4)]
    begun = cpu_seconds(pid)
    await until(lambda: cpu_seconds(pid) > begun + whole / 5)
    left, at_leaving = time.monotonic(), cpu_seconds(pid)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    stopped, after = await at_rest(pid)
    told("runs of ONNX Runtime", Stopped(len(tasks), len(tasks), stopped - left))
    assert after - at_leaving < whole / 2
    await local_client.delete("specialist", "long-run")


async def at_rest(pid: int) -> tuple[float, float]:
    """When *pid* did something for the last time, and the seconds of CPU that it has used."""
    used, last = cpu_seconds(pid), time.monotonic()
    while time.monotonic() - last < QUIET:
        await asyncio.sleep(0.005)
        if cpu_seconds(pid) > used:
            used, last = cpu_seconds(pid), time.monotonic()
    return last, used


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

"""Faults that take long, or need root, a C compiler or iptables: `make faults` runs them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import struct
import subprocess
from pathlib import Path

import pytest
from breaking import traffic_through, until_listening
from on_ray import OnRay, watching
from running import until_linked

from fabric import AsyncClient

pytestmark = pytest.mark.timeout(400)
DAY = 24 * 3600
IPTABLES, CC = (shutil.which(name) or name for name in ("iptables", "cc"))


# ------------------------------------------------------------------ packets
@contextlib.contextmanager
def losing(share: float, address: str):
    """That share of the packets from and to *address* does not arrive."""
    port = address.rpartition(":")[2]
    chance = ("-m", "statistic", "--mode", "random", "--probability", str(share), "-j", "DROP")
    rules = [("INPUT", "-p", "tcp", f"--{end}", port, *chance) for end in ("sport", "dport")]
    with contextlib.ExitStack() as stack:
        for rule in rules:
            subprocess.run([IPTABLES, "-w", "-A", *rule], check=True)
            stack.callback(subprocess.run, [IPTABLES, "-w", "-D", *rule], check=True)
        yield


async def test_lost_packets(far, client, told):
    """One of twenty between the gateway and a replica, either way."""
    async with traffic_through(client, far.route) as traffic:
        with losing(0.05, far.proxy.address):
            end = len(traffic.answers) + 1000
            await traffic.until(lambda: len(traffic.answers) >= end)
        await until_linked(client, far.first)
    count = told("5 % of packets lost", traffic, factors=far.factors)
    assert count.refused == count.lost == 0


# ------------------------------------------------------------------ the clock
@pytest.fixture
def clock(tmp_path, monkeypatch):
    """Sets, in seconds, how far ahead the clock of the day is for the fabrics of the test."""
    library, file = tmp_path / "clock.so", tmp_path / "clock"
    source = Path(__file__).with_name("clock.c")
    subprocess.run([CC, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)

    def jump(seconds: int) -> None:
        with file.open("r+b" if file.exists() else "wb") as written:
            written.write(struct.pack("q", seconds))

    jump(0)
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("FAULTS_CLOCK", str(file))
    return jump


async def test_a_clock_that_jumps(clock, tmp_path, told):
    """By a day, forth and back, on all processes at once: nobody's lease or deadline follows."""
    with OnRay(tmp_path, host="local", doubles=2) as fabric:
        async with AsyncClient(fabric.server) as client, watching(client) as seen:
            await until_linked(client, "double", 2)
            before = dict(seen.catalog.replicas)
            async with traffic_through(client, asks_again=True) as traffic:
                for seconds in (DAY, -DAY, 0):
                    clock(seconds)
                    end = len(traffic.answers) + 2000
                    await traffic.until(lambda end=end: len(traffic.answers) >= end)
                assert seen.catalog.replicas == before
                clock(DAY)
                dead, pid = next(iter(seen.replicas("double:1").items()))
                os.kill(pid, signal.SIGKILL)
                await seen.until(lambda: len(seen.replicas("double:1").keys() - {dead}) == 2)
    count = told("the clock jumps by a day, forth and back", traffic)
    assert count.refused == count.lost == count.degraded == 0


# ------------------------------------------------------------------ what hangs
@contextlib.contextmanager
def stopped(on_local, name):
    """The child *name* of the supervisor; gives whether there is another one by now."""
    pid = on_local.fabric.processes[name]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield lambda: on_local.fabric.processes[name] != pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


async def test_stop_of_gateways(on_local, local_client, told):
    """The supervisor replaces each, and clients that ask again find its successor."""
    async with traffic_through(local_client, asks_again=True) as traffic:
        for name in ("gateway", "gateway-2"):
            with stopped(on_local, name) as is_replaced:
                await traffic.until(is_replaced)
            await until_listening(on_local.server, 2)
            await traffic.until_answered()
    count = told("SIGSTOP of two gateways in turn, clients ask again", traffic)
    assert count.refused == count.lost == 0


async def test_stop_of_the_control_plane(on_local, local_client, seen, told):
    """The supervisor replaces it, and replicas stay where they are."""
    before, revision = seen.replicas("double:1"), seen.catalog.revision
    async with traffic_through(local_client) as traffic:
        with stopped(on_local, "control") as is_replaced:
            await traffic.until(is_replaced)
        await seen.until(lambda: seen.catalog.revision > revision)
    count = told("SIGSTOP of the control plane until it is replaced", traffic)
    assert count.refused == count.lost == count.degraded == 0
    assert seen.replicas("double:1") == before


# ------------------------------------------------------------------ Ray
@pytest.mark.ray
async def test_kill_of_the_raylet(on_ray, ray_client, watched, told):
    """It takes all replicas along, and so nobody can answer until all of Ray is there again."""
    (pid,) = on_ray.named("raylet/raylet")
    before = set(watched.catalog.replicas)
    async with traffic_through(ray_client) as traffic:
        os.kill(pid, signal.SIGKILL)
        for key in ("double:1", "triple:1"):
            await watched.until(lambda key=key: watched.replicas(key).keys() - before, 300)
            await watched.until_ready(key, 300)
    told("Ray: kill -9 of the raylet, and with it of all replicas", traffic)
    assert traffic.answers[-1].specialist == "double"

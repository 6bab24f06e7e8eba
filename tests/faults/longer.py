"""Faults that take long, or need root, a C compiler or iptables: `make faults` runs them."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import struct
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from breaking import traffic_through, until_listening
from on_ray import OnRay, X, watching
from onnx_models import scaling
from running import until, until_linked

from fabric import AsyncClient
from fabric.core.cards import Model
from fabric.core.errors import Unavailable
from fabric.core.replicas import State
from fabric.testing import route, specialist

pytestmark = pytest.mark.timeout(400)
DAY = 24 * 3600
IPTABLES, CC, MOUNT, UMOUNT = (
    shutil.which(name) or name for name in ("iptables", "cc", "mount", "umount")
)


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
            async with traffic_through(client, again=True) as traffic:
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


# ------------------------------------------------------------------ full disks
@contextlib.contextmanager
def small_disk(folder: Path):
    """A file system of its own, of 8 MiB."""
    folder.mkdir()
    subprocess.run([MOUNT, "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run([UMOUNT, folder], check=True)


@contextlib.contextmanager
def filled(folder: Path):
    """To the last byte, for as long as the block lasts."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
    try:
        yield
    finally:
        ballast.unlink()


async def test_a_full_disk_under_the_store(tmp_path, told):
    """Logs and records are on it, too. Changes are refused, a gateway that dies is replaced, and
    with some room so is the rest."""
    with (
        small_disk(tmp_path / "state"),
        OnRay(tmp_path, host="local", doubles=2, gateways=2) as fabric,
    ):
        async with AsyncClient(fabric.server) as client, watching(client) as seen:
            await until_linked(client, "double", 2)
            async with traffic_through(client, again=True) as traffic:
                with filled(fabric.state):
                    with pytest.raises(Unavailable, match=r"the store did not answer.*is full"):
                        await change_for_ever(client)
                    dead, pid = next(iter(seen.replicas("double:1").items()))
                    os.kill(pid, signal.SIGKILL)
                    for name in ("gateway", "gateway-2", "control"):
                        before = fabric.fabric.processes[name]
                        os.kill(before, signal.SIGKILL)
                        await until(lambda n=name, b=before: fabric.fabric.processes[n] != b)
                        await until_listening(fabric.server, 2)
                        await traffic.until_answered()
                await seen.until(lambda: len(seen.replicas("double:1").keys() - {dead}) == 2)
                await until_linked(client, "double", 2)
    count = told("disk of the store full while replica, gateways and control plane die", traffic)
    assert count.refused == count.lost == count.degraded == 0


async def change_for_ever(client):
    """Raises what does not let it; what was freed in the store's files is used first."""
    for number in itertools.count():
        await client.apply(routes=[route(f"unwritten-{number}", "double")])


@pytest.fixture
def far_models(tmp_path):
    """The folder, and the URL, of what a web server has."""
    folder = tmp_path / "far"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


async def test_a_full_disk_under_models(tmp_path, far_models, told, monkeypatch):
    """A model that has no room says so, and leaves nothing; the one before it answers on."""
    folder, url = far_models
    cache = tmp_path / "models"
    monkeypatch.setenv("FABRIC_MODELS", str(cache))
    for factor in (2, 3):
        scaling(folder / f"{factor}.onnx", factor)
    of = {f: specialist("far", model=Model(uri=f"{url}/{f}.onnx")) for f in (2, 3)}
    with small_disk(cache), OnRay(tmp_path, host="local") as fabric:
        async with AsyncClient(fabric.server) as client, watching(client) as seen:
            await client.apply([of[2]])
            await seen.until_ready("far:1")
            (good,) = cache.iterdir()
            async with traffic_through(client, "far") as traffic:
                with filled(cache):
                    await client.apply([of[3]])
                    full = f"3.onnx has no room in {cache}: No space left on device"
                    await seen.until(lambda: full in seen.status("far:1").reason)
                    assert seen.status("far:1").state is State.DEGRADED
                    assert {file.name for file in cache.iterdir()} == {good.name, "ballast"}
                    await traffic.until_answered()
            await seen.until_ready("far:1")
            answer = await client.infer("far", {"x": X})
            assert (answer["y"] / X == 3).all()
    count = told("a model without room on the disk over a good one", traffic, factors={"far": 2})
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
    async with traffic_through(local_client, again=True) as traffic:
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

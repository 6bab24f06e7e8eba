"""Replicas in child processes of the control plane."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from planes import REPLICA, control_plane, free_port, local_host, until

from fabric.api.catalog.v1 import catalog_service_pb2 as pb
from fabric.core.cards import Replicas, RuntimeEnv, Timeouts
from fabric.core.replicas import State
from fabric.testing import specialist


def state_is(controller, key, state):
    return lambda: (
        controller.catalog.statuses.get(key, None)
        and (controller.catalog.statuses[key].state is state)
    )


def pids(controller, key):
    return {each.pid for each in controller.catalog.replicas_of(key)}


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}/cmdline").exists() and "zombie" not in (
        Path(f"/proc/{pid}/status").read_text()
    )


async def gone(*processes: int) -> None:
    async with asyncio.timeout(10):
        while any(map(is_alive, processes)):
            await asyncio.sleep(0.01)


async def test_the_least_number_of_replicas_runs(sqlite_url):
    """What is declared runs, more when more are wanted, fewer when fewer, none when deleted."""
    async with control_plane(sqlite_url, local_host) as (controller, *_):
        for count in (2, 3, 1):
            wanted = specialist("a", replicas=Replicas(min=count, max=4))
            await controller.apply([wanted], [])
            await until(controller, lambda: len(pids(controller, "a:1")) == count)  # noqa: B023
        await until(controller, state_is(controller, "a:1", State.READY))
        last = pids(controller, "a:1")
        await controller.apply([], [], prune=True)
        await gone(*last)


async def test_a_replica_has_the_environment_that_is_declared(sqlite_url):
    """And what would have to be installed is refused, with the reason."""
    async with control_plane(sqlite_url, local_host) as (controller, *_):
        await controller.apply([specialist("a", runtime_env=RuntimeEnv(env_vars={"A": "b"}))], [])
        await until(controller, state_is(controller, "a:1", State.READY))
        (pid,) = pids(controller, "a:1")
        assert b"\0A=b\0" in Path(f"/proc/{pid}/environ").read_bytes()
        await controller.apply([specialist("a", runtime_env=RuntimeEnv(pip=("x",)))], [])
        why = "runtime_env.pip needs the host ray: the local one installs nothing"
        await until(controller, lambda: controller.catalog.statuses["a:1"].reason == why)


async def test_a_replica_that_is_killed_comes_back(sqlite_url):
    """Another process takes its place, and it is out of the catalog within a second."""
    async with control_plane(sqlite_url, local_host) as (controller, *_):
        await controller.apply([specialist("a")], [])
        await until(controller, state_is(controller, "a:1", State.READY))
        (first,) = pids(controller, "a:1")
        os.kill(first, signal.SIGKILL)
        async with asyncio.timeout(1.0):
            await until(controller, lambda: first not in pids(controller, "a:1"))
        await until(controller, lambda: pids(controller, "a:1"))

        assert first not in pids(controller, "a:1")


async def test_a_replica_that_leaves_has_a_successor_at_once(sqlite_url):
    """It finishes meanwhile; the status says why it leaves."""
    async with control_plane(sqlite_url, local_host) as (controller, stub, *_):
        await controller.apply([specialist("a")], [])
        await until(controller, state_is(controller, "a:1", State.READY))
        (first,) = controller.catalog.replicas_of("a:1")
        leaves = pb.WithdrawRequest(replica_id=first.id, draining=True, why="it is too large")
        await stub.Withdraw(leaves)
        await until(controller, lambda: controller.catalog.replicas[first.id].draining)
        assert controller.catalog.statuses["a:1"].reason == "it is too large"
        await until(controller, state_is(controller, "a:1", State.READY))
        assert len(pids(controller, "a:1")) == 2
        assert is_alive(first.pid)
        os.kill(first.pid, signal.SIGTERM)
        await until(controller, lambda: len(pids(controller, "a:1")) == 1)
        assert controller.catalog.statuses["a:1"].state is State.READY


async def test_a_process_that_ended_leaves_no_descriptor(sqlite_url):
    """There is one pidfd for each that runs, however many ran before."""
    async with control_plane(sqlite_url, local_host) as (controller, *_):
        await controller.apply([specialist("a")], [])
        for _ in range(2):
            await until(controller, lambda: pids(controller, "a:1"))
            (first,) = pids(controller, "a:1")
            os.kill(first, signal.SIGKILL)
            await until(controller, lambda: first not in pids(controller, "a:1"))  # noqa: B023
        await until(controller, lambda: pids(controller, "a:1"))

        assert pidfds() == 1


def pidfds() -> int:
    found = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # of this listing
            found += "pidfd" in str(descriptor.readlink())
    return found


async def test_a_replica_that_cannot_start_says_why(sqlite_url):
    """The reason is what it raised; it starts once its cause is gone."""
    broken = specialist("a", arguments={"fail": "no such file: m.onnx"})
    async with control_plane(sqlite_url, local_host) as (controller, *_):
        await controller.apply([broken], [])
        await until(controller, state_is(controller, "a:1", State.FAILED))

        assert "RuntimeError: no such file: m.onnx" in controller.catalog.statuses["a:1"].reason
        await controller.apply([specialist("a")], [])
        await until(controller, state_is(controller, "a:1", State.READY))


async def test_a_replacement_that_fails_leaves_what_works(sqlite_url):
    """The older process answers on, the status says why, and the next change replaces it."""
    async with control_plane(sqlite_url, local_host) as (controller, *_):
        await controller.apply([specialist("a")], [])
        await until(controller, state_is(controller, "a:1", State.READY))
        before = pids(controller, "a:1")
        await controller.apply([specialist("a", arguments={"fail": "bad"})], [])
        await until(controller, lambda: "bad" in controller.catalog.statuses["a:1"].reason)

        assert controller.catalog.statuses["a:1"].state is State.DEGRADED
        assert pids(controller, "a:1") == before

        await controller.apply([specialist("a", arguments={"good": "yes"})], [])
        await until(controller, state_is(controller, "a:1", State.READY))
        assert not before & pids(controller, "a:1")
        await gone(*before)


async def test_a_replica_is_never_missing_during_a_replacement(sqlite_url):
    """The new one is there before the old one goes; what a card says replaces nothing."""
    async with control_plane(sqlite_url, local_host) as (controller, *_):
        await controller.apply([specialist("a")], [])
        await until(controller, state_is(controller, "a:1", State.READY))
        before = pids(controller, "a:1")
        cheap = specialist("a")
        await controller.apply([replace(cheap, card=replace(cheap.card, cost=3.0))], [])
        counts = []
        await controller.apply([specialist("a", arguments={"new": "yes"})], [])
        while pids(controller, "a:1") & before:
            counts.append(len(pids(controller, "a:1")))
            await controller.feed.changed(controller.catalog.revision)

        assert set(counts) == {1, 2}
        assert len(pids(controller, "a:1")) == 1


async def test_one_that_does_not_get_ready_in_time_is_stopped(sqlite_url):
    """Its startup timeout is the reason."""
    slow = specialist("a", timeouts=Timeouts(startup=0.2))
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    make_host = partial(local_host, command=command)
    async with control_plane(sqlite_url, make_host) as (controller, *_):
        await controller.apply([slow], [])
        await until(controller, state_is(controller, "a:1", State.FAILED))

        assert controller.catalog.statuses["a:1"].reason == "no replica was ready after 0.2 s"


async def test_replicas_that_outlive_a_killed_control_plane_are_adopted(sqlite_url, tmp_path):
    """The next control plane keeps their processes, minds their end, and stops them when told."""
    port = free_port()
    script = tmp_path / "control.py"
    script.write_text(
        "import asyncio, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from planes import control_plane, local_host, until\n"
        "from fabric.testing import specialist\n"
        "async def main():\n"
        f"    async with control_plane({sqlite_url!r}, local_host, {port}) as (c, *_):\n"
        "        await c.apply([specialist('a')], [])\n"
        "        await until(c, lambda: c.catalog.replicas)\n"
        "        print('ready', flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    first = await asyncio.create_subprocess_exec(
        sys.executable, str(script), stdout=subprocess.PIPE
    )
    assert await first.stdout.readline() == b"ready\n"
    first.kill()
    await first.wait()
    async with control_plane(sqlite_url, local_host, port) as (controller, *_):
        (adopted,) = pids(controller, "a:1")
        await until(controller, state_is(controller, "a:1", State.READY))
        assert pids(controller, "a:1") == {adopted}

        os.kill(adopted, signal.SIGKILL)
        await until(controller, lambda: pids(controller, "a:1") - {adopted})
        (second,) = pids(controller, "a:1") - {adopted}
    assert not is_alive(second)


async def test_a_process_that_ignores_sigterm_is_killed(sqlite_url, tmp_path):
    """Stopping ends whatever the replica makes of it, when its time to drain is up."""
    stubborn = specialist("a", timeouts=Timeouts(drain=0.1))
    script = tmp_path / "stubborn.py"
    script.write_text(
        "import runpy, signal\n"
        "from asyncio import SelectorEventLoop\n"
        "SelectorEventLoop.add_signal_handler = lambda *_: None\n"
        "SelectorEventLoop.remove_signal_handler = lambda *_: None\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"runpy.run_path({REPLICA[1]!r}, run_name='__main__')\n"
    )
    make_host = partial(local_host, command=[sys.executable, str(script)])
    async with control_plane(sqlite_url, make_host) as (controller, *_):
        await controller.apply([stubborn], [])
        await until(controller, state_is(controller, "a:1", State.READY))
        (pid,) = pids(controller, "a:1")
    assert not is_alive(pid)


@pytest.mark.parametrize("command", [["/no/such/program"], ["/"]])
async def test_a_command_that_does_not_start_is_the_reason(sqlite_url, command):
    """The host goes on."""
    make_host = partial(local_host, command=command)
    async with control_plane(sqlite_url, make_host) as (controller, *_):
        await controller.apply([specialist("a")], [])
        await until(controller, state_is(controller, "a:1", State.FAILED))

        assert f"cannot start {command[0]}" in controller.catalog.statuses["a:1"].reason

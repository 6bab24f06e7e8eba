"""Specialists are added, changed and removed while they serve."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from on_ray import STARTING, Traffic, X
from running import until

from fabric.app.family import Identity
from fabric.catalog.declaring import Action
from fabric.core.cards import Model, Replicas, Timeouts
from fabric.core.errors import DeadlineExceeded
from fabric.core.replicas import State
from fabric.testing import specialist

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]
SLEEPER = "sleeping:Sleeper"


def sleeper(name: str, seconds: str = "0", **said: object):
    return specialist(name, python=SLEEPER, arguments={"seconds": seconds}, **said)


def shown(server: str, kind: str) -> str:
    command = [sys.executable, "-m", "fabric.cli", "get", kind, "--server", server]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


async def test_options_change_in_place(ray_client, watched):
    """A Python specialist is added, takes a new timeout in the process it has, and is removed."""
    (added,) = (await ray_client.apply([sleeper("nap", "0.3")])).changes
    await watched.until_ready("nap:1", STARTING)
    before = watched.replicas("nap:1")
    answer = await ray_client.infer("nap", {"x": X}, timeout=10)

    impatient = sleeper("nap", "0.3", timeouts=Timeouts(request=0.05))
    (changed,) = (await ray_client.apply([impatient])).changes

    async def is_taken() -> bool:
        try:
            await ray_client.infer("nap", {"x": X}, timeout=10)
        except DeadlineExceeded:
            return True
        return False

    await until(is_taken)
    assert (added.action, changed.action) == (Action.CREATE, Action.UPDATE)
    assert changed.fields == ("hosting.timeouts.request",)
    assert answer["y"].tolist() == [[2, 4]]
    assert watched.replicas("nap:1") == before
    assert watched.status("nap:1").state is State.READY

    await ray_client.delete("specialist", "nap")


async def test_removal_drains(ray_client, watched):
    """A request that runs when its specialist is removed is answered; then the process ends."""
    await ray_client.apply([sleeper("slow", "3")])
    await watched.until_ready("slow:1", STARTING)
    (pid,) = watched.replicas("slow:1").values()
    last = asyncio.create_task(ray_client.infer("slow", {"x": X}, timeout=20))

    async def is_running() -> bool:
        return any(
            replica.specialist == "slow" and replica.load.running
            for replica in await ray_client.list("replica")
        )

    await until(is_running)
    await ray_client.delete("specialist", "slow")
    assert (await last)["y"].tolist() == [[2, 4]]
    await until(lambda: Identity.of(pid) is None)
    await watched.until(lambda: "slow:1" not in watched.catalog.specialists)
    assert not watched.replicas("slow:1")


async def test_a_new_model_takes_over_without_a_failed_request(on_ray, ray_client, watched):
    """Its replica is there before the old one drains, so that every request has an answer."""
    await ray_client.apply([on_ray.scaler("grow", 5)])
    await watched.until_ready("grow:1", STARTING)
    before = watched.replicas("grow:1")
    async with Traffic(ray_client, "grow", 8) as traffic:
        (change,) = (await ray_client.apply([on_ray.scaler("grow", 7)])).changes
        await watched.until(lambda: watched.replicas("grow:1").keys().isdisjoint(before or {""}))
        await watched.until_ready("grow:1")
        count = len(traffic.answers)
        await traffic.until(lambda: len(traffic.answers) > count + 100)
    assert change.action is Action.REPLACE
    assert traffic.errors == []
    assert {answer.factor for answer in traffic.answers} == {5, 7}
    assert {answer.factor for answer in traffic.answers[count + 8 :]} == {7}
    await ray_client.delete("specialist", "grow")


async def test_a_broken_change_leaves_the_good_one_serving(on_ray, ray_client, watched):
    """In place of it or as a new version of it; both say why they are not as declared."""
    broken = on_ray.folder / "broken.onnx"
    broken.write_bytes(b"no model")
    bad = Model(uri=str(broken))
    await ray_client.apply([on_ray.scaler("same", 2), on_ray.scaler("next", 2)])
    await watched.until_ready("same:1", STARTING)
    await watched.until_ready("next:1", STARTING)
    before = watched.replicas("same:1") | watched.replicas("next:1")
    async with Traffic(ray_client, "same", 1) as same, Traffic(ray_client, "next", 1) as following:
        await ray_client.apply([specialist("same", model=bad), specialist("next", "2", model=bad)])
        await watched.until(lambda: watched.status("next:2").state is State.FAILED)
        await watched.until(lambda: "broken.onnx" in watched.status("same:1").reason)
    assert watched.status("same:1").state is State.DEGRADED
    assert "broken.onnx" in watched.status("next:2").reason
    assert watched.replicas("same:1") | watched.replicas("next:1") == before
    assert not same.errors + following.errors
    assert {answer.factor for answer in same.answers + following.answers} == {2}
    (line,) = (
        line for line in shown(on_ray.server, "specialists").splitlines() if " failed " in line
    )
    assert line.startswith("next")
    assert "broken.onnx" in line

    await ray_client.apply([on_ray.scaler("same", 3)])
    await watched.until_ready("same:1")
    assert (await ray_client.infer("same", {"x": X}))["y"].tolist() == [[3, 6]]
    await ray_client.delete("specialist", "same")
    await ray_client.delete("specialist", "next")


async def test_replicas_follow_the_load(on_ray, ray_client, watched):
    """One that may, once told so, becomes three under load, and one again after; nothing fails."""
    await ray_client.apply([sleeper("crowd", "0.2")])
    await watched.until_ready("crowd:1", STARTING)
    replicas = Replicas(min=1, max=3, target_load=2)
    await ray_client.apply([sleeper("crowd", "0.2", replicas=replicas)])
    await watched.until_ready("crowd:1")
    assert len(watched.replicas("crowd:1")) == 1
    async with Traffic(ray_client, "crowd", 8) as traffic:
        await watched.until(lambda: len(watched.replicas("crowd:1")) == 3)
        three = watched.replicas("crowd:1").keys()
        count = len(traffic.answers)
        await traffic.until(lambda: three <= {a.replica for a in traffic.answers[count:]})
    async with Traffic(ray_client, "crowd", 1) as quiet:
        await watched.until(lambda: len(watched.replicas("crowd:1")) == 1)
        await watched.until_ready("crowd:1")
    assert traffic.errors + quiet.errors == []
    assert watched.status("crowd:1").wanted == 1
    await ray_client.delete("specialist", "crowd")

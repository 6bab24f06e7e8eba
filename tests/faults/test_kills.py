"""What is killed of a fabric on Ray costs no answer."""

from __future__ import annotations

import os
import signal
import time

import pytest
from breaking import IN_FLIGHT, traffic_through
from running import until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]


async def test_kill_of_a_replica(ray_client, watched, told, story):
    """The catalog drops it, the other specialist answers, and it comes back."""
    ((dead, pid),) = watched.replicas("double:1").items()
    async with traffic_through(ray_client) as traffic:
        os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        dropped = await watched.until(lambda: dead not in watched.catalog.replicas)
        back = await watched.until_ready("double:1")
        await traffic.until(lambda: is_over(traffic.answers))
    fallbacks = [answer for answer in traffic.answers if answer.fallback]
    story(
        f"first fallback answer after {fallbacks[0].at - killed:.3f} s, dropped from the catalog "
        f"after {dropped - killed:.3f} s, registered again after {back - killed:.2f} s"
    )
    count = told("Ray: kill -9 of the only replica of a specialist", traffic)
    assert count.refused == count.lost == 0
    assert {answer.specialist for answer in fallbacks} == {"triple"}


def is_over(answers) -> bool:
    """Whether all who were asked while the replica was away have answered: there are no more than
    are in flight, and others have been asked since."""
    latest = answers[-2 * IN_FLIGHT :]
    return len(latest) == 2 * IN_FLIGHT and {a.specialist for a in latest} == {"double"}


async def test_kill_of_the_control_plane(on_ray, ray_client, watched, told):
    """The gateway serves on, with the same replicas, before and after it is back."""
    pid = on_ray.fabric.processes["control"]
    replicas, revision = dict(watched.catalog.replicas), watched.catalog.revision
    async with traffic_through(ray_client) as traffic:
        os.kill(pid, signal.SIGKILL)
        await watched.until(lambda: watched.catalog.revision > revision)
    count = told("Ray: kill -9 of the control plane", traffic)
    assert count.refused == count.lost == count.degraded == 0
    assert on_ray.fabric.processes["control"] != pid
    assert watched.catalog.replicas == replicas


async def test_kill_of_the_serve_controller(on_ray, ray_client, watched, told):
    """The replicas stay; its successor replaces those that are killed from then on."""
    (pid,) = on_ray.named("ray::ServeController")
    replicas = dict(watched.catalog.replicas)
    async with traffic_through(ray_client) as traffic:
        os.kill(pid, signal.SIGKILL)
        await until(lambda: set(on_ray.named("ray::ServeController")) - {pid}, 60)
        assert watched.catalog.replicas == replicas
        await replaced(watched)
    count = told("Ray: kill -9 of Serve's controller, then of a replica", traffic)
    assert count.refused == count.lost == 0


async def test_kill_of_what_ray_is_led_by(on_ray, ray_client, watched, told):
    """Its store and its dashboard come back, and know all: a replica killed then is replaced."""
    replicas, ray = dict(watched.catalog.replicas), on_ray.fabric.processes["ray"]
    async with traffic_through(ray_client) as traffic:
        for title in ("gcs_server", "dashboard.py"):
            (pid,) = on_ray.named(title)
            os.kill(pid, signal.SIGKILL)
            await until(lambda title=title, pid=pid: set(on_ray.named(title)) - {pid}, 60)
        assert watched.catalog.replicas == replicas
        await replaced(watched)
    count = told("Ray: kill -9 of its GCS, its dashboard, then of a replica", traffic)
    assert count.refused == count.lost == 0
    assert on_ray.fabric.processes["ray"] == ray


async def replaced(watched) -> None:
    """Kills the replica of `double`; returns when there is another."""
    ((dead, pid),) = watched.replicas("double:1").items()
    os.kill(pid, signal.SIGKILL)
    await watched.until(lambda: watched.replicas("double:1").keys() - {dead})
    await watched.until_ready("double:1")

"""What is killed costs no answer."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter

import pytest
from breaking import IN_FLIGHT
from on_ray import Traffic
from running import until

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]
REQUESTS = 10_000
SOON = 1.0


async def test_no_answer_fails_while_another_candidate_can_serve(
    on_ray, ray_client, watched, story
):
    """Through kill -9 of a replica, the control plane and Ray Serve's controller in turn."""
    children = on_ray.fabric.processes
    (controller,) = on_ray.named("ray::ServeController")
    async with Traffic(ray_client, "scale", IN_FLIGHT) as traffic:
        await traffic.until(lambda: len(traffic.answers) >= REQUESTS // 10)
        await replica_dies(traffic, watched, story)
        await control_plane_dies(on_ray, traffic, watched, story, children["control"])
        await serve_controller_dies(on_ray, traffic, watched, story, controller)
        await traffic.until(lambda: len(traffic.answers) >= REQUESTS)
    tell(traffic, story)
    assert traffic.errors == []
    assert on_ray.fabric.processes["gateway"] == children["gateway"]
    assert on_ray.fabric.processes["ray"] == children["ray"]


async def replica_dies(traffic, watched, story) -> None:
    """The catalog drops it within a second, the other specialist answers, and it comes back."""
    ((dead, pid),) = watched.replicas("double:1").items()
    before = len(traffic.answers)
    os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()
    dropped = await watched.until(lambda: dead not in watched.catalog.replicas)
    back = await watched.until_ready("double:1")
    count = len(traffic.answers)
    await traffic.until(lambda: any(a.specialist == "double" for a in traffic.answers[count:]))
    await traffic.until(lambda: is_over(traffic.answers[count:]))
    since = traffic.answers[before:]
    fallbacks = [a for a in since if a.fallback]
    again = next(a.at for a in since if a.specialist == "double" and a.replica != dead)
    story(
        f"kill -9 of a replica: first fallback answer after {fallbacks[0].at - killed:.3f} s, "
        f"dropped from the catalog after {dropped - killed:.3f} s, "
        f"registered again after {back - killed:.2f} s, answers after {again - killed:.2f} s, "
        f"{len(fallbacks)} answered by {sorted({a.specialist for a in fallbacks})} meanwhile"
    )
    assert {a.specialist for a in fallbacks} == {"triple"}
    assert dropped - killed < SOON


def is_over(answers) -> bool:
    """Whether all who were asked while the replica was away have answered: there are no more than
    are in flight, and others have been asked since."""
    latest = answers[-2 * IN_FLIGHT :]
    return len(latest) == 2 * IN_FLIGHT and {a.specialist for a in latest} == {"double"}


async def control_plane_dies(on_ray, traffic, watched, story, pid) -> None:
    """The gateway serves on, with the same replicas, before and after it is back."""
    replicas = dict(watched.catalog.replicas)
    revision, before = watched.catalog.revision, len(traffic.answers)
    os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()
    back = await watched.until(lambda: watched.catalog.revision > revision)
    await traffic.until(lambda: len(traffic.answers) >= before + REQUESTS // 5)
    since = traffic.answers[before:]
    story(
        f"kill -9 of the control plane: it answers again after {back - killed:.2f} s, "
        f"{Counter(a.specialist for a in since)}"
    )
    assert on_ray.fabric.processes["control"] != pid
    assert watched.catalog.replicas == replicas
    assert {(a.specialist, a.attempts) for a in since} == {("double", 1)}


async def serve_controller_dies(on_ray, traffic, watched, story, pid) -> None:
    """The replicas stay; its successor replaces those that are killed from then on."""
    replicas, before = dict(watched.catalog.replicas), len(traffic.answers)
    os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()
    await until(lambda: set(on_ray.named("ray::ServeController")) - {pid}, 60)
    back = time.monotonic()
    assert watched.catalog.replicas == replicas
    ((dead, replica),) = watched.replicas("double:1").items()
    os.kill(replica, signal.SIGKILL)
    again = await watched.until(lambda: watched.replicas("double:1").keys() - {dead})
    since = traffic.answers[before:]
    story(
        f"kill -9 of Ray Serve's controller: another one after {back - killed:.2f} s; "
        f"a replica killed then is replaced {again - back:.2f} s later, "
        f"{Counter(a.specialist for a in since)}"
    )


def tell(traffic, story) -> None:
    answers = sorted(traffic.answers)
    seconds = sorted(answer.seconds for answer in answers)
    rate = len(answers) / (answers[-1].at - answers[0].at)
    story(
        f"{len(answers)} answers at {IN_FLIGHT} in flight, {len(traffic.errors)} failed, "
        f"{rate:.0f}/s; by {dict(Counter(a.specialist for a in answers))}, "
        f"fallbacks {sum(a.fallback for a in answers)}, "
        f"attempts {dict(sorted(Counter(a.attempts for a in answers).items()))}"
    )
    story(
        f"p50 {1e3 * seconds[len(seconds) // 2]:.1f} ms, "
        f"p99 {1e3 * seconds[len(seconds) * 99 // 100]:.1f} ms, "
        f"longest {1e3 * seconds[-1]:.0f} ms, longest gap {1e3 * max(traffic.gaps()):.0f} ms\n"
    )

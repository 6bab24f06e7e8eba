"""The reconciler towards Ray Serve, over real HTTP."""

from __future__ import annotations

import asyncio

import pytest
from planes import control_plane, until
from serve_api import ServeApi

from fabric.catalog.declaring import REPLACING
from fabric.control.hosts.ray import Paces, RayHost
from fabric.control.hosts.serve import FIXED, SCALING, application, report_of
from fabric.core.cards import (
    Batching,
    Breaking,
    Canary,
    Check,
    Model,
    OnnxRuntime,
    Replicas,
    Resources,
    RuntimeEnv,
    Sequences,
    Timeouts,
)
from fabric.core.replicas import State
from fabric.core.tensors import Signature, TensorValue
from fabric.testing import replica, specialist

QUICK = Paces(settling=0.01, settled=0.05, retry=0.05, retry_most=0.2, away=0.05)


@pytest.fixture
def api():
    with ServeApi() as api:
        yield api


def ray_host(url: str):
    return lambda _settings, control: RayHost(url, control, QUICK)


async def eventually(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def state(controller, key="a:1"):
    return controller.catalog.statuses[key].state


async def test_each_specialist_is_an_application(api, sqlite_url):
    """It is put once, runs, is changed in place or replaced, and goes when it is deleted."""
    async with control_plane(sqlite_url, ray_host(api.url)) as (controller, *_):
        await controller.apply([specialist("a"), specialist("b")], [])
        await eventually(lambda: set(api.applications) == {"a:1", "b:1"})
        await controller.register(replica("x", "a:1"), None)
        await until(controller, lambda: state(controller) is State.READY)
        assert state(controller, "b:1") is State.PENDING
        puts = len(api.puts)
        await asyncio.sleep(0.2)
        assert len(api.puts) == puts

        await controller.apply([specialist("a", batching=Batching(max_size=8))], [])
        await eventually(lambda: len(api.puts) > puts)
        assert api.deploys == ["a:1", "b:1"]
        await controller.apply([specialist("a", arguments={"x": "y"})], [])
        await eventually(lambda: api.deploys == ["a:1", "b:1", "a:1"])
        await controller.apply([], [], prune=True)
        await eventually(lambda: not api.applications)


async def test_applications_of_others_are_left_alone(api, sqlite_url):
    """A PUT would delete them, so there is none until they are gone; the reason names them."""
    api.applications["theirs"] = {
        "status": "RUNNING",
        "deployed_app_config": {"name": "theirs", "import_path": "their.app:app"},
    }
    async with control_plane(sqlite_url, ray_host(api.url)) as (controller, *_):
        await controller.apply([specialist("a")], [])
        await until(controller, lambda: state(controller) is State.FAILED)
        assert "it runs theirs, which" in controller.catalog.statuses["a:1"].reason
        assert not api.puts

        del api.applications["theirs"]
        await eventually(lambda: set(api.applications) == {"a:1"})


def test_no_two_specialists_share_an_application():
    """A dash belongs to names and versions alike, a colon to neither."""
    assert application(specialist("a--b", "1"), "c:1")["name"] == "a--b:1"
    assert application(specialist("a", "b--1"), "c:1")["name"] == "a:b--1"


async def test_a_failure_is_told_in_the_replicas_words_and_tried_again(api, sqlite_url):
    """Ray Serve gives up after some attempts; the reconciler does not."""
    broken = specialist("a", arguments={"fail": "yes"})
    async with control_plane(sqlite_url, ray_host(api.url)) as (controller, *_):
        await controller.apply([broken], [])
        await until(controller, lambda: state(controller) is State.FAILED)
        reason = "fabric.core.errors.NotFound: no file m.onnx (model.py:9 in fetch)"
        assert controller.catalog.statuses["a:1"].reason == reason
        await eventually(lambda: len(api.deploys) >= 3)

        await controller.apply([specialist("a")], [])
        await eventually(lambda: api.applications["a:1"]["status"] == "RUNNING")


async def test_a_restarted_control_plane_restarts_nothing(api, sqlite_url):
    """The number of an attempt is read back, so that `args` stay as they are."""
    async with control_plane(sqlite_url, ray_host(api.url)) as plane:
        await plane.controller.apply([specialist("a", arguments={"fail": "yes"})], [])
        await eventually(lambda: len(api.deploys) >= 2)
        port = plane.port
    with api._lock:
        held = api.applications["a:1"]
        held["status"] = "RUNNING"
    deploys, puts = list(api.deploys), len(api.puts)
    async with control_plane(sqlite_url, ray_host(api.url), port=port):
        await eventually(lambda: len(api.puts) > puts)
        await asyncio.sleep(0.1)
    assert api.deploys == deploys


async def test_ray_serve_that_loses_everything_gets_it_again(api, sqlite_url):
    """Applications that are missing are put again without any change of the catalog."""
    async with control_plane(sqlite_url, ray_host(api.url)) as (controller, *_):
        await controller.apply([specialist("a")], [])
        await eventually(lambda: api.applications)
        with api._lock:
            api.applications.clear()
        await eventually(lambda: api.applications)


async def test_ray_serve_may_be_away(sqlite_url):
    """Its absence is the reason meanwhile, for those that lack replicas; changes arrive later."""
    with ServeApi() as first:
        port = first.port
    async with control_plane(sqlite_url, ray_host(first.url)) as (controller, *_):
        await controller.apply([specialist("a"), specialist("b")], [])
        await controller.register(replica("x", "b:1"), None)
        await until(controller, lambda: controller.catalog.statuses["a:1"].reason)
        assert f"Ray Serve at {first.url}" in controller.catalog.statuses["a:1"].reason
        assert state(controller) is State.PENDING
        assert state(controller, "b:1") is State.READY
        with ServeApi(port) as second:
            await eventually(lambda: len(second.applications) == 2)
            await until(controller, lambda: not controller.catalog.statuses["a:1"].reason)


async def test_a_refused_configuration_is_told(api, sqlite_url):
    """What Ray Serve says about it is the reason."""
    api.refuse = "autoscaling_config: nonsense"
    async with control_plane(sqlite_url, ray_host(api.url)) as (controller, *_):
        await controller.apply([specialist("a")], [])
        await until(controller, lambda: state(controller) is State.FAILED)
        reason = controller.catalog.statuses["a:1"].reason
        assert reason.endswith(": autoscaling_config: nonsense")
        api.refuse = ""
        await eventually(lambda: api.applications)


@pytest.mark.parametrize(
    "change",
    [
        {"batching": Batching(max_size=4)},
        {"timeouts": Timeouts(drain=3.0)},
        {"breaker": Breaking(consecutive=3)},
        {"replicas": Replicas(min=2, max=3, target_load=4.0)},
        {"cost": 2.0, "domains": ("x",), "description": "new"},
    ],
)
def test_what_changes_in_place_is_in_no_argument(change):
    """Only what a replica reads when it starts is in `args`, which restart it."""
    before, after = (application(specialist("a", **c), "h:1") for c in ({}, change))

    assert before["args"] == after["args"]


TENSOR = TensorValue(name="x", datatype="FP32", shape=(1,), numbers=(1.0,))
READ_ONCE = {
    "card.signature": {"signature": Signature()},
    "card.checks": {"checks": (Check(output="y"),)},
    "hosting.model": {"model": Model(uri="other.onnx")},
    "hosting.python": {"python": "a:B"},
    "hosting.arguments": {"arguments": {"x": "y"}},
    "hosting.runtime_env": {"runtime_env": RuntimeEnv(pip=("x",))},
    "hosting.onnxruntime": {"onnxruntime": OnnxRuntime(intra_op_threads=2)},
    "hosting.resources": {"resources": Resources(cpus=2.0)},
    "hosting.sequences": {"sequences": Sequences()},
    "hosting.classes": {"classes": {"y": "labels.txt"}},
    "hosting.canary": {"canary": Canary(inputs=(TENSOR,), outputs=(TENSOR,))},
    "hosting.timeouts.startup": {"timeouts": Timeouts(startup=3.0)},
}


@pytest.mark.parametrize("path", REPLACING)
def test_what_a_replica_reads_when_it_starts_is_in_an_argument(path):
    """All of it, or else replicas would not know it."""
    before, after = (application(specialist("a", **c), "h:1") for c in ({}, READ_ONCE[path]))

    assert before["args"] != after["args"]


def test_the_environment_reaches_ray():
    """Of what is said of it, and nothing where nothing is."""
    declared = RuntimeEnv(pip=("colorama==0.4.6",), env_vars={"A": "b"})
    (deployment,) = application(specialist("a", runtime_env=declared), "h:1")["deployments"]
    assert deployment["ray_actor_options"]["runtime_env"] == {
        "pip": ("colorama==0.4.6",),
        "env_vars": {"A": "b"},
    }
    (deployment,) = application(specialist("a"), "h:1")["deployments"]
    assert "runtime_env" not in deployment["ray_actor_options"]


def test_resources_and_limits_reach_ray():
    """They go under Ray's own names."""
    said = specialist(
        "a", "2", resources=Resources(cpus=2.0, gpus=1.0), replicas=Replicas(min=1, max=3)
    )
    made = application(said, "h:1")
    (deployment,) = made["deployments"]

    assert made["name"] == "a:2"
    assert deployment["ray_actor_options"] == {"num_cpus": 2.0, "num_gpus": 1.0}
    assert deployment["autoscaling_config"]["max_replicas"] == 3
    assert deployment["max_surge_percent"] == 100


def test_memory_is_reserved_where_it_is_declared():
    """In bytes, as Ray has it."""
    said = specialist("a", resources=Resources(memory=1 << 30))
    (deployment,) = application(said, "h:1")["deployments"]

    assert deployment["ray_actor_options"]["memory"] == 1 << 30


@pytest.mark.parametrize(("most", "interval"), [(1, FIXED), (2, SCALING)])
def test_replicas_report_their_load_often_only_where_it_matters(most, interval):
    """With as many at most as at least, nothing follows from a report."""
    said = specialist("a", replicas=Replicas(min=1, max=most))
    (deployment,) = application(said, "h:1")["deployments"]

    assert deployment["autoscaling_config"]["metrics_interval_s"] == interval


def test_replicas_are_wanted_as_autoscaling_wants_them():
    """The target of Ray Serve counts, and the least number until it has one."""
    scaled = specialist("a", replicas=Replicas(min=1, max=5))
    details = {"status": "RUNNING", "deployments": {"specialist": {"target_num_replicas": 3}}}

    assert report_of(scaled, details, False).wanted == 3
    assert report_of(scaled, {}, False).wanted == 1


def test_a_replica_that_is_being_restarted_is_no_failure():
    """Ray Serve goes on trying, so the specialist waits, and says for what."""
    message = "A replica's health check failed.\nRetrying."
    details = {"status": "UNHEALTHY", "deployments": {"specialist": {"message": message}}}

    report = report_of(specialist("a"), details, False)
    assert (report.failure, report.waiting) == ("", "Retrying.")


def test_what_cannot_be_scheduled_says_what_it_waits_for():
    """Ray Serve goes on trying while it deploys, and its reason is the specialist's."""
    deployment = {"status": "UPDATING", "message": "No node has a GPU."}
    details = {"status": "DEPLOYING", "deployments": {"specialist": deployment}}

    report = report_of(specialist("a"), details, False)
    assert (report.failure, report.waiting) == ("", "No node has a GPU.")


async def test_a_change_of_one_leaves_the_status_of_others_alone(api, sqlite_url):
    """That Ray Serve calls everything DEPLOYING after a PUT is no news to watchers."""
    async with control_plane(sqlite_url, ray_host(api.url)) as (controller, *_):
        await controller.apply([specialist("a"), specialist("b")], [])
        for key in ("a:1", "b:1"):
            await controller.register(replica(key, key), None)
        await eventually(lambda: len(api.applications) == 2)
        await until(controller, lambda: state(controller, "b:1") is State.READY)
        revision = controller.catalog.revision
        await controller.apply([specialist("a", arguments={"x": "y"})], [])
        assert state(controller) is State.DEGRADED
        await until(controller, lambda: state(controller) is State.READY)

        seen = [h.specialist.key for c in controller.feed.since(revision) for h in c.specialists]
        assert set(seen) == {"a:1"}

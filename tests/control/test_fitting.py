"""Pipelines are checked when they, or whom they call, are declared."""

from __future__ import annotations

import pytest
from planes import control_plane

from fabric.catalog.declaring import Action
from fabric.core.cards import Model, Replicas
from fabric.core.errors import InvalidRequest
from fabric.core.tensors import Signature, TensorSpec
from fabric.testing import pipeline, replica, route, specialist


@pytest.fixture
async def controller(sqlite_url):
    async with control_plane(sqlite_url) as plane:
        yield plane.controller


def signature(takes: str = "FP32", gives: str = "FP32") -> Signature:
    return Signature(
        inputs=(TensorSpec(name="x", datatype=takes, shape=(-1,)),),
        outputs=(TensorSpec(name="y", datatype=gives, shape=(-1,)),),
    )


def typed(name: str, version: str = "1", takes: str = "FP32", gives: str = "FP32", **said: object):
    return specialist(name, version, signature=signature(takes, gives), **said)


async def test_all_that_does_not_fit_is_told_at_once(controller):
    """Of every pipeline, by its step and input; and nothing of the request is there."""
    with pytest.raises(InvalidRequest) as raised:
        await controller.apply(
            [typed("a"), typed("b", takes="INT64"), typed("c", takes="BYTES")],
            [route("r", "b")],
            [pipeline("p", "a", "b"), pipeline("q", "a", "r", "c"), pipeline("fine", "a", "a")],
        )

    lines = raised.value.message.splitlines()
    starts = ["pipeline 'p', step 's1', inputs.x", "pipeline 'q', step 's1', inputs.x"]
    starts.append("pipeline 'q', step 's2', inputs.x")
    assert [line.partition(": ")[0] for line in lines] == starts
    assert all("FP32" in line for line in lines)
    assert controller.catalog.specialists == controller.catalog.pipelines == {}


async def test_what_nobody_knows_yet_fits(controller):
    """Until a replica has told the signature; then it counts for what is declared."""
    await controller.apply([specialist("a"), typed("b")], [], [pipeline("p", "a", "b")])
    await controller.register(replica("x", "a:1"), signature(gives="INT64"))

    with pytest.raises(InvalidRequest, match=r"pipeline 'q', step 's1', inputs\.x"):
        await controller.apply([], [], [pipeline("q", "a", "b")])


async def test_what_was_wrong_before_holds_nothing_up(controller):
    """A pipeline that a replica's signature has made wrong may be declared as it is, and whom it
    calls may change in other ways."""
    p = pipeline("p", "a", "b")
    await controller.apply([specialist("a"), typed("b")], [], [p])
    await controller.register(replica("x", "a:1"), signature(gives="INT64"))

    again = await controller.apply([specialist("a"), typed("b")], [], [p])
    assert {change.action for change in again.changes} == {Action.NONE}
    assert await controller.apply([typed("b", replicas=Replicas(min=2, max=2))], [])
    with pytest.raises(InvalidRequest, match=r"pipeline 'p', step 's1', inputs\.x"):
        await controller.apply([], [], [pipeline("p", "a", "b", timeout=1.0)])


async def test_a_change_that_makes_a_pipeline_wrong_is_refused(controller):
    """Through a route and another pipeline, unless that changes with it."""
    inner, outer = pipeline("inner", "r"), pipeline("outer", "inner", "b")
    await controller.apply([typed("a"), typed("b")], [route("r", "a")], [inner, outer])
    whole = [typed("a", gives="INT64")]

    with pytest.raises(InvalidRequest, match=r"pipeline 'outer', step 's1', inputs\.x"):
        await controller.apply(whole, [])
    assert await controller.apply([*whole, typed("b", takes="INT64")], [])


async def test_another_model_may_have_another_signature(controller):
    """What the replicas that it replaces have read says nothing of it."""
    await controller.apply([specialist("a"), typed("b")], [])
    await controller.register(replica("x", "a:1"), signature(gives="INT64"))
    other = specialist("a", model=Model(uri="other.onnx"))

    assert await controller.apply([other], [], [pipeline("p", "a", "b")])


async def test_the_latest_version_that_is_loaded_is_called(controller):
    """As the gateways do, but for versions that are named."""
    wrong = typed("b", "2", takes="INT64")
    p = pipeline("p", "a", "b")
    named = pipeline("p", "a", "b:1")

    with pytest.raises(InvalidRequest, match=r"pipeline 'p', step 's1', inputs\.x"):
        await controller.apply([typed("a"), typed("b"), wrong], [], [p])
    assert await controller.apply([typed("a"), typed("b"), wrong], [], [named])
    unloaded = typed("b", "2", takes="INT64", loaded=False)
    assert await controller.apply([unloaded], [], [p])

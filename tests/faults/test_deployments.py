"""What is deployed broken leaves what is good serving."""

from __future__ import annotations

import pytest
from breaking import traffic_through
from running import until_linked

from fabric.core.cards import Model
from fabric.core.replicas import State
from fabric.testing import route, specialist

pytestmark = pytest.mark.timeout(120)


def broken_models(good, folder):
    """Files that are no model, by what is wrong with them."""
    bytes_of = {
        "truncated": good.read_bytes()[:-20],
        "no ONNX": b"<html>404 Not Found</html>",
    }
    for name, data in bytes_of.items():
        file = folder / f"{name.replace(' ', '-')}.onnx"
        file.write_bytes(data)
        yield name, Model(uri=str(file))


@pytest.fixture
async def steady(on_local, local_client, seen):
    """The specialist `steady`, and a route that it is the only candidate of."""
    await local_client.apply([on_local.scaler("steady", 2)], [route("only", "steady")])
    await seen.until_ready("steady:1")
    yield "only"
    await local_client.delete("route", "only")
    await local_client.delete("specialist", "steady")


async def test_broken_models_over_a_good_one(on_local, local_client, seen, told, steady):
    """The status says what is wrong with each; the good one's replica answers on."""
    before = seen.replicas("steady:1")
    good = on_local.folder / "times-2.onnx"
    async with traffic_through(local_client, steady) as traffic:
        for file in broken_models(good, on_local.folder):
            name, model = file
            await local_client.apply([specialist("steady", model=model)])
            await seen.until(lambda m=model: m.uri in seen.status("steady:1").reason)
            assert seen.status("steady:1").state is State.DEGRADED, name
            assert seen.replicas("steady:1") == before
        await local_client.apply([on_local.scaler("steady", 2)])
        await seen.until_ready("steady:1")
    count = told("a broken model over a good one", traffic, factors={"steady": 2})
    assert count.refused == count.lost == count.degraded == 0


async def test_a_broken_version_beside_a_good_one(on_local, local_client, seen, told, steady):
    """The older version answers until the newer one can, which is never."""
    broken = on_local.folder / "broken.onnx"
    broken.write_bytes(b"no model")
    async with traffic_through(local_client, steady) as traffic:
        await local_client.apply([specialist("steady", "2", model=Model(uri=str(broken)))])
        await seen.until(lambda: seen.status("steady:2").state is State.FAILED)
        await traffic.until_answered()
        await local_client.delete("specialist", "steady:2")
    count = told("a broken version beside a good one", traffic, factors={"steady": 2})
    assert count.refused == count.lost == count.degraded == 0


async def test_a_new_version_that_crashes_on_requests(on_local, local_client, seen, told):
    """It opens, and ends with its first request: the next specialist answers."""
    (on_local.folder / "dying.py").write_text(DYING)
    dying = specialist("dying", python="dying:Dying")
    await local_client.apply([dying], [route("risky", "dying", "triple")])
    await seen.until_ready("dying:1")
    async with traffic_through(local_client, "risky") as traffic:
        await seen.until(lambda: "ended with status 7" in seen.status("dying:1").reason)
        await traffic.until_answered()
    count = told("a specialist that dies with every request", traffic, factors={"triple": 3})
    assert count.refused == count.lost == 0
    await local_client.delete("route", "risky")
    await local_client.delete("specialist", "dying")
    await until_linked(local_client, "double", 2)


DYING = '''
"""A specialist that takes its process along."""

import os

from fabric.core.tensors import Signature, TensorSpec

X, Y = (TensorSpec(name=name, datatype="FP32", shape=(-1, 2)) for name in "xy")


class Dying:
    signature = Signature(inputs=(X,), outputs=(Y,))

    async def infer(self, inputs):
        os._exit(7)
'''

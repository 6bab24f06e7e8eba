"""A specialist that answers wrongly, or not at all, is one that has failed.

What is wrong with an answer is one more entry of `WRONG`.
"""

from __future__ import annotations

import pytest
from breaking import traffic_through

from fabric.core.cards import Check, Replicas, Resources, Timeouts
from fabric.testing import route, specialist

pytestmark = pytest.mark.timeout(120)
ODD = '''
"""A specialist that is right until it is told otherwise."""

import asyncio

import numpy as np

from fabric.core.tensors import Signature, TensorSpec

X, Y = (TensorSpec(name=name, datatype="FP32", shape=(-1, 2)) for name in "xy")
WRONG = {
    "raises": lambda y: 1 / 0,
    "wrong name": lambda y: {"z": y},
    "wrong datatype": lambda y: {"y": y.astype(np.int64)},
    "wrong shape": lambda y: {"y": y[:, :1]},
    "not a number": lambda y: {"y": y * np.float32("nan")},
}


class Odd:
    signature = Signature(inputs=(X,), outputs=(Y,))

    def __init__(self, how):
        self.how = how

    async def infer(self, inputs):
        if self.how == "never":
            await asyncio.Event().wait()
        return WRONG[self.how](2 * inputs["x"])
'''


HOWS = ("raises", "wrong name", "wrong datatype", "wrong shape", "not a number", "never")


@pytest.mark.parametrize("how", HOWS)
async def test_an_odd_answer(on_local, local_client, seen, told, how):
    """The next candidate is asked."""
    (on_local.folder / "odd.py").write_text(ODD)
    timeouts, checks = Timeouts(request=0.5), (Check(output="y"),)
    said = {"python": "odd:Odd", "arguments": {"how": how}}
    odd = specialist("odd", **said, timeouts=timeouts, checks=checks)
    await local_client.apply([odd], [route("perhaps", "odd", "triple")])
    await seen.until_ready("odd:1")
    async with traffic_through(local_client, "perhaps", after=200) as traffic:
        pass
    count = told(f"a specialist that answers oddly: {how}", traffic, factors={"triple": 3})
    await local_client.delete("route", "perhaps")
    await local_client.delete("specialist", "odd")
    assert count.refused == count.lost == count.right == 0


LEAKING = '''
"""A specialist that forgets nothing."""

from fabric.core.tensors import Signature, TensorSpec

X, Y = (TensorSpec(name=name, datatype="FP32", shape=(-1, 2)) for name in "xy")


class Leaking:
    signature = Signature(inputs=(X,), outputs=(Y,))

    def __init__(self):
        self.kept = []

    async def infer(self, inputs):
        self.kept.append(bytearray(b"x") * (1 << 17))
        return {"y": 2 * inputs["x"]}
'''


async def test_a_leak(on_local, local_client, seen, told):
    """A replica that holds more than it may leaves, and others answer until its successor does."""
    (on_local.folder / "leaking.py").write_text(LEAKING)
    resources, two = Resources(memory=300 << 20), Replicas(min=2, max=2)
    said = {"python": "leaking:Leaking", "resources": resources, "replicas": two}
    await local_client.apply([specialist("leaking", **said)], [route("held", "leaking", "triple")])
    await seen.until_ready("leaking:1")
    first = seen.replicas("leaking:1").keys()
    async with traffic_through(local_client, "held") as traffic:
        await seen.until(
            lambda: "resources.memory allows 300 MiB" in seen.status("leaking:1").reason
        )
        await seen.until(lambda: first.isdisjoint(seen.replicas("leaking:1")))
        await seen.until_ready("leaking:1")
    count = told("a specialist that leaks memory", traffic, factors={"leaking": 2, "triple": 3})
    await local_client.delete("route", "held")
    await local_client.delete("specialist", "leaking")
    assert count.refused == count.lost == 0
    assert count.right

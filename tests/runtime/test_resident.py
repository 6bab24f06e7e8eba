"""How much memory a replica may hold."""

from __future__ import annotations

import asyncio
import mmap

import numpy as np
import pytest
from running import until

from fabric.api.inference.v2.open_inference_pb2 import ModelInferRequest
from fabric.core.cards import Resources
from fabric.core.deadlines import NEVER
from fabric.core.errors import Conflict, Unavailable
from fabric.core.tensors import Signature, TensorSpec
from fabric.link.client import connect
from fabric.runtime import replica as replicas
from fabric.runtime import resident
from fabric.runtime.replica import Replica
from fabric.testing import FakeControl, specialist
from fabric.wire.tensors import encode_inputs

MIB = 1 << 20
WHY = "it holds 201 MiB of memory, resources.memory allows 200 MiB"
LIMITED = specialist("s", python=f"{__name__}:Waiting", resources=Resources(memory=200 * MIB))


class Waiting:
    """Answers when it is told to."""

    signature = Signature(
        inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 2)),),
        outputs=(TensorSpec(name="y", datatype="FP32", shape=(-1, 2)),),
    )
    begun: asyncio.Event
    told: asyncio.Event

    async def infer(self, inputs):
        self.begun.set()
        await self.told.wait()
        return {"y": inputs["x"]}


@pytest.fixture
def holds(monkeypatch):
    """Says how many MiB the process holds."""

    def hold(mib):
        monkeypatch.setattr(resident, "resident", lambda: mib * MIB)

    monkeypatch.setattr(replicas, "_LOOK", 0.005)
    Waiting.begun, Waiting.told = asyncio.Event(), asyncio.Event()
    hold(100)
    return hold


def test_what_is_held_is_what_was_touched():
    """Memory that is only promised is not."""
    before = resident.resident()
    with mmap.mmap(-1, 64 * MIB) as block:
        assert resident.resident() < before + 32 * MIB
        block.write(bytes(64 * MIB))
        assert resident.resident() > before + 60 * MIB


def test_too_much_is_told_with_its_limit():
    """Nothing is where it is not too much."""
    assert resident.excess(1 << 60) == ""
    assert resident.excess(MIB).endswith(" MiB of memory, resources.memory allows 1 MiB")


async def test_a_replica_that_holds_too_much_from_the_start_does_not_open(holds):
    """The limit is too low, and whoever declared it hears so."""
    holds(201)
    async with FakeControl() as control:
        with pytest.raises(Conflict, match=f"^s:1 is open, and {WHY}$"):
            await Replica(LIMITED, control.address).open()
        assert control.replicas == {}


async def test_a_replica_that_comes_to_hold_too_much_leaves(holds, caplog):
    """It takes nothing new, answers what it has, and says why: in the catalog, and in the log."""
    request = ModelInferRequest()
    encode_inputs(request, {"x": np.ones((1, 2), np.float32)})
    async with FakeControl() as control, Replica(LIMITED, control.address) as replica:
        link = await connect(replica.address)
        await control.heard("register")
        call = asyncio.create_task(link.call(request.SerializeToString(), NEVER))
        await Waiting.begun.wait()
        replica.check()
        holds(201)
        await until(lambda: not link.can_serve)
        await control.heard("draining")
        assert control.replicas[replica.id].why == WHY
        Waiting.told.set()
        assert await call
        await replica.failed()
        with pytest.raises(Unavailable, match=WHY):
            replica.check()
        link.close()
    assert f"s:1 is not well any more: {WHY}" in caplog.messages


async def test_a_replica_without_a_limit_is_not_watched(holds):
    """Nobody looks at what it holds."""
    holds(1 << 40)
    said = specialist("s", python=f"{__name__}:Waiting")
    async with FakeControl() as control, Replica(said, control.address) as replica:
        assert replica._watching is None

"""Whether answers are what they must be."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from onnx_models import doubling
from running import until

from fabric.api.inference.v2.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from fabric.core.cards import Batching, Canary, Check, Model
from fabric.core.deadlines import NEVER
from fabric.core.errors import Conflict, InvalidAnswer, InvalidRequest, Unavailable
from fabric.core.tensors import Signature, TensorSpec, TensorValue
from fabric.link.client import connect
from fabric.runtime.checks import check_outputs
from fabric.runtime.replica import Replica
from fabric.testing import FakeControl, specialist
from fabric.wire.tensors import decode_outputs, encode_inputs

NOBODY = "127.0.0.1:1"
SIGNATURE = Signature(
    inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 2)),),
    outputs=(TensorSpec(name="y", datatype="FP32", shape=(-1, 2)),),
)


@pytest.mark.parametrize(
    ("check", "array", "wrong"),
    [
        (Check(output="y"), [[1.0, 2.0]], None),
        (Check(output="y"), [[1.0, np.nan]], "has numbers that are not finite"),
        (Check(output="y"), [[1.0, np.inf]], "has numbers that are not finite"),
        (Check(output="y", finite=False), [[1.0, np.inf]], None),
        (Check(output="y", least=0.0, most=1.0), [[0.0, 1.0]], None),
        (Check(output="y", least=0.0), [[0.0, -0.5]], "has -0.5, 0 is the least"),
        (Check(output="y", most=1.0), [[0.0, 1.5]], "has 1.5, 1 is the most"),
        (Check(output="y", finite=False, least=0.0), [[np.nan]], "has nan, 0 is the least"),
        (Check(output="y", sums=1.0), [[0.4, 0.6], [0.0004, 1.0]], None),
        (Check(output="y", sums=1.0), [[0.4, 0.6], [0.4, 0.8]], "adds up to 1.2, not 1"),
        (Check(output="y", sums=1.0), np.zeros((0, 2)), None),
        (Check(output="z"), [[np.nan]], None),
    ],
)
def test_outputs_are_what_checks_say(check, array, wrong):
    """Those that were asked for; none is there without elements."""
    outputs = {"y": np.array(array, np.float32)}
    if wrong is None:
        check_outputs((check,), outputs)
    else:
        with pytest.raises(InvalidAnswer) as caught:
            check_outputs((check,), outputs)
        assert caught.value.message == f"output 'y' {wrong}"


class Fickle:
    """Doubles, until it is told to be wrong."""

    factor = 2.0

    def __init__(self, wide: str = "") -> None:
        self.signature = SIGNATURE
        self._wide = bool(wide)

    async def infer(self, inputs):
        y = inputs["x"] * np.float32(Fickle.factor)
        return {"y": np.concatenate([y, y], axis=1) if self._wide else y}


@pytest.fixture
def fickle():
    yield Fickle
    Fickle.factor = 2.0


def fickle_one(**said):
    return specialist("fickle", python=f"{__name__}:Fickle", **said)


def asked(value, rows=1):
    message = ModelInferRequest()
    encode_inputs(message, {"x": np.full((rows, 2), value, np.float32)})
    return message.SerializeToString()


def canary(y=(2.0, 4.0), **said):
    def tensor(name, numbers):
        return TensorValue(name=name, datatype="FP32", shape=(1, 2), numbers=numbers)

    return Canary(inputs=(tensor("x", (1.0, 2.0)),), outputs=(tensor("y", y),), **said)


async def test_one_bad_row_costs_nobody_else_an_answer(tmp_path):
    """Each request of a batch is checked by itself."""
    said = specialist(
        "s",
        model=doubling_model(tmp_path),
        checks=(Check(output="y", most=10.0),),
        batching=Batching(max_size=8),
    )
    async with Replica(said, NOBODY) as replica:
        link = await connect(replica.address)
        calls = (link.call(asked(value), NEVER) for value in (1, 9, 2))
        good, bad, other = await asyncio.gather(*calls, return_exceptions=True)
        assert [y(good), y(other)] == [[[2, 2]], [[4, 4]]]
        assert isinstance(bad, InvalidAnswer)
        assert bad.message == "output 'y' has 18, 10 is the most"
        link.close()


async def test_a_class_gives_what_its_signature_says():
    """Another shape is no answer."""
    async with Replica(fickle_one(arguments={"wide": "yes"}), NOBODY) as replica:
        link = await connect(replica.address)
        with pytest.raises(InvalidAnswer) as caught:
            await link.call(asked(1), NEVER)
        assert caught.value.message == (
            "specialist 'fickle' gave output 'y' of shape [1, 4], its signature says [-1, 2]"
        )
        link.close()


@pytest.mark.parametrize(
    ("said", "error", "message"),
    [
        (
            {"canary": canary(y=(2.0, 5.0))},
            InvalidAnswer,
            "the answer to the canary is wrong: output 'y' has 4 where 5 is right",
        ),
        (
            {
                "canary": replace(
                    canary(), inputs=(TensorValue(name="z", datatype="FP32", shape=(0,)),)
                )
            },
            InvalidRequest,
            "z",
        ),
        (
            {
                "canary": replace(
                    canary(), outputs=(TensorValue(name="z", datatype="FP32", shape=(0,)),)
                )
            },
            Conflict,
            "the canary of fickle:1: no output 'z'; it has y",
        ),
        ({"checks": (Check(output="p"),)}, Conflict, "checks of fickle:1: no output 'p'; it has y"),
    ],
    ids=["wrong", "input", "output", "checks"],
)
async def test_a_replica_that_is_wrong_never_becomes_ready(said, error, message):
    """It does not open, and says why."""
    async with FakeControl() as control:
        with pytest.raises(error, match=message.replace("(", "[(]")):
            await Replica(fickle_one(**said), control.address).open()
        assert control.replicas == {}


async def test_a_replica_that_answers_its_canary_right_is_ready(tmp_path):
    """Within the tolerance; also where rows are stacked."""
    batching = Batching(max_size=4)
    said = specialist(
        "s", model=doubling_model(tmp_path), batching=batching, canary=canary(y=(2.001, 4.003))
    )
    async with Replica(said, NOBODY) as replica:
        replica.check()


async def test_a_replica_that_becomes_wrong_leaves(fickle):
    """It takes nothing new, answers what is in flight, and its host starts another."""
    async with FakeControl() as control:
        replica = Replica(fickle_one(canary=canary(every=0.01)), control.address)
        async with replica:
            link = await connect(replica.address)
            await control.heard("register")
            await asyncio.sleep(0.05)
            replica.check()
            assert link.can_serve
            fickle.factor = 3.0
            await replica.failed()
            await until(lambda: not link.can_serve)
            assert control.replicas[replica.id].draining
            with pytest.raises(Unavailable, match="it answers its canary wrong"):
                replica.check()
            link.close()


def doubling_model(folder):
    return Model(uri=str(doubling(folder / "m.onnx")))


def y(payload):
    return decode_outputs(ModelInferResponse.FromString(bytes(payload)))["y"].tolist()

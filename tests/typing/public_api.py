"""The public API as users write it; the type checker is its only reader."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any, assert_type

import numpy as np

import fabric
from fabric import Feedback, Requirements, Value, branch, op, pipeline, step, tensor
from fabric.client import Answer, Applied, Explanation, Metadata, Record, Trained
from fabric.core.cards import Card, Hosting, Model, Specialist
from fabric.core.changes import Changes
from fabric.core.errors import Overloaded
from fabric.core.routes import ChainEntry, Route
from fabric.core.tensors import Signature, Tensors, TensorSpec
from fabric.pipelines.tracing import Traced

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIGNATURE = Signature(
    inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 2)),),
    outputs=(TensorSpec(name="y", datatype="FP32", shape=(-1, 2)),),
)


class Doubling:
    """A specialist in Python."""

    signature = SIGNATURE

    async def infer(self, inputs: Tensors) -> Tensors:
        return {"y": inputs["x"] * 2}


def declared() -> tuple[Specialist, Route]:
    card = Card(name="double", domains=("even",), labels={"team": "a"}, signature=SIGNATURE)
    specialist = Specialist(card=card, hosting=Hosting(model=Model(uri="double.onnx")))
    return specialist, Route(name="scale", chain=(ChainEntry(name="double", weight=2.0),))


async def with_asyncio() -> None:
    specialist, route = declared()
    async with fabric.AsyncClient("localhost:8080") as client:
        assert_type(await client.apply([specialist], [route], prune=True), Applied)
        answer = await client.infer(
            "scale",
            {"x": np.zeros((1, 2), np.float32), "y": [1, 2]},
            requirements=Requirements(domain="even"),
            timeout=1.0,
        )
        assert_type(answer, Answer)
        array: NDArray[Any] = answer["y"]
        who: tuple[str, str, int, bool] = (
            answer.specialist,
            answer.route,
            answer.attempts,
            answer.fallback,
        )
        assert_type(await client.explain("scale", requirements={"domain": "even"}), Explanation)
        assert_type(await client.metadata("scale"), Metadata)
        assert_type(await client.ready("scale"), bool)
        assert_type(await client.feedback("id", score=1.0), int)
        assert_type(await client.feedback_many([Feedback(request="id", label="even")]), int)
        assert_type(await client.decisions("scale"), tuple[Record, ...])
        assert_type(await client.train("scale"), Trained)
        async with aclosing(client.watch()) as stream:
            async for changes in stream:
                assert_type(changes, Changes)
        print(array, who)  # noqa: T201 - as users do


@pipeline(timeout=2.0)
def doubled(x: Annotated[Value, tensor("FP32", "rows", 2)]) -> Value:
    return branch(op.sum(x) > 0.0, then=lambda: step("double", x=x).y, otherwise=x)


def declare(client: fabric.Client) -> None:
    assert_type(doubled, Traced)
    client.apply(pipelines=[doubled.graph])


def without_asyncio() -> None:
    with fabric.Client() as client:
        try:
            answer = client.infer("scale", {"x": np.zeros(2)}, substitute=False, outputs=["y"])
        except Overloaded as error:
            assert_type(error.message, str)
        else:
            assert_type(answer, Answer)
        for changes in client.watch(after=7):
            assert_type(changes, Changes)

"""Every shape of flow once, over specialists that multiply, with what comes of some inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from fabric import (
    Value,
    best,
    branch,
    cascade,
    constant,
    each,
    first,
    loop,
    mean,
    op,
    pipeline,
    step,
    switch,
    tensor,
    vote,
    weighted_mean,
)
from fabric.core.errors import NotFound, SpecialistFailed
from fabric.pipelines.tracing import Traced

if TYPE_CHECKING:
    from collections.abc import Callable


Rows = Annotated[Value, tensor("FP32", "n", 2)]
ONE = np.array([[1, 2]], np.float32)
TWO = np.array([[1, 2], [10, 20]], np.float32)


def double(x: Any) -> Any:
    return {"y": 2 * x}


def triple(x: Any) -> Any:
    return {"y": 3 * x}


def batched(x: Any) -> Any:
    return {"y": 5 * x}


FUNCTIONS = {
    "double": double,
    "triple": triple,
    "batched": batched,
    "failing": SpecialistFailed("it fails"),
    "nobody": NotFound("nobody is there"),
}


@dataclass
class Shape:
    pipeline: Traced
    x: Any
    expected: Any
    """Of the output `value`; None where it is missing."""
    needs: tuple[str, ...]
    """Whom it calls, and cannot answer without all of them."""


SHAPES: dict[str, Shape] = {}


def shape(x: Any, expected: Any, *needs: str) -> Callable[[Traced], Traced]:
    def add(made: Traced) -> Traced:
        SHAPES[made.graph.name] = Shape(made, x, np.asarray(expected), needs or ("double",))
        return made

    return add


@shape(ONE, [[12, 24]])
@pipeline(name="a-sequence")
def sequence(x: Rows) -> Value:
    return step("double", x=step("triple", x=step("double", x=x, name="again")))


@shape(ONE, [[5, 10]])
@pipeline(name="a-fork")
def parallel(x: Rows) -> Value:
    return step("double", x=x).y + step("triple", x=x).y


@shape(ONE, [[2, 4]])
@pipeline(name="a-branch")
def branching(x: Rows) -> Value:
    return branch(
        op.max(x) < 5.0, then=lambda: step("double", x=x), otherwise=lambda: step("triple", x=x)
    )


@shape(TWO, [[2, 4], [20, 40]])
@pipeline(name="a-switch")
def switching(x: Rows) -> Value:
    return switch(
        op.size(x),
        {1: lambda: step("triple", x=x), 2: lambda: step("double", x=x)},
        otherwise=x,
    )


@shape(ONE, [[2, 4]])
@pipeline(name="a-skip")
def skipping(x: Rows) -> Value:
    skipped = step("triple", x=x, when=op.max(x) > 5.0)
    return op.default([skipped, step("double", x=x)])


@shape(TWO, [[2, 4], [20, 40]])
@pipeline(name="a-map")
def mapping(x: Rows) -> Value:
    return op.concat(each(x, lambda row: step("double", x=row), parallel=2))


@shape(np.repeat(TWO, 3, axis=0), np.repeat(TWO, 3, axis=0) * 5, "batched")
@pipeline(name="a-batch")
def batching(x: Rows) -> Value:
    return op.concat(each(x, lambda row: step("batched", x=row), batch=True))


@shape(TWO, [[5, 10], [5, 10], [50, 100]], "batched")
@pipeline(name="a-ragged-list")
def ragged(x: Rows) -> Value:
    parts = op.unpad(op.stack([x, x]), constant([[1], [2]], "INT64"))
    return op.concat(each(parts, lambda part: step("batched", x=part), batch=True))


@shape(ONE, [[8, 16]])
@pipeline(name="a-loop")
def looping(x: Rows) -> Value:
    return loop(x, lambda x: step("double", x=x), until=lambda x: op.max(x) > 10.0, most=5)


@shape(np.array([[0, 1]], np.float32), 1)
@pipeline(name="a-vote")
def voting(x: Rows) -> Value:
    return op.argmax(vote([step("double", x=x).y, step("triple", x=x).y]))[0]


@shape(ONE, [[2.5, 5]])
@pipeline(name="a-mean")
def averaging(x: Rows) -> Value:
    return mean([step("double", x=x).y, step("triple", x=x).y])


@shape(ONE, [[2.25, 4.5]])
@pipeline(name="a-weighted-mean")
def weighing(x: Rows) -> Value:
    return weighted_mean([step("double", x=x).y, step("triple", x=x).y], [3, 1])


@shape(ONE, [[3, 6]])
@pipeline(name="the-surest")
def surest(x: Rows) -> Value:
    answers = [step("double", x=x).y, step("triple", x=x).y]
    return best(answers, [op.max(answer) for answer in answers])


@shape(ONE, [[2, 4]])
@pipeline(name="the-first")
def trying(x: Rows) -> Value:
    return first(lambda: step("failing", x=x), lambda: step("double", x=x))


@shape(ONE, [[3, 6]], "double", "triple")
@pipeline(name="a-cascade")
def cascading(x: Rows) -> Value:
    return cascade(
        lambda: step("double", x=x),
        lambda: step("triple", x=x),
        sure=lambda answer: op.max(answer) > 5.0,
    )


@shape(ONE, [[2.5, 5]], "double", "triple")
@pipeline(name="a-mixture")
def mixing(x: Rows) -> Value:
    return mean([step(name, x=x, optional=True).y for name in ("double", "nobody", "triple")])


@shape(ONE, [[24, 48]])
@pipeline(name="a-pipeline-of-pipelines")
def nesting(x: Rows) -> Value:
    return step("double", x=step("a-sequence", x=x))

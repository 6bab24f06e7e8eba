"""A specialist in Python that remembers; modules called `conftest` are many."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fabric.core.tensors import Signature, TensorSpec

if TYPE_CHECKING:
    from fabric.core.tensors import Tensors
    from fabric.runtime.memory import Turn


class Accumulating:
    signature = Signature(
        inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 1)),),
        outputs=(TensorSpec(name="y", datatype="FP32", shape=(-1, 1)),),
    )

    async def infer(self, inputs: Tensors, sequence: Turn) -> Tensors:
        sequence.state["sum"] = sequence.state.get("sum", 0) + inputs["x"]
        return {"y": sequence.state["sum"]}

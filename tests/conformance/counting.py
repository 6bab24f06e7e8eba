"""A specialist with any number of answers."""

from __future__ import annotations

import numpy as np

from fabric.core.tensors import Signature, TensorSpec


class Counting:
    """Counts to `n`, an answer for each number."""

    signature = Signature(
        inputs=(TensorSpec(name="n", datatype="INT32", shape=(1,)),),
        outputs=(TensorSpec(name="i", datatype="INT32", shape=(1,)),),
    )

    async def infer(self, inputs):
        for number in range(inputs["n"].item()):
            yield {"i": np.array([number], np.int32)}

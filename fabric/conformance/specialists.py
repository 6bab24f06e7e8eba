"""Specialists in Python, for what a model alone cannot do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np

from fabric.conformance.samples import BLOBS, BY_NAME, REPEAT
from fabric.core.errors import InvalidRequest
from fabric.core.tensors import Signature

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fabric.core.tensors import Tensors


class Echo:
    """Gives its input as it came."""

    signature = Signature(inputs=BY_NAME[BLOBS].inputs, outputs=BY_NAME[BLOBS].outputs)

    async def infer(self, inputs: Tensors) -> Tensors:
        return {"y": inputs["x"]}


class Repeat:
    """Gives as many responses as `count` says, with `pause` milliseconds before each."""

    signature = Signature(
        inputs=BY_NAME[REPEAT].inputs, outputs=BY_NAME[REPEAT].outputs, decoupled=True
    )

    async def infer(self, inputs: Tensors) -> AsyncIterator[Tensors]:
        """The number of each response, from 0.

        Raises:
            InvalidRequest: `count` is negative.
        """
        count, pause = (int(inputs[name][0]) for name in ("count", "pause"))
        if count < 0:
            raise InvalidRequest(f"count is {count}, it cannot be negative")
        for index in range(count):
            await asyncio.sleep(pause / 1000)
            yield {"index": np.array([index], np.int32)}

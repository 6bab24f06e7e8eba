"""What the Python specialists of the desk have in common."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fabric.core.tensors import TensorSpec

if TYPE_CHECKING:
    from fabric.core.tensors import Tensors


class InThread:
    """Answers by `answer`, in a thread: pixels are no work for an event loop."""

    async def infer(self, inputs: Tensors) -> Tensors:
        return await asyncio.to_thread(self.answer, inputs)

    def answer(self, inputs: Tensors) -> Tensors:
        raise NotImplementedError


def tensor(name: str, datatype: str, *shape: int) -> TensorSpec:
    """A tensor of a signature; -1 for sizes that may be any."""
    return TensorSpec(name=name, datatype=datatype, shape=shape)

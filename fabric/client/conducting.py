"""Pipelines run where the client is: it calls the specialists of a server one by one."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from fabric.core.deadlines import NEVER, Deadline
from fabric.core.errors import InvalidRequest
from fabric.pipelines.checking import Callee, check
from fabric.pipelines.compiling import compiled
from fabric.pipelines.running import Run
from fabric.pipelines.values import Tensor, arrays, tensors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from numpy.typing import ArrayLike

    from fabric.client.results import Answer
    from fabric.core.pipelines import Pipeline
    from fabric.core.tensors import Tensors
    from fabric.pipelines.calls import Called, Calls
    from fabric.pipelines.values import Values


async def conduct(
    pipeline: Pipeline, inputs: Mapping[str, ArrayLike], calls: Calls, timeout: float | None
) -> Tensors:
    """The outputs of *pipeline*, by name, without those that are missing.

    Raises:
        InvalidRequest: it has no such input, or lacks one; or values do not fit together.
        FabricError: of the step that failed.
    """
    known = {each.name: each.optional for each in pipeline.inputs}
    for name in inputs.keys() - known.keys():
        listed = ", ".join(known) or "none"
        raise InvalidRequest(f"pipeline '{pipeline.name}' has no input '{name}'; it has {listed}")
    for name, optional in known.items():
        if name not in inputs and not optional:
            raise InvalidRequest(f"pipeline '{pipeline.name}' needs its input '{name}'")
    checked = check(pipeline, lambda _: Callee(None))
    if checked.problems:
        raise InvalidRequest(f"pipeline '{pipeline.name}', {checked.problems[0]}")
    deadline = NEVER if timeout is None else Deadline.after(timeout)
    run = Run(pipeline, compiled(pipeline, checked.types), calls)
    return arrays(await run.outputs(tensors(inputs), deadline))


class ServerCalls:
    """Calls by *infer* of a client."""

    def __init__(self, infer: Callable[..., Awaitable[Answer]]) -> None:
        self._infer = infer

    async def call(self, called: Called, deadline: Deadline) -> Values:
        """See `fabric.pipelines.calls.Calls`."""
        name, _, version = called.name.partition(":")
        left = deadline.remaining(time.monotonic())
        answer = await self._infer(
            name,
            {key: tensor.array for key, tensor in called.inputs.items()},
            version=version,
            requirements=called.step.requirements,
            timeout=None if math.isinf(left) else left,
        )
        called.who = f"{answer.specialist}:{answer.version}"
        called.attempts, called.fallback = answer.attempts, answer.fallback
        return {key: Tensor.of(array) for key, array in answer.outputs.items()}

    def rows(self, name: str) -> int:
        """Nobody knows: a batch that is too large is refused by the server."""
        return 0

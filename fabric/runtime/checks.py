"""Whether answers are what they must be: by the checks of a card, and by a canary."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from fabric.api.inference.v2.open_inference_pb2 import ModelInferRequest
from fabric.core.errors import Conflict, InvalidAnswer
from fabric.core.tensors import DTYPES
from fabric.wire.tensors import to_raw

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from fabric.core.cards import Canary, Check
    from fabric.core.errors import FabricError
    from fabric.core.tensors import Signature, Tensors
    from fabric.runtime.jobs import Runner
    from fabric.wire.codec import Codec
    from fabric.wire.kinds import Inputs

_SUM = 1e-3
"""How far a sum may be off."""


def check_outputs(checks: Sequence[Check], outputs: Tensors) -> None:
    """Raises InvalidAnswer unless *outputs*, as far as they are there, are what *checks* say."""
    for check in checks:
        array = outputs.get(check.output)
        if array is not None and array.size and (wrong := _violation(check, array)):
            raise InvalidAnswer(f"output '{check.output}' {wrong}")


def _violation(check: Check, array: NDArray[Any]) -> str:
    """What *array* is that it must not be; empty if it is right."""
    if check.finite and array.dtype.kind == "f" and not np.isfinite(array).all():
        return "has numbers that are not finite"
    if check.least is not None and not (array >= check.least).all():
        return f"has {array.min():.6g}, {check.least:g} is the least"
    if check.most is not None and not (array <= check.most).all():
        return f"has {array.max():.6g}, {check.most:g} is the most"
    if check.sums is not None:
        sums = array.sum(axis=-1, dtype=np.float64)
        furthest = sums.flat[np.abs(sums - check.sums).argmax()]
        if not abs(furthest - check.sums) <= _SUM:
            return f"adds up to {furthest:.6g}, not {check.sums:g}"
    return ""


def check_declared(
    signature: Signature, checks: Sequence[Check], canary: Canary | None, key: str
) -> None:
    """Raises Conflict where the specialist *key* has no such tensors, or no numbers in them."""
    outputs = {spec.name: spec.datatype for spec in signature.outputs}
    for check in checks:
        datatype = _known("checks", check.output, outputs, key)
        if datatype in ("BYTES", "BF16"):
            raise Conflict(f"checks of {key} are of numbers, '{check.output}' is {datatype}")
    if canary is not None:
        if signature.decoupled:
            raise Conflict(f"the canary of {key} needs one answer a request: it is decoupled")
        for tensor in canary.outputs:
            _known("the canary", tensor.name, outputs, key)


def _known(where: str, name: str, outputs: dict[str, str], key: str) -> str:
    datatype = outputs.get(name)
    if datatype is None:
        raise Conflict(f"{where} of {key}: no output '{name}'; it has {', '.join(outputs)}")
    return datatype


async def try_canary(canary: Canary, codec: Codec, runner: Runner, timeout: float) -> None:
    """Runs *canary* as any request.

    Raises:
        InvalidAnswer: the answer is wrong.
        FabricError: there is none within *timeout* seconds, or it is no request for this model.
    """
    message = ModelInferRequest()
    for tensor in canary.inputs:
        message.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        message.raw_input_contents.append(to_raw(tensor.array, tensor.datatype))
    message.outputs.extend(
        ModelInferRequest.InferRequestedOutputTensor(name=tensor.name) for tensor in canary.outputs
    )
    job = _Trial(codec.decode(message.SerializeToString()), timeout)
    runner.submit(job)
    outputs = await job.answer
    for tensor in canary.outputs:
        if why := _differs(outputs[tensor.name], tensor.array, canary.tolerance):
            raise InvalidAnswer(f"the answer to the canary is wrong: output '{tensor.name}' {why}")


def _differs(given: NDArray[Any], expected: NDArray[Any], tolerance: float) -> str:
    if given.shape != expected.shape:
        return f"is of shape {list(given.shape)}, not {list(expected.shape)}"
    if given.dtype.kind not in "fiub" or given.dtype == DTYPES["BYTES"]:
        return "" if (_texts(given) == _texts(expected)) else "has other texts"
    wide = given.astype(np.float64), expected.astype(np.float64)
    if np.allclose(*wide, rtol=tolerance, atol=tolerance, equal_nan=True):
        return ""
    furthest = np.abs(wide[0] - wide[1]).argmax()
    return f"has {wide[0].flat[furthest]:.6g} where {wide[1].flat[furthest]:.6g} is right"


def _texts(array: NDArray[Any]) -> list[bytes]:
    return [each if isinstance(each, bytes) else str(each).encode() for each in array.flat]


class _Trial:
    """A job of nobody's but the replica's own."""

    is_gone = False
    size = 0

    def __init__(self, inputs: Inputs, timeout: float) -> None:
        self.inputs = inputs
        self.arrived = time.monotonic()
        self.expires = self.arrived + timeout
        self.answer: asyncio.Future[Tensors] = asyncio.get_running_loop().create_future()

    def done(self, outputs: Tensors, rows: int) -> bool:
        if not self.answer.done():
            self.answer.set_result(outputs)
        return True

    def fail(self, error: FabricError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)

    def on_gone(self, callback: Callable[[], None]) -> None:
        """Nobody leaves."""

"""The answers with which fallback chains end, for which nobody is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fabric.api.inference.v2.open_inference_pb2 import ModelInferResponse
from fabric.core.requests import InferResponse
from fabric.core.tensors import DTYPES
from fabric.dispatch.invoking import Given
from fabric.wire.heads import head_of
from fabric.wire.tensors import to_raw

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fabric.core.plans import Plan
    from fabric.core.requests import InferRequest
    from fabric.core.routes import ChainEntry, StaticTensor

STATIC = "static"


class Giving:
    """Says what routes say that is given."""

    def given(self, entry: ChainEntry, plan: Plan, request: InferRequest) -> Given | None:
        """The static answer of *entry*, of the outputs that *request* asks for."""
        if not entry.static:
            return None
        head = head_of(request.payload)
        wanted = {output.name for output in head.outputs} or {each.name for each in entry.static}
        response = ModelInferResponse(model_name=request.model, id=head.id)
        for each in entry.static:
            if each.name in wanted:
                response.outputs.add(name=each.name, datatype=each.datatype, shape=each.shape)
                response.raw_output_contents.append(to_raw(_array(each), each.datatype))
        return Given(InferResponse(response.SerializeToString(), ""), STATIC)


def _array(tensor: StaticTensor) -> NDArray[np.generic]:
    if tensor.texts:
        return np.array([text.encode() for text in tensor.texts], np.object_)
    numbers = np.array(tensor.numbers, np.float64)
    if tensor.datatype == "BF16":  # the upper half of a float32
        return (numbers.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return numbers.astype(DTYPES[tensor.datatype])

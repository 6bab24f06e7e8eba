"""The answers with which fallback chains end, for which nobody is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fabric.api.inference.v2.open_inference_pb2 import ModelInferResponse
from fabric.core.requests import InferResponse
from fabric.dispatch.invoking import Given
from fabric.wire.heads import head_of
from fabric.wire.tensors import to_raw

if TYPE_CHECKING:
    from fabric.core.plans import Plan
    from fabric.core.requests import InferRequest
    from fabric.core.routes import ChainEntry

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
                response.raw_output_contents.append(to_raw(each.array, each.datatype))
        return Given(InferResponse(response.SerializeToString(), ""), STATIC)

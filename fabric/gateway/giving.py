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
    from fabric.gateway.cache import Cache

STATIC = "static"


class Giving:
    """Gives what routes state, and what is in *cache*."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def given(self, entry: ChainEntry, plan: Plan, request: InferRequest) -> Given | None:
        """The static answer of *entry*, or one that is kept of a candidate of *plan*."""
        if entry.cached is None:
            return self._static(entry, request)
        for candidate in plan.candidates:
            card = candidate.card
            response = self._cache.stale(card, request, entry.cached)
            if response is not None:
                return Given(response, card.name, card.version)
        return None

    def _static(self, entry: ChainEntry, request: InferRequest) -> Given:
        """Of the outputs that *request* asks for."""
        head = head_of(request.payload)
        wanted = {output.name for output in head.outputs} or {each.name for each in entry.static}
        response = ModelInferResponse(model_name=request.model, id=head.id)
        for each in entry.static:
            if each.name in wanted:
                response.outputs.add(name=each.name, datatype=each.datatype, shape=each.shape)
                response.raw_output_contents.append(to_raw(each.array, each.datatype))
        return Given(InferResponse(response.SerializeToString(), ""), STATIC)

"""The Open Inference Protocol: decode, ask the dispatcher or the catalog, encode."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from google.protobuf.message import DecodeError, Message

import fabric
from fabric import telemetry
from fabric.api.inference.v2 import open_inference_pb2 as pb
from fabric.core.errors import InvalidRequest, NotFound, Unavailable
from fabric.core.requests import InferRequest
from fabric.gateway.grpc import Headers, Parts, deadline_of
from fabric.wire.parameters import asked, provenance

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fabric.core.cards import Card, Specialist
    from fabric.core.requests import Answer
    from fabric.core.tensors import TensorSpec
    from fabric.gateway.view import View

M = TypeVar("M", bound=Message)

_SERVER_NAME = "fabric"
_MOST_KEPT = 4096


def decoded(cls: type[M], payload: bytes) -> M:
    """Raises InvalidRequest unless *payload* is a message of *cls*."""
    try:
        return cls.FromString(payload)
    except DecodeError as error:
        raise InvalidRequest(f"the request is no {cls.DESCRIPTOR.full_name}") from error


class OpenInference:
    """The protocol's calls, each from a request message to the parts of a response message."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._provenance: dict[tuple[str, ...], bytes] = {}

    # ------------------------------------------------------------------ inference
    async def model_infer(self, payload: bytes, headers: Headers) -> Parts:
        """The specialist's own response with who gave it appended."""
        message = decoded(pb.ModelInferRequest, payload)
        timeout = traceparent = b""
        for name, value in headers:
            if name == b"grpc-timeout":
                timeout = value
            elif name == b"traceparent":
                traceparent = value
        request = InferRequest(message.model_name, message.model_version, payload)
        if message.parameters:
            request.requirements, request.substitute = asked(message.parameters)
        if traceparent:
            request.trace = telemetry.parse(traceparent.decode("latin-1"))
        deadline = deadline_of(timeout)
        if not telemetry.is_enabled():
            answer = await self._view.dispatcher.infer(request, deadline)
            return answer.response.payload, self._who(request.model, answer)
        names = {telemetry.MODEL: request.model}
        with telemetry.span(telemetry.GATEWAY_SPAN, request.trace, names, telemetry.SERVER) as span:
            request.trace = telemetry.pack(span) or request.trace
            answer = await self._view.dispatcher.infer(request, deadline)
            span.set_attribute(telemetry.ROUTE, answer.route)
            span.set_attribute(telemetry.SPECIALIST, answer.specialist)
            span.set_attribute(telemetry.FALLBACK, answer.fallback)
            span.set_attribute(telemetry.ATTEMPTS, len(answer.attempts) + 1)
            return answer.response.payload, self._who(request.model, answer)

    def _who(self, model: str, answer: Answer) -> bytes:
        """The encoded provenance; kept for the answers that came at the first attempt."""
        if answer.attempts:
            return provenance(model, answer)
        key = (model, answer.specialist, answer.version, answer.route, answer.response.replica)
        encoded = self._provenance.get(key)
        if encoded is None:
            if len(self._provenance) >= _MOST_KEPT:
                self._provenance.clear()
            encoded = self._provenance[key] = provenance(model, answer)
        return encoded

    # ------------------------------------------------------------------ queries
    async def server_live(self, payload: bytes, headers: Headers) -> Parts:
        return (pb.ServerLiveResponse(live=True).SerializeToString(),)

    async def server_ready(self, payload: bytes, headers: Headers) -> Parts:
        """True once the catalog has arrived; each model's readiness is its own."""
        return (pb.ServerReadyResponse(ready=self._view.is_ready).SerializeToString(),)

    async def server_metadata(self, payload: bytes, headers: Headers) -> Parts:
        message = pb.ServerMetadataResponse(name=_SERVER_NAME, version=fabric.__version__)
        return (message.SerializeToString(),)

    async def model_ready(self, payload: bytes, headers: Headers) -> Parts:
        request = decoded(pb.ModelReadyRequest, payload)
        ready = self._view.can_serve(request.name, request.version)
        return (pb.ModelReadyResponse(ready=ready).SerializeToString(),)

    async def model_metadata(self, payload: bytes, headers: Headers) -> Parts:
        request = decoded(pb.ModelMetadataRequest, payload)
        plan = self._view.planner.plan(request.name, request.version, None)
        cards = [candidate.card for candidate in plan.candidates]
        described = next((card for card in cards if card.signature is not None), None)
        if described is None:
            raise Unavailable(f"'{request.name}' is not ready: its signature is not known yet")
        return (self._metadata(request.name, plan.route, described).SerializeToString(),)

    def _metadata(self, name: str, route: str, card: Card) -> pb.ModelMetadataResponse:
        specialist = self._view.catalog.find(card.name, card.version)
        if specialist is None or card.signature is None:
            raise NotFound(f"Request for unknown model: '{name}' is not found")
        versions = () if route else [s.card.version for s in self._view.catalog.versions(name)]
        return pb.ModelMetadataResponse(
            name=name,
            versions=versions,
            platform=_platform(specialist),
            inputs=_tensors(card.signature.inputs),
            outputs=_tensors(card.signature.outputs),
        )


def _platform(specialist: Specialist) -> str:
    return "python" if specialist.hosting.python else "onnxruntime_onnx"


def _tensors(specs: Iterable[TensorSpec]) -> list[pb.ModelMetadataResponse.TensorMetadata]:
    return [
        pb.ModelMetadataResponse.TensorMetadata(
            name=spec.name, datatype=spec.datatype, shape=spec.shape
        )
        for spec in specs
    ]

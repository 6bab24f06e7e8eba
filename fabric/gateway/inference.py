"""Inference: the request to the dispatcher, its answer with who gave it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from fabric import telemetry
from fabric.core.requests import InferRequest
from fabric.gateway.grpc import ARRIVAL, SERVICE, all_before, deadline_of
from fabric.wire.heads import head_of
from fabric.wire.parameters import provenance, read_into

if TYPE_CHECKING:
    from fabric.core.requests import Answer
    from fabric.gateway.grpc import Handler, Parts, Scope
    from fabric.gateway.observing import Tracing
    from fabric.gateway.view import View

_MOST_KEPT = 4096


class Inference:
    """The protocol's calls for answers."""

    def __init__(self, view: View, tracing: Tracing) -> None:
        self._view = view
        self._tracing = tracing
        self._provenance: dict[tuple[str, ...], bytes] = {}

    def handlers(self) -> dict[str, Handler]:
        return {f"{SERVICE}ModelInfer": self.model_infer}

    async def model_infer(self, payload: bytes, scope: Scope) -> Parts:
        """The specialist's own response with who gave it appended."""
        message = head_of(payload)
        timeout = traceparent = b""
        for name, value in scope["headers"]:
            if name == b"grpc-timeout":
                timeout = value
            elif name == b"traceparent":
                traceparent = value
        request = InferRequest(message.model_name, message.model_version, payload)
        if message.parameters:
            read_into(request, message.parameters)
            if request.sequence:
                request.order, receive = scope[ARRIVAL]
                request.settled = partial(all_before, receive)
        if traceparent:
            request.trace = telemetry.parse(traceparent.decode("latin-1"))
        deadline = deadline_of(timeout)
        if not telemetry.is_enabled():
            answer = await self._view.dispatcher.infer(request, deadline)
            return answer.response.payload, self._who(request.model, answer)
        request.trace = self._tracing.context(request.model, request.trace)
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

"""Inference: the request to the dispatcher, its answer with who gave it."""

from __future__ import annotations

import re
from contextlib import aclosing, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from fabric import telemetry
from fabric.core.errors import InvalidRequest
from fabric.core.requests import InferRequest
from fabric.gateway.grpc import SERVICE, deadline_of, header
from fabric.gateway.lag import Lag
from fabric.wire.heads import Heads
from fabric.wire.parameters import given_again, provenance, read_into, remembered
from fabric.wire.reserved import WANTS_TYPED, is_typed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine, Iterator

    from opentelemetry.trace import Span

    from fabric.api.inference.v2.open_inference_pb2 import ModelInferRequest
    from fabric.core.deadlines import Deadline
    from fabric.core.requests import Answer
    from fabric.gateway.grpc import Handler, Parts, Scope
    from fabric.gateway.observing import Tracing
    from fabric.gateway.view import View

DIALECT = b"fabric-dialect"
"""The metadata that names the dialect of a call."""
_READ = frozenset((b"grpc-timeout", b"traceparent", b"fabric-tenant"))
_TENANT = re.compile(rb"[A-Za-z0-9._:@/-]{1,128}")
_MOST_KEPT = 4096


class Inference:
    """The protocol's calls for answers."""

    def __init__(self, view: View, tracing: Tracing, dialect: str) -> None:
        self._view = view
        self._tracing = tracing
        self._dialect = dialect
        self._lag = Lag()
        self._heads = Heads()
        self._provenance: dict[tuple[str, ...], bytes] = {}

    def handlers(self) -> dict[str, Handler]:
        return {f"{SERVICE}ModelInfer": self.model_infer}

    def model_infer(self, payload: bytes, scope: Scope) -> Coroutine[Any, Any, Parts]:
        """The specialist's own response with who gave it appended.

        Raises what is wrong with the request, and that it is refused, before it gives a coroutine.
        """
        deadline, trace, tenant = call_of(scope)
        deadline = self._lag.read(deadline)
        message = self._heads.of(payload)
        if not message.raw_input_contents and self._wants_typed(message, scope):
            payload += WANTS_TYPED
        request = request_of(message, payload, trace, tenant)
        if request.model in self._view.apart:
            if request.model not in self._view.deciding:
                return self._conducted(request, deadline)
            if not request.sequence:
                self._view.dispatcher.admit(request, deadline)
                return self._decided(request, deadline)
        if self._leaves_spans(request):
            return self._recorded(request, deadline)
        self._view.dispatcher.admit(request, deadline)
        return self._answered(request, deadline)

    async def _answered(self, request: InferRequest, deadline: Deadline) -> Parts:
        answer = await self._view.dispatcher.infer(request, deadline)
        return answer.response.payload, self._who(request.model, answer)

    async def _recorded(self, request: InferRequest, deadline: Deadline) -> Parts:
        with self._span(request) as span:
            self._view.dispatcher.admit(request, deadline)
            answer = await self._view.dispatcher.infer(request, deadline)
            _describe(span, answer)
        return answer.response.payload, self._who(request.model, answer)

    async def _decided(self, request: InferRequest, deadline: Deadline) -> Parts:
        if self._leaves_spans(request):
            with self._span(request) as span:
                answer = await self._view.decisions.infer(request, deadline)
                _describe(span, answer)
                span.set_attribute(telemetry.REQUEST, request.request)
        else:
            answer = await self._view.decisions.infer(request, deadline)
        return answer.response.payload, self._whose(request, answer)

    def _conducted(self, request: InferRequest, deadline: Deadline) -> Coroutine[Any, Any, Parts]:
        if self._leaves_spans(request):
            return self._conducted_and_recorded(request, deadline)
        return self._view.pipelines.infer(request, deadline)

    async def _conducted_and_recorded(self, request: InferRequest, deadline: Deadline) -> Parts:
        with self._span(request) as span:
            parts = await self._view.pipelines.infer(request, deadline)
            span.set_attribute(telemetry.REQUEST, request.request)
        return parts

    def _wants_typed(self, message: ModelInferRequest, scope: Scope) -> bool:
        """Servers of MLServer's dialect answer typed whom asks typed."""
        dialect = header(scope, DIALECT).decode("latin-1") or self._dialect
        return dialect == "mlserver" and is_typed(message)

    async def answers(
        self, request: InferRequest, deadline: Deadline
    ) -> AsyncGenerator[tuple[Answer, bytes], None]:
        """All answers to *request* as they come, each with who gave it, encoded."""
        if request.model in self._view.catalog.pipelines:
            async with aclosing(self._conducting(request, deadline)) as given:
                async for each in given:
                    yield each
            return
        is_decided = request.model in self._view.deciding and not request.sequence
        dispatcher = self._view.decisions if is_decided else self._view.dispatcher
        async with aclosing(dispatcher.stream(request, deadline)) as answers:
            if not self._leaves_spans(request):
                async for answer in answers:
                    yield answer, self._whose(request, answer)
                return
            with self._span(request) as span:
                async for answer in answers:
                    _describe(span, answer)
                    yield answer, self._whose(request, answer)

    async def _conducting(
        self, request: InferRequest, deadline: Deadline
    ) -> AsyncGenerator[tuple[Answer, bytes], None]:
        span = self._span(request) if self._leaves_spans(request) else nullcontext()
        with span:
            async with aclosing(self._view.pipelines.stream(request, deadline)) as given:
                async for each in given:
                    yield each

    def _leaves_spans(self, request: InferRequest) -> bool:
        """Whether *request* is recorded; if not, its context says so to all behind it."""
        if not telemetry.is_enabled():
            return False
        if self._tracing.takes(request.model, request.trace):
            return True
        request.trace = telemetry.unsampled(request.trace)
        return False

    @contextmanager
    def _span(self, request: InferRequest) -> Iterator[Span]:
        names = {telemetry.MODEL: request.model}
        with telemetry.span(telemetry.GATEWAY_SPAN, request.trace, names, telemetry.SERVER) as span:
            request.trace = telemetry.pack(span) or request.trace
            yield span

    def _whose(self, request: InferRequest, answer: Answer) -> bytes:
        who = self._who(request.model, answer)
        return who + remembered(request.request) if request.request else who

    def _who(self, model: str, answer: Answer) -> bytes:
        """The encoded provenance; kept for the answers of one, that came at the first attempt."""
        response = answer.response
        if answer.attempts or answer.confidence is not None or answer.mixture:
            encoded = provenance(model, answer)
        else:
            key = (model, answer.specialist, answer.version, answer.route, response.replica)
            kept = self._provenance.get(key)
            if kept is None:
                if len(self._provenance) >= _MOST_KEPT:
                    self._provenance.clear()
                kept = self._provenance[key] = provenance(model, answer)
            encoded = kept
        return encoded if response.reused is None else encoded + given_again(response.reused)


def call_of(scope: Scope) -> tuple[Deadline, bytes, str]:
    """The deadline and the trace context of a call, and the tenant who makes it.

    Raises:
        InvalidRequest: its timeout is none, or its tenant.
    """
    timeout = traceparent = tenant = b""
    for name, value in scope["headers"]:
        if name in _READ:
            if name == b"grpc-timeout":
                timeout = value
            elif name == b"traceparent":
                traceparent = value
            elif tenant:
                raise InvalidRequest("there are two headers fabric-tenant: send one")
            elif _TENANT.fullmatch(tenant := value) is None:
                raise InvalidRequest(
                    f"fabric-tenant is {value[:128].decode('latin-1')!r}, it must be 1 to 128 "
                    "letters, digits or '._:@/-'"
                )
    trace = telemetry.parse(traceparent.decode("latin-1")) if traceparent else b""
    return deadline_of(timeout), trace, tenant.decode() if tenant else ""


def request_of(
    message: ModelInferRequest, payload: bytes, trace: bytes, tenant: str
) -> InferRequest:
    """The request of *tenant* whose *payload* has the head *message*.

    Raises:
        InvalidRequest: a parameter is not one that can be asked for.
    """
    request = InferRequest(
        message.model_name, message.model_version, payload, trace=trace, tenant=tenant
    )
    if message.parameters:
        read_into(request, message.parameters)
    return request


def _describe(span: Span, answer: Answer) -> None:
    span.set_attribute(telemetry.ROUTE, answer.route)
    span.set_attribute(telemetry.SPECIALIST, answer.specialist)
    span.set_attribute(telemetry.FALLBACK, answer.fallback)
    span.set_attribute(telemetry.ATTEMPTS, len(answer.attempts) + 1)
    if answer.confidence is not None:
        span.set_attribute(telemetry.CONFIDENCE, answer.confidence)
    if answer.mixture:
        span.set_attribute(telemetry.MIXTURE, answer.mixture)

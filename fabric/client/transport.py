"""What both clients do the same around a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from fabric.core.errors import Code, FabricError, Unavailable
from fabric.wire.status import DETAILS_KEY, from_details

if TYPE_CHECKING:
    from collections.abc import Iterable

OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
"""Tensors are as large as they are; the gateway sets the limit."""

_propagator = TraceContextTextMapPropagator()


def trace_metadata() -> tuple[tuple[str, str], ...]:
    """The caller's span as W3C trace context; empty outside of one."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return tuple(carrier.items())


def error_of(server: str, error: Any) -> FabricError:
    """The error of fabric's tree behind an `RpcError` from *server*."""
    trailers: Iterable[tuple[str, Any]] = error.trailing_metadata() or ()
    details = next((value for key, value in trailers if key == DETAILS_KEY), None)
    code, message = error.code().value[0], error.details() or ""
    # All that fabric says has details. A stream to a control plane that dies is reset by Envoy.
    is_lost = code == Code.UNAVAILABLE or (code == Code.INTERNAL and "RST_STREAM" in message)
    if is_lost and details is None:
        return Unavailable(f"no fabric answers at {server}: {message}")
    return from_details(code, message, details)

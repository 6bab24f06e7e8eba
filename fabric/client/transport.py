"""What both clients do the same around a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from fabric.wire.status import from_rpc

if TYPE_CHECKING:
    from fabric.core.errors import FabricError

OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
"""Tensors are as large as they are; the gateway sets the limit."""

_propagator = TraceContextTextMapPropagator()


def metadata_of(tenant: str) -> tuple[tuple[str, str], ...]:
    """The caller's *tenant*, and its span as W3C trace context, as far as there are such."""
    carrier = {"fabric-tenant": tenant} if tenant else {}
    _propagator.inject(carrier)
    return tuple(carrier.items())


def error_of(server: str, error: Any) -> FabricError:
    """The error of fabric's tree behind an `RpcError` from *server*."""
    return from_rpc(error, f"no fabric answers at {server}")

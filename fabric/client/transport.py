"""What both clients do the same around a call."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import grpc
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from fabric.core.errors import DeadlineExceeded, InvalidRequest
from fabric.wire.status import from_rpc

if TYPE_CHECKING:
    from fabric.core.errors import FabricError

OPTIONS = (
    # Tensors are as large as they are; the gateway sets the limit.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A gateway that is started again is found soon, not after gRPC's one second, then two, ...
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)

_ADDRESS = re.compile(r"(?:(?:http|grpc)://)?((?:[^:/\[\]\s]+|\[[^\[\]/\s]+\]):\d{1,5})/?")
_TARGET = re.compile(r"(?:dns|ipv4|ipv6|unix):.")
"""gRPC's own way to name a server (https://grpc.github.io/grpc/core/md_doc_naming.html)."""

_propagator = TraceContextTextMapPropagator()


def target_of(server: str) -> str:
    """What gRPC connects to for *server*, `host:port`, also as a URL or a target of gRPC's.

    Raises:
        InvalidRequest: it is none of these.
    """
    if _TARGET.match(server):
        return server
    if (address := _ADDRESS.fullmatch(server)) is None:
        way_out = "; TLS takes the SDK's `credentials`" if "s://" in server else ""
        raise InvalidRequest(
            f"server is '{server}', it must read HOST:PORT, such as localhost:8080{way_out}"
        )
    return address[1]


def metadata_of(tenant: str) -> tuple[tuple[str, str], ...]:
    """The caller's *tenant*, and its span as W3C trace context, as far as there are such."""
    carrier = {"fabric-tenant": tenant} if tenant else {}
    _propagator.inject(carrier)
    return tuple(carrier.items())


def error_of(server: str, error: Any, timeout: float | None = None) -> FabricError:
    """The error of fabric's tree behind an `RpcError` from *server*, after *timeout* seconds."""
    is_late = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    if is_late and timeout and not error.trailing_metadata():
        return DeadlineExceeded(f"{server} has not answered within {timeout:g} s")
    return from_rpc(error, f"no fabric answers at {server}")

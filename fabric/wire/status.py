"""Errors to and from `google.rpc.Status`, and to HTTP: the one place that knows how they travel."""

from __future__ import annotations

import math
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from fabric.core.errors import Code, FabricError, Unavailable, error_of

DOMAIN = "fabric"
DETAILS_KEY = "grpc-status-details-bin"
"""The trailer that carries the serialised `google.rpc.Status` (gRPC's richer error model)."""

# Where Triton has the error, its HTTP status; else that of google/rpc/code.proto.
HTTP_STATUS = dict.fromkeys(Code, 400) | {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INTERNAL: 500,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
    Code.PERMISSION_DENIED: 403,
    Code.NOT_FOUND: 404,
    Code.ABORTED: 409,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
    Code.DEADLINE_EXCEEDED: 504,
}


def to_details(error: FabricError) -> bytes:
    """The serialised `google.rpc.Status` of *error*, for the trailer `DETAILS_KEY`."""
    status = Status(code=int(error.code), message=error.message)
    status.details.add().Pack(ErrorInfo(reason=error.reason, domain=DOMAIN))
    if error.retry_after:
        delay = Duration()
        delay.FromMilliseconds(math.ceil(1000 * error.retry_after))
        status.details.add().Pack(RetryInfo(retry_delay=delay))
    return bytes(status.SerializeToString())


def from_details(code: int, message: str, details: bytes | None) -> FabricError:
    """The error behind a gRPC status; *details* is the value of the trailer, if there was one."""
    reason, retry_after = "", 0.0
    if details:
        info, retry = ErrorInfo(), RetryInfo()
        try:
            for detail in Status.FromString(details).details:
                if detail.Unpack(info) and info.domain == DOMAIN:
                    reason = info.reason
                elif detail.Unpack(retry):
                    retry_after = retry.retry_delay.ToMilliseconds() / 1000
        except DecodeError:
            pass
    error = error_of(code, reason, message)
    if reason:
        error.retry_after = retry_after
    return error


def from_rpc(error: Any, away: str) -> FabricError:
    """The error behind an `RpcError` of gRPC's; one that begins with *away* if nobody was there."""
    trailers = error.trailing_metadata() or ()
    details = next((value for key, value in trailers if key == DETAILS_KEY), None)
    code, message = error.code().value[0], error.details() or ""
    if is_lost(error):
        return Unavailable(f"{away}: {message}")
    return from_details(code, message, details)


def is_lost(error: Any) -> bool:
    """Whether an `RpcError` of gRPC's is nobody's answer: the way there or back is broken."""
    code, message = error.code().value[0], error.details() or ""
    # All that fabric says has details. A stream whose server dies may be reset on the way.
    broken = code == Code.UNAVAILABLE or (code == Code.INTERNAL and "RST_STREAM" in message)
    return broken and not any(key == DETAILS_KEY for key, _ in error.trailing_metadata() or ())

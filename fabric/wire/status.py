"""Errors to and from `google.rpc.Status`: the one place that knows how they travel over gRPC."""

from __future__ import annotations

from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from fabric.core.errors import FabricError, error_of

DOMAIN = "fabric"
DETAILS_KEY = "grpc-status-details-bin"
"""The trailer that carries the serialised `google.rpc.Status` (gRPC's richer error model)."""


def to_details(error: FabricError) -> bytes:
    """The serialised `google.rpc.Status` of *error*, for the trailer `DETAILS_KEY`."""
    status = Status(code=int(error.code), message=error.message)
    status.details.add().Pack(ErrorInfo(reason=error.reason, domain=DOMAIN))
    return bytes(status.SerializeToString())


def from_details(code: int, message: str, details: bytes | None) -> FabricError:
    """The error behind a gRPC status; *details* is the value of the trailer, if there was one."""
    reason = ""
    if details:
        try:
            for detail in Status.FromString(details).details:
                info = ErrorInfo()
                if detail.Unpack(info) and info.domain == DOMAIN:
                    reason = info.reason
        except DecodeError:
            pass
    return error_of(code, reason, message)

"""The one tree of errors.

    FabricError
    ├── InvalidRequest        the caller sent something no candidate could answer
    ├── NotFound              no such specialist, version, route or replica
    ├── AlreadyExists         what was to be made is there already
    ├── Conflict              what was asked contradicts the state it meets
    ├── Unimplemented         asked of something that cannot do it
    ├── Unauthenticated       no or wrong credentials
    ├── Forbidden             asked by somebody who may not
    ├── Unavailable           nobody is there to answer now
    ├── Overloaded            somebody is there and has no room
    ├── DeadlineExceeded      time was up
    ├── Cancelled             the caller left
    ├── SequenceLost          the replica that had the sequence is gone, and its state with it
    ├── SpecialistFailed      the model ran and failed
    ├── InvalidAnswer         the model's answer is against the checks of its card
    └── Internal              a bug in fabric; the log has the rest under the id

Every error has a `code` with gRPC's meaning, a stable `reason` that travels in
`google.rpc.ErrorInfo`, and says whether another candidate could succeed where this one did not.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class Code(IntEnum):
    """gRPC's status codes, by number (https://grpc.io/docs/guides/status-codes)."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class FabricError(Exception):
    """The root; `message` names the thing that is wrong and the way out."""

    code: ClassVar[Code] = Code.UNKNOWN
    reason: ClassVar[str] = "UNKNOWN"
    substitutable: ClassVar[bool] = False
    """Whether another candidate, or another replica, could succeed where this one did not."""
    condition: ClassVar[str] = ""
    """What fallback chains call it, see `fabric.core.routes.FAILURES`; empty if nobody is tried."""
    begun: bool = False
    """Whether the model may have begun, so that who may not be asked twice is not asked again."""

    retry_after: float = 0.0
    """Seconds after which the same request may succeed; 0 where it will not for having waited."""

    def __init__(
        self, message: str, *, replica: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        if retry_after is not None:
            self.retry_after = retry_after
        self.replica = replica
        """The id of the replica that failed, so that the next try avoids it; empty if none did."""


class InvalidRequest(FabricError):
    code = Code.INVALID_ARGUMENT
    reason = "INVALID_REQUEST"


class NotFound(FabricError):
    code = Code.NOT_FOUND
    reason = "NOT_FOUND"


class AlreadyExists(FabricError):
    code = Code.ALREADY_EXISTS
    reason = "ALREADY_EXISTS"


class Conflict(FabricError):
    code = Code.FAILED_PRECONDITION
    reason = "CONFLICT"


class Unimplemented(FabricError):
    code = Code.UNIMPLEMENTED
    reason = "UNIMPLEMENTED"


class Unauthenticated(FabricError):
    code = Code.UNAUTHENTICATED
    reason = "UNAUTHENTICATED"


class Forbidden(FabricError):
    code = Code.PERMISSION_DENIED
    reason = "FORBIDDEN"


class Unavailable(FabricError):
    code = Code.UNAVAILABLE
    reason = "UNAVAILABLE"
    substitutable = True
    condition = "unavailable"
    retry_after = 1.0


class Overloaded(FabricError):
    code = Code.RESOURCE_EXHAUSTED
    reason = "OVERLOADED"
    substitutable = True
    condition = "overloaded"
    retry_after = 0.1


class DeadlineExceeded(FabricError):
    code = Code.DEADLINE_EXCEEDED
    reason = "DEADLINE_EXCEEDED"
    substitutable = True
    condition = "late"
    begun = True
    waited: float = 0.0
    """Seconds that were waited for whoever was asked."""


class Cancelled(FabricError):
    code = Code.CANCELLED
    reason = "CANCELLED"


class SequenceLost(FabricError):
    code = Code.ABORTED
    reason = "SEQUENCE_LOST"


class SpecialistFailed(FabricError):
    code = Code.INTERNAL
    reason = "SPECIALIST_FAILED"
    substitutable = True
    condition = "failed"
    begun = True


class InvalidAnswer(FabricError):
    code = Code.INTERNAL
    reason = "INVALID_ANSWER"
    substitutable = True
    condition = "invalid"
    begun = True


class Internal(FabricError):
    code = Code.INTERNAL
    reason = "INTERNAL"


_BY_REASON: dict[str, type[FabricError]] = {
    cls.reason: cls
    for cls in (
        InvalidRequest,
        NotFound,
        AlreadyExists,
        Conflict,
        Unimplemented,
        Unauthenticated,
        Forbidden,
        Unavailable,
        Overloaded,
        DeadlineExceeded,
        Cancelled,
        SequenceLost,
        SpecialistFailed,
        InvalidAnswer,
        Internal,
    )
}
_BY_CODE: dict[Code, type[FabricError]] = {
    cls.code: cls for cls in reversed(tuple(_BY_REASON.values()))
}


def error_of(code: int, reason: str, message: str) -> FabricError:
    """The error that another process described by *code*, *reason* and *message*.

    A reason that this version does not know falls back to the class of the code, and an unknown
    code to `FabricError`: an error never fails to travel.
    """
    cls = _BY_REASON.get(reason)
    if cls is None:
        cls = _BY_CODE.get(Code(code), FabricError) if code in set(Code) else FabricError
    return cls(message)

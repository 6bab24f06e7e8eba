from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Policy(_message.Message):
    __slots__ = ("route", "version", "data", "labels", "trained", "report", "lost", "note", "explored")
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    TRAINED_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    EXPLORED_FIELD_NUMBER: _ClassVar[int]
    route: str
    version: int
    data: bytes
    labels: int
    trained: str
    report: str
    lost: str
    note: str
    explored: bytes
    def __init__(self, route: _Optional[str] = ..., version: _Optional[int] = ..., data: _Optional[bytes] = ..., labels: _Optional[int] = ..., trained: _Optional[str] = ..., report: _Optional[str] = ..., lost: _Optional[str] = ..., note: _Optional[str] = ..., explored: _Optional[bytes] = ...) -> None: ...

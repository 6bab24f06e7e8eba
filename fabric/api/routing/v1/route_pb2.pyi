from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Requirements(_message.Message):
    __slots__ = ("task", "domain", "language", "modality", "owner", "labels")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TASK_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    MODALITY_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    task: str
    domain: str
    language: str
    modality: str
    owner: str
    labels: _containers.ScalarMap[str, str]
    def __init__(self, task: _Optional[str] = ..., domain: _Optional[str] = ..., language: _Optional[str] = ..., modality: _Optional[str] = ..., owner: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ChainEntry(_message.Message):
    __slots__ = ("name", "version", "weight")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    weight: float
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., weight: _Optional[float] = ...) -> None: ...

class Retry(_message.Message):
    __slots__ = ("attempts", "per_candidate")
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    PER_CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    attempts: int
    per_candidate: int
    def __init__(self, attempts: _Optional[int] = ..., per_candidate: _Optional[int] = ...) -> None: ...

class Route(_message.Message):
    __slots__ = ("name", "description", "requirements", "chain", "order", "retry", "timeout", "loaded")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    REQUIREMENTS_FIELD_NUMBER: _ClassVar[int]
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    LOADED_FIELD_NUMBER: _ClassVar[int]
    name: str
    description: str
    requirements: Requirements
    chain: _containers.RepeatedCompositeFieldContainer[ChainEntry]
    order: str
    retry: Retry
    timeout: float
    loaded: bool
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., requirements: _Optional[_Union[Requirements, _Mapping]] = ..., chain: _Optional[_Iterable[_Union[ChainEntry, _Mapping]]] = ..., order: _Optional[str] = ..., retry: _Optional[_Union[Retry, _Mapping]] = ..., timeout: _Optional[float] = ..., loaded: bool = ...) -> None: ...

from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StepRun(_message.Message):
    __slots__ = ("step", "item", "started", "seconds", "error", "who", "attempts", "fallback")
    STEP_FIELD_NUMBER: _ClassVar[int]
    ITEM_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    WHO_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    FALLBACK_FIELD_NUMBER: _ClassVar[int]
    step: str
    item: str
    started: float
    seconds: float
    error: str
    who: str
    attempts: int
    fallback: bool
    def __init__(self, step: _Optional[str] = ..., item: _Optional[str] = ..., started: _Optional[float] = ..., seconds: _Optional[float] = ..., error: _Optional[str] = ..., who: _Optional[str] = ..., attempts: _Optional[int] = ..., fallback: bool = ...) -> None: ...

class PipelineRun(_message.Message):
    __slots__ = ("request", "pipeline", "began", "seconds", "error", "steps")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    PIPELINE_FIELD_NUMBER: _ClassVar[int]
    BEGAN_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    request: str
    pipeline: str
    began: float
    seconds: float
    error: str
    steps: _containers.RepeatedCompositeFieldContainer[StepRun]
    def __init__(self, request: _Optional[str] = ..., pipeline: _Optional[str] = ..., began: _Optional[float] = ..., seconds: _Optional[float] = ..., error: _Optional[str] = ..., steps: _Optional[_Iterable[_Union[StepRun, _Mapping]]] = ...) -> None: ...

class GetRunRequest(_message.Message):
    __slots__ = ("request_id",)
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    def __init__(self, request_id: _Optional[str] = ...) -> None: ...

class GetRunResponse(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: PipelineRun
    def __init__(self, run: _Optional[_Union[PipelineRun, _Mapping]] = ...) -> None: ...

class StepProfile(_message.Message):
    __slots__ = ("step", "does", "runs", "failures", "mean", "p50", "p99", "share", "waiting")
    STEP_FIELD_NUMBER: _ClassVar[int]
    DOES_FIELD_NUMBER: _ClassVar[int]
    RUNS_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    MEAN_FIELD_NUMBER: _ClassVar[int]
    P50_FIELD_NUMBER: _ClassVar[int]
    P99_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    step: str
    does: str
    runs: int
    failures: int
    mean: float
    p50: float
    p99: float
    share: float
    waiting: float
    def __init__(self, step: _Optional[str] = ..., does: _Optional[str] = ..., runs: _Optional[int] = ..., failures: _Optional[int] = ..., mean: _Optional[float] = ..., p50: _Optional[float] = ..., p99: _Optional[float] = ..., share: _Optional[float] = ..., waiting: _Optional[float] = ...) -> None: ...

class Profile(_message.Message):
    __slots__ = ("pipeline", "runs", "failures", "mean", "p50", "p99", "steps", "advice")
    PIPELINE_FIELD_NUMBER: _ClassVar[int]
    RUNS_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    MEAN_FIELD_NUMBER: _ClassVar[int]
    P50_FIELD_NUMBER: _ClassVar[int]
    P99_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    ADVICE_FIELD_NUMBER: _ClassVar[int]
    pipeline: str
    runs: int
    failures: int
    mean: float
    p50: float
    p99: float
    steps: _containers.RepeatedCompositeFieldContainer[StepProfile]
    advice: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, pipeline: _Optional[str] = ..., runs: _Optional[int] = ..., failures: _Optional[int] = ..., mean: _Optional[float] = ..., p50: _Optional[float] = ..., p99: _Optional[float] = ..., steps: _Optional[_Iterable[_Union[StepProfile, _Mapping]]] = ..., advice: _Optional[_Iterable[str]] = ...) -> None: ...

class GetProfileRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetProfileResponse(_message.Message):
    __slots__ = ("profile",)
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    profile: Profile
    def __init__(self, profile: _Optional[_Union[Profile, _Mapping]] = ...) -> None: ...

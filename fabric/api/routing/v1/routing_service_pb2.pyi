from fabric.api.routing.v1 import learning_service_pb2 as _learning_service_pb2
from fabric.api.routing.v1 import route_pb2 as _route_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ExplainRequest(_message.Message):
    __slots__ = ("model", "version", "requirements", "request_id")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REQUIREMENTS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: str
    requirements: _route_pb2.Requirements
    request_id: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[str] = ..., requirements: _Optional[_Union[_route_pb2.Requirements, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class Candidate(_message.Message):
    __slots__ = ("specialist", "version", "reason", "replicas", "cost", "score", "parts")
    class PartsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    SPECIALIST_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    specialist: str
    version: str
    reason: str
    replicas: int
    cost: float
    score: float
    parts: _containers.ScalarMap[str, float]
    def __init__(self, specialist: _Optional[str] = ..., version: _Optional[str] = ..., reason: _Optional[str] = ..., replicas: _Optional[int] = ..., cost: _Optional[float] = ..., score: _Optional[float] = ..., parts: _Optional[_Mapping[str, float]] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("specialist", "version", "reason")
    SPECIALIST_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    specialist: str
    version: str
    reason: str
    def __init__(self, specialist: _Optional[str] = ..., version: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("model", "route", "candidates", "refusals", "revision", "weights", "decision", "outcomes", "feedback", "given")
    class WeightsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    REFUSALS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    FEEDBACK_FIELD_NUMBER: _ClassVar[int]
    GIVEN_FIELD_NUMBER: _ClassVar[int]
    model: str
    route: str
    candidates: _containers.RepeatedCompositeFieldContainer[Candidate]
    refusals: _containers.RepeatedCompositeFieldContainer[Refusal]
    revision: int
    weights: _containers.ScalarMap[str, float]
    decision: _learning_service_pb2.Decision
    outcomes: _containers.RepeatedCompositeFieldContainer[_learning_service_pb2.Outcome]
    feedback: _containers.RepeatedCompositeFieldContainer[_learning_service_pb2.Feedback]
    given: _containers.RepeatedCompositeFieldContainer[_route_pb2.ChainEntry]
    def __init__(self, model: _Optional[str] = ..., route: _Optional[str] = ..., candidates: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ..., refusals: _Optional[_Iterable[_Union[Refusal, _Mapping]]] = ..., revision: _Optional[int] = ..., weights: _Optional[_Mapping[str, float]] = ..., decision: _Optional[_Union[_learning_service_pb2.Decision, _Mapping]] = ..., outcomes: _Optional[_Iterable[_Union[_learning_service_pb2.Outcome, _Mapping]]] = ..., feedback: _Optional[_Iterable[_Union[_learning_service_pb2.Feedback, _Mapping]]] = ..., given: _Optional[_Iterable[_Union[_route_pb2.ChainEntry, _Mapping]]] = ...) -> None: ...

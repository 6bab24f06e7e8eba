from fabric.api.routing.v1 import learning_service_pb2 as _learning_service_pb2
from fabric.api.routing.v1 import route_pb2 as _route_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class HealthRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ReplicaHealth(_message.Message):
    __slots__ = ("id", "in_flight", "queued", "breaker", "why", "again", "answers", "p50", "p99", "failures")
    class FailuresEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    BREAKER_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    AGAIN_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    P50_FIELD_NUMBER: _ClassVar[int]
    P99_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    id: str
    in_flight: int
    queued: int
    breaker: str
    why: str
    again: float
    answers: int
    p50: float
    p99: float
    failures: _containers.ScalarMap[str, int]
    def __init__(self, id: _Optional[str] = ..., in_flight: _Optional[int] = ..., queued: _Optional[int] = ..., breaker: _Optional[str] = ..., why: _Optional[str] = ..., again: _Optional[float] = ..., answers: _Optional[int] = ..., p50: _Optional[float] = ..., p99: _Optional[float] = ..., failures: _Optional[_Mapping[str, int]] = ...) -> None: ...

class SpecialistHealth(_message.Message):
    __slots__ = ("name", "version", "in_flight", "limit", "budget", "breaker", "why", "answers", "p50", "p99", "failures", "replicas")
    class FailuresEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    BREAKER_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    P50_FIELD_NUMBER: _ClassVar[int]
    P99_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    in_flight: int
    limit: int
    budget: float
    breaker: str
    why: str
    answers: int
    p50: float
    p99: float
    failures: _containers.ScalarMap[str, int]
    replicas: _containers.RepeatedCompositeFieldContainer[ReplicaHealth]
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., in_flight: _Optional[int] = ..., limit: _Optional[int] = ..., budget: _Optional[float] = ..., breaker: _Optional[str] = ..., why: _Optional[str] = ..., answers: _Optional[int] = ..., p50: _Optional[float] = ..., p99: _Optional[float] = ..., failures: _Optional[_Mapping[str, int]] = ..., replicas: _Optional[_Iterable[_Union[ReplicaHealth, _Mapping]]] = ...) -> None: ...

class HealthResponse(_message.Message):
    __slots__ = ("specialists",)
    SPECIALISTS_FIELD_NUMBER: _ClassVar[int]
    specialists: _containers.RepeatedCompositeFieldContainer[SpecialistHealth]
    def __init__(self, specialists: _Optional[_Iterable[_Union[SpecialistHealth, _Mapping]]] = ...) -> None: ...

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

from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Query(_message.Message):
    __slots__ = ("task", "domain", "language", "text", "numbers")
    TASK_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    NUMBERS_FIELD_NUMBER: _ClassVar[int]
    task: str
    domain: str
    language: str
    text: str
    numbers: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, task: _Optional[str] = ..., domain: _Optional[str] = ..., language: _Optional[str] = ..., text: _Optional[str] = ..., numbers: _Optional[_Iterable[float]] = ...) -> None: ...

class Decision(_message.Message):
    __slots__ = ("request", "route", "time", "query", "candidates", "scores", "propensities", "policy", "kind", "shadow", "shadow_propensities")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    PROPENSITIES_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    SHADOW_PROPENSITIES_FIELD_NUMBER: _ClassVar[int]
    request: str
    route: str
    time: float
    query: Query
    candidates: _containers.RepeatedScalarFieldContainer[str]
    scores: _containers.RepeatedScalarFieldContainer[float]
    propensities: _containers.RepeatedScalarFieldContainer[float]
    policy: int
    kind: str
    shadow: str
    shadow_propensities: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, request: _Optional[str] = ..., route: _Optional[str] = ..., time: _Optional[float] = ..., query: _Optional[_Union[Query, _Mapping]] = ..., candidates: _Optional[_Iterable[str]] = ..., scores: _Optional[_Iterable[float]] = ..., propensities: _Optional[_Iterable[float]] = ..., policy: _Optional[int] = ..., kind: _Optional[str] = ..., shadow: _Optional[str] = ..., shadow_propensities: _Optional[_Iterable[float]] = ...) -> None: ...

class Outcome(_message.Message):
    __slots__ = ("request", "specialist", "seconds", "error", "cost", "confidence", "label", "is_shadow")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    SPECIALIST_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    IS_SHADOW_FIELD_NUMBER: _ClassVar[int]
    request: str
    specialist: str
    seconds: float
    error: str
    cost: float
    confidence: float
    label: str
    is_shadow: bool
    def __init__(self, request: _Optional[str] = ..., specialist: _Optional[str] = ..., seconds: _Optional[float] = ..., error: _Optional[str] = ..., cost: _Optional[float] = ..., confidence: _Optional[float] = ..., label: _Optional[str] = ..., is_shadow: bool = ...) -> None: ...

class Feedback(_message.Message):
    __slots__ = ("request", "specialist", "label", "score", "preferred", "id")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    SPECIALIST_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    PREFERRED_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    request: str
    specialist: str
    label: str
    score: float
    preferred: str
    id: str
    def __init__(self, request: _Optional[str] = ..., specialist: _Optional[str] = ..., label: _Optional[str] = ..., score: _Optional[float] = ..., preferred: _Optional[str] = ..., id: _Optional[str] = ...) -> None: ...

class RecordRequest(_message.Message):
    __slots__ = ("decisions", "outcomes")
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    decisions: _containers.RepeatedCompositeFieldContainer[Decision]
    outcomes: _containers.RepeatedCompositeFieldContainer[Outcome]
    def __init__(self, decisions: _Optional[_Iterable[_Union[Decision, _Mapping]]] = ..., outcomes: _Optional[_Iterable[_Union[Outcome, _Mapping]]] = ...) -> None: ...

class RecordResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SubmitFeedbackRequest(_message.Message):
    __slots__ = ("feedback",)
    FEEDBACK_FIELD_NUMBER: _ClassVar[int]
    feedback: _containers.RepeatedCompositeFieldContainer[Feedback]
    def __init__(self, feedback: _Optional[_Iterable[_Union[Feedback, _Mapping]]] = ...) -> None: ...

class SubmitFeedbackResponse(_message.Message):
    __slots__ = ("unmatched",)
    UNMATCHED_FIELD_NUMBER: _ClassVar[int]
    unmatched: int
    def __init__(self, unmatched: _Optional[int] = ...) -> None: ...

class ListDecisionsRequest(_message.Message):
    __slots__ = ("route", "request", "limit")
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    route: str
    request: str
    limit: int
    def __init__(self, route: _Optional[str] = ..., request: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class Record(_message.Message):
    __slots__ = ("decision", "outcomes", "feedback")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    FEEDBACK_FIELD_NUMBER: _ClassVar[int]
    decision: Decision
    outcomes: _containers.RepeatedCompositeFieldContainer[Outcome]
    feedback: _containers.RepeatedCompositeFieldContainer[Feedback]
    def __init__(self, decision: _Optional[_Union[Decision, _Mapping]] = ..., outcomes: _Optional[_Iterable[_Union[Outcome, _Mapping]]] = ..., feedback: _Optional[_Iterable[_Union[Feedback, _Mapping]]] = ...) -> None: ...

class ListDecisionsResponse(_message.Message):
    __slots__ = ("records",)
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[Record]
    def __init__(self, records: _Optional[_Iterable[_Union[Record, _Mapping]]] = ...) -> None: ...

class TrainRequest(_message.Message):
    __slots__ = ("route",)
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    route: str
    def __init__(self, route: _Optional[str] = ...) -> None: ...

class TrainResponse(_message.Message):
    __slots__ = ("version", "report")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    version: int
    report: str
    def __init__(self, version: _Optional[int] = ..., report: _Optional[str] = ...) -> None: ...

from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MinQuality(_message.Message):
    __slots__ = ("metric", "value")
    METRIC_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    metric: str
    value: float
    def __init__(self, metric: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...

class TensorNeed(_message.Message):
    __slots__ = ("name", "datatype", "shape")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DATATYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    name: str
    datatype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, name: _Optional[str] = ..., datatype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ...) -> None: ...

class Requirements(_message.Message):
    __slots__ = ("task", "domain", "language", "modality", "owner", "labels", "region", "data_classes", "versions", "max_cost", "max_latency", "min_quality", "inputs", "outputs", "expression")
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
    REGION_FIELD_NUMBER: _ClassVar[int]
    DATA_CLASSES_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    MAX_COST_FIELD_NUMBER: _ClassVar[int]
    MAX_LATENCY_FIELD_NUMBER: _ClassVar[int]
    MIN_QUALITY_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    EXPRESSION_FIELD_NUMBER: _ClassVar[int]
    task: str
    domain: str
    language: str
    modality: str
    owner: str
    labels: _containers.ScalarMap[str, str]
    region: str
    data_classes: _containers.RepeatedScalarFieldContainer[str]
    versions: _containers.RepeatedScalarFieldContainer[str]
    max_cost: float
    max_latency: float
    min_quality: MinQuality
    inputs: _containers.RepeatedCompositeFieldContainer[TensorNeed]
    outputs: _containers.RepeatedCompositeFieldContainer[TensorNeed]
    expression: str
    def __init__(self, task: _Optional[str] = ..., domain: _Optional[str] = ..., language: _Optional[str] = ..., modality: _Optional[str] = ..., owner: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., region: _Optional[str] = ..., data_classes: _Optional[_Iterable[str]] = ..., versions: _Optional[_Iterable[str]] = ..., max_cost: _Optional[float] = ..., max_latency: _Optional[float] = ..., min_quality: _Optional[_Union[MinQuality, _Mapping]] = ..., inputs: _Optional[_Iterable[_Union[TensorNeed, _Mapping]]] = ..., outputs: _Optional[_Iterable[_Union[TensorNeed, _Mapping]]] = ..., expression: _Optional[str] = ...) -> None: ...

class TensorValue(_message.Message):
    __slots__ = ("name", "datatype", "shape", "numbers", "texts")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DATATYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    NUMBERS_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    datatype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    numbers: _containers.RepeatedScalarFieldContainer[float]
    texts: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., datatype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., numbers: _Optional[_Iterable[float]] = ..., texts: _Optional[_Iterable[str]] = ...) -> None: ...

class ChainEntry(_message.Message):
    __slots__ = ("name", "version", "weight", "select", "cached", "static", "on", "share", "tries", "substitute")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    SELECT_FIELD_NUMBER: _ClassVar[int]
    CACHED_FIELD_NUMBER: _ClassVar[int]
    STATIC_FIELD_NUMBER: _ClassVar[int]
    ON_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    TRIES_FIELD_NUMBER: _ClassVar[int]
    SUBSTITUTE_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    weight: float
    select: Requirements
    cached: float
    static: _containers.RepeatedCompositeFieldContainer[TensorValue]
    on: _containers.RepeatedScalarFieldContainer[str]
    share: float
    tries: int
    substitute: bool
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., weight: _Optional[float] = ..., select: _Optional[_Union[Requirements, _Mapping]] = ..., cached: _Optional[float] = ..., static: _Optional[_Iterable[_Union[TensorValue, _Mapping]]] = ..., on: _Optional[_Iterable[str]] = ..., share: _Optional[float] = ..., tries: _Optional[int] = ..., substitute: bool = ...) -> None: ...

class Preferences(_message.Message):
    __slots__ = ("preset", "weights", "metric", "region")
    class WeightsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    PRESET_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    preset: str
    weights: _containers.ScalarMap[str, float]
    metric: str
    region: str
    def __init__(self, preset: _Optional[str] = ..., weights: _Optional[_Mapping[str, float]] = ..., metric: _Optional[str] = ..., region: _Optional[str] = ...) -> None: ...

class Content(_message.Message):
    __slots__ = ("input", "encoder", "encoder_input", "encoder_output")
    INPUT_FIELD_NUMBER: _ClassVar[int]
    ENCODER_FIELD_NUMBER: _ClassVar[int]
    ENCODER_INPUT_FIELD_NUMBER: _ClassVar[int]
    ENCODER_OUTPUT_FIELD_NUMBER: _ClassVar[int]
    input: str
    encoder: str
    encoder_input: str
    encoder_output: str
    def __init__(self, input: _Optional[str] = ..., encoder: _Optional[str] = ..., encoder_input: _Optional[str] = ..., encoder_output: _Optional[str] = ...) -> None: ...

class Learning(_message.Message):
    __slots__ = ("mode", "canary", "policy", "guard", "min_labels", "discount")
    MODE_FIELD_NUMBER: _ClassVar[int]
    CANARY_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    GUARD_FIELD_NUMBER: _ClassVar[int]
    MIN_LABELS_FIELD_NUMBER: _ClassVar[int]
    DISCOUNT_FIELD_NUMBER: _ClassVar[int]
    mode: str
    canary: float
    policy: int
    guard: bool
    min_labels: int
    discount: float
    def __init__(self, mode: _Optional[str] = ..., canary: _Optional[float] = ..., policy: _Optional[int] = ..., guard: bool = ..., min_labels: _Optional[int] = ..., discount: _Optional[float] = ...) -> None: ...

class Exploration(_message.Message):
    __slots__ = ("shadow", "share", "method", "discount")
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    DISCOUNT_FIELD_NUMBER: _ClassVar[int]
    shadow: float
    share: float
    method: str
    discount: float
    def __init__(self, shadow: _Optional[float] = ..., share: _Optional[float] = ..., method: _Optional[str] = ..., discount: _Optional[float] = ...) -> None: ...

class Calibration(_message.Message):
    __slots__ = ("specialist", "confidence", "accuracy")
    SPECIALIST_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_FIELD_NUMBER: _ClassVar[int]
    specialist: str
    confidence: _containers.RepeatedScalarFieldContainer[float]
    accuracy: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, specialist: _Optional[str] = ..., confidence: _Optional[_Iterable[float]] = ..., accuracy: _Optional[_Iterable[float]] = ...) -> None: ...

class Cascade(_message.Message):
    __slots__ = ("confidence", "output", "python", "threshold", "risk", "calibrations")
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    PYTHON_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    RISK_FIELD_NUMBER: _ClassVar[int]
    CALIBRATIONS_FIELD_NUMBER: _ClassVar[int]
    confidence: str
    output: str
    python: str
    threshold: float
    risk: float
    calibrations: _containers.RepeatedCompositeFieldContainer[Calibration]
    def __init__(self, confidence: _Optional[str] = ..., output: _Optional[str] = ..., python: _Optional[str] = ..., threshold: _Optional[float] = ..., risk: _Optional[float] = ..., calibrations: _Optional[_Iterable[_Union[Calibration, _Mapping]]] = ...) -> None: ...

class Mixture(_message.Message):
    __slots__ = ("top", "combine", "output")
    TOP_FIELD_NUMBER: _ClassVar[int]
    COMBINE_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    top: int
    combine: str
    output: str
    def __init__(self, top: _Optional[int] = ..., combine: _Optional[str] = ..., output: _Optional[str] = ...) -> None: ...

class Retry(_message.Message):
    __slots__ = ("attempts", "per_candidate", "budget", "backoff")
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    PER_CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    BACKOFF_FIELD_NUMBER: _ClassVar[int]
    attempts: int
    per_candidate: int
    budget: float
    backoff: float
    def __init__(self, attempts: _Optional[int] = ..., per_candidate: _Optional[int] = ..., budget: _Optional[float] = ..., backoff: _Optional[float] = ...) -> None: ...

class Hedging(_message.Message):
    __slots__ = ("quantile", "least")
    QUANTILE_FIELD_NUMBER: _ClassVar[int]
    LEAST_FIELD_NUMBER: _ClassVar[int]
    quantile: float
    least: float
    def __init__(self, quantile: _Optional[float] = ..., least: _Optional[float] = ...) -> None: ...

class Route(_message.Message):
    __slots__ = ("name", "description", "requirements", "chain", "order", "retry", "timeout", "loaded", "preferences", "content", "learning", "exploration", "cascade", "mixture", "hedging")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    REQUIREMENTS_FIELD_NUMBER: _ClassVar[int]
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    LOADED_FIELD_NUMBER: _ClassVar[int]
    PREFERENCES_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    LEARNING_FIELD_NUMBER: _ClassVar[int]
    EXPLORATION_FIELD_NUMBER: _ClassVar[int]
    CASCADE_FIELD_NUMBER: _ClassVar[int]
    MIXTURE_FIELD_NUMBER: _ClassVar[int]
    HEDGING_FIELD_NUMBER: _ClassVar[int]
    name: str
    description: str
    requirements: Requirements
    chain: _containers.RepeatedCompositeFieldContainer[ChainEntry]
    order: str
    retry: Retry
    timeout: float
    loaded: bool
    preferences: Preferences
    content: Content
    learning: Learning
    exploration: Exploration
    cascade: Cascade
    mixture: Mixture
    hedging: Hedging
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., requirements: _Optional[_Union[Requirements, _Mapping]] = ..., chain: _Optional[_Iterable[_Union[ChainEntry, _Mapping]]] = ..., order: _Optional[str] = ..., retry: _Optional[_Union[Retry, _Mapping]] = ..., timeout: _Optional[float] = ..., loaded: bool = ..., preferences: _Optional[_Union[Preferences, _Mapping]] = ..., content: _Optional[_Union[Content, _Mapping]] = ..., learning: _Optional[_Union[Learning, _Mapping]] = ..., exploration: _Optional[_Union[Exploration, _Mapping]] = ..., cascade: _Optional[_Union[Cascade, _Mapping]] = ..., mixture: _Optional[_Union[Mixture, _Mapping]] = ..., hedging: _Optional[_Union[Hedging, _Mapping]] = ...) -> None: ...

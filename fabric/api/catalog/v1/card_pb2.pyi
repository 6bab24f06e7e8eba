from fabric.api.routing.v1 import route_pb2 as _route_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TensorSpec(_message.Message):
    __slots__ = ("name", "datatype", "shape", "optional", "symbols")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DATATYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    OPTIONAL_FIELD_NUMBER: _ClassVar[int]
    SYMBOLS_FIELD_NUMBER: _ClassVar[int]
    name: str
    datatype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    optional: bool
    symbols: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., datatype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., optional: bool = ..., symbols: _Optional[_Iterable[str]] = ...) -> None: ...

class Signature(_message.Message):
    __slots__ = ("inputs", "outputs", "decoupled", "random")
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    DECOUPLED_FIELD_NUMBER: _ClassVar[int]
    RANDOM_FIELD_NUMBER: _ClassVar[int]
    inputs: _containers.RepeatedCompositeFieldContainer[TensorSpec]
    outputs: _containers.RepeatedCompositeFieldContainer[TensorSpec]
    decoupled: bool
    random: bool
    def __init__(self, inputs: _Optional[_Iterable[_Union[TensorSpec, _Mapping]]] = ..., outputs: _Optional[_Iterable[_Union[TensorSpec, _Mapping]]] = ..., decoupled: bool = ..., random: bool = ...) -> None: ...

class Evidence(_message.Message):
    __slots__ = ("metric", "value", "dataset", "domain", "rows", "measured")
    METRIC_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    MEASURED_FIELD_NUMBER: _ClassVar[int]
    metric: str
    value: float
    dataset: str
    domain: str
    rows: int
    measured: str
    def __init__(self, metric: _Optional[str] = ..., value: _Optional[float] = ..., dataset: _Optional[str] = ..., domain: _Optional[str] = ..., rows: _Optional[int] = ..., measured: _Optional[str] = ...) -> None: ...

class Caching(_message.Message):
    __slots__ = ("ttl",)
    TTL_FIELD_NUMBER: _ClassVar[int]
    ttl: float
    def __init__(self, ttl: _Optional[float] = ...) -> None: ...

class Check(_message.Message):
    __slots__ = ("output", "finite", "least", "most", "sums")
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    FINITE_FIELD_NUMBER: _ClassVar[int]
    LEAST_FIELD_NUMBER: _ClassVar[int]
    MOST_FIELD_NUMBER: _ClassVar[int]
    SUMS_FIELD_NUMBER: _ClassVar[int]
    output: str
    finite: bool
    least: float
    most: float
    sums: float
    def __init__(self, output: _Optional[str] = ..., finite: bool = ..., least: _Optional[float] = ..., most: _Optional[float] = ..., sums: _Optional[float] = ...) -> None: ...

class Card(_message.Message):
    __slots__ = ("name", "version", "description", "task", "domains", "languages", "modality", "owner", "labels", "cost", "evidence", "signature", "region", "data_classes", "examples", "cache", "checks")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    DOMAINS_FIELD_NUMBER: _ClassVar[int]
    LANGUAGES_FIELD_NUMBER: _ClassVar[int]
    MODALITY_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    DATA_CLASSES_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    CACHE_FIELD_NUMBER: _ClassVar[int]
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    description: str
    task: str
    domains: _containers.RepeatedScalarFieldContainer[str]
    languages: _containers.RepeatedScalarFieldContainer[str]
    modality: str
    owner: str
    labels: _containers.ScalarMap[str, str]
    cost: float
    evidence: _containers.RepeatedCompositeFieldContainer[Evidence]
    signature: Signature
    region: str
    data_classes: _containers.RepeatedScalarFieldContainer[str]
    examples: _containers.RepeatedScalarFieldContainer[str]
    cache: Caching
    checks: _containers.RepeatedCompositeFieldContainer[Check]
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., description: _Optional[str] = ..., task: _Optional[str] = ..., domains: _Optional[_Iterable[str]] = ..., languages: _Optional[_Iterable[str]] = ..., modality: _Optional[str] = ..., owner: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., cost: _Optional[float] = ..., evidence: _Optional[_Iterable[_Union[Evidence, _Mapping]]] = ..., signature: _Optional[_Union[Signature, _Mapping]] = ..., region: _Optional[str] = ..., data_classes: _Optional[_Iterable[str]] = ..., examples: _Optional[_Iterable[str]] = ..., cache: _Optional[_Union[Caching, _Mapping]] = ..., checks: _Optional[_Iterable[_Union[Check, _Mapping]]] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("uri", "sha256")
    URI_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    uri: str
    sha256: str
    def __init__(self, uri: _Optional[str] = ..., sha256: _Optional[str] = ...) -> None: ...

class Resources(_message.Message):
    __slots__ = ("cpus", "gpus", "memory")
    CPUS_FIELD_NUMBER: _ClassVar[int]
    GPUS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    cpus: float
    gpus: float
    memory: int
    def __init__(self, cpus: _Optional[float] = ..., gpus: _Optional[float] = ..., memory: _Optional[int] = ...) -> None: ...

class Replicas(_message.Message):
    __slots__ = ("min", "max", "target_load")
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    TARGET_LOAD_FIELD_NUMBER: _ClassVar[int]
    min: int
    max: int
    target_load: float
    def __init__(self, min: _Optional[int] = ..., max: _Optional[int] = ..., target_load: _Optional[float] = ...) -> None: ...

class Batching(_message.Message):
    __slots__ = ("max_size", "max_queue", "priorities", "default_priority", "max_queue_bytes", "queue_timeout")
    MAX_SIZE_FIELD_NUMBER: _ClassVar[int]
    MAX_QUEUE_FIELD_NUMBER: _ClassVar[int]
    PRIORITIES_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_PRIORITY_FIELD_NUMBER: _ClassVar[int]
    MAX_QUEUE_BYTES_FIELD_NUMBER: _ClassVar[int]
    QUEUE_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    max_size: int
    max_queue: int
    priorities: int
    default_priority: int
    max_queue_bytes: int
    queue_timeout: float
    def __init__(self, max_size: _Optional[int] = ..., max_queue: _Optional[int] = ..., priorities: _Optional[int] = ..., default_priority: _Optional[int] = ..., max_queue_bytes: _Optional[int] = ..., queue_timeout: _Optional[float] = ...) -> None: ...

class Concurrency(_message.Message):
    __slots__ = ("first", "least", "most", "tolerance")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LEAST_FIELD_NUMBER: _ClassVar[int]
    MOST_FIELD_NUMBER: _ClassVar[int]
    TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    first: int
    least: int
    most: int
    tolerance: float
    def __init__(self, first: _Optional[int] = ..., least: _Optional[int] = ..., most: _Optional[int] = ..., tolerance: _Optional[float] = ...) -> None: ...

class Breaking(_message.Message):
    __slots__ = ("consecutive", "failing", "least", "window", "slower", "margin", "first", "longest", "ejected", "panic")
    CONSECUTIVE_FIELD_NUMBER: _ClassVar[int]
    FAILING_FIELD_NUMBER: _ClassVar[int]
    LEAST_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    SLOWER_FIELD_NUMBER: _ClassVar[int]
    MARGIN_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LONGEST_FIELD_NUMBER: _ClassVar[int]
    EJECTED_FIELD_NUMBER: _ClassVar[int]
    PANIC_FIELD_NUMBER: _ClassVar[int]
    consecutive: int
    failing: float
    least: int
    window: float
    slower: float
    margin: float
    first: float
    longest: float
    ejected: float
    panic: float
    def __init__(self, consecutive: _Optional[int] = ..., failing: _Optional[float] = ..., least: _Optional[int] = ..., window: _Optional[float] = ..., slower: _Optional[float] = ..., margin: _Optional[float] = ..., first: _Optional[float] = ..., longest: _Optional[float] = ..., ejected: _Optional[float] = ..., panic: _Optional[float] = ...) -> None: ...

class OnnxRuntime(_message.Message):
    __slots__ = ("providers", "intra_op_threads", "inter_op_threads", "graph_optimization")
    PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    INTRA_OP_THREADS_FIELD_NUMBER: _ClassVar[int]
    INTER_OP_THREADS_FIELD_NUMBER: _ClassVar[int]
    GRAPH_OPTIMIZATION_FIELD_NUMBER: _ClassVar[int]
    providers: _containers.RepeatedScalarFieldContainer[str]
    intra_op_threads: int
    inter_op_threads: int
    graph_optimization: str
    def __init__(self, providers: _Optional[_Iterable[str]] = ..., intra_op_threads: _Optional[int] = ..., inter_op_threads: _Optional[int] = ..., graph_optimization: _Optional[str] = ...) -> None: ...

class Timeouts(_message.Message):
    __slots__ = ("request", "startup", "drain")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    STARTUP_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    request: float
    startup: float
    drain: float
    def __init__(self, request: _Optional[float] = ..., startup: _Optional[float] = ..., drain: _Optional[float] = ...) -> None: ...

class StateTensor(_message.Message):
    __slots__ = ("input", "output")
    INPUT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    input: str
    output: str
    def __init__(self, input: _Optional[str] = ..., output: _Optional[str] = ...) -> None: ...

class Control(_message.Message):
    __slots__ = ("input", "kind", "no", "yes")
    INPUT_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NO_FIELD_NUMBER: _ClassVar[int]
    YES_FIELD_NUMBER: _ClassVar[int]
    input: str
    kind: str
    no: float
    yes: float
    def __init__(self, input: _Optional[str] = ..., kind: _Optional[str] = ..., no: _Optional[float] = ..., yes: _Optional[float] = ...) -> None: ...

class Sequences(_message.Message):
    __slots__ = ("strategy", "max_sequences", "idle_timeout", "states", "controls")
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    MAX_SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    IDLE_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    CONTROLS_FIELD_NUMBER: _ClassVar[int]
    strategy: str
    max_sequences: int
    idle_timeout: float
    states: _containers.RepeatedCompositeFieldContainer[StateTensor]
    controls: _containers.RepeatedCompositeFieldContainer[Control]
    def __init__(self, strategy: _Optional[str] = ..., max_sequences: _Optional[int] = ..., idle_timeout: _Optional[float] = ..., states: _Optional[_Iterable[_Union[StateTensor, _Mapping]]] = ..., controls: _Optional[_Iterable[_Union[Control, _Mapping]]] = ...) -> None: ...

class Canary(_message.Message):
    __slots__ = ("inputs", "outputs", "tolerance", "every")
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    EVERY_FIELD_NUMBER: _ClassVar[int]
    inputs: _containers.RepeatedCompositeFieldContainer[_route_pb2.TensorValue]
    outputs: _containers.RepeatedCompositeFieldContainer[_route_pb2.TensorValue]
    tolerance: float
    every: float
    def __init__(self, inputs: _Optional[_Iterable[_Union[_route_pb2.TensorValue, _Mapping]]] = ..., outputs: _Optional[_Iterable[_Union[_route_pb2.TensorValue, _Mapping]]] = ..., tolerance: _Optional[float] = ..., every: _Optional[float] = ...) -> None: ...

class RuntimeEnv(_message.Message):
    __slots__ = ("pip", "env_vars", "working_dir")
    class EnvVarsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PIP_FIELD_NUMBER: _ClassVar[int]
    ENV_VARS_FIELD_NUMBER: _ClassVar[int]
    WORKING_DIR_FIELD_NUMBER: _ClassVar[int]
    pip: _containers.RepeatedScalarFieldContainer[str]
    env_vars: _containers.ScalarMap[str, str]
    working_dir: str
    def __init__(self, pip: _Optional[_Iterable[str]] = ..., env_vars: _Optional[_Mapping[str, str]] = ..., working_dir: _Optional[str] = ...) -> None: ...

class Hosting(_message.Message):
    __slots__ = ("model", "python", "arguments", "resources", "replicas", "batching", "onnxruntime", "timeouts", "sequences", "classes", "loaded", "canary", "concurrency", "breaker", "runtime_env")
    class ArgumentsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class ClassesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PYTHON_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    BATCHING_FIELD_NUMBER: _ClassVar[int]
    ONNXRUNTIME_FIELD_NUMBER: _ClassVar[int]
    TIMEOUTS_FIELD_NUMBER: _ClassVar[int]
    SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    LOADED_FIELD_NUMBER: _ClassVar[int]
    CANARY_FIELD_NUMBER: _ClassVar[int]
    CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
    BREAKER_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_ENV_FIELD_NUMBER: _ClassVar[int]
    model: Model
    python: str
    arguments: _containers.ScalarMap[str, str]
    resources: Resources
    replicas: Replicas
    batching: Batching
    onnxruntime: OnnxRuntime
    timeouts: Timeouts
    sequences: Sequences
    classes: _containers.ScalarMap[str, str]
    loaded: bool
    canary: Canary
    concurrency: Concurrency
    breaker: Breaking
    runtime_env: RuntimeEnv
    def __init__(self, model: _Optional[_Union[Model, _Mapping]] = ..., python: _Optional[str] = ..., arguments: _Optional[_Mapping[str, str]] = ..., resources: _Optional[_Union[Resources, _Mapping]] = ..., replicas: _Optional[_Union[Replicas, _Mapping]] = ..., batching: _Optional[_Union[Batching, _Mapping]] = ..., onnxruntime: _Optional[_Union[OnnxRuntime, _Mapping]] = ..., timeouts: _Optional[_Union[Timeouts, _Mapping]] = ..., sequences: _Optional[_Union[Sequences, _Mapping]] = ..., classes: _Optional[_Mapping[str, str]] = ..., loaded: bool = ..., canary: _Optional[_Union[Canary, _Mapping]] = ..., concurrency: _Optional[_Union[Concurrency, _Mapping]] = ..., breaker: _Optional[_Union[Breaking, _Mapping]] = ..., runtime_env: _Optional[_Union[RuntimeEnv, _Mapping]] = ...) -> None: ...

class Specialist(_message.Message):
    __slots__ = ("card", "hosting")
    CARD_FIELD_NUMBER: _ClassVar[int]
    HOSTING_FIELD_NUMBER: _ClassVar[int]
    card: Card
    hosting: Hosting
    def __init__(self, card: _Optional[_Union[Card, _Mapping]] = ..., hosting: _Optional[_Union[Hosting, _Mapping]] = ...) -> None: ...

class Status(_message.Message):
    __slots__ = ("state", "reason", "ready", "wanted", "failing")
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    WANTED_FIELD_NUMBER: _ClassVar[int]
    FAILING_FIELD_NUMBER: _ClassVar[int]
    state: str
    reason: str
    ready: int
    wanted: int
    failing: bool
    def __init__(self, state: _Optional[str] = ..., reason: _Optional[str] = ..., ready: _Optional[int] = ..., wanted: _Optional[int] = ..., failing: bool = ...) -> None: ...

class Load(_message.Message):
    __slots__ = ("running", "queued")
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    running: int
    queued: int
    def __init__(self, running: _Optional[int] = ..., queued: _Optional[int] = ...) -> None: ...

class Replica(_message.Message):
    __slots__ = ("id", "specialist", "version", "address", "pid", "node", "digest", "draining", "load", "why")
    ID_FIELD_NUMBER: _ClassVar[int]
    SPECIALIST_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    id: str
    specialist: str
    version: str
    address: str
    pid: int
    node: str
    digest: str
    draining: bool
    load: Load
    why: str
    def __init__(self, id: _Optional[str] = ..., specialist: _Optional[str] = ..., version: _Optional[str] = ..., address: _Optional[str] = ..., pid: _Optional[int] = ..., node: _Optional[str] = ..., digest: _Optional[str] = ..., draining: bool = ..., load: _Optional[_Union[Load, _Mapping]] = ..., why: _Optional[str] = ...) -> None: ...

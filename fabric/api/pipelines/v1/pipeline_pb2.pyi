from fabric.api.routing.v1 import route_pb2 as _route_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Argument(_message.Message):
    __slots__ = ("truth", "whole", "number", "text", "list")
    TRUTH_FIELD_NUMBER: _ClassVar[int]
    WHOLE_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    LIST_FIELD_NUMBER: _ClassVar[int]
    truth: bool
    whole: int
    number: float
    text: str
    list: ArgumentList
    def __init__(self, truth: bool = ..., whole: _Optional[int] = ..., number: _Optional[float] = ..., text: _Optional[str] = ..., list: _Optional[_Union[ArgumentList, _Mapping]] = ...) -> None: ...

class ArgumentList(_message.Message):
    __slots__ = ("arguments",)
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    arguments: _containers.RepeatedCompositeFieldContainer[Argument]
    def __init__(self, arguments: _Optional[_Iterable[_Union[Argument, _Mapping]]] = ...) -> None: ...

class Source(_message.Message):
    __slots__ = ("values", "is_list")
    VALUES_FIELD_NUMBER: _ClassVar[int]
    IS_LIST_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[str]
    is_list: bool
    def __init__(self, values: _Optional[_Iterable[str]] = ..., is_list: bool = ...) -> None: ...

class Body(_message.Message):
    __slots__ = ("steps", "outputs")
    class OutputsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    STEPS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    steps: _containers.RepeatedCompositeFieldContainer[Step]
    outputs: _containers.ScalarMap[str, str]
    def __init__(self, steps: _Optional[_Iterable[_Union[Step, _Mapping]]] = ..., outputs: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Branch(_message.Message):
    __slots__ = ("on", "cases", "otherwise")
    class CasesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Body
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Body, _Mapping]] = ...) -> None: ...
    ON_FIELD_NUMBER: _ClassVar[int]
    CASES_FIELD_NUMBER: _ClassVar[int]
    OTHERWISE_FIELD_NUMBER: _ClassVar[int]
    on: str
    cases: _containers.MessageMap[str, Body]
    otherwise: Body
    def __init__(self, on: _Optional[str] = ..., cases: _Optional[_Mapping[str, Body]] = ..., otherwise: _Optional[_Union[Body, _Mapping]] = ...) -> None: ...

class Each(_message.Message):
    __slots__ = ("over", "body", "parallel", "batch")
    class OverEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    OVER_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    PARALLEL_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    over: _containers.ScalarMap[str, str]
    body: Body
    parallel: int
    batch: bool
    def __init__(self, over: _Optional[_Mapping[str, str]] = ..., body: _Optional[_Union[Body, _Mapping]] = ..., parallel: _Optional[int] = ..., batch: bool = ...) -> None: ...

class Loop(_message.Message):
    __slots__ = ("state", "body", "until", "most")
    class StateEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    STATE_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    MOST_FIELD_NUMBER: _ClassVar[int]
    state: _containers.ScalarMap[str, str]
    body: Body
    until: str
    most: int
    def __init__(self, state: _Optional[_Mapping[str, str]] = ..., body: _Optional[_Union[Body, _Mapping]] = ..., until: _Optional[str] = ..., most: _Optional[int] = ...) -> None: ...

class First(_message.Message):
    __slots__ = ("bodies", "sure")
    BODIES_FIELD_NUMBER: _ClassVar[int]
    SURE_FIELD_NUMBER: _ClassVar[int]
    bodies: _containers.RepeatedCompositeFieldContainer[Body]
    sure: str
    def __init__(self, bodies: _Optional[_Iterable[_Union[Body, _Mapping]]] = ..., sure: _Optional[str] = ...) -> None: ...

class Step(_message.Message):
    __slots__ = ("name", "call", "operation", "constant", "branch", "each", "loop", "first", "inputs", "arguments", "requirements", "fallback", "tries", "timeout", "share", "cache", "when", "optional")
    class InputsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Source
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Source, _Mapping]] = ...) -> None: ...
    class ArgumentsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Argument
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Argument, _Mapping]] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    CALL_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    CONSTANT_FIELD_NUMBER: _ClassVar[int]
    BRANCH_FIELD_NUMBER: _ClassVar[int]
    EACH_FIELD_NUMBER: _ClassVar[int]
    LOOP_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    REQUIREMENTS_FIELD_NUMBER: _ClassVar[int]
    FALLBACK_FIELD_NUMBER: _ClassVar[int]
    TRIES_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    CACHE_FIELD_NUMBER: _ClassVar[int]
    WHEN_FIELD_NUMBER: _ClassVar[int]
    OPTIONAL_FIELD_NUMBER: _ClassVar[int]
    name: str
    call: str
    operation: str
    constant: _route_pb2.TensorValue
    branch: Branch
    each: Each
    loop: Loop
    first: First
    inputs: _containers.MessageMap[str, Source]
    arguments: _containers.MessageMap[str, Argument]
    requirements: _route_pb2.Requirements
    fallback: _containers.RepeatedScalarFieldContainer[str]
    tries: int
    timeout: float
    share: float
    cache: float
    when: str
    optional: bool
    def __init__(self, name: _Optional[str] = ..., call: _Optional[str] = ..., operation: _Optional[str] = ..., constant: _Optional[_Union[_route_pb2.TensorValue, _Mapping]] = ..., branch: _Optional[_Union[Branch, _Mapping]] = ..., each: _Optional[_Union[Each, _Mapping]] = ..., loop: _Optional[_Union[Loop, _Mapping]] = ..., first: _Optional[_Union[First, _Mapping]] = ..., inputs: _Optional[_Mapping[str, Source]] = ..., arguments: _Optional[_Mapping[str, Argument]] = ..., requirements: _Optional[_Union[_route_pb2.Requirements, _Mapping]] = ..., fallback: _Optional[_Iterable[str]] = ..., tries: _Optional[int] = ..., timeout: _Optional[float] = ..., share: _Optional[float] = ..., cache: _Optional[float] = ..., when: _Optional[str] = ..., optional: bool = ...) -> None: ...

class PipelineInput(_message.Message):
    __slots__ = ("name", "datatype", "shape", "optional")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DATATYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    OPTIONAL_FIELD_NUMBER: _ClassVar[int]
    name: str
    datatype: str
    shape: _containers.RepeatedScalarFieldContainer[str]
    optional: bool
    def __init__(self, name: _Optional[str] = ..., datatype: _Optional[str] = ..., shape: _Optional[_Iterable[str]] = ..., optional: bool = ...) -> None: ...

class PipelineOutput(_message.Message):
    __slots__ = ("name", "source", "optional")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    OPTIONAL_FIELD_NUMBER: _ClassVar[int]
    name: str
    source: str
    optional: bool
    def __init__(self, name: _Optional[str] = ..., source: _Optional[str] = ..., optional: bool = ...) -> None: ...

class Pipeline(_message.Message):
    __slots__ = ("name", "description", "inputs", "steps", "outputs", "timeout", "parallel", "max_bytes", "streams", "loaded")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    PARALLEL_FIELD_NUMBER: _ClassVar[int]
    MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    LOADED_FIELD_NUMBER: _ClassVar[int]
    name: str
    description: str
    inputs: _containers.RepeatedCompositeFieldContainer[PipelineInput]
    steps: _containers.RepeatedCompositeFieldContainer[Step]
    outputs: _containers.RepeatedCompositeFieldContainer[PipelineOutput]
    timeout: float
    parallel: int
    max_bytes: int
    streams: bool
    loaded: bool
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., inputs: _Optional[_Iterable[_Union[PipelineInput, _Mapping]]] = ..., steps: _Optional[_Iterable[_Union[Step, _Mapping]]] = ..., outputs: _Optional[_Iterable[_Union[PipelineOutput, _Mapping]]] = ..., timeout: _Optional[float] = ..., parallel: _Optional[int] = ..., max_bytes: _Optional[int] = ..., streams: bool = ..., loaded: bool = ...) -> None: ...

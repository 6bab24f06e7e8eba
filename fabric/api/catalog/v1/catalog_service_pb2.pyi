import datetime

from fabric.api.catalog.v1 import card_pb2 as _card_pb2
from fabric.api.pipelines.v1 import pipeline_pb2 as _pipeline_pb2
from fabric.api.routing.v1 import policy_pb2 as _policy_pb2
from fabric.api.routing.v1 import route_pb2 as _route_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KIND_UNSPECIFIED: _ClassVar[Kind]
    KIND_SPECIALIST: _ClassVar[Kind]
    KIND_ROUTE: _ClassVar[Kind]
    KIND_REPLICA: _ClassVar[Kind]
    KIND_POLICY: _ClassVar[Kind]
    KIND_PIPELINE: _ClassVar[Kind]
KIND_UNSPECIFIED: Kind
KIND_SPECIALIST: Kind
KIND_ROUTE: Kind
KIND_REPLICA: Kind
KIND_POLICY: Kind
KIND_PIPELINE: Kind

class Resource(_message.Message):
    __slots__ = ("specialist", "route", "replica", "policy", "pipeline", "status")
    SPECIALIST_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    PIPELINE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    specialist: _card_pb2.Specialist
    route: _route_pb2.Route
    replica: _card_pb2.Replica
    policy: _policy_pb2.Policy
    pipeline: _pipeline_pb2.Pipeline
    status: _card_pb2.Status
    def __init__(self, specialist: _Optional[_Union[_card_pb2.Specialist, _Mapping]] = ..., route: _Optional[_Union[_route_pb2.Route, _Mapping]] = ..., replica: _Optional[_Union[_card_pb2.Replica, _Mapping]] = ..., policy: _Optional[_Union[_policy_pb2.Policy, _Mapping]] = ..., pipeline: _Optional[_Union[_pipeline_pb2.Pipeline, _Mapping]] = ..., status: _Optional[_Union[_card_pb2.Status, _Mapping]] = ...) -> None: ...

class Key(_message.Message):
    __slots__ = ("kind", "name")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    kind: Kind
    name: str
    def __init__(self, kind: _Optional[_Union[Kind, str]] = ..., name: _Optional[str] = ...) -> None: ...

class ApplyRequest(_message.Message):
    __slots__ = ("specialists", "routes", "prune", "dry_run", "pipelines")
    SPECIALISTS_FIELD_NUMBER: _ClassVar[int]
    ROUTES_FIELD_NUMBER: _ClassVar[int]
    PRUNE_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    PIPELINES_FIELD_NUMBER: _ClassVar[int]
    specialists: _containers.RepeatedCompositeFieldContainer[_card_pb2.Specialist]
    routes: _containers.RepeatedCompositeFieldContainer[_route_pb2.Route]
    prune: bool
    dry_run: bool
    pipelines: _containers.RepeatedCompositeFieldContainer[_pipeline_pb2.Pipeline]
    def __init__(self, specialists: _Optional[_Iterable[_Union[_card_pb2.Specialist, _Mapping]]] = ..., routes: _Optional[_Iterable[_Union[_route_pb2.Route, _Mapping]]] = ..., prune: bool = ..., dry_run: bool = ..., pipelines: _Optional[_Iterable[_Union[_pipeline_pb2.Pipeline, _Mapping]]] = ...) -> None: ...

class Change(_message.Message):
    __slots__ = ("key", "action", "fields")
    class Action(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ACTION_UNSPECIFIED: _ClassVar[Change.Action]
        ACTION_NONE: _ClassVar[Change.Action]
        ACTION_CREATE: _ClassVar[Change.Action]
        ACTION_UPDATE: _ClassVar[Change.Action]
        ACTION_REPLACE: _ClassVar[Change.Action]
        ACTION_DELETE: _ClassVar[Change.Action]
    ACTION_UNSPECIFIED: Change.Action
    ACTION_NONE: Change.Action
    ACTION_CREATE: Change.Action
    ACTION_UPDATE: Change.Action
    ACTION_REPLACE: Change.Action
    ACTION_DELETE: Change.Action
    KEY_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    key: Key
    action: Change.Action
    fields: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, key: _Optional[_Union[Key, _Mapping]] = ..., action: _Optional[_Union[Change.Action, str]] = ..., fields: _Optional[_Iterable[str]] = ...) -> None: ...

class ApplyResponse(_message.Message):
    __slots__ = ("changes", "revision")
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    changes: _containers.RepeatedCompositeFieldContainer[Change]
    revision: int
    def __init__(self, changes: _Optional[_Iterable[_Union[Change, _Mapping]]] = ..., revision: _Optional[int] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: Key
    def __init__(self, key: _Optional[_Union[Key, _Mapping]] = ...) -> None: ...

class GetResponse(_message.Message):
    __slots__ = ("resource",)
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    resource: Resource
    def __init__(self, resource: _Optional[_Union[Resource, _Mapping]] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ("kind",)
    KIND_FIELD_NUMBER: _ClassVar[int]
    kind: Kind
    def __init__(self, kind: _Optional[_Union[Kind, str]] = ...) -> None: ...

class ListResponse(_message.Message):
    __slots__ = ("resources", "revision")
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    resources: _containers.RepeatedCompositeFieldContainer[Resource]
    revision: int
    def __init__(self, resources: _Optional[_Iterable[_Union[Resource, _Mapping]]] = ..., revision: _Optional[int] = ...) -> None: ...

class DeleteRequest(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: Key
    def __init__(self, key: _Optional[_Union[Key, _Mapping]] = ...) -> None: ...

class DeleteResponse(_message.Message):
    __slots__ = ("changes", "revision")
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    changes: _containers.RepeatedCompositeFieldContainer[Change]
    revision: int
    def __init__(self, changes: _Optional[_Iterable[_Union[Change, _Mapping]]] = ..., revision: _Optional[int] = ...) -> None: ...

class LoadRequest(_message.Message):
    __slots__ = ("name", "config", "models")
    class ModelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    name: str
    config: str
    models: _containers.ScalarMap[str, bytes]
    def __init__(self, name: _Optional[str] = ..., config: _Optional[str] = ..., models: _Optional[_Mapping[str, bytes]] = ...) -> None: ...

class LoadResponse(_message.Message):
    __slots__ = ("specialists", "revision")
    SPECIALISTS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    specialists: _containers.RepeatedScalarFieldContainer[str]
    revision: int
    def __init__(self, specialists: _Optional[_Iterable[str]] = ..., revision: _Optional[int] = ...) -> None: ...

class UnloadRequest(_message.Message):
    __slots__ = ("name", "dependents")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DEPENDENTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    dependents: bool
    def __init__(self, name: _Optional[str] = ..., dependents: bool = ...) -> None: ...

class UnloadResponse(_message.Message):
    __slots__ = ("revision",)
    REVISION_FIELD_NUMBER: _ClassVar[int]
    revision: int
    def __init__(self, revision: _Optional[int] = ...) -> None: ...

class RegisterRequest(_message.Message):
    __slots__ = ("replica", "signature")
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    replica: _card_pb2.Replica
    signature: _card_pb2.Signature
    def __init__(self, replica: _Optional[_Union[_card_pb2.Replica, _Mapping]] = ..., signature: _Optional[_Union[_card_pb2.Signature, _Mapping]] = ...) -> None: ...

class RegisterResponse(_message.Message):
    __slots__ = ("lease",)
    LEASE_FIELD_NUMBER: _ClassVar[int]
    lease: _duration_pb2.Duration
    def __init__(self, lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class RenewRequest(_message.Message):
    __slots__ = ("replica_id", "load")
    REPLICA_ID_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    replica_id: str
    load: _card_pb2.Load
    def __init__(self, replica_id: _Optional[str] = ..., load: _Optional[_Union[_card_pb2.Load, _Mapping]] = ...) -> None: ...

class RenewResponse(_message.Message):
    __slots__ = ("lease",)
    LEASE_FIELD_NUMBER: _ClassVar[int]
    lease: _duration_pb2.Duration
    def __init__(self, lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class WithdrawRequest(_message.Message):
    __slots__ = ("replica_id", "draining", "why")
    REPLICA_ID_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    replica_id: str
    draining: bool
    why: str
    def __init__(self, replica_id: _Optional[str] = ..., draining: bool = ..., why: _Optional[str] = ...) -> None: ...

class WithdrawResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("after_revision",)
    AFTER_REVISION_FIELD_NUMBER: _ClassVar[int]
    after_revision: int
    def __init__(self, after_revision: _Optional[int] = ...) -> None: ...

class WatchResponse(_message.Message):
    __slots__ = ("revision", "snapshot", "upserted", "removed")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    UPSERTED_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    revision: int
    snapshot: bool
    upserted: _containers.RepeatedCompositeFieldContainer[Resource]
    removed: _containers.RepeatedCompositeFieldContainer[Key]
    def __init__(self, revision: _Optional[int] = ..., snapshot: bool = ..., upserted: _Optional[_Iterable[_Union[Resource, _Mapping]]] = ..., removed: _Optional[_Iterable[_Union[Key, _Mapping]]] = ...) -> None: ...

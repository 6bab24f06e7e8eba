"""What the gateway's port serves, as descriptors under the names that clients call it by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from fabric.api.catalog.v1 import catalog_service_pb2
from fabric.api.inference.v2 import open_inference_service_pb2
from fabric.api.routing.v1 import learning_service_pb2, routing_service_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf.descriptor import FileDescriptor
    from google.protobuf.descriptor_pb2 import DescriptorProto

SERVICES = (
    "inference.GRPCInferenceService",
    "fabric.api.catalog.v1.CatalogService",
    "fabric.api.routing.v1.LearningService",
    "fabric.api.routing.v1.RoutingService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
)
_PUBLIC = {"fabric.api.inference.v2": "inference"}
"""The protocol's messages and service are ours under another package."""
_NEWER = {"grpc.reflection.v1alpha": "grpc.reflection.v1"}
"""The same messages and service, by the name that it has today."""


def described() -> DescriptorPool:
    """A pool of its own with all of `SERVICES`."""
    pool = DescriptorPool()
    seen: set[str] = set()
    _add(pool, open_inference_service_pb2.DESCRIPTOR, seen, _PUBLIC)
    _add(pool, catalog_service_pb2.DESCRIPTOR, seen)
    _add(pool, learning_service_pb2.DESCRIPTOR, seen)
    _add(pool, routing_service_pb2.DESCRIPTOR, seen)
    _add(pool, reflection_pb2.DESCRIPTOR, seen)
    _add(pool, reflection_pb2.DESCRIPTOR, seen, _NEWER)
    health = FileDescriptorProto()
    health_pb2.DESCRIPTOR.CopyToProto(health)
    pool.Add(_with_list(health))
    return pool


def _add(
    pool: DescriptorPool,
    file: FileDescriptor,
    seen: set[str],
    renamed: Mapping[str, str] | None = None,
) -> None:
    """Adds *file* and what it imports, with its packages *renamed*."""
    proto = FileDescriptorProto()
    file.CopyToProto(proto)
    for old, new in (renamed or {}).items():
        _rename(proto, old, new)
    if proto.name in seen:
        return
    seen.add(proto.name)
    for dependency in file.dependencies:
        _add(pool, dependency, seen, renamed)
    pool.Add(proto)


def _rename(file: FileDescriptorProto, old: str, new: str) -> None:
    folders = old.replace(".", "/") + "/", new.replace(".", "/") + "/"

    def of_type(name: str) -> str:
        return f".{new}.{name.removeprefix(f'.{old}.')}" if name.startswith(f".{old}.") else name

    def in_message(message: DescriptorProto) -> None:
        for field in message.field:
            if field.type_name:
                field.type_name = of_type(field.type_name)
        for nested in message.nested_type:
            in_message(nested)

    if file.package == old:
        file.package = new
    if not file.name.startswith(folders[0]) and file.package == new:
        file.name = folders[1] + file.name.rpartition("/")[2]
    file.name = file.name.replace(*folders)
    for place, dependency in enumerate(file.dependency):
        file.dependency[place] = dependency.replace(*folders)
    for message in file.message_type:
        in_message(message)
    for service in file.service:
        for method in service.method:
            method.input_type = of_type(method.input_type)
            method.output_type = of_type(method.output_type)


def _with_list(health: FileDescriptorProto) -> FileDescriptorProto:
    """The health service with the call that its generated code does not know yet
    (https://github.com/grpc/grpc-proto/blob/master/grpc/health/v1/health.proto)."""
    if any(message.name == "HealthListRequest" for message in health.message_type):
        return health
    package = f".{health.package}."
    health.message_type.add(name="HealthListRequest")
    listed = health.message_type.add(name="HealthListResponse")
    statuses = f"{package}HealthListResponse.StatusesEntry"
    listed.field.add(name="statuses", number=1, type=11, label=3, type_name=statuses)
    entry = listed.nested_type.add(name="StatusesEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=9, label=1)
    value = f"{package}HealthCheckResponse"
    entry.field.add(name="value", number=2, type=11, label=1, type_name=value)
    (service,) = health.service
    service.method.add(
        name="List",
        input_type=f"{package}HealthListRequest",
        output_type=f"{package}HealthListResponse",
    )
    return health

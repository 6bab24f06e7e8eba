"""Changes of a catalog to and from the messages of `CatalogService`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fabric.api.catalog.v1 import card_pb2
from fabric.api.catalog.v1 import catalog_service_pb2 as pb
from fabric.api.pipelines.v1 import pipeline_pb2
from fabric.api.routing.v1 import policy_pb2, route_pb2
from fabric.core.cards import Specialist
from fabric.core.changes import Changes, Hosted, Key, Kind, Resource
from fabric.core.pipelines import Pipeline
from fabric.core.policies import Policy
from fabric.core.replicas import Replica, Status
from fabric.core.routes import Route
from fabric.wire.cards import from_message, to_message

if TYPE_CHECKING:
    from collections.abc import Iterable

_KINDS = {
    Kind.SPECIALIST: pb.KIND_SPECIALIST,
    Kind.ROUTE: pb.KIND_ROUTE,
    Kind.REPLICA: pb.KIND_REPLICA,
    Kind.POLICY: pb.KIND_POLICY,
    Kind.PIPELINE: pb.KIND_PIPELINE,
}
_BY_NUMBER = {number: kind for kind, number in _KINDS.items()}


def to_key(key: Key) -> pb.Key:
    return pb.Key(kind=_KINDS[key.kind], name=key.name)


def from_key(message: pb.Key) -> Key:
    """Raises ValueError when no kind is said."""
    if message.kind not in _BY_NUMBER:
        listed = ", ".join(pb.Kind.Name(number) for number in _BY_NUMBER)
        raise ValueError(f"the key names no kind: use one of {listed}")
    return Key(_BY_NUMBER[message.kind], message.name)


def to_resource(resource: Resource) -> pb.Resource:
    if isinstance(resource, Hosted):
        return pb.Resource(
            specialist=to_message(resource.specialist, card_pb2.Specialist),
            status=to_message(resource.status, card_pb2.Status),
        )
    if isinstance(resource, Route):
        return pb.Resource(route=to_message(resource, route_pb2.Route))
    if isinstance(resource, Policy):
        return pb.Resource(policy=to_message(resource, policy_pb2.Policy))
    if isinstance(resource, Pipeline):
        return pb.Resource(pipeline=to_message(resource, pipeline_pb2.Pipeline))
    return pb.Resource(replica=to_message(resource, card_pb2.Replica))


def from_resource(message: pb.Resource) -> Resource:
    """Raises ValueError when the message holds no resource, or one that is not valid."""
    which = message.WhichOneof("resource")
    if which == "specialist":
        specialist = from_message(message.specialist, Specialist)
        return Hosted(specialist, from_message(message.status, Status))
    if which == "route":
        return from_message(message.route, Route)
    if which == "replica":
        return from_message(message.replica, Replica)
    if which == "policy":
        return from_message(message.policy, Policy)
    if which == "pipeline":
        return from_message(message.pipeline, Pipeline)
    raise ValueError("the resource is empty")


def to_watch(changes: Changes) -> pb.WatchResponse:
    resources: Iterable[Resource] = (
        *changes.specialists,
        *changes.routes,
        *changes.replicas,
        *changes.policies,
        *changes.pipelines,
    )
    return pb.WatchResponse(
        revision=changes.revision,
        snapshot=changes.snapshot,
        upserted=map(to_resource, resources),
        removed=map(to_key, changes.removed),
    )


def from_watch(message: pb.WatchResponse) -> Changes:
    """Raises ValueError when a resource or key in it is not valid."""
    resources = [from_resource(resource) for resource in message.upserted]
    return Changes(
        revision=message.revision,
        snapshot=message.snapshot,
        specialists=tuple(r for r in resources if isinstance(r, Hosted)),
        routes=tuple(r for r in resources if isinstance(r, Route)),
        replicas=tuple(r for r in resources if isinstance(r, Replica)),
        policies=tuple(r for r in resources if isinstance(r, Policy)),
        pipelines=tuple(r for r in resources if isinstance(r, Pipeline)),
        removed=tuple(from_key(key) for key in message.removed),
    )

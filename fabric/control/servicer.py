"""`CatalogService` and `LearningService`: decode, call, encode."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.duration_pb2 import Duration

from fabric.api.catalog.v1 import catalog_service_pb2 as pb
from fabric.api.catalog.v1.catalog_service_pb2_grpc import CatalogServiceServicer
from fabric.api.routing.v1 import learning_service_pb2 as learning_pb
from fabric.api.routing.v1.learning_service_pb2_grpc import LearningServiceServicer
from fabric.catalog.declaring import Action
from fabric.catalog.loading import loaded, unloaded
from fabric.control.checks import check_feedback, check_recorded, limit_of
from fabric.core.cards import Specialist
from fabric.core.changes import Key, Kind
from fabric.core.errors import InvalidRequest, NotFound, Unavailable
from fabric.core.pipelines import Pipeline
from fabric.core.policies import Policy
from fabric.core.replicas import Load, Replica
from fabric.core.routes import Route
from fabric.core.tensors import Signature
from fabric.routing.expressions import compiled
from fabric.wire.cards import from_message
from fabric.wire.changes import from_key, to_key, to_resource, to_watch
from fabric.wire.model_config import overridden

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    import grpc
    from google.protobuf.message import Message

    from fabric.catalog.declaring import Change
    from fabric.control.controller import Controller
    from fabric.control.records import Records
    from fabric.control.training import Training
    from fabric.control.uploads import Uploads
    from fabric.core.cards import Model
    from fabric.core.changes import Resource

T = TypeVar("T")

_ACTIONS = {
    Action.NONE: pb.Change.ACTION_NONE,
    Action.CREATE: pb.Change.ACTION_CREATE,
    Action.UPDATE: pb.Change.ACTION_UPDATE,
    Action.REPLACE: pb.Change.ACTION_REPLACE,
    Action.DELETE: pb.Change.ACTION_DELETE,
}


class CatalogServicer(CatalogServiceServicer):
    """What the comments of `catalog_service.proto` promise."""

    def __init__(self, controller: Controller, uploads: Uploads, training: Training) -> None:
        self._controller = controller
        self._uploads = uploads
        self._training = training
        self._uploading = asyncio.Lock()
        """Held from the keeping of files until they are declared, so that nobody clears them."""

    async def Apply(self, request: pb.ApplyRequest, _context: Any) -> pb.ApplyResponse:
        outcome = await self._controller.apply(
            [_read(each, Specialist) for each in request.specialists],
            [_checked(_read(each, Route)) for each in request.routes],
            [_read(each, Pipeline) for each in request.pipelines],
            prune=request.prune,
            dry_run=request.dry_run,
        )
        return pb.ApplyResponse(changes=_changes(outcome.changes), revision=outcome.revision)

    async def Get(self, request: pb.GetRequest, _context: Any) -> pb.GetResponse:
        key = _key(request.key)
        try:
            found = self._controller.get(key)
        except NotFound as error:
            if key.kind is Kind.POLICY and (note := self._training.note(key.name)):
                raise NotFound(f"{error.message}: {note}") from None
            raise
        return pb.GetResponse(resource=to_resource(self._training.noted(found)))

    async def List(self, request: pb.ListRequest, _context: Any) -> pb.ListResponse:
        kind = _key(pb.Key(kind=request.kind)).kind
        listed = (_listed(self._training.noted(each)) for each in self._controller.all(kind))
        resources = map(to_resource, listed)
        return pb.ListResponse(resources=resources, revision=self._controller.catalog.revision)

    async def Delete(self, request: pb.DeleteRequest, _context: Any) -> pb.DeleteResponse:
        outcome = await self._controller.delete(_key(request.key))
        return pb.DeleteResponse(changes=_changes(outcome.changes), revision=outcome.revision)

    async def Load(self, request: pb.LoadRequest, _context: Any) -> pb.LoadResponse:
        def overriding(specialist: Specialist | None, model: Model | None) -> Specialist:
            return overridden(specialist, request.name, request.config, model)

        override = overriding if request.config else None
        async with self._uploading:
            kept = {
                version: await asyncio.to_thread(self._uploads.keep, content)
                for version, content in request.models.items()
            }
            outcome = await self._controller.change(
                lambda declared: loaded(declared, request.name, override, kept)
            )
            needed = [s.hosting.model for s in self._controller.hosted if s.hosting.model]
            await asyncio.to_thread(self._uploads.clear, needed)
        keys = [c.key.name for c in outcome.changes if c.key.kind is Kind.SPECIALIST]
        return pb.LoadResponse(specialists=keys, revision=outcome.revision)

    async def Unload(self, request: pb.UnloadRequest, _context: Any) -> pb.UnloadResponse:
        outcome = await self._controller.change(
            lambda declared: unloaded(declared, request.name, request.dependents)
        )
        return pb.UnloadResponse(revision=outcome.revision)

    async def Register(self, request: pb.RegisterRequest, _context: Any) -> pb.RegisterResponse:
        signature = _read(request.signature, Signature) if request.HasField("signature") else None
        lease = await self._controller.register(_read(request.replica, Replica), signature)
        return pb.RegisterResponse(lease=_duration(lease))

    async def Renew(
        self, requests: AsyncIterator[pb.RenewRequest], context: grpc.aio.ServicerContext
    ) -> None:
        renewed: set[str] = set()
        try:
            async for request in requests:
                load = _read(request.load, Load)
                lease = self._controller.renew(request.replica_id, load, context)
                renewed.add(request.replica_id)
                await context.write(pb.RenewResponse(lease=_duration(lease)))
        finally:
            for replica_id in renewed:
                self._controller.lost(replica_id, context)

    async def Withdraw(self, request: pb.WithdrawRequest, _context: Any) -> pb.WithdrawResponse:
        await self._controller.withdraw(request.replica_id, request.draining, request.why)
        return pb.WithdrawResponse()

    async def Watch(self, request: pb.WatchRequest, context: grpc.aio.ServicerContext) -> None:
        async for changes in self._controller.feed.watch(request.after_revision):
            await context.write(to_watch(changes))
        raise Unavailable("the control plane is stopping: watch again")


class LearningServicer(LearningServiceServicer):
    """What the comments of `learning_service.proto` promise."""

    def __init__(self, controller: Controller, records: Records, training: Training) -> None:
        self._controller = controller
        self._records = records
        self._training = training

    async def Record(
        self, request: learning_pb.RecordRequest, _context: Any
    ) -> learning_pb.RecordResponse:
        check_recorded(request)
        await self._records.record(request.decisions, request.outcomes)
        return learning_pb.RecordResponse()

    async def SubmitFeedback(
        self, request: learning_pb.SubmitFeedbackRequest, _context: Any
    ) -> learning_pb.SubmitFeedbackResponse:
        check_feedback(request)
        unmatched = await self._records.submit(request.feedback)
        self._training.look()
        return learning_pb.SubmitFeedbackResponse(unmatched=unmatched)

    async def ListDecisions(
        self, request: learning_pb.ListDecisionsRequest, _context: Any
    ) -> learning_pb.ListDecisionsResponse:
        if request.route:
            self._controller.get(Key(Kind.ROUTE, request.route))
        limit = limit_of(request)
        found = await self._records.latest(request.route, request.request, limit)
        if request.request and not found:
            raise NotFound(
                f"nothing is known of request {request.request!r}: its route records nothing, or "
                "has had too many since"
            )
        return learning_pb.ListDecisionsResponse(records=found)

    async def Train(
        self, request: learning_pb.TrainRequest, _context: Any
    ) -> learning_pb.TrainResponse:
        self._controller.get(Key(Kind.ROUTE, request.route))
        trained = await self._training.train(request.route)
        return learning_pb.TrainResponse(version=trained.version, report=trained.report)


def _read(message: Message, cls: type[T]) -> T:
    try:
        return from_message(message, cls)
    except (ValueError, TypeError) as error:
        name = getattr(getattr(message, "card", message), "name", "")
        subject = f"{cls.__name__.lower()} {name!r}" if name else cls.__name__.lower()
        raise InvalidRequest(f"{subject}: {error}") from error


def _checked(route: Route) -> Route:
    for wanted in (route.requirements, *(entry.select for entry in route.chain if entry.select)):
        if not wanted.expression:
            continue
        try:
            compiled(wanted.expression)
        except InvalidRequest as error:
            raise InvalidRequest(f"route {route.name!r}: {error.message}") from None
    return route


def _key(message: pb.Key) -> Key:
    try:
        return from_key(message)
    except ValueError as error:
        raise InvalidRequest(str(error)) from error


def _listed(resource: Resource) -> Resource:
    """*resource* without what may be large."""
    if isinstance(resource, Policy):
        return replace(resource, data=b"", explored=b"")
    return resource


def _changes(changes: Iterable[Change]) -> list[pb.Change]:
    return [
        pb.Change(key=to_key(change.key), action=_ACTIONS[change.action], fields=change.fields)
        for change in changes
    ]


def _duration(seconds: float) -> Duration:
    return Duration(seconds=int(seconds), nanos=int(seconds % 1 * 1e9))

"""The protocol's model repository: what there is, loaded and unloaded through the control plane."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Any

import grpc.aio

from fabric.api.catalog.v1 import catalog_service_pb2 as catalog
from fabric.api.inference.v2 import extensions_pb2 as pb
from fabric.core.deadlines import NEVER
from fabric.core.errors import (
    DeadlineExceeded,
    InvalidRequest,
    SpecialistFailed,
    Unavailable,
    Unimplemented,
)
from fabric.core.replicas import State
from fabric.gateway.grpc import SERVICE, deadline_of, decoded, header
from fabric.gateway.mirror import AWAY
from fabric.wire.status import from_rpc

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fabric.api.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
    from fabric.core.cards import Specialist
    from fabric.core.deadlines import Deadline
    from fabric.gateway.grpc import Handler, Parts, Scope
    from fabric.gateway.view import View

_FILE = re.compile(r"file:([A-Za-z0-9._-]{1,64})/[^/]+\.onnx")
_KINDS = ("a text", "bytes")
_MARGIN = 10.0
"""Seconds beyond the time that a replica has for its start."""
_STATES = {State.PENDING: "LOADING", State.READY: "READY", State.DEGRADED: "READY"}


class Repository:
    """Specialists, routes and pipelines as the models of a repository."""

    def __init__(self, view: View, stub: CatalogServiceStub) -> None:
        self._view = view
        self._stub: Any = stub

    def handlers(self) -> dict[str, Handler]:
        return {
            f"{SERVICE}RepositoryIndex": self.index,
            f"{SERVICE}RepositoryModelLoad": self.load,
            f"{SERVICE}RepositoryModelUnload": self.unload,
        }

    async def index(self, payload: bytes, scope: Scope) -> Parts:
        """All versions of all specialists, and the routes and pipelines, which have none."""
        request = decoded(pb.RepositoryIndexRequest, payload)
        if request.repository_name:
            raise Unimplemented("'repository_name' specification is not supported")
        self._view.check_ready()
        models = [model for model in self._models() if not request.ready or model.state == "READY"]
        return (pb.RepositoryIndexResponse(models=models).SerializeToString(),)

    def _models(self) -> Iterator[pb.RepositoryIndexResponse.ModelIndex]:
        held = self._view.catalog
        for key, specialist in sorted(held.specialists.items()):
            status = held.statuses[key]
            state = _STATES.get(status.state, "UNAVAILABLE")
            if state == "READY" and not self._view.pool.count(key):
                state = "LOADING"
            yield pb.RepositoryIndexResponse.ModelIndex(
                name=specialist.card.name,
                version=specialist.card.version,
                state=state,
                reason=status.reason if state != "READY" else "",
            )
        for name, route in sorted(held.routes.items()):
            ready = self._view.can_serve(name, "")
            yield pb.RepositoryIndexResponse.ModelIndex(
                name=name,
                state="READY" if ready else "UNAVAILABLE",
                reason="" if ready else "no candidate is ready" if route.loaded else "unloaded",
            )
        for name, pipeline in sorted(held.pipelines.items()):
            reason = self._view.why_not(name)
            yield pb.RepositoryIndexResponse.ModelIndex(
                name=name,
                state="UNAVAILABLE" if reason else "READY",
                reason=reason if pipeline.loaded else "unloaded",
            )

    async def load(self, payload: bytes, scope: Scope) -> Parts:
        """Answers when the model can be asked, or has failed to start."""
        request = decoded(pb.RepositoryModelLoadRequest, payload)
        name = self._name(request)
        asked = catalog.LoadRequest(name=name)
        _read_parameters(asked, request.parameters)
        deadline = deadline_of(header(scope, b"grpc-timeout"))
        response = await self._call(self._stub.Load, asked, deadline)
        await self._loaded(name, response, deadline)
        done = pb.RepositoryModelLoadResponse(model_name=name, isLoaded=True)
        return (done.SerializeToString(),)

    async def unload(self, payload: bytes, scope: Scope) -> Parts:
        """Answers when this gateway sends the model no requests any more; it drains meanwhile."""
        request = decoded(pb.RepositoryModelUnloadRequest, payload)
        name = self._name(request)
        dependents = False
        for parameter, value in request.parameters.items():
            if parameter != "unload_dependents" or not value.HasField("bool_param"):
                raise InvalidRequest(
                    f"unknown parameter '{parameter}' of unloading: the one there is, is "
                    "'unload_dependents', a bool"
                )
            dependents = value.bool_param
        deadline = deadline_of(header(scope, b"grpc-timeout"))
        asked = catalog.UnloadRequest(name=name, dependents=dependents)
        response = await self._call(self._stub.Unload, asked, deadline)
        while self._view.catalog.revision < response.revision:
            await self._change(deadline, "the gateway has not heard of it yet")
        done = pb.RepositoryModelUnloadResponse(model_name=name, isUnloaded=True)
        return (done.SerializeToString(),)

    def _name(
        self, request: pb.RepositoryModelLoadRequest | pb.RepositoryModelUnloadRequest
    ) -> str:
        """The model; KServe's clients have it in the field that others have the repository in."""
        if not request.model_name:
            if not request.repository_name:
                raise InvalidRequest("the request names no model: set 'model_name'")
            return request.repository_name
        if request.repository_name:
            raise Unimplemented("'repository_name' specification is not supported")
        return request.model_name

    async def _call(self, call: Any, message: Any, deadline: Deadline) -> Any:
        """Raises what the control plane answers, Unavailable when it is away."""
        left = None if deadline is NEVER else max(0.0, deadline.remaining(time.monotonic()))
        try:
            return await call(message, timeout=left)
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error, AWAY) from error

    async def _loaded(self, name: str, response: catalog.LoadResponse, deadline: Deadline) -> None:
        """Returns once all that was loaded can be asked.

        Raises:
            SpecialistFailed: a replica cannot start.
            InvalidRequest: it is a pipeline, and what it calls does not fit together.
            DeadlineExceeded: it takes longer than it may.
        """
        held = self._view.catalog
        while held.revision < response.revision:
            await self._change(deadline, "the gateway has not heard of it yet")
        waited = [held.specialists[key] for key in response.specialists if key in held.specialists]
        waited = [specialist for specialist in waited if specialist.hosting.loaded]
        longest = max((s.hosting.timeouts.startup for s in waited), default=0.0) + _MARGIN
        deadline = deadline.within(longest, time.monotonic())
        while missing := [each for each in waited if not self._is_ready(name, each)]:
            reason = held.statuses[missing[0].key].reason or "no replica is ready yet"
            await self._change(deadline, reason)
        if name in held.pipelines:
            self._view.prepared(name)

    def _is_ready(self, name: str, specialist: Specialist) -> bool:
        status = self._view.catalog.statuses.get(specialist.key)
        if status is None:
            raise Unavailable(f"failed to load '{name}': {specialist.key} was taken out meanwhile")
        if status.failing or status.state is State.FAILED:
            raise SpecialistFailed(f"failed to load '{name}': {specialist.key}: {status.reason}")
        is_ready = status.state in (State.READY, State.UNLOADED)
        return is_ready and (status.wanted == 0 or self._view.pool.count(specialist.key) > 0)

    async def _change(self, deadline: Deadline, state: str) -> None:
        left = deadline.remaining(time.monotonic())
        try:
            async with asyncio.timeout(left if deadline is not NEVER else None):
                await self._view.news.wait()
        except TimeoutError:
            raise DeadlineExceeded(f"it is not done in time: {state}") from None


def _read_parameters(
    asked: catalog.LoadRequest, parameters: Mapping[str, pb.ModelRepositoryParameter]
) -> None:
    """Raises InvalidRequest for a parameter that loading does not have."""
    for name, value in parameters.items():
        match = _FILE.fullmatch(name)
        if name == "config" and value.HasField("string_param"):
            asked.config = value.string_param
        elif match and value.HasField("bytes_param"):
            asked.models[match[1]] = value.bytes_param
        elif match or name == "config":
            raise InvalidRequest(f"parameter '{name}' of loading must be {_KINDS[bool(match)]}")
        else:
            raise InvalidRequest(
                f"unknown parameter '{name}' of loading: there are 'config', a model "
                "configuration in JSON, and 'file:<version>/model.onnx', a model's bytes"
            )
    if asked.models and not asked.config:
        raise InvalidRequest(
            f"failed to load '{asked.name}': files come with a 'config' that says how to run them"
        )

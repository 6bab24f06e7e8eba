"""`grpc.health.v1`: whether the gateway, and each model, would answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2 as pb

from fabric.core.errors import InvalidRequest, NotFound, Unavailable
from fabric.gateway.descriptors import SERVICES
from fabric.gateway.grpc import decoded

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from google.protobuf.descriptor_pool import DescriptorPool

    from fabric.gateway.grpc import Handler, Parts, Scope, StreamHandler
    from fabric.gateway.view import View

_PATH = "/grpc.health.v1.Health/"
_SERVING: int = pb.HealthCheckResponse.SERVING
_NOT_SERVING: int = pb.HealthCheckResponse.NOT_SERVING
_UNKNOWN: int = pb.HealthCheckResponse.SERVICE_UNKNOWN


class Health:
    """A service is a model, by `name` or `name:version`; empty, or one of gRPC's, the gateway."""

    def __init__(self, view: View, strict: bool, pool: DescriptorPool) -> None:
        self._view = view
        self._strict = strict
        listed = pool.FindMessageTypeByName("grpc.health.v1.HealthListResponse")
        self._list_response: Any = GetMessageClass(listed)

    def handlers(self) -> dict[str, Handler]:
        return {f"{_PATH}Check": self.check, f"{_PATH}List": self.list}

    def stream_handlers(self) -> dict[str, StreamHandler]:
        return {f"{_PATH}Watch": self.watch}

    async def check(self, payload: bytes, scope: Scope) -> Parts:
        """Raises NotFound for what is neither."""
        return _response(self._status(decoded(pb.HealthCheckRequest, payload).service))

    async def list(self, payload: bytes, scope: Scope) -> Parts:
        """The gateway, and all specialists, routes and pipelines by name."""
        catalog = self._view.catalog
        names = {specialist.card.name for specialist in catalog.specialists.values()}
        response = self._list_response()
        names |= catalog.routes.keys() | catalog.pipelines.keys()
        for name in ("", *sorted(names)):
            response.statuses[name].status = self._status(name)
        return (response.SerializeToString(),)

    async def watch(
        self, requests: AsyncIterator[bytes], scope: Scope
    ) -> AsyncGenerator[Parts, None]:
        """The status now, and whenever it has become another, until the client leaves.

        What is unknown may come to be.
        """
        service = await _watched(requests)
        last: int | None = None
        while True:
            news = self._view.news
            try:
                status = self._status(service)
            except NotFound:
                status = _UNKNOWN
            if status != last:
                last = status
                yield _response(status)
            await news.wait()

    def _status(self, service: str) -> int:
        if not service or service in SERVICES:
            ready = self._view.is_ready_for(self._strict)
        else:
            name, _, version = service.partition(":")
            try:
                ready = self._view.can_serve(name, version)
            except Unavailable:  # nobody knows yet what is unknown
                ready = False
        return _SERVING if ready else _NOT_SERVING


def _response(status: int) -> Parts:
    return (pb.HealthCheckResponse(status=status).SerializeToString(),)


async def _watched(requests: AsyncIterator[bytes]) -> str:
    """Raises InvalidRequest unless there is one request.

    The call is read to its end: a client that was held back in the middle could leave unnoticed.
    """
    service: str | None = None
    async for payload in requests:
        if service is not None:
            raise InvalidRequest("a watch takes one request, and this has more")
        service = decoded(pb.HealthCheckRequest, payload).service
    if service is None:
        raise InvalidRequest("a watch takes one request, which says what is watched")
    return service

"""`grpc.reflection`: what there is to call, for clients that have no protos."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpc_reflection.v1alpha import reflection_pb2 as pb
from grpc_reflection.v1alpha.reflection import aio

from fabric.gateway.descriptors import SERVICES
from fabric.gateway.grpc import decoded

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from google.protobuf.descriptor_pool import DescriptorPool

    from fabric.gateway.grpc import Parts, Scope, StreamHandler


class Reflection:
    """Answers under both names of the service; their messages are the same."""

    def __init__(self, pool: DescriptorPool) -> None:
        self._servicer = aio.ReflectionServicer(SERVICES, pool)

    def stream_handlers(self) -> dict[str, StreamHandler]:
        services = (name for name in SERVICES if name.startswith("grpc.reflection."))
        return {f"/{service}/ServerReflectionInfo": self.info for service in services}

    async def info(
        self, requests: AsyncIterator[bytes], scope: Scope
    ) -> AsyncGenerator[Parts, None]:
        asked = (decoded(pb.ServerReflectionRequest, payload) async for payload in requests)
        async for answer in self._servicer.ServerReflectionInfo(asked, None):
            yield (answer.SerializeToString(),)

"""What the protocol tells of the server and its models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import fabric
from fabric.api.inference.v2 import extensions_pb2
from fabric.api.inference.v2 import open_inference_pb2 as pb
from fabric.core.cards import Specialist
from fabric.core.errors import NotFound, Unavailable
from fabric.core.tensors import Signature
from fabric.gateway.grpc import SERVICE, decoded
from fabric.wire.model_config import PIPELINE, ROUTE, platform, to_config, to_virtual_config

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fabric.core.tensors import TensorSpec
    from fabric.gateway.grpc import Handler, Parts, Scope
    from fabric.gateway.settings import GatewaySettings
    from fabric.gateway.view import View

_EXTENSIONS = (
    "classification",
    "sequence",
    "model_repository",
    "model_repository(unload_dependents)",
    "schedule_policy",
    "model_configuration",
    "binary_tensor_data",
    "parameters",
    "statistics",
    "trace",
    "logging",
)
"""By the names that Triton gives them."""


class Queries:
    """The protocol's calls about the server and its models."""

    def __init__(self, view: View, settings: GatewaySettings) -> None:
        self._view = view
        self._settings = settings
        self._extensions = (*_EXTENSIONS, *["system_shared_memory"] * settings.shared_memory)

    def handlers(self) -> dict[str, Handler]:
        return {
            f"{SERVICE}ServerLive": self.server_live,
            f"{SERVICE}ServerReady": self.server_ready,
            f"{SERVICE}ServerMetadata": self.server_metadata,
            f"{SERVICE}ModelReady": self.model_ready,
            f"{SERVICE}ModelMetadata": self.model_metadata,
            f"{SERVICE}ModelConfig": self.model_config,
        }

    async def server_live(self, payload: bytes, scope: Scope) -> Parts:
        return (pb.ServerLiveResponse(live=True).SerializeToString(),)

    async def server_ready(self, payload: bytes, scope: Scope) -> Parts:
        """True once every model could be asked (`View.is_ready`), under `strict` while it can."""
        ready = self._view.is_ready_for(self._settings.strict)
        return (pb.ServerReadyResponse(ready=ready).SerializeToString(),)

    async def server_metadata(self, payload: bytes, scope: Scope) -> Parts:
        message = pb.ServerMetadataResponse(
            name=self._settings.name, version=fabric.__version__, extensions=self._extensions
        )
        return (message.SerializeToString(),)

    async def model_ready(self, payload: bytes, scope: Scope) -> Parts:
        request = decoded(pb.ModelReadyRequest, payload)
        ready = self._view.can_serve(request.name, request.version)
        return (pb.ModelReadyResponse(ready=ready).SerializeToString(),)

    async def model_metadata(self, payload: bytes, scope: Scope) -> Parts:
        request = decoded(pb.ModelMetadataRequest, payload)
        described = self._described(request.name, request.version)
        versions = self._view.catalog.versions(request.name)
        message = pb.ModelMetadataResponse(
            name=request.name,
            versions=[specialist.card.version for specialist in versions],
            platform=described.platform,
            inputs=_tensors(described.signature.inputs),
            outputs=_tensors(described.signature.outputs),
        )
        return (message.SerializeToString(),)

    async def model_config(self, payload: bytes, scope: Scope) -> Parts:
        request = decoded(extensions_pb2.ModelConfigRequest, payload)
        described = self._described(request.name, request.version)
        signature, specialist = described.signature, described.specialist
        if specialist is None or described.platform == ROUTE:
            config = to_virtual_config(request.name, described.platform, signature, specialist)
        else:
            config = to_config(specialist, signature)
        return (extensions_pb2.ModelConfigResponse(config=config).SerializeToString(),)

    def _described(self, name: str, version: str) -> _Described:
        """What is known of a model.

        Raises:
            NotFound: there is no such model or version.
            Unavailable: nobody knows yet what it takes and gives.
            InvalidRequest: it is a pipeline, and what it calls does not fit together.
        """
        if name in self._view.catalog.pipelines:
            self._view.check_unversioned(name, version)
            return _Described(self._view.prepared(name).signature, PIPELINE)
        plan = self._view.planner.plan(name, version, None)
        for candidate in plan.candidates:
            card = candidate.card
            if card.signature is None:
                continue
            specialist = self._view.catalog.find(card.name, card.version)
            if specialist is None:
                raise NotFound(f"Request for unknown model: '{name}' is not found")
            which = ROUTE if plan.route else platform(specialist)
            return _Described(card.signature, which, specialist)
        raise Unavailable(f"'{name}' is not ready: its signature is not known yet")


@dataclass(frozen=True, slots=True)
class _Described:
    signature: Signature
    platform: str
    specialist: Specialist | None = None
    """Who has it; the first of a route's that has one, and none of a pipeline."""


def _tensors(specs: Iterable[TensorSpec]) -> list[pb.ModelMetadataResponse.TensorMetadata]:
    return [
        pb.ModelMetadataResponse.TensorMetadata(
            name=spec.name, datatype=spec.datatype, shape=spec.shape
        )
        for spec in specs
    ]

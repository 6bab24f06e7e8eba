"""What the protocol tells of the server and its models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import fabric
from fabric.api.inference.v2 import open_inference_pb2 as pb
from fabric.core.errors import NotFound, Unavailable
from fabric.gateway.grpc import SERVICE, decoded

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fabric.core.cards import Card, Specialist
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
    "system_shared_memory",
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

    def handlers(self) -> dict[str, Handler]:
        return {
            f"{SERVICE}ServerLive": self.server_live,
            f"{SERVICE}ServerReady": self.server_ready,
            f"{SERVICE}ServerMetadata": self.server_metadata,
            f"{SERVICE}ModelReady": self.model_ready,
            f"{SERVICE}ModelMetadata": self.model_metadata,
        }

    async def server_live(self, payload: bytes, scope: Scope) -> Parts:
        return (pb.ServerLiveResponse(live=True).SerializeToString(),)

    async def server_ready(self, payload: bytes, scope: Scope) -> Parts:
        """True once the catalog has arrived, and under `strict` while every model is ready."""
        ready = self._view.is_ready and (not self._settings.strict or self._view.can_serve_all)
        return (pb.ServerReadyResponse(ready=ready).SerializeToString(),)

    async def server_metadata(self, payload: bytes, scope: Scope) -> Parts:
        message = pb.ServerMetadataResponse(
            name=self._settings.name, version=fabric.__version__, extensions=_EXTENSIONS
        )
        return (message.SerializeToString(),)

    async def model_ready(self, payload: bytes, scope: Scope) -> Parts:
        request = decoded(pb.ModelReadyRequest, payload)
        ready = self._view.can_serve(request.name, request.version)
        return (pb.ModelReadyResponse(ready=ready).SerializeToString(),)

    async def model_metadata(self, payload: bytes, scope: Scope) -> Parts:
        request = decoded(pb.ModelMetadataRequest, payload)
        plan = self._view.planner.plan(request.name, request.version, None)
        cards = [candidate.card for candidate in plan.candidates]
        described = next((card for card in cards if card.signature is not None), None)
        if described is None:
            raise Unavailable(f"'{request.name}' is not ready: its signature is not known yet")
        return (self._metadata(request.name, plan.route, described).SerializeToString(),)

    def _metadata(self, name: str, route: str, card: Card) -> pb.ModelMetadataResponse:
        specialist = self._view.catalog.find(card.name, card.version)
        if specialist is None or card.signature is None:
            raise NotFound(f"Request for unknown model: '{name}' is not found")
        versions = () if route else [s.card.version for s in self._view.catalog.versions(name)]
        return pb.ModelMetadataResponse(
            name=name,
            versions=versions,
            platform=_platform(specialist),
            inputs=_tensors(card.signature.inputs),
            outputs=_tensors(card.signature.outputs),
        )


def _platform(specialist: Specialist) -> str:
    return "python" if specialist.hosting.python else "onnxruntime_onnx"


def _tensors(specs: Iterable[TensorSpec]) -> list[pb.ModelMetadataResponse.TensorMetadata]:
    return [
        pb.ModelMetadataResponse.TensorMetadata(
            name=spec.name, datatype=spec.datatype, shape=spec.shape
        )
        for spec in specs
    ]

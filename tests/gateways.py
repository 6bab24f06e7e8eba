"""A gateway in small, for tests of clients: a real gRPC server that records what it is asked."""

# ruff: noqa: N802 -- servicer methods carry the names of the proto

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
import numpy as np

from fabric.api.catalog.v1 import catalog_service_pb2 as catalog_pb2
from fabric.api.catalog.v1 import catalog_service_pb2_grpc as catalog_grpc
from fabric.api.inference.v2 import open_inference_pb2 as oip
from fabric.api.routing.v1 import learning_service_pb2 as learning_pb2
from fabric.api.routing.v1 import learning_service_pb2_grpc as learning_grpc
from fabric.api.routing.v1 import routing_service_pb2 as routing_pb2
from fabric.api.routing.v1 import routing_service_pb2_grpc as routing_grpc
from fabric.core.errors import FabricError
from fabric.wire.status import DETAILS_KEY, to_details


@dataclass
class Recorded:
    """What arrived, and what to do with the next inference."""

    address: str = ""
    requests: list = field(default_factory=list)
    metadata: dict = field(default_factory=dict)
    remaining: float | None = None
    fail: FabricError | None = None
    hang: bool = False
    unchanged: bool = False
    """Whether what is applied is there already."""
    learns: bool = False
    """Whether the route does."""
    policy: bytes = b""
    """Of all policies."""
    pruned: bool = False
    """Whether applying with prune takes something out."""
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)


class Inference:
    """Doubles `x`."""

    def __init__(self, seen):
        self.seen = seen

    async def infer(self, request, context):
        seen = self.seen
        seen.requests.append(request)
        seen.metadata = dict(context.invocation_metadata())
        seen.remaining = context.time_remaining()
        seen.arrived.set()
        try:
            if seen.hang:
                await asyncio.Event().wait()
        finally:
            seen.left.set()
        if seen.fail:
            context.set_trailing_metadata(((DETAILS_KEY, to_details(seen.fail)),))
            await context.abort(_status(seen.fail), seen.fail.message)
        x = np.frombuffer(request.raw_input_contents[0], np.float32)
        response = oip.ModelInferResponse(
            model_name=request.model_name,
            id=request.id,
            outputs=[{"name": "y", "datatype": "FP32", "shape": list(request.inputs[0].shape)}],
            raw_output_contents=[(2 * x).tobytes()],
        )
        for name, value in {"specialist": "rotated", "version": "2", "route": "digits"}.items():
            response.parameters[f"fabric_{name}"].string_param = value
        response.parameters["fabric_attempts"].int64_param = 2
        response.parameters["fabric_fallback"].bool_param = True
        response.parameters["confidence"].double_param = 0.5
        if seen.learns:
            response.parameters["fabric_request"].string_param = "0123456789abcdef" * 2
        return response

    async def ready(self, request, context):
        return oip.ModelReadyResponse(ready=request.name == "digits")

    async def live(self, request, context):
        return oip.ServerLiveResponse(live=True)

    async def server_ready(self, request, context):
        return oip.ServerReadyResponse(ready=True)

    async def metadata(self, request, context):
        return oip.ModelMetadataResponse(
            name=request.name,
            versions=["2", "1"],
            platform="onnxruntime_onnx",
            inputs=[{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
            outputs=[{"name": "y", "datatype": "FP32", "shape": []}],
        )

    def handlers(self):
        def unary(method, request):
            return grpc.unary_unary_rpc_method_handler(
                method, request.FromString, lambda message: message.SerializeToString()
            )

        return grpc.method_handlers_generic_handler(
            "inference.GRPCInferenceService",
            {
                "ModelInfer": unary(self.infer, oip.ModelInferRequest),
                "ModelReady": unary(self.ready, oip.ModelReadyRequest),
                "ServerLive": unary(self.live, oip.ServerLiveRequest),
                "ServerReady": unary(self.server_ready, oip.ServerReadyRequest),
                "ModelMetadata": unary(self.metadata, oip.ModelMetadataRequest),
            },
        )


def _status(error):
    return next(code for code in grpc.StatusCode if code.value[0] == error.code)


INNER = {"name": "inner", "call": "digits", "inputs": {"x": {"values": ["x"]}}}
BODY = {"steps": [INNER], "outputs": {"y": "inner.y"}}
PAGE = {
    "name": "page",
    "inputs": [{"name": "image"}],
    "steps": [{"name": "rows", "each": {"over": {"x": "image"}, "body": BODY}}],
    "outputs": [{"name": "y", "source": "rows.y"}],
    "timeout": 2.5,
}


class Catalog(catalog_grpc.CatalogServiceServicer):
    def __init__(self, seen):
        self.seen = seen

    async def Apply(self, request, context):
        self.seen.requests.append(request)
        key = {"kind": "KIND_SPECIALIST", "name": "rotated:1"}
        if self.seen.unchanged:
            change = {"key": key, "action": "ACTION_NONE"}
            return catalog_pb2.ApplyResponse(changes=[change], revision=7)
        if request.prune and self.seen.pruned:
            gone = {"key": {"kind": "KIND_ROUTE", "name": "old"}, "action": "ACTION_DELETE"}
            return catalog_pb2.ApplyResponse(changes=[gone], revision=7)
        change = {"key": key, "action": "ACTION_UPDATE", "fields": ["hosting.batching.max_size"]}
        return catalog_pb2.ApplyResponse(changes=[change], revision=7)

    async def Get(self, request, context):
        self.seen.requests.append(request)
        for policy in POLICIES:
            if request.key.name == f"{policy['route']}:{policy['version']}":
                return catalog_pb2.GetResponse(
                    resource={"policy": {**policy, "data": self.seen.policy}}
                )
        if request.key.kind == catalog_pb2.KIND_PIPELINE and request.key.name == "page":
            return catalog_pb2.GetResponse(resource={"pipeline": PAGE})
        return await context.abort(grpc.StatusCode.NOT_FOUND, "nothing here")

    async def List(self, request, context):
        self.seen.requests.append(request)
        if request.kind == catalog_pb2.KIND_SPECIALIST:
            card = {"name": "rotated", "domains": ["rotated"], "cost": 0.5}
            status = {"state": "ready", "ready": 1, "wanted": 1}
            specialist = {"card": card, "hosting": {"model": {"uri": "/m.onnx"}}}
            return catalog_pb2.ListResponse(
                resources=[{"specialist": specialist, "status": status}]
            )
        if request.kind == catalog_pb2.KIND_ROUTE:
            chain = [{"name": "rotated", "version": "1"}, {"name": "general"}]
            requirements = {"task": "digit", "labels": {"team": "vision"}}
            route = {"name": "digits", "chain": chain, "requirements": requirements}
            if self.seen.learns:
                route |= {"order": "scored", "learning": {"mode": "apply"}}
            return catalog_pb2.ListResponse(resources=[{"route": route}])
        if request.kind == catalog_pb2.KIND_PIPELINE:
            return catalog_pb2.ListResponse(resources=[{"pipeline": PAGE}])
        if request.kind == catalog_pb2.KIND_POLICY:
            return catalog_pb2.ListResponse(resources=[{"policy": each} for each in POLICIES])
        replica = {"id": "r1", "specialist": "rotated", "version": "1", "address": "h:1"}
        replica["load"] = {"running": 3}
        return catalog_pb2.ListResponse(resources=[{"replica": replica}], revision=7)

    async def Delete(self, request, context):
        self.seen.requests.append(request)
        return catalog_pb2.DeleteResponse(revision=8)

    async def Watch(self, request, context):
        self.seen.requests.append(request)
        specialist = {"card": {"name": "rotated"}, "hosting": {"model": {"uri": "/m.onnx"}}}
        route = {"name": "digits", "chain": [{"name": "rotated"}]}
        yield catalog_pb2.WatchResponse(
            revision=7,
            snapshot=True,
            upserted=[
                {"specialist": specialist, "status": {"state": "ready", "ready": 1, "wanted": 1}},
                {"route": route},
            ],
        )
        removed = {"kind": "KIND_REPLICA", "name": "r1"}
        yield catalog_pb2.WatchResponse(revision=8, removed=[removed])
        try:
            await asyncio.Event().wait()
        finally:
            self.seen.left.set()


class Routing(routing_grpc.RoutingServiceServicer):
    def __init__(self, seen):
        self.seen = seen
        self.looks = 0

    async def Health(self, request, context):
        self.looks += 1
        said = {
            "in_flight": 2,
            "breaker": "open",
            "why": "5 failures in a row",
            "answers": 10 * self.looks,
            "p50": 0.0015,
            "p99": 0.25,
            "failures": {"SPECIALIST_FAILED": 5},
        }
        replica = {**said, "id": "r1234567890", "queued": 1}
        one = {**said, "name": request.name or "rotated", "version": "1"}
        one |= {"limit": 1024, "budget": 0.5, "replicas": [replica]}
        return routing_pb2.HealthResponse(specialists=[one])

    async def Explain(self, request, context):
        self.seen.requests.append(request)
        if request.request_id:
            return routing_pb2.ExplainResponse(
                route="digits",
                candidates=[{"specialist": "rotated", "version": "1", "reason": "policy 2"}],
                decision={
                    "request": request.request_id,
                    "route": "digits",
                    "time": 1_800_000_000,
                    "candidates": ["rotated:1", "noisy:1"],
                    "propensities": [0.75, 0.25],
                    "policy": 2,
                    "kind": "policy",
                    "shadow": "noisy:1",
                },
                outcomes=[
                    {
                        "request": request.request_id,
                        "specialist": "rotated:1",
                        "seconds": 0.0015,
                        "label": "7",
                        "confidence": 0.5,
                    },
                    {
                        "request": request.request_id,
                        "specialist": "noisy:1",
                        "error": "UNAVAILABLE",
                        "is_shadow": True,
                    },
                ],
                feedback=[
                    {"request": request.request_id, "label": "7"},
                    {"request": request.request_id, "specialist": "noisy:1", "score": 0.5},
                    {"request": request.request_id, "preferred": "[noisy]:1"},
                ],
            )
        if request.model == "ranked":
            return routing_pb2.ExplainResponse(
                model=request.model,
                route="ranked",
                weights={"quality": 1.0, "similarity": 0.5},
                candidates=[
                    {
                        "specialist": "rotated",
                        "version": "1",
                        "score": 0.93,
                        "parts": {"quality": 0.925},
                        "reason": "quality 0.93",
                    }
                ],
                refusals=[{"specialist": "noisy", "version": "1", "reason": "domain"}],
            )
        return routing_pb2.ExplainResponse(
            model=request.model,
            route="digits",
            candidates=[{"specialist": "rotated", "version": "1", "replicas": 1}],
            refusals=[{"specialist": "noisy", "version": "1", "reason": "domain"}],
        )


POLICIES = [
    {"route": "digits", "version": 2, "labels": 90, "lost": "it is worse"},
    {
        "route": "digits",
        "version": 1,
        "labels": 60,
        "trained": "2026-01-31T12:00:00Z",
        "report": '{"gain": {"value": 0.02, "low": 0.01, "high": 0.03}}',
    },
]


class Learning(learning_grpc.LearningServiceServicer):
    def __init__(self, seen):
        self.seen = seen

    async def SubmitFeedback(self, request, context):
        self.seen.requests.append(request)
        return learning_pb2.SubmitFeedbackResponse(unmatched=1)

    async def ListDecisions(self, request, context):
        self.seen.requests.append(request)
        decision = {"request": "7", "route": "digits", "candidates": ["rotated:1", "general:1"]}
        outcome = {"request": "7", "specialist": "rotated:1", "seconds": 0.5, "confidence": 0.0}
        feedback = {"request": "7", "score": 0.0}
        return learning_pb2.ListDecisionsResponse(
            records=[{"decision": decision, "outcomes": [outcome], "feedback": [feedback]}]
        )

    async def Train(self, request, context):
        self.seen.requests.append(request)
        if self.seen.unchanged:
            return learning_pb2.TrainResponse(report="3 requests tell, it takes 50")
        return learning_pb2.TrainResponse(version=1, report='{"switched": 0.25}')


@asynccontextmanager
async def recording_gateway(port: int = 0):
    seen = Recorded()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Inference(seen).handlers(),))
    catalog_grpc.add_CatalogServiceServicer_to_server(Catalog(seen), server)
    routing_grpc.add_RoutingServiceServicer_to_server(Routing(seen), server)
    learning_grpc.add_LearningServiceServicer_to_server(Learning(seen), server)
    seen.address = f"127.0.0.1:{server.add_insecure_port(f'127.0.0.1:{port}')}"
    await server.start()
    try:
        yield seen
    finally:
        await server.stop(None)

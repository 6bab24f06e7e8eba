"""A small server of the protocol that can be told to break one of its rules."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import grpc
import numpy as np

from fabric.api.inference.v2 import open_inference_pb2 as pb
from fabric.conformance import samples
from fabric.core.errors import FabricError, InvalidRequest, NotFound
from fabric.core.tensors import Signature
from fabric.wire.codec import Codec

RUNS = {
    samples.FP32: lambda x: {"y": x["x"]},
    samples.BYTES: lambda x: {"y": x["x"]},
    samples.ADD_SUB: lambda x: {"sum": x["a"] + x["b"], "difference": x["a"] - x["b"]},
    samples.SEVERAL: lambda x: {f"{name}_out": array for name, array in x.items()},
    samples.LITERAL: lambda x: {"y": x["x"]},
}
VERSIONS = samples.VERSIONS


class Model:
    def __init__(self, name, version, run):
        sample = samples.BY_NAME[name]
        self.sample = sample
        self.run = run
        signature = Signature(inputs=sample.inputs, outputs=sample.outputs)
        rows = samples.MAX_BATCH if sample.batches else 1
        self.codec = Codec(signature, name, version, rows)

    def answer(self, request):
        inputs = self.codec.decode(request.SerializeToString())
        payload = self.codec.encode(inputs, self.run(inputs.tensors))
        return pb.ModelInferResponse.FromString(payload)


class Server:
    """Keeps the rules of unary calls, but for what a subclass does otherwise."""

    def __init__(self):
        self.models = {(name, "1"): Model(name, "1", run) for name, run in RUNS.items()}
        for version in ("2", "10"):
            number = np.float32(version)
            self.models[VERSIONS, version] = Model(
                VERSIONS, version, lambda x, number=number: {"y": x["x"] + number}
            )

    def find(self, name, version):
        versions = [v for n, v in self.models if n == name]
        chosen = version or max(versions, key=int, default="")
        if (name, chosen) not in self.models:
            which = f"'{name}' version {version}" if version else f"'{name}'"
            raise NotFound(f"Request for unknown model: {which} is not found")
        return self.models[name, chosen]

    async def infer(self, request, context):
        for name, value in request.parameters.items():
            if name.startswith("triton_"):
                raise InvalidRequest(f"parameter '{name}' is reserved for Triton usage")
            if not value.WhichOneof("parameter_choice"):
                raise InvalidRequest(f"parameter '{name}' has no value")
        return self.find(request.model_name, request.model_version).answer(request)

    async def live(self, request, context):
        return pb.ServerLiveResponse(live=True)

    async def ready(self, request, context):
        return pb.ServerReadyResponse(ready=True)

    async def about(self, request, context):
        return pb.ServerMetadataResponse(
            name="small", version="1", extensions=["binary_tensor_data"]
        )

    async def model_ready(self, request, context):
        self.find(request.name, request.version)
        return pb.ModelReadyResponse(ready=True)

    async def metadata(self, request, context):
        sample = self.find(request.name, request.version).sample
        tensors = (
            [{"name": s.name, "datatype": s.datatype, "shape": s.shape} for s in specs]
            for specs in (sample.inputs, sample.outputs)
        )
        versions = [version for name, version in self.models if name == request.name]
        inputs, outputs = tensors
        return pb.ModelMetadataResponse(
            name=request.name,
            versions=versions,
            platform="python",
            inputs=inputs,
            outputs=outputs,
        )

    def handlers(self):
        calls = {
            "ServerLive": (self.live, pb.ServerLiveRequest),
            "ServerReady": (self.ready, pb.ServerReadyRequest),
            "ServerMetadata": (self.about, pb.ServerMetadataRequest),
            "ModelReady": (self.model_ready, pb.ModelReadyRequest),
            "ModelMetadata": (self.metadata, pb.ModelMetadataRequest),
            "ModelInfer": (self.infer, pb.ModelInferRequest),
        }
        return grpc.method_handlers_generic_handler(
            "inference.GRPCInferenceService",
            {
                name: grpc.unary_unary_rpc_method_handler(
                    _failing(method), cls.FromString, lambda message: message.SerializeToString()
                )
                for name, (method, cls) in calls.items()
            },
        )


def _failing(method):
    async def called(request, context):
        try:
            return await method(request, context)
        except FabricError as error:
            code = next(code for code in grpc.StatusCode if code.value[0] == error.code)
            await context.abort(code, error.message)

    return called


@asynccontextmanager
async def serving(server):
    """The address at which *server* answers."""
    running = grpc.aio.server()
    running.add_generic_rpc_handlers((server.handlers(),))
    address = f"127.0.0.1:{running.add_insecure_port('127.0.0.1:0')}"
    await running.start()
    try:
        yield address
    finally:
        await running.stop(None)


# ------------------------------------------------------------------ each breaks one rule
class LosesTheId(Server):
    async def infer(self, request, context):
        answer = await super().infer(request, context)
        answer.id = ""
        return answer


class AnswersForAnyModel(Server):
    def find(self, name, version):
        return super().find(name if (name, "1") in self.models else samples.FP32, "")


class SaysEveryModelIsReady(Server):
    async def model_ready(self, request, context):
        return pb.ModelReadyResponse(ready=True)


class LeavesOutTheBatchDimension(Server):
    async def metadata(self, request, context):
        answer = await super().metadata(request, context)
        for tensor in (*answer.inputs, *answer.outputs):
            del tensor.shape[0]
        return answer


class SwapsBytes(Server):
    async def infer(self, request, context):
        answer = await super().infer(request, context)
        if answer.outputs[0].datatype == "FP32":
            answer.raw_output_contents[0] = (
                np.frombuffer(answer.raw_output_contents[0], "<f4").astype(">f4").tobytes()
            )
        return answer


class CutsLongContents(Server):
    """Takes what it needs of raw contents that are too long."""

    async def infer(self, request, context):
        if request.inputs and request.inputs[0].datatype == "FP32" and request.raw_input_contents:
            size = 4 * int(np.prod([max(0, d) for d in request.inputs[0].shape[:4]]))
            request.raw_input_contents[0] = request.raw_input_contents[0][:size]
        return await super().infer(request, context)


class GivesAllOutputs(Server):
    async def infer(self, request, context):
        del request.outputs[:]
        return await super().infer(request, context)


class NamesNoVersion(Server):
    async def infer(self, request, context):
        answer = await super().infer(request, context)
        answer.model_version = ""
        return answer


class PicksTheFirstVersion(Server):
    """By their letters 2 comes after 10."""

    def find(self, name, version):
        versions = [v for n, v in self.models if n == name]
        return super().find(name, version or max(versions, default=""))


class BlamesItself(Server):
    """Gives INTERNAL for what the caller did wrong."""

    async def infer(self, request, context):
        try:
            return await super().infer(request, context)
        except InvalidRequest as error:
            await context.abort(grpc.StatusCode.INTERNAL, error.message)


class NeverRefuses(Server):
    """Hangs instead."""

    async def infer(self, request, context):
        try:
            return await super().infer(request, context)
        except FabricError:
            await asyncio.Event().wait()


class TakesRawAndTyped(Server):
    async def infer(self, request, context):
        if request.raw_input_contents:
            for tensor in request.inputs:
                tensor.ClearField("contents")
        return await super().infer(request, context)


class AnswersTyped(Server):
    async def infer(self, request, context):
        answer = await super().infer(request, context)
        if any(tensor.HasField("contents") for tensor in request.inputs):
            for output, raw in zip(answer.outputs, answer.raw_output_contents, strict=True):
                output.contents.fp32_contents.extend(np.frombuffer(raw, np.float32))
            del answer.raw_output_contents[:]
        return answer


class DropsZeros(Server):
    """Ends an element of BYTES at its first zero."""

    async def infer(self, request, context):
        answer = await super().infer(request, context)
        if answer.outputs[0].datatype == "BYTES":
            raw = answer.raw_output_contents[0]
            answer.raw_output_contents[0] = raw.replace(b"a\0b", b"a\0\0")
        return answer


class RepeatsItsExtensions(Server):
    async def about(self, request, context):
        answer = await super().about(request, context)
        answer.extensions.extend(list(answer.extensions))
        return answer


class SwapsOutputs(Server):
    """Names the outputs in one order and gives their elements in the other."""

    async def infer(self, request, context):
        answer = await super().infer(request, context)
        raw = list(answer.raw_output_contents)
        del answer.raw_output_contents[:]
        answer.raw_output_contents.extend(reversed(raw))
        return answer


class OtherWords(Server):
    def find(self, name, version):
        try:
            return super().find(name, version)
        except NotFound:
            raise NotFound("never heard of it") from None


BROKEN = {
    LosesTheId: "parameters.id.comes-back",
    AnswersForAnyModel: "errors.unknown-model",
    SaysEveryModelIsReady: "models.ready.not-of-an-unknown-model",
    LeavesOutTheBatchDimension: "models.metadata.signature-of-identity-fp32",
    SwapsBytes: "data.raw.fp32-comes-back",
    CutsLongContents: "data.raw.fp32-too-long",
    GivesAllOutputs: "outputs.only-those-asked-for",
    NamesNoVersion: "versions.the-answer-says-which",
    PicksTheFirstVersion: "versions.triton.the-highest-is-chosen",
    BlamesItself: "errors.wrong-requests-are-the-callers",
    NeverRefuses: "inputs.unknown",
    TakesRawAndTyped: "data.raw.contents-beside-raw",
    AnswersTyped: "triton.typed-inputs-are-answered-raw",
    DropsZeros: "data.raw.bytes-comes-back",
    RepeatsItsExtensions: "server.extensions-are-distinct",
    SwapsOutputs: "inputs.in-any-order",
    OtherWords: "triton.unknown-model",
}
"""What each does wrong, and the check that finds it."""

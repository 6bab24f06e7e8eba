"""What the generated stubs of MLServer get from the server at argv[1], as JSON on stdout."""

from __future__ import annotations

import json
import struct
import sys

import bare
import grpc

bare.package("mlserver")
bare.package("mlserver.grpc")

from mlserver.grpc import dataplane_pb2 as pb  # noqa: E402
from mlserver.grpc import dataplane_pb2_grpc  # noqa: E402

DIALECT = (("fabric-dialect", "mlserver"),)


def infer(model="double", raw=b"", **more):
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2]}
    if not raw:
        tensor["contents"] = {"fp32_contents": [1, 2]}
    raws = [raw] if raw else []
    return pb.ModelInferRequest(model_name=model, inputs=[tensor], raw_input_contents=raws, **more)


def count(number, id=""):
    tensor = {
        "name": "n",
        "datatype": "INT32",
        "shape": [1],
        "contents": {"int_contents": [number]},
    }
    return pb.ModelInferRequest(model_name="counting", id=id, inputs=[tensor])


def floats(response):
    """Elements that came raw."""
    return list(struct.unpack("<2f", response.raw_output_contents[0]))


def typed(response):
    """Elements that came in the field of their datatype, as those of MLServer's server do."""
    contents = response.outputs[0].contents
    return list(contents.fp32_contents or contents.int_contents)


def refused(call, request, **more):
    try:
        call(request, timeout=20, **more)
    except grpc.RpcError as error:
        return [error.code().name, error.details()]
    return None


def states(stub, **more):
    models = stub.RepositoryIndex(pb.RepositoryIndexRequest(**more)).models
    return {model.name: model.state for model in models}


def ask(stub):
    metadata = stub.ModelMetadata(pb.ModelMetadataRequest(name="double", version="1"))
    found = {
        "live": stub.ServerLive(pb.ServerLiveRequest()).live,
        "ready": stub.ServerReady(pb.ServerReadyRequest()).ready,
        "model": stub.ModelReady(pb.ModelReadyRequest(name="double")).ready,
        "server": stub.ServerMetadata(pb.ServerMetadataRequest()).name,
        "inputs": [[each.name, each.datatype, list(each.shape)] for each in metadata.inputs],
        "typed": floats(stub.ModelInfer(infer())),
        "alike": typed(stub.ModelInfer(infer(), metadata=DIALECT)),
        "raw": floats(stub.ModelInfer(infer(raw=struct.pack("<2f", 1, 2)))),
        "route": stub.ModelInfer(infer("scale", id="r-1")).id,
        "no model": refused(stub.ModelInfer, infer("none")),
    }
    answers = stub.ModelStreamInfer(iter([infer(id="a"), infer(id="b")]), metadata=DIALECT)
    found["stream"] = [[each.id, *typed(each)] for each in answers]
    answers = stub.ModelStreamInfer(iter([count(3, "c")]), metadata=DIALECT)
    found["decoupled"] = [typed(each) for each in answers]
    try:
        for _ in stub.ModelStreamInfer(iter([infer("none")]), metadata=DIALECT):
            pass
    except grpc.RpcError as error:
        found["no stream"] = [error.code().name, error.details()]
    found["state"] = states(stub)["spare"]
    stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="spare"))
    found["unloaded"] = "spare" not in states(stub, ready=True)
    stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="spare"))
    found["loaded"] = states(stub, ready=True).get("spare")
    found["no load"] = refused(
        stub.RepositoryModelLoad, pb.RepositoryModelLoadRequest(model_name="none")
    )
    return found


with grpc.insecure_channel(sys.argv[1]) as channel:
    json.dump(ask(dataplane_pb2_grpc.GRPCInferenceServiceStub(channel)), sys.stdout)

"""Extensions of the protocol, as Triton's own client uses them."""

from __future__ import annotations

import os
from base64 import b64encode
from contextlib import ExitStack
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.http as http
from onnx_models import FLOAT, copying, doubling, shifting
from running import OnnxHost, Running
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException, shared_memory

import fabric
from fabric.core.cards import Batching, Model
from fabric.core.tensors import Signature, TensorSpec
from fabric.gateway.regions import FOLDER
from fabric.testing import route, specialist

if TYPE_CHECKING:
    from collections.abc import Iterator

X = np.array([[0.5, -1, 3]], np.float32)


def hosted(folder):
    (folder / "labels.txt").write_text("cat\ndog\nfox\n")
    inputs = tuple(TensorSpec(name=n, datatype="FP32", shape=(-1, 2)) for n in ("x", "by"))
    double = Model(uri=str(doubling(folder / "double.onnx", (None, 3))))
    shift = Model(uri=str(shifting(folder / "shift.onnx")))
    copy = Model(uri=str(copying(folder / "copy.onnx", FLOAT, (None, 3))))
    return [
        specialist(
            "scores",
            model=double,
            batching=Batching(max_size=8, priorities=2),
            classes={"y": str(folder / "labels.txt")},
        ),
        specialist("shift", model=shift, signature=Signature(inputs=inputs)),
        specialist("counted", "1", model=copy, batching=Batching(max_size=8)),
        specialist("counted", "2", model=copy),
    ]


@pytest.fixture(scope="module")
def extended(tmp_path_factory) -> Iterator[Running]:
    """A gateway that takes tensors in shared memory, and models that extensions are about."""
    folder = tmp_path_factory.mktemp("extended")
    environ = {"FABRIC_SHARED_MEMORY": "true"}
    with Running(folder, environ=environ).started() as running, ExitStack() as stack:
        models = hosted(folder)
        with fabric.Client(running.address) as client:
            client.apply(models, [route("scoring", "scores")])
        host = stack.enter_context(OnnxHost(running.control_address))
        host.serve(models, running.address)
        yield running


@pytest.fixture(scope="module")
def server(extended) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(extended.address) as client:
        yield client


def tensor(array, name="x"):
    made = triton.InferInput(name, list(array.shape), "FP32")
    made.set_data_from_numpy(array)
    return made


def refused(text, call, *args, **said):
    with pytest.raises(InferenceServerException) as caught:
        call(*args, **said)
    assert text in caught.value.message()
    return caught.value.status()


# ------------------------------------------------------------------ classification
@pytest.mark.parametrize("model", ["scores", "scoring"])
def test_classes_come_with_their_labels(server, model):
    """The largest first, of every row, by the name of a model or of a route."""
    wanted = [triton.InferRequestedOutput("y", class_count=2)]
    result = server.infer(model, [tensor(np.concatenate([X, -X]))], outputs=wanted)
    assert result.as_numpy("y").tolist() == [
        [b"6.000000:2:fox", b"1.000000:0:cat"],
        [b"2.000000:1:dog", b"-1.000000:0:cat"],
    ]


@pytest.mark.parametrize("binary", [True, False])
def test_classes_come_by_rest_too(extended, binary):
    """As texts in JSON, or behind it."""
    x = http.InferInput("x", list(X.shape), "FP32")
    x.set_data_from_numpy(X)
    wanted = [http.InferRequestedOutput("y", binary_data=binary, class_count=1)]
    with http.InferenceServerClient(extended.address) as client:
        result = client.infer("scores", [x], outputs=wanted, priority=1, timeout=5_000_000)
    ((found,),) = result.as_numpy("y").tolist()
    assert found == (b"6.000000:2:fox" if binary else "6.000000:2:fox")


# ------------------------------------------------------------------ optional inputs
def test_an_optional_input_may_be_left_out(server):
    """The model then has a value of its own."""
    x, by = np.zeros((1, 2), np.float32), np.full((1, 2), 5, np.float32)
    assert server.infer("shift", [tensor(x)]).as_numpy("y").tolist() == [[1, 1]]
    both = [tensor(x), tensor(by, "by")]
    assert server.infer("shift", both).as_numpy("y").tolist() == [[5, 5]]
    text = "expected number of inputs between 1 and 2 but got 1 inputs for model 'shift'"
    assert refused(text, server.infer, "shift", [tensor(by, "by")]).endswith("INVALID_ARGUMENT")


# ------------------------------------------------------------------ parameters
def test_reserved_parameters_are_taken(server):
    """As the client sends them: priority, timeout, a sequence that the model does not have."""
    result = server.infer(
        "scores",
        [tensor(X)],
        priority=2,
        timeout=5_000_000,
        sequence_id=7,
        sequence_start=True,
        sequence_end=True,
        parameters={"mine": "own", "number": 1, "yes": True, "half": 0.5},
    )
    assert result.as_numpy("y").tolist() == (2 * X).tolist()


def test_parameters_that_are_tritons_are_refused(extended):
    """In its words; its own client does not let them pass."""
    request = service_pb2.ModelInferRequest(model_name="scores")
    request.parameters["triton_final_response"].bool_param = True
    with grpc.insecure_channel(extended.address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        text = "parameter keys starting with 'triton_' are reserved for Triton usage."
        with pytest.raises(grpc.RpcError, match=text) as caught:
            stub.ModelInfer(request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("model", ["scores", "scoring"])
def test_elements_are_typed_for_who_asks(extended, model):
    """By parameter, or in the dialect that answers typed whom asks typed."""
    request = service_pb2.ModelInferRequest(model_name=model)
    request.inputs.add(
        name="x", datatype="FP32", shape=[1, 3], contents={"fp32_contents": [1, 2, 3]}
    )
    wanting = service_pb2.ModelInferRequest.FromString(request.SerializeToString())
    wanting.parameters["binary_data_output"].bool_param = False
    mlserver = (("fabric-dialect", "mlserver"),)
    with grpc.insecure_channel(extended.address) as channel:
        infer = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer
        for response in (infer(wanting), infer(request, metadata=mlserver)):
            assert list(response.outputs[0].contents.fp32_contents) == [2, 4, 6]
            assert not response.raw_output_contents
        wanting.parameters["binary_data_output"].bool_param = True
        request_of_raw = service_pb2.ModelInferRequest(
            model_name=model,
            inputs=[{"name": "x", "datatype": "FP32", "shape": [1, 3]}],
            raw_input_contents=[X.tobytes()],
        )
        raw = (
            infer(request),
            infer(wanting, metadata=mlserver),
            infer(request_of_raw, metadata=mlserver),
        )
        assert all(len(response.raw_output_contents) == 1 for response in raw)


# ------------------------------------------------------------------ statistics
def test_statistics_count_what_was_done(server):
    """By version, in the times and counts that the client's tools print."""
    for rows in (1, 2, 2):
        server.infer("counted", [tensor(np.repeat(X, rows, axis=0))], model_version="1")
    server.infer("counted", [tensor(X)], model_version="2")
    stats = server.get_inference_statistics("counted").model_stats
    assert {each.version: each.inference_count for each in stats} == {"1": 5, "2": 1}
    (first,) = server.get_inference_statistics("counted", "1").model_stats
    assert (first.name, first.version, first.execution_count) == ("counted", "1", 3)
    assert first.last_inference > 1_600_000_000_000
    spent = first.inference_stats
    assert (spent.success.count, spent.fail.count, spent.cache_hit.count) == (3, 0, 0)
    assert spent.success.ns > spent.compute_infer.ns > 0
    assert [(b.batch_size, b.compute_infer.count) for b in first.batch_stats] == [(1, 1), (2, 2)]
    everything = {each.name for each in server.get_inference_statistics().model_stats}
    assert {"counted", "scores", "scoring", "shift"} <= everything
    text = "Request for unknown model: 'nobody' is not found"
    assert refused(text, server.get_inference_statistics, "nobody").endswith("NOT_FOUND")


# ------------------------------------------------------------------ shared memory
@pytest.fixture
def region(server):
    """An object of this machine's shared memory, registered as `region`."""
    handle = shared_memory.create_shared_memory_region("region", "/fabric_test_region", 4096)
    server.register_system_shared_memory("region", "/fabric_test_region", 4096)
    yield handle
    server.unregister_system_shared_memory()
    shared_memory.destroy_shared_memory_region(handle)


def test_tensors_pass_in_shared_memory(server, region):
    """In and out, at offsets."""
    shared_memory.set_shared_memory_region(region, [X], offset=64)
    x = triton.InferInput("x", list(X.shape), "FP32")
    x.set_shared_memory("region", X.nbytes, offset=64)
    y = triton.InferRequestedOutput("y")
    y.set_shared_memory("region", 64, offset=128)

    result = server.infer("scores", [x], outputs=[y])

    output = result.get_output("y")
    assert output.parameters["shared_memory_region"].string_param == "region"
    assert output.parameters["shared_memory_byte_size"].int64_param == X.nbytes
    found = shared_memory.get_contents_as_numpy(region, np.float32, output.shape, offset=128)
    assert found.tolist() == (2 * X).tolist()


def test_streams_pass_tensors_in_shared_memory_too(server, region):
    """Each request for itself."""
    shared_memory.set_shared_memory_region(region, [X])
    x = triton.InferInput("x", list(X.shape), "FP32")
    x.set_shared_memory("region", X.nbytes)
    y = triton.InferRequestedOutput("y")
    y.set_shared_memory("region", 64, offset=128)
    answers = []
    server.start_stream(lambda result, error: answers.append((result, error)))
    server.async_stream_infer("scores", [x], outputs=[y])
    server.stop_stream()
    ((result, error),) = answers
    assert error is None
    shape = result.get_output("y").shape
    found = shared_memory.get_contents_as_numpy(region, np.float32, shape, offset=128)
    assert found.tolist() == (2 * X).tolist()


def test_regions_are_told_of_and_forgotten(server, region):
    """A name is known once, and an output that is too large is refused before it is written."""
    (said,) = server.get_system_shared_memory_status().regions.values()
    assert (said.name, said.key, said.byte_size) == ("region", "/fabric_test_region", 4096)
    again = ("region", "/fabric_test_region", 4096)
    text = "shared memory region 'region' already in manager"
    assert refused(text, server.register_system_shared_memory, *again).endswith("ALREADY_EXISTS")

    y = triton.InferRequestedOutput("y")
    y.set_shared_memory("region", 4)
    text = "'y' (4 bytes) should be at least 12 bytes to hold the results"
    refused(text, server.infer, "scores", [tensor(X)], outputs=[y])

    server.unregister_system_shared_memory("region")
    assert not server.get_system_shared_memory_status().regions
    text = "Unable to find shared memory region: 'region'"
    refused(text, server.infer, "scores", [tensor(X)], outputs=[y])


@pytest.mark.parametrize("binary", [True, False])
def test_rest_passes_tensors_in_shared_memory_too(extended, region, binary):
    """The same regions, by the other protocol."""
    shared_memory.set_shared_memory_region(region, [X], offset=64)
    x = http.InferInput("x", list(X.shape), "FP32")
    x.set_shared_memory("region", X.nbytes, offset=64)
    y = http.InferRequestedOutput("y", binary_data=binary)
    y.set_shared_memory("region", 64, offset=128)
    with http.InferenceServerClient(extended.address) as client:
        (said,) = client.get_system_shared_memory_status()
        output = client.infer("scores", [x], outputs=[y]).get_output("y")
    assert said["key"] == "/fabric_test_region"
    assert output["parameters"]["shared_memory_byte_size"] == X.nbytes
    found = shared_memory.get_contents_as_numpy(region, np.float32, output["shape"], offset=128)
    assert found.tolist() == (2 * X).tolist()


def test_an_object_that_is_cut_costs_its_client_only(server, region):
    """Whoever mapped it would be killed by reading it; the server is there as before."""
    x = triton.InferInput("x", list(X.shape), "FP32")
    x.set_shared_memory("region", X.nbytes, offset=64)
    y = triton.InferRequestedOutput("y")
    y.set_shared_memory("region", 64, offset=128)
    os.truncate(FOLDER / "fabric_test_region", 0)
    text = "the object '/fabric_test_region' is smaller than when it was registered"
    refused(text, server.infer, "scores", [x])
    refused(text, server.infer, "scores", [tensor(X)], outputs=[y])
    assert server.infer("scores", [tensor(X)]).as_numpy("y").tolist() == (2 * X).tolist()


def test_who_is_forwarded_has_no_memory_here(server):
    """Whatever address it says that it calls from."""
    forwarded = {"x-forwarded-for": "127.0.0.1"}
    call = ("other", "/fabric_test_region", 1)
    text = "for clients on the machine of the gateway only"
    status = refused(text, server.register_system_shared_memory, *call, headers=forwarded)
    assert status.endswith("PERMISSION_DENIED")


def test_memory_of_gpus_is_refused(server):
    """Where there is none; there is nothing to tell of or to forget."""
    call = ("gpu", b64encode(b"handle"), 0, 64)
    text = "CUDA shared memory is not served"
    assert refused(text, server.register_cuda_shared_memory, *call).endswith("UNIMPLEMENTED")
    assert not server.get_cuda_shared_memory_status().regions
    server.unregister_cuda_shared_memory()

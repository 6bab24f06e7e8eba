"""Unmodified clients of Triton call specialists and routes."""

from __future__ import annotations

import queue

import ml_dtypes
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

import fabric
from fabric.core.tensors import DTYPES

ROUTED = {"double": ("", "double"), "doubling": ("doubling", "double"), "batched": ("", "batched")}


def tensor(name, array, datatype=""):
    datatype = datatype or {np.dtype(np.float32): "FP32", np.dtype(np.int64): "INT64"}[array.dtype]
    made = triton.InferInput(name, list(array.shape), datatype)
    return made.set_data_from_numpy(array)


def example(datatype):
    if datatype == "BYTES":
        return np.array([b"a\0b", b"", "ü".encode()], np.object_)
    if datatype == "BF16":
        return np.array([1.0, -2.0, 0.5], ml_dtypes.bfloat16)
    return np.array([0, 1, 100]).astype(DTYPES[datatype])


# ------------------------------------------------------------------ queries
def test_the_server_is_live_and_ready(server):
    """Both, as soon as the catalog has arrived."""
    assert server.is_server_live()
    assert server.is_server_ready()


def test_a_model_is_ready_when_it_would_answer(server):
    """Specialists, their versions and routes alike; one that nobody hosts is not."""
    assert server.is_model_ready("double")
    assert server.is_model_ready("double", "1")
    assert server.is_model_ready("doubling")
    assert not server.is_model_ready("absent")
    assert not server.is_model_ready("nobody")


def test_the_server_has_a_name_and_a_version(server):
    """Its own, not Triton's."""
    metadata = server.get_server_metadata()
    assert (metadata.name, metadata.version) == ("fabric", fabric.__version__)


def test_a_models_metadata_are_its_signature(server):
    """Names, datatypes and shapes, the batch dimension first, and all of its versions."""
    metadata = server.get_model_metadata("double", as_json=True)
    assert metadata == {
        "name": "double",
        "versions": ["2", "1"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": ["-1", "2"]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": ["-1", "2"]}],
    }


def test_a_routes_metadata_are_those_of_its_first_candidate(server):
    """Under the route's name, without versions."""
    metadata = server.get_model_metadata("doubling")
    assert (metadata.name, list(metadata.versions)) == ("doubling", [])
    assert [each.name for each in metadata.inputs] == ["x"]


# ------------------------------------------------------------------ inference
@pytest.mark.parametrize("model", ROUTED)
def test_specialists_and_routes_answer(server, model):
    """By name, with the caller's id, and the answer says who gave it."""
    x = np.array([[1, 2], [3, 4]], np.float32)
    result = server.infer(model, [tensor("x", x)], request_id="r-1")

    np.testing.assert_array_equal(result.as_numpy("y"), 2 * x)
    response = result.get_response()
    said = {name: value for name, value in response.parameters.items() if name != "fabric_replica"}
    route, specialist = ROUTED[model]
    assert (response.model_name, response.id) == (model, "r-1")
    assert said["fabric_specialist"].string_param == specialist
    assert said["fabric_version"].string_param == response.model_version
    assert said["fabric_attempts"].int64_param == 1
    assert said["fabric_fallback"].bool_param is False
    assert ("fabric_route" in said) == bool(route)
    assert len(response.parameters["fabric_replica"].string_param) == 32


@pytest.mark.parametrize("datatype", sorted(DTYPES))
def test_every_datatype_comes_back(server, datatype):
    """Whatever tritonclient encodes, it reads again."""
    array = example(datatype)
    for _ in range(2):  # the second is decoded as one of a known kind
        result = server.infer(f"copy-{datatype.lower()}", [tensor("x", array, datatype)])
        returned = result.as_numpy("y")
        np.testing.assert_array_equal(returned, array)
        assert returned.dtype == array.dtype


def test_scalars_and_empty_tensors_come_back(server):
    """No dimension is one element, and a dimension of zero is none."""
    scalar = server.infer("scalar", [tensor("x", np.array(2.5, np.float32))]).as_numpy("y")
    assert (scalar.shape, float(scalar)) == ((), 2.5)
    empty = server.infer("double", [tensor("x", np.zeros((0, 2), np.float32))]).as_numpy("y")
    assert empty.shape == (0, 2)


def three(a=(1, 2), b=(3, 5), n=(7,)):
    return [
        tensor("n", np.array(n, np.int64)),
        tensor("b", np.array(b, np.float32)),
        tensor("a", np.array(a, np.float32)),
    ]


def test_several_inputs_and_outputs_are_told_apart_by_name(server):
    """In whatever order they come; without a wish all outputs are given."""
    result = server.infer("arithmetic", three())
    found = {o.name: result.as_numpy(o.name).tolist() for o in result.get_response().outputs}
    assert found == {"sum": [4, 7], "difference": [-2, -3], "m": [7]}


def test_only_the_outputs_asked_for_are_given(server):
    """In the order asked."""
    wanted = [triton.InferRequestedOutput(name) for name in ("m", "sum")]
    response = server.infer("arithmetic", three(), outputs=wanted).get_response()
    assert [output.name for output in response.outputs] == ["m", "sum"]
    assert len(response.raw_output_contents) == 2


def test_a_version_is_served_when_it_is_asked_for(server):
    """Without one the latest is, and the answer says which."""
    x = [tensor("x", np.zeros((1, 2), np.float32))]
    assert server.infer("double", x, "1").get_response().model_version == "1"
    assert server.infer("double", x).get_response().model_version == "2"


def test_a_batch_is_answered_row_by_row(server):
    """Up to the largest the specialist takes."""
    x = np.arange(16, dtype=np.float32).reshape(8, 2)
    np.testing.assert_array_equal(server.infer("batched", [tensor("x", x)]).as_numpy("y"), 2 * x)


def test_requirements_travel_as_parameters(server):
    """A candidate that does not meet them is refused, with the reason."""
    x = [tensor("x", np.zeros((2, 4), np.float32))]
    assert server.infer("fixed", x, parameters={"fabric_domain": "fixed"})
    with pytest.raises(InferenceServerException, match="domain other is not among fixed"):
        server.infer("fixed", x, parameters={"fabric_domain": "other"})


def test_parameters_of_others_are_passed_by(server):
    """What tritonclient sends on its own changes nothing."""
    x = [tensor("x", np.zeros((1, 2), np.float32))]
    assert server.infer("double", x, priority=1, timeout=1_000_000, parameters={"mine": "yes"})


def test_many_requests_of_one_client_are_answered_at_once(server):
    """Its callbacks get their own answers."""
    answers: queue.Queue = queue.Queue()
    for number in range(50):
        server.async_infer(
            "batched",
            [tensor("x", np.full((1, 2), number, np.float32))],
            lambda result, error: answers.put((result, error)),
            request_id=str(number),
        )
    for _ in range(50):
        result, error = answers.get(timeout=10)
        assert error is None
        assert result.as_numpy("y")[0, 0] == 2 * int(result.get_response().id)


def test_a_client_timeout_ends_the_call(server):
    """By the client's own clock, and the gateway goes on."""
    x = np.zeros((2_000_000, 2), np.float32)
    with pytest.raises(InferenceServerException, match=r"DEADLINE_EXCEEDED|Deadline Exceeded"):
        server.infer("double", [tensor("x", x)], client_timeout=0.001)
    assert server.infer("double", [tensor("x", x[:1])], client_timeout=10)


@pytest.mark.parametrize("model", ["double", "doubling"])
def test_large_messages_pass_both_ways(server, model):
    """32 MiB in and 32 MiB out, whole."""
    x = np.arange(8 << 20, dtype=np.float32).reshape(-1, 2)
    np.testing.assert_array_equal(server.infer(model, [tensor("x", x)]).as_numpy("y"), 2 * x)


async def test_the_asyncio_client_is_served_too(models):
    """The same calls, unmodified."""
    x = np.array([[1, 2]], np.float32)
    async with triton_aio.InferenceServerClient(models.address) as server:
        assert await server.is_server_live()
        assert await server.is_server_ready()
        assert await server.is_model_ready("doubling")
        assert (await server.get_server_metadata()).name == "fabric"
        assert (await server.get_model_metadata("double")).inputs[0].datatype == "FP32"
        result = await server.infer("doubling", [tensor("x", x)], request_id="a", client_timeout=5)
        assert result.get_response().id == "a"
        np.testing.assert_array_equal(result.as_numpy("y"), 2 * x)
        with pytest.raises(InferenceServerException, match="unknown model: 'none' is not found"):
            await server.infer("none", [tensor("x", x)])

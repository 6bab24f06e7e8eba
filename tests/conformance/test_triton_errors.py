"""What is wrong with a request is said in the words, and with the codes, that clients know."""

# ruff: noqa: E501 - texts that clients match are kept whole
from __future__ import annotations

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
EIGHT = bytes(8)
X = ("x", "FP32", [1, 2])


def request_of(*tensors, raw=(EIGHT,), model="double", **fields):
    request = pb.ModelInferRequest(model_name=model, raw_input_contents=raw, **fields)
    for name, datatype, shape, *contents in tensors:
        request.inputs.add(
            name=name, datatype=datatype, shape=shape, contents=contents[0] if contents else None
        )
    return request


def refusal(call, request):
    """Code and text of the error that *call* ends with."""
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=10)
    return caught.value.code(), caught.value.details()


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (request_of(("x", "FP64", [1, 2])), "inference input 'x' data-type is 'FP64', but model 'double' expects 'FP32'"),
        (request_of(("x", "FP32", [1, 3])), "unexpected shape for input 'x' for model 'double'. Expected [-1,2], got [1,3]. "),
        (request_of(("x", "FP32", [2])), "unexpected shape for input 'x' for model 'double'. Expected [-1,2], got [2]. "),
        (request_of(("x", "FP32", [-1, 2])), "All input dimensions should be specified for input 'x' for model 'double', got [-1,2]"),
        (request_of(raw=()), "expected 1 inputs but got 0 inputs for model 'double'. Got input(s) [], but missing required input(s) ['x']. Please provide all required input(s)."),
        (request_of(X, ("z", "FP32", [1])), "unexpected inference input 'z' for model 'double'"),
        (request_of(X, X, raw=[EIGHT, EIGHT]), "input 'x' already exists in request"),
        (request_of(X, raw=[bytes(12)]), "input byte size mismatch for input 'x' for model 'double'. Expected 8, got 12"),
        (request_of(X, raw=()), "unable to find data for input tensor 'x' for model 'double' in request."),
        (request_of((*X, {"fp32_contents": [1, 2]})), "contents field must not be specified when using raw_input_contents for 'x' for model 'double'"),
        (request_of((*X, {"fp64_contents": [1, 2]}), raw=()), "unexpected explicit tensor data for input tensor 'x' for model 'double' of type 'FP64', expected datatype 'FP32'"),
        (request_of((*X, {"fp32_contents": [1, 2, 3]}), raw=()), "input byte size mismatch for input 'x' for model 'double'. Expected 8, got 12"),
        (request_of(X, raw=[EIGHT, EIGHT]), "expected 1 raw_input_contents but got 2 for model 'double'"),
        (request_of(X, outputs=[{"name": "z"}]), "unexpected inference output 'z' for model 'double'"),
        (request_of(X, outputs=[{"name": "y"}, {"name": "y"}]), "output 'y' already exists in request"),
        (request_of(("x", "FP32", [9, 2]), raw=[bytes(72)], model="batched"), "inference request batch-size must be <= 8 for 'batched'"),
        (request_of(("x", "BYTES", [1]), raw=[b"\1\0"], model="copy-bytes"), "incomplete string length indicator for inference input 'x' for model 'copy-bytes', expecting 4 bytes but only 2 bytes available."),
        (request_of(("x", "BYTES", [2]), raw=[b"\1\0\0\0a"], model="copy-bytes"), "expected 2 string elements for inference input 'x' for model 'copy-bytes', got 1"),
        (request_of(("x", "BYTES", [1]), raw=[bytes(8)], model="copy-bytes"), "unexpected number of string elements 2 for inference input 'x' for model 'copy-bytes', expecting 1"),
        (request_of(X, parameters={"fabric_domian": pb.InferParameter(string_param="a")}), "unknown parameter 'fabric_domian'; did you mean 'fabric_domain'?"),
    ],
)  # fmt: skip
def test_a_request_that_is_wrong_is_refused(stub, request_, text):
    """As an invalid argument, which nobody tries again."""
    assert refusal(stub.ModelInfer, request_) == (INVALID, text)


def test_missing_inputs_are_named(stub):
    """Those that came and those that did not."""
    request = request_of(("a", "FP32", [2]), model="arithmetic")
    assert refusal(stub.ModelInfer, request) == (
        INVALID,
        "expected 3 inputs but got 1 inputs for model 'arithmetic'. Got input(s) ['a'], but missing required input(s) ['b','n']. Please provide all required input(s).",
    )


def test_a_route_gives_its_specialists_refusal_without_trying_others(stub):
    """What no candidate could answer costs no second attempt."""
    code, text = refusal(stub.ModelInfer, request_of(("x", "FP64", [1, 2]), model="doubling"))
    assert (code, "attempts" in text) == (INVALID, False)


def test_a_region_that_nobody_registered_is_refused(stub):
    """Also where no shared memory is served at all."""
    request = request_of(X, outputs=[{"name": "y"}])
    request.outputs[0].parameters["shared_memory_region"].string_param = "r"
    code, text = refusal(stub.ModelInfer, request)
    assert (code, "find shared memory region: 'r'" in text) == (INVALID, True)


@pytest.mark.parametrize("call", ["ModelInfer", "ModelReady", "ModelMetadata"])
@pytest.mark.parametrize("version", ["", "99"])
def test_an_unknown_model_or_version_is_not_found(stub, call, version):
    """In the words that clients match."""
    name = "double" if version else "none"
    which = f"'double' version {version}" if version else "'none'"
    request = (
        pb.ModelInferRequest(model_name=name, model_version=version)
        if call == "ModelInfer"
        else getattr(pb, f"{call}Request")(name=name, version=version)
    )
    assert refusal(getattr(stub, call), request) == (
        NOT_FOUND,
        f"Request for unknown model: {which} is not found",
    )


def test_a_route_has_no_versions(stub):
    """Asking for one is an error that says so."""
    code, text = refusal(stub.ModelInfer, request_of(X, model="doubling", model_version="1"))
    assert (code, "routes have no versions" in text) == (NOT_FOUND, True)


@pytest.mark.parametrize("model", ["absent", "nobody"])
def test_a_model_that_is_known_and_not_ready_is_unavailable(stub, model):
    """Clients may try again."""
    code, text = refusal(stub.ModelInfer, request_of(X, model=model))
    assert (code, text) == (
        grpc.StatusCode.UNAVAILABLE,
        "no replica of 'absent:1' is ready",
    )
    code, _ = refusal(stub.ModelMetadata, pb.ModelMetadataRequest(name=model))
    assert code == grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("model", "field", "values"),
    [
        ("copy-bool", "bool_contents", [True, False]),
        ("copy-int8", "int_contents", [-1, 2]),
        ("copy-int16", "int_contents", [-1, 2]),
        ("copy-int32", "int_contents", [-1, 2]),
        ("copy-int64", "int64_contents", [-1, 2]),
        ("copy-uint8", "uint_contents", [1, 255]),
        ("copy-uint16", "uint_contents", [1, 2]),
        ("copy-uint32", "uint_contents", [1, 2]),
        ("copy-uint64", "uint64_contents", [1, 2**63]),
        ("copy-fp32", "fp32_contents", [0.5, 2]),
        ("copy-fp64", "fp64_contents", [0.5, 2]),
    ],
)
def test_typed_contents_are_answered_raw(stub, model, field, values):
    """As Triton does, on which its clients depend."""
    datatype = model.removeprefix("copy-").upper()
    request = request_of(("x", datatype, [2], {field: values}), raw=(), model=model)
    response = stub.ModelInfer(request)
    dtype = np.dtype(getattr(np, _numpy_name(datatype)))
    (raw,) = response.raw_output_contents
    assert np.frombuffer(raw, dtype).tolist() == values
    assert not response.outputs[0].HasField("contents")


def _numpy_name(datatype):
    names = {"BOOL": "bool_", "FP32": "float32", "FP64": "float64"}
    return names.get(datatype, datatype.lower())


def test_typed_bytes_are_answered_raw(stub):
    """Each element behind its length."""
    contents = {"bytes_contents": [b"ab", b""]}
    request = request_of(("x", "BYTES", [2], contents), raw=(), model="copy-bytes")
    (raw,) = stub.ModelInfer(request).raw_output_contents
    assert raw == b"\2\0\0\0ab\0\0\0\0"


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_half_floats_come_raw_only(stub, datatype):
    """They have no typed field."""
    contents = {"fp32_contents": [1, 2]}
    model = f"copy-{datatype.lower()}"
    request = request_of(("x", datatype, [2], contents), raw=(), model=model)
    code, text = refusal(stub.ModelInfer, request)
    assert (code, "unexpected explicit tensor data" in text) == (INVALID, True)

"""Tensors travel as Triton's own clients write and read them."""

# ruff: noqa: E501 - texts that clients match are kept whole
from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2

from fabric.api.inference.v2.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from fabric.core.errors import Internal, InvalidRequest
from fabric.core.tensors import DTYPES
from fabric.wire.tensors import decode_outputs, encode_inputs, to_raw

FIXED = sorted(set(DTYPES) - {"BYTES", "BF16"})


def array_of(datatype: str) -> np.ndarray:
    if datatype == "BYTES":
        return np.array([[b"", b"a\0b", "\u00fc".encode()]], np.object_)
    return (
        (np.arange(6) % 2 if datatype == "BOOL" else np.arange(6) - 3 * (datatype[0] == "I"))
        .astype(DTYPES[datatype])
        .reshape(2, 3)
    )


def response_with(**fields: object) -> ModelInferResponse:
    return ModelInferResponse(model_name="m", outputs=[{"name": "y", **fields}])


@pytest.mark.parametrize("datatype", [*FIXED, "BYTES"])
def test_inputs_are_encoded_as_tritonclient_encodes_them(datatype):
    """Our encoder and tritonclient's write the same tensor."""
    array = array_of(datatype)
    theirs = triton.InferInput("x", list(array.shape), datatype)
    theirs.set_data_from_numpy(array)
    ours = ModelInferRequest()
    encode_inputs(ours, {"x": array})

    expected = service_pb2.ModelInferRequest()
    expected.inputs.append(theirs._get_tensor())
    expected.raw_input_contents.append(theirs._get_content())
    assert ours.SerializeToString() == expected.SerializeToString()


@pytest.mark.parametrize("datatype", [*FIXED, "BYTES"])
def test_outputs_survive_the_wire(datatype):
    """What is encoded raw is decoded to the same array."""
    array = array_of(datatype)
    request = ModelInferRequest()
    encode_inputs(request, {"y": array})
    response = ModelInferResponse(raw_output_contents=request.raw_input_contents)
    response.outputs.add(name="y", datatype=datatype, shape=array.shape)

    decoded = decode_outputs(response)["y"]

    np.testing.assert_array_equal(decoded, array)
    assert decoded.dtype == array.dtype


@pytest.mark.parametrize(
    ("datatype", "contents"),
    [
        ("BOOL", {"bool_contents": [True, False]}),
        ("INT8", {"int_contents": [-1, 2]}),
        ("INT64", {"int64_contents": [-1, 2**40]}),
        ("UINT16", {"uint_contents": [1, 65535]}),
        ("UINT64", {"uint64_contents": [1, 2**63]}),
        ("FP32", {"fp32_contents": [0.5, -1]}),
        ("FP64", {"fp64_contents": [0.5, -1]}),
        ("BYTES", {"bytes_contents": [b"a", b""]}),
    ],
)
def test_typed_outputs_are_read(datatype, contents):
    """Servers that answer typed are understood."""
    decoded = decode_outputs(response_with(datatype=datatype, shape=[2], contents=contents))["y"]

    assert decoded.tolist() == next(iter(contents.values()))


def test_bf16_arrays_are_sent_as_their_bits():
    """numpy knows BF16 through ml_dtypes only."""
    request = ModelInferRequest()
    encode_inputs(request, {"x": np.array([1.0], ml_dtypes.bfloat16)})

    assert request.inputs[0].datatype == "BF16"
    assert request.raw_input_contents == [b"\x80\x3f"]


def test_an_array_without_a_datatype_is_refused():
    """The caller learns which array, and what there is."""
    with pytest.raises(InvalidRequest, match="input 'x': no datatype for numpy dtype complex128"):
        encode_inputs(ModelInferRequest(), {"x": np.zeros(1, np.complex128)})


@pytest.mark.parametrize(
    ("fields", "raw", "text"),
    [
        ({"datatype": "FP32", "shape": [2]}, [b"1234"], "output byte size mismatch for output 'y' for model 'm'. Expected 8, got 4"),
        ({"datatype": "FP32", "shape": [2]}, [], "no elements of output 'y' for model 'm'"),
        ({"datatype": "FP12", "shape": [2]}, [b""], "unknown datatype 'FP12' of output 'y'"),
    ],
)  # fmt: skip
def test_a_response_that_contradicts_itself_is_an_error_of_the_server(fields, raw, text):
    """The client does not blame its caller."""
    response = response_with(**fields)
    response.raw_output_contents.extend(raw)

    with pytest.raises(Internal, match=text):
        decode_outputs(response)


def test_arrays_of_either_byte_order_travel_little_endian():
    """What the protocol fixes does not depend on how the caller's array lies in memory."""
    assert to_raw(np.array([1.0], ">f4"), "FP32") == np.array([1.0], "<f4").tobytes()

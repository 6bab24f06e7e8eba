"""Documents of inference, without a socket."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from fabric.api.inference.v2.open_inference_pb2 import (
    ModelInferRequest,
    ModelInferResponse,
    ModelMetadataResponse,
)
from fabric.core.errors import InvalidRequest
from fabric.wire.rest import Wish, decode, decode_raw, encode

JSON = Wish(False, {})
BINARY = Wish(True, {})


def decoded(document, raw=b""):
    head = json.dumps(document).encode()
    request = ModelInferRequest(model_name="m")
    return request, decode(head + raw, len(head), request)


def tensor(data, datatype="INT32", **more):
    return {"name": "x", "datatype": datatype, "shape": [2], "data": data, **more}


def response(datatype, shape, raw, **parameters):
    made = ModelInferResponse(model_name="m", raw_output_contents=[raw])
    output = made.outputs.add(name="y", datatype=datatype, shape=shape)
    for name, value in parameters.items():
        output.parameters[name].string_param = value
    return made


# ------------------------------------------------------------------ requests
def test_elements_become_raw():
    """Whichever way they came, in the order of the inputs."""
    inputs = [tensor([1, 2]), tensor(None, "FP16", name="h", parameters={"binary_data_size": 4})]
    request, _ = decoded({"inputs": inputs}, b"abcd")
    assert list(request.raw_input_contents) == [np.array([1, 2], np.int32).tobytes(), b"abcd"]
    assert [each.name for each in request.inputs] == ["x", "h"]
    assert not request.inputs[1].parameters


def test_an_input_in_shared_memory_takes_no_raw_elements():
    """Its parameters go on as they are."""
    said = {"shared_memory_region": "r", "shared_memory_byte_size": 8}
    shared = {"name": "s", "datatype": "INT32", "shape": [2], "parameters": said}
    request, _ = decoded({"inputs": [shared, tensor([1, 2])]})
    assert len(request.raw_input_contents) == 1
    assert request.inputs[0].parameters["shared_memory_byte_size"].int64_param == 8


def test_null_is_as_good_as_nothing():
    """Clients write it for what they were not told."""
    said = tensor([1, 2], parameters=None)
    request, wish = decoded({"inputs": [said], "id": None, "outputs": None, "parameters": None})
    assert (request.id, len(request.outputs), wish.is_binary("y")) == ("", 0, False)


def test_parameters_keep_their_types():
    """Of the request and of its outputs; those about binary data end here."""
    parameters = {
        "a": True,
        "b": -1,
        "c": 0.5,
        "d": "e",
        "f": 2**64 - 1,
        "binary_data_output": True,
    }
    outputs = [{"name": "y", "parameters": {"classification": 3, "binary_data": False}}]
    request, wish = decoded({"inputs": [], "parameters": parameters, "outputs": outputs})
    said = {name: request.parameters[name] for name in request.parameters}
    assert sorted(said) == ["a", "b", "c", "d", "f"]
    assert (said["a"].bool_param, said["b"].int64_param, said["c"].double_param) == (True, -1, 0.5)
    assert (said["d"].string_param, said["f"].uint64_param) == ("e", 2**64 - 1)
    assert request.outputs[0].parameters["classification"].int64_param == 3
    assert "binary_data" not in request.outputs[0].parameters
    assert (wish.is_binary("y"), wish.is_binary("z")) == (False, True)


@pytest.mark.parametrize(
    ("datatype", "data"),
    [
        ("INT32", [1, 2.0]),
        ("INT32", [1, True]),
        ("INT32", [1, None]),
        ("INT32", [1, 2**31]),
        ("INT32", [1, -(2**70)]),
        ("UINT64", [1, -1]),
        ("BOOL", [True, 1]),
        ("FP64", [1, 10**400]),
        ("FP32", [1, "NaN"]),
        ("FP32", [1, {}]),
        ("BYTES", ["a", 1]),
        ("BYTES", [["a"], "bc"]),
        ("FP32", {"0": 1}),
        ("FP32", "12"),
    ],
)
def test_elements_that_the_datatype_cannot_hold_are_refused(datatype, data):
    """By the input's name; nothing is cut or wrapped."""
    with pytest.raises(InvalidRequest, match="input 'x'"):
        decoded({"inputs": [tensor(data, datatype)]})


def test_numbers_beyond_fp32_are_infinite():
    """As a caller's own conversion makes them."""
    request, _ = decoded({"inputs": [tensor([1e300, -1e300], "FP32")]})
    assert np.frombuffer(request.raw_input_contents[0], np.float32).tolist() == [np.inf, -np.inf]


def test_elements_as_deep_as_no_tensor_are_refused():
    """Before they are looked at."""
    data = json.loads("[" * 63 + "1" + "]" * 63)
    decoded({"inputs": [tensor([data])]})
    with pytest.raises(InvalidRequest, match="nested too deep"):
        decoded({"inputs": [tensor([[data]])]})


def test_large_documents_are_parsed_as_small_ones_are():
    """The other way of reading their numbers makes no difference."""
    values = [0, -1, 7] * 30_000
    request, _ = decoded({"inputs": [tensor(values)]})
    assert np.frombuffer(request.raw_input_contents[0], np.int32).tolist() == values
    with pytest.raises(InvalidRequest, match=r"0\.5 is no INT32"):
        decoded({"inputs": [tensor([*values, 0.5])]})
    with pytest.raises(InvalidRequest, match="parse the request JSON"):
        decode(b"9" * 70_000, 70_000, ModelInferRequest())


def metadata(datatype, *shapes):
    inputs = [{"name": "x", "datatype": datatype, "shape": shape} for shape in shapes]
    return ModelMetadataResponse(name="m", inputs=inputs)


@pytest.mark.parametrize(
    ("datatype", "shape", "body", "found"),
    [
        ("FP32", [-1, 2], bytes(24), [3, 2]),
        ("FP32", [-1, -1], bytes(24), [1, 6]),
        ("FP32", [2, 3], bytes(24), [2, 3]),
        ("FP32", [], bytes(4), []),
        ("INT8", [0, -1], b"", [0, 0]),
        ("BYTES", [-1, 1], b"any", [1, 1]),
    ],
)
def test_a_body_without_json_is_the_one_input(datatype, shape, body, found):
    """In the shape that fits; a text is one element."""
    request = ModelInferRequest()
    wish = decode_raw(body, request, metadata(datatype, shape))
    assert list(request.inputs[0].shape) == found
    length = b"\3\0\0\0" if datatype == "BYTES" else b""
    assert list(request.raw_input_contents) == [length + body]
    assert wish.is_binary("y")


@pytest.mark.parametrize("shapes", [(), ([1], [1]), ([-1, -1, -1],), ([2, -1, -1],)])
def test_a_body_that_could_be_anything_is_refused(shapes):
    """It says what is sent instead."""
    with pytest.raises(InvalidRequest, match="send JSON with the binary data behind it"):
        decode_raw(b"", ModelInferRequest(), metadata("FP32", *shapes))


# ------------------------------------------------------------------ responses
def test_bytes_that_are_no_text_are_no_json():
    """The error says how to ask; as binary data they come."""
    made = response("BYTES", [1], b"\1\0\0\0\xff")
    with pytest.raises(InvalidRequest, match=re.escape("'binary_data' = true")):
        encode(made, JSON)
    head, binary = encode(made, BINARY)
    assert json.loads(head)["outputs"][0]["parameters"] == {"binary_data_size": 5}
    assert binary == [b"\1\0\0\0\xff"]


def test_an_output_in_shared_memory_has_no_elements():
    """Only where they are."""
    head, binary = encode(response("FP32", [1], b"", shared_memory_region="r"), BINARY)
    (output,) = json.loads(head)["outputs"]
    assert (output["parameters"], binary) == ({"shared_memory_region": "r"}, [])
    assert "data" not in output


def test_typed_elements_are_written_like_raw_ones():
    """In JSON and binary."""
    made = ModelInferResponse(model_name="m", id="7")
    made.outputs.add(name="y", datatype="INT8", shape=[2]).contents.int_contents.extend([-1, 2])
    head, _ = encode(made, JSON)
    document = json.loads(head)
    assert (document["id"], document["outputs"][0]["data"]) == ("7", [-1, 2])
    assert encode(made, BINARY)[1] == [b"\xff\2"]


def test_texts_and_long_lists_are_written_whole():
    """Piece by piece."""
    values = np.arange(40_000)
    head, _ = encode(response("INT64", [40_000], values.tobytes()), JSON)
    assert json.loads(head)["outputs"][0]["data"] == values.tolist()
    head, _ = encode(response("BYTES", [2], b'\2\0\0\0\xc3\xbc\1\0\0\0"'), JSON)
    assert '"data":["ü","\\""]'.encode() in head

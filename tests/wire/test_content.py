"""What is looked at of a request."""

from __future__ import annotations

import numpy as np
import pytest

from fabric.api.inference.v2.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from fabric.core.errors import InvalidRequest, SpecialistFailed
from fabric.wire.content import LONGEST, Input, embedding, text_request
from fabric.wire.heads import SMALL
from fabric.wire.tensors import TYPED, encode_inputs, to_contents, to_raw


def payload(**tensors):
    message = ModelInferRequest(model_name="m")
    encode_inputs(message, tensors)
    return message.SerializeToString()


def typed(name, array, datatype):
    message = ModelInferRequest(model_name="m")
    tensor = message.inputs.add(name=name, datatype=datatype, shape=array.shape)
    to_contents(tensor.contents, array, datatype)
    return message.SerializeToString()


def raw(datatype, array):
    message = ModelInferRequest(model_name="m")
    message.inputs.add(name="x", datatype=datatype, shape=array.shape)
    message.raw_input_contents.append(to_raw(array, datatype))
    return message.SerializeToString()


def texts(*values):
    return np.array([value.encode() for value in values], np.object_)


# ------------------------------------------------------------------ texts
def test_texts_are_joined_by_lines():
    """Whichever way their elements travel."""
    for made in (payload(t=texts("what", "is ü")), typed("t", texts("what", "is ü"), "BYTES")):
        found = Input.of(made, "t")
        assert found.is_text
        assert found.text() == "what\nis ü"


def test_a_long_text_is_shortened():
    """To characters, not bytes, and without half a character at its end."""
    found = Input.of(payload(t=texts("ü" * 3 * LONGEST, "more")), "t")

    assert found.text() == "ü" * LONGEST


def test_what_is_no_utf8_is_left_out():
    """A text is looked at and never answered with."""
    found = Input.of(payload(t=np.array([b"a\xff\xfeb"], np.object_)), "t")

    assert found.text() == "ab"


def test_a_length_beyond_the_end_reads_what_is_there():
    """That the elements are wrong is the specialist's to say."""
    message = ModelInferRequest(model_name="m")
    message.inputs.add(name="t", datatype="BYTES", shape=[2])
    message.raw_input_contents.append(b"\x02\0\0\0ab\xff\xff\xff\xffc")

    assert Input.of(message.SerializeToString(), "t").text() == "ab\nc"


# ------------------------------------------------------------------ numbers
@pytest.mark.parametrize(
    "datatype",
    ["BOOL", "UINT8", "INT8", "UINT16", "INT32", "INT64", "UINT64", "FP16", "FP32", "FP64"],
)
def test_numbers_of_any_datatype_are_read(datatype):
    """Raw, and typed where they can be."""
    dtype = {"BOOL": "?", "FP16": "e", "FP32": "f", "FP64": "d"}.get(datatype, datatype.lower())
    array = np.array([[0, 1], [1, 1]]).astype(dtype)
    made = [raw(datatype, array)]
    if datatype in TYPED:
        made.append(typed("x", array, datatype))

    for each in made:
        assert Input.of(each, "x").numbers() == (0.0, 1.0, 1.0, 1.0)


def test_bf16_is_the_upper_half_of_fp32():
    """Numpy has no such dtype."""
    halves = (np.array([1.5, -2.0], np.float32).view(np.uint32) >> 16).astype(np.uint16)

    assert Input.of(raw("BF16", halves), "x").numbers() == (1.5, -2.0)


def test_of_a_large_tensor_the_beginning_is_read():
    """And nothing of it is copied before."""
    made = payload(other=np.zeros(3, np.uint8), x=np.arange(SMALL, dtype=np.float32))

    found = Input.of(made, "x")

    assert isinstance(found.raw, memoryview)
    assert found.numbers() == tuple(range(LONGEST))


def test_what_is_not_finite_is_zero():
    """No distance to it would be a number."""
    made = payload(x=np.array([np.nan, 1.0, np.inf], np.float32))

    assert Input.of(made, "x").numbers() == (0.0, 1.0, 0.0)


def test_texts_are_no_numbers():
    """And a datatype that nobody knows has none either."""
    unknown = ModelInferRequest(inputs=[{"name": "x", "datatype": "FP8"}], raw_input_contents=[b""])

    assert Input.of(payload(x=texts("1")), "x").numbers() == ()
    assert Input.of(unknown.SerializeToString(), "x").numbers() == ()


def test_an_input_that_is_not_there_is_named():
    """With those that are."""
    with pytest.raises(InvalidRequest, match=r"the input 'text'.* its inputs: 'a', 'b'"):
        Input.of(payload(a=np.zeros(1), b=np.zeros(1)), "text")
    with pytest.raises(InvalidRequest, match="no elements"):
        Input.of(ModelInferRequest(inputs=[{"name": "a"}]).SerializeToString(), "a")


# ------------------------------------------------------------------ encoders
@pytest.mark.parametrize("size", [4, SMALL])
def test_an_encoder_is_sent_the_input_alone(size):
    """Under the name that it has for it, with the same elements."""
    x = np.arange(size, dtype=np.float32)[None]
    made = Input.of(payload(mask=np.zeros(2, np.uint8), x=x), "x").request("e", "image", "pooled")

    request = ModelInferRequest.FromString(made)
    expected = ModelInferRequest(model_name="e", outputs=[{"name": "pooled"}])
    encode_inputs(expected, {"image": x})
    assert request == expected


def test_an_encoder_is_sent_typed_elements_typed():
    """As they came."""
    made = typed("t", texts("a", "b"), "BYTES")

    assert Input.of(Input.of(made, "t").request("e", "", ""), "t").text() == "a\nb"


def test_a_text_is_sent_in_the_shape_that_is_told():
    """It is one element."""
    request = ModelInferRequest.FromString(text_request("e", "t", (1, 1), "good", "pooled"))

    assert Input.of(request.SerializeToString(), "t").text() == "good"
    assert (list(request.inputs[0].shape), request.outputs[0].name) == ([1, 1], "pooled")


def answer(**tensors):
    message = ModelInferResponse()
    for name, array in tensors.items():
        datatype = "BYTES" if array.dtype == np.object_ else "FP32"
        message.outputs.add(name=name, datatype=datatype, shape=array.shape)
        message.raw_output_contents.append(to_raw(array, datatype))
    return message.SerializeToString()


def test_an_embedding_is_the_first_output_of_numbers_or_the_one_that_is_named():
    """Flat."""
    made = answer(t=texts("a"), x=np.ones((1, 2), np.float32), y=np.zeros(3, np.float32))

    assert embedding(made, "") == (1.0, 1.0)
    assert embedding(made, "y") == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("made", "output"),
    [
        (answer(x=np.ones(2, np.float32)), "z"),
        (answer(x=np.array([1, np.nan], np.float32)), ""),
        (answer(x=np.ones(0, np.float32)), ""),
        (answer(t=texts("a")), ""),
        (b"\xff", ""),
    ],
)
def test_an_answer_without_an_embedding_is_the_encoders_failure(made, output):
    """Nobody decides by what is no vector."""
    with pytest.raises(SpecialistFailed, match="encoder"):
        embedding(made, output)

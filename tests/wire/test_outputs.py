"""Outputs in encoded responses."""

from __future__ import annotations

import numpy as np
import pytest

from fabric.api.inference.v2.open_inference_pb2 import ModelInferResponse
from fabric.core.errors import Internal
from fabric.wire import outputs
from fabric.wire.tensors import to_contents, to_raw

Y = np.array([[1.0, 2.0]], np.float32)
N = np.array([7], np.int64)


def response(typed=()):
    """`a` and `y` as FP32, `n` between them; those in *typed* typed, the others raw."""
    message = ModelInferResponse(model_name="m", id="7")
    message.parameters["own"].bool_param = True
    for name, array, datatype in (("a", Y, "FP32"), ("n", N, "INT64"), ("y", Y, "FP32")):
        output = message.outputs.add(name=name, datatype=datatype, shape=array.shape)
        if name in typed:
            to_contents(output.contents, array, datatype)
        else:
            message.raw_output_contents.append(to_raw(array, datatype))
    return message.SerializeToString()


@pytest.mark.parametrize("typed", [(), ("n",), ("a", "y"), ("a", "n", "y")])
def test_an_output_is_replaced_and_all_else_stays(typed):
    """However each output travels."""
    payload = response(typed)
    written = outputs.write(memoryview(payload), {"y": 2 * Y})
    assert {name: array.tolist() for name, array in outputs.read(written).items()} == {
        "a": Y.tolist(),
        "n": [7],
        "y": [[2.0, 4.0]],
    }
    before, after = ModelInferResponse.FromString(payload), ModelInferResponse.FromString(written)
    assert (after.id, after.parameters["own"].bool_param) == ("7", True)
    for one, other in zip(before.outputs, after.outputs, strict=True):
        assert one.HasField("contents") == other.HasField("contents")
    assert outputs.write(payload, {}) == payload


def test_what_is_no_response_is_said_to_be_none():
    """And read by nobody."""
    for call in (lambda: outputs.read(b"\xff"), lambda: outputs.write(b"\xff", {"y": Y})):
        with pytest.raises(Internal, match="the response is not valid"):
            call()

"""The outputs in encoded responses, read and replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from fabric.api.inference.v2.open_inference_pb2 import ModelInferResponse
from fabric.core.errors import Internal
from fabric.wire.tensors import decode_outputs, to_contents, to_raw

if TYPE_CHECKING:
    from fabric.core.tensors import Tensors


def read(payload: bytes | memoryview) -> Tensors:
    """The arrays of the `ModelInferResponse` *payload*, by name and in their order; read-only.

    Raises:
        Internal: the response is not valid.
    """
    return decode_outputs(_parsed(payload))


def write(payload: bytes | memoryview, tensors: Tensors) -> bytes:
    """The `ModelInferResponse` *payload* with the elements of *tensors* for those of its outputs
    of the same names, datatypes and shapes; raw or typed as they were.

    Raises:
        Internal: the response is not valid.
    """
    message = _parsed(payload)
    raw = 0
    for output in message.outputs:
        is_typed = output.HasField("contents")
        array = tensors.get(output.name)
        if array is not None and is_typed:
            output.ClearField("contents")
            to_contents(output.contents, array, output.datatype)
        elif array is not None:
            message.raw_output_contents[raw] = to_raw(array, output.datatype)
        raw += not is_typed
    return bytes(message.SerializeToString())


def _parsed(payload: bytes | memoryview) -> ModelInferResponse:
    try:
        return ModelInferResponse.FromString(payload)  # type: ignore[arg-type] # any buffer
    except DecodeError as error:
        raise Internal("the response is not valid") from error

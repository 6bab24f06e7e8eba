"""The outputs in encoded responses, read and replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from fabric.api.inference.v2.open_inference_pb2 import ModelInferResponse
from fabric.core.errors import Internal
from fabric.wire.heads import response_parted
from fabric.wire.tensors import decode_outputs, to_contents, to_raw

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fabric.core.tensors import Tensors


def read(payload: bytes | memoryview) -> Tensors:
    """The arrays of the `ModelInferResponse` *payload*, by name and in their order; read-only.

    Raises:
        Internal: the response is not valid.
    """
    return decode_outputs(*response_parted(payload))


def read_typed(payload: bytes | memoryview) -> dict[str, tuple[str, NDArray[Any]]]:
    """The same with the datatype of each."""
    message, raw = response_parted(payload)
    arrays = decode_outputs(message, raw)
    return {each.name: (each.datatype, arrays[each.name]) for each in message.outputs}


def write(payload: bytes | memoryview, tensors: Tensors) -> bytes:
    """The `ModelInferResponse` *payload* with the elements of *tensors* for those of its outputs
    of the same names, datatypes and shapes; raw or typed as they were.

    Raises:
        Internal: the response is not valid.
    """
    try:
        message = ModelInferResponse.FromString(payload)  # type: ignore[arg-type] # any buffer
    except DecodeError as error:
        raise Internal("the response is not valid") from error
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

"""Named arrays to and from the tensors of Open Inference messages.

The elements of a tensor travel raw (row-major, little-endian, in the message's list of raw
contents) or typed (in the field of their datatype). Texts of errors are those that clients of
Triton know and some of them match.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fabric.core.errors import Internal, InvalidRequest
from fabric.core.tensors import DTYPES, Tensors, datatype_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fabric.api.inference.v2.open_inference_pb2 import (
        InferTensorContents,
        ModelInferRequest,
        ModelInferResponse,
    )

_LENGTH = struct.Struct("<I")
_CONTENTS = {  # datatype -> the field of its elements; FP16 and BF16 have none
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
TYPED = frozenset(_CONTENTS)
"""Datatypes whose elements can travel typed."""
_DATATYPES = {
    **{field: datatype for datatype, field in _CONTENTS.items()},
    "int_contents": "INT32",
    "uint_contents": "UINT32",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Which tensor of which model, for the texts of errors."""

    name: str
    model: str
    kind: str = "input"

    def __str__(self) -> str:
        return f"{self.kind} '{self.name}' for model '{self.model}'"


def from_raw(
    raw: bytes | memoryview, datatype: str, shape: Sequence[int], place: Place
) -> NDArray[Any]:
    """The array whose elements are *raw*; it shares their memory where it can and is read-only.

    Raises:
        InvalidRequest: *raw* does not hold exactly the elements of *shape*.
    """
    if datatype == "BYTES":
        return _of_bytes(_split(bytes(raw), math.prod(shape), place), shape, place)
    dtype = DTYPES[datatype]
    _check_size(len(raw), dtype.itemsize * math.prod(shape), place)
    if datatype == "BOOL":
        return _reshaped(np.frombuffer(raw, np.uint8) != 0, shape, place)
    return _reshaped(np.frombuffer(raw, dtype), shape, place)


def from_contents(
    contents: InferTensorContents, datatype: str, shape: Sequence[int], place: Place
) -> NDArray[Any]:
    """The array whose elements are in the typed field of its *datatype*.

    Raises:
        InvalidRequest: they are in another field or in two, or not as many as *shape* says.
    """
    count = math.prod(shape)
    field = _CONTENTS.get(datatype, "")
    for number, (descriptor, _) in enumerate(contents.ListFields()):
        if number:
            raise InvalidRequest(
                f"unexpected explicit tensor data for {place.kind} tensor '{place.name}' "
                f"for model '{place.model}', binary data was already supplied."
            )
        if descriptor.name != field:
            raise InvalidRequest(
                f"unexpected explicit tensor data for {place.kind} tensor '{place.name}' "
                f"for model '{place.model}' of type '{_DATATYPES[descriptor.name]}', "
                f"expected datatype '{datatype}'"
            )
    values = getattr(contents, field) if field else ()
    if datatype == "BYTES":
        _check_count(len(values), count, place)
        return _of_bytes(list(values), shape, place)
    dtype = DTYPES[datatype]
    _check_size(len(values) * dtype.itemsize, count * dtype.itemsize, place)
    # Small integers come in wider fields and keep their low bytes.
    wide = DTYPES[_DATATYPES[field]] if field else dtype
    return _reshaped(np.array(values, wide).astype(dtype, copy=False), shape, place)


def to_raw(array: NDArray[Any], datatype: str) -> bytes:
    """The elements of *array* as they travel raw: row-major, little-endian."""
    if datatype != "BYTES":
        return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    parts = bytearray()
    for element in array.flat:
        item = _bytes_of(element)
        parts += _LENGTH.pack(len(item)) + item
    return bytes(parts)


def to_contents(contents: InferTensorContents, array: NDArray[Any], datatype: str) -> None:
    """Writes the elements of *array* into the typed field of their *datatype*, one of `TYPED`."""
    contents.SetInParent()
    elements = map(_bytes_of, array.flat) if datatype == "BYTES" else array.ravel().tolist()
    getattr(contents, _CONTENTS[datatype]).extend(elements)


def encode_inputs(message: ModelInferRequest, tensors: Tensors) -> None:
    """Adds *tensors* to *message* as raw inputs; arrays of `ml_dtypes.bfloat16` are BF16.

    Raises:
        InvalidRequest: the protocol has no datatype for an array.
    """
    for name, array in tensors.items():
        try:
            datatype = "BF16" if array.dtype.name == "bfloat16" else datatype_of(array)
        except TypeError as error:
            raise InvalidRequest(f"input '{name}': {error}") from error
        message.inputs.add(name=name, datatype=datatype, shape=array.shape)
        message.raw_input_contents.append(to_raw(array, datatype))


def decode_outputs(
    response: ModelInferResponse, contents: Sequence[bytes | memoryview] | None = None
) -> Tensors:
    """The arrays of *response*, raw or typed, by name; those with raw elements are read-only.

    Its raw elements are *contents*, where it lacks them itself.

    Raises:
        Internal: the response contradicts itself.
    """
    tensors: Tensors = {}
    raw = iter(response.raw_output_contents if contents is None else contents)
    try:
        for output in response.outputs:
            place = Place(output.name, response.model_name, "output")
            if output.datatype not in DTYPES:
                raise InvalidRequest(f"unknown datatype '{output.datatype}' of {place}")
            if output.HasField("contents"):
                tensors[output.name] = from_contents(
                    output.contents, output.datatype, output.shape, place
                )
            elif (elements := next(raw, None)) is not None:
                tensors[output.name] = from_raw(elements, output.datatype, output.shape, place)
            else:
                raise InvalidRequest(f"no elements of {place}")
    except InvalidRequest as error:
        raise Internal(f"the response is not valid: {error.message}") from error
    return tensors


def _split(raw: bytes, count: int, place: Place) -> list[bytes]:
    items: list[bytes] = []
    at = 0
    while at < len(raw):
        if len(items) == count:
            raise InvalidRequest(
                f"unexpected number of string elements {count + 1} for inference {place}, "
                f"expecting {count}"
            )
        if len(raw) - at < _LENGTH.size:
            raise InvalidRequest(
                f"incomplete string length indicator for inference {place}, expecting "
                f"{_LENGTH.size} bytes but only {len(raw) - at} bytes available."
            )
        (length,) = _LENGTH.unpack_from(raw, at)
        at += _LENGTH.size
        if len(raw) - at < length:
            raise InvalidRequest(
                f"incomplete string data for inference {place}, expecting string of length "
                f"{length} but only {len(raw) - at} bytes available."
            )
        items.append(raw[at : at + length])
        at += length
    _check_count(len(items), count, place)
    return items


def _check_count(got: int, count: int, place: Place) -> None:
    if got < count:
        raise InvalidRequest(f"expected {count} string elements for inference {place}, got {got}")
    if got > count:
        raise InvalidRequest(
            f"unexpected number of string elements {got} for inference {place}, expecting {count}"
        )


def _check_size(got: int, expected: int, place: Place) -> None:
    if got != expected:
        raise InvalidRequest(
            f"{place.kind} byte size mismatch for {place}. Expected {expected}, got {got}"
        )


def _reshaped(array: NDArray[Any], shape: Sequence[int], place: Place) -> NDArray[Any]:
    try:
        return array.reshape(tuple(shape))
    except ValueError as error:  # an empty tensor whose other sizes numpy cannot multiply
        raise InvalidRequest(f"unexpected shape for {place}: {error}") from error


def _of_bytes(items: list[bytes], shape: Sequence[int], place: Place) -> NDArray[Any]:
    array = np.empty(len(items), np.object_)
    array[:] = items
    return _reshaped(array, shape, place)


def _bytes_of(element: Any) -> bytes:
    return element if isinstance(element, bytes) else str(element).encode()

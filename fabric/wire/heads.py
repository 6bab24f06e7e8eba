"""Large requests in parts: the raw elements, which nobody copies to read them, and all else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from fabric.api.inference.v2.open_inference_pb2 import ModelInferRequest
from fabric.core.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

SMALL = 1 << 17
"""Bytes up to which parsing all of a request is cheaper than looking for its parts."""
_RAW_INPUT = 7
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


def head_of(payload: bytes | bytearray | memoryview) -> ModelInferRequest:
    """The request *payload*; a large one may lack its raw elements.

    Raises:
        InvalidRequest: it is no `ModelInferRequest`.
    """
    return parted(payload)[0]


def parted(
    payload: bytes | bytearray | memoryview,
) -> tuple[ModelInferRequest, Sequence[bytes | memoryview]]:
    """The request *payload*, and its raw elements, which of a large one it may lack itself.

    Raises:
        InvalidRequest: it is no `ModelInferRequest`.
    """
    try:
        if len(payload) <= SMALL:
            request = ModelInferRequest.FromString(payload)  # type: ignore[arg-type] # any buffer
            return request, request.raw_input_contents
        others, raw = _parts(memoryview(payload))
        return ModelInferRequest.FromString(b"".join(others)), raw
    except (DecodeError, IndexError) as error:
        raise InvalidRequest(
            f"the request is no {ModelInferRequest.DESCRIPTOR.full_name}"
        ) from error


def _parts(payload: memoryview) -> tuple[list[memoryview], list[memoryview]]:
    """The fields of the message *payload* but for its raw elements, and those
    (https://protobuf.dev/programming-guides/encoding/)."""
    fields, raw = [], []
    start = kept = 0
    while start < len(payload):
        tag, at = _varint(payload, start)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            _, end = _varint(payload, at)
        elif kind == _LENGTH:
            size, at = _varint(payload, at)
            end = at + size
        elif kind in (_FIXED64, _FIXED32):
            end = at + (8 if kind == _FIXED64 else 4)
        else:
            raise DecodeError("a group")
        if end > len(payload):
            raise DecodeError("a field that is cut off")
        if number == _RAW_INPUT and kind == _LENGTH:
            fields.append(payload[kept:start])
            raw.append(payload[at:end])
            kept = end
        start = end
    fields.append(payload[kept:])
    return fields, raw


def _varint(payload: memoryview, at: int) -> tuple[int, int]:
    """The number that starts at *at*, and where it ends."""
    number = shift = 0
    while shift < 64:
        byte = payload[at]
        number |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return number, at
        shift += 7
    raise DecodeError("a number of over 64 bits")

"""Requests and responses in parts: the raw elements, which nobody copies to read them, and all
else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from fabric.api.inference.v2.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from fabric.core.errors import Internal, InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

SMALL = 1 << 17
"""Bytes up to which parsing all of a request is cheaper than looking for its parts."""
_RAW_INPUT = 7
_RAW_OUTPUT = 6
_MOST_LENGTHS = 64
_OF_ONE_LENGTH = 4
"""Heads remembered at most; callers differ in heads of requests of the same length."""
_LONGEST_HEAD = 4096
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


class Heads:
    """Heads that came before, which need not be parsed again.

    Where a request ends with the raw elements of one tensor, whatever has the same length and the
    same bytes before them is the same request with other elements.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[tuple[bytes, ModelInferRequest], ...]] = {}
        """By the length of the request, the newest first."""

    def of(self, payload: bytes | bytearray) -> ModelInferRequest:
        """The request *payload*, perhaps with other raw elements, or without them; not to be
        changed. Raises what `head_of` raises."""
        for start, request in self._known.get(len(payload), ()):
            if payload.startswith(start):
                return request
        request, raw = parted(payload)
        if len(raw) == 1 and not request.id:  # seldom the same twice
            self._remember(payload, request, raw)
        return request

    def _remember(
        self,
        payload: bytes | bytearray,
        request: ModelInferRequest,
        raw: Sequence[bytes | memoryview],
    ) -> None:
        size = head_size(payload, request, raw)
        start = bytes(payload[:size]) + marker(raw[0])
        if not size or not payload.startswith(start):
            return
        if len(self._known) >= _MOST_LENGTHS:
            self._known.clear()
        others = self._known.get(len(payload), ())
        self._known[len(payload)] = ((start, request), *others)[:_OF_ONE_LENGTH]


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
        others, raw = _parts(memoryview(payload), _RAW_INPUT)
        return ModelInferRequest.FromString(b"".join(others)), raw
    except (DecodeError, IndexError) as error:
        raise InvalidRequest(
            f"the request is no {ModelInferRequest.DESCRIPTOR.full_name}"
        ) from error


def response_parted(
    payload: bytes | memoryview,
) -> tuple[ModelInferResponse, Sequence[bytes | memoryview]]:
    """The response *payload*, and its raw elements, which of a large one it may lack itself.

    Raises:
        Internal: it is no `ModelInferResponse`.
    """
    try:
        if len(payload) <= SMALL:
            response = ModelInferResponse.FromString(payload)  # type: ignore[arg-type] # any buffer
            return response, response.raw_output_contents
        others, raw = _parts(memoryview(payload), _RAW_OUTPUT)
        return ModelInferResponse.FromString(b"".join(others)), raw
    except (DecodeError, IndexError) as error:
        raise Internal("the response is not valid") from error


def _parts(payload: memoryview, elements: int) -> tuple[list[memoryview], list[memoryview]]:
    """The fields of the message *payload* but for its raw *elements*, a field's number, and those
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
        if number == elements and kind == _LENGTH:
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


def head_size(
    payload: bytes | bytearray | memoryview,
    request: ModelInferRequest,
    contents: Sequence[bytes | memoryview],
) -> int:
    """The bytes of *payload* before its raw elements *contents*; 0 if these are not its end.

    A message is the sum of the fields that follow one another: so where the head is a message of
    its own, all that follows it is raw elements.
    """
    size = len(payload) - sum(len(marker(raw)) + len(raw) for raw in contents)
    if not 0 < size <= _LONGEST_HEAD:
        return 0
    try:
        head = ModelInferRequest.FromString(bytes(payload[:size]))
    except DecodeError:
        return 0
    is_whole = not head.raw_input_contents and len(head.inputs) == len(request.inputs)
    return size if is_whole else 0


def marker(raw: bytes | memoryview) -> bytes:
    """What precedes the raw elements *raw* of a tensor."""
    return b"\x3a" + varint(len(raw))  # raw_input_contents = 7, length-delimited


def varint(number: int) -> bytes:
    """*number* as protobuf writes the length of a field."""
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)

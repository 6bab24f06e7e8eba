"""What a request asks for, as a digest: requests with equal digests have equal answers."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from fabric.core.errors import InvalidRequest
from fabric.core.requests import Content
from fabric.wire.heads import parted
from fabric.wire.parameters import PREFIX
from fabric.wire.reserved import EMPTY_FINAL_RESPONSE, PRIORITY, TIMEOUT, terms_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fabric.api.inference.v2.open_inference_pb2 import ModelInferRequest

    Raw = bytes | memoryview | None
    """The elements of an input, unless they are in the input itself."""

_REGION = "shared_memory_region"
_OF_SERVING = frozenset((PRIORITY, TIMEOUT, EMPTY_FINAL_RESPONSE))
"""Parameters that say how a request is served, and change no answer; nor do fabric's own."""


def content_of(payload: bytes | bytearray | memoryview) -> Content:
    """What the `ModelInferRequest` *payload* asks for, whichever model is to answer.

    That is its inputs in any order, bit by bit, the outputs that it wants, and the parameters that
    change an answer. One of a sequence, or that is not right, is like no other.
    """
    try:
        request, raw = parted(payload)
        terms = terms_of(request.parameters)
    except InvalidRequest:
        return Content(b"")
    elements = _elements(request, raw)
    digest = b"" if terms.sequence or elements is None else _digest(request, elements)
    return Content(digest, request.id, terms.priority, terms.patience)


def _elements(
    request: ModelInferRequest, raw: Sequence[bytes | memoryview]
) -> Sequence[Raw] | None:
    """Those of each input; None where some are missing, left over, or somewhere else."""
    places = (*(i.parameters for i in request.inputs), *(o.parameters for o in request.outputs))
    if any(_REGION in parameters for parameters in places):
        return None
    are_typed = [tensor.HasField("contents") for tensor in request.inputs]
    if len(raw) != are_typed.count(False):
        return None
    rest = iter(raw)
    return [None if is_typed else next(rest) for is_typed in are_typed]


def _digest(request: ModelInferRequest, elements: Sequence[Raw]) -> bytes:
    """SHA-256 over what can be told apart only by being different: a table of contents, with the
    length of everything, and then the raw elements."""
    inputs = sorted(zip(request.inputs, elements, strict=True), key=lambda each: each[0].name)
    table = bytearray()
    for part in _parts(request, inputs):
        table += len(part).to_bytes(8, "little")
        table += part
    made = sha256(len(table).to_bytes(8, "little"))
    made.update(table)
    for _, raw in inputs:
        if raw is not None:
            made.update(raw)
    return made.digest()


def _parts(
    request: ModelInferRequest, inputs: Sequence[tuple[ModelInferRequest.InferInputTensor, Raw]]
) -> Iterator[bytes]:
    own = [
        name
        for name in request.parameters
        if not name.startswith(PREFIX) and name not in _OF_SERVING
    ]
    yield b"%d %d %d" % (len(own), len(inputs), len(request.outputs))
    for name in sorted(own):
        yield name.encode()
        yield request.parameters[name].SerializeToString(deterministic=True)
    for tensor, raw in inputs:
        yield tensor.SerializeToString(deterministic=True)
        yield b"" if raw is None else b"%d" % len(raw)
    for output in request.outputs:
        yield output.SerializeToString(deterministic=True)

"""What a request asks for, as a digest: requests with equal digests have equal answers."""

from __future__ import annotations

from hashlib import sha256
from operator import itemgetter
from typing import TYPE_CHECKING

from fabric.core.errors import InvalidRequest
from fabric.core.requests import Content
from fabric.wire.heads import parted
from fabric.wire.parameters import PREFIX
from fabric.wire.reserved import (
    EMPTY_FINAL_RESPONSE,
    PRIORITY,
    SEQUENCE_END,
    SEQUENCE_ID,
    SEQUENCE_START,
    TIMEOUT,
    terms_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fabric.api.inference.v2.open_inference_pb2 import InferParameter, ModelInferRequest

    Input = tuple[str, bytes, bytes | memoryview | None]
    """Its name, all that is said of it, and its raw elements, if what is said has none."""

_REGION = b"shared_memory_region"
_OF_SERVING = frozenset(
    (PRIORITY, TIMEOUT, EMPTY_FINAL_RESPONSE, SEQUENCE_ID, SEQUENCE_START, SEQUENCE_END)
)
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
    inputs = _inputs(request, raw)
    outputs: list[bytes] = []
    if request.outputs:
        outputs += [output.SerializeToString(deterministic=True) for output in request.outputs]
    if inputs is None or terms.sequence is not None or any(_REGION in each for each in outputs):
        return Content(b"", request.id)
    own = _own(request.parameters) if request.parameters else []
    return Content(_digest(own, inputs, outputs), request.id, terms.priority, terms.patience)


def _inputs(request: ModelInferRequest, raw: Sequence[bytes | memoryview]) -> list[Input] | None:
    """By name; None where elements are missing, left over, or somewhere else."""
    rest = iter(raw)
    inputs: list[Input] = []
    for tensor in request.inputs:
        said = tensor.SerializeToString(deterministic=True)
        is_typed = tensor.HasField("contents")
        elements = None if is_typed else next(rest, None)
        if (elements is None and not is_typed) or _REGION in said:
            return None
        inputs.append((tensor.name, said, elements))
    if next(rest, None) is not None:
        return None
    inputs.sort(key=itemgetter(0))
    return inputs


def _own(parameters: Mapping[str, InferParameter]) -> list[bytes]:
    """Names and values of those that may change an answer."""
    names = (n for n in parameters if not n.startswith(PREFIX) and n not in _OF_SERVING)
    return [
        part
        for name in sorted(names)
        for part in (name.encode(), parameters[name].SerializeToString(deterministic=True))
    ]


def _digest(own: Sequence[bytes], inputs: Sequence[Input], outputs: Sequence[bytes]) -> bytes:
    """SHA-256 of the lengths of all parts, which say where each begins, and of the parts."""
    said = [each[1] for each in inputs]
    elements = [each[2] for each in inputs]
    lengths = (
        [len(part) for part in own],
        [len(part) for part in said],
        [None if part is None else len(part) for part in elements],
        [len(part) for part in outputs],
    )
    made = sha256(b"".join((repr(lengths).encode(), *own, *said, *outputs)))
    for part in elements:
        if part is not None:
            made.update(part)
    return made.digest()

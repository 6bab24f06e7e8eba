"""Inference over REST: a JSON document, with binary elements behind it, to and from messages.

The rules are those of the protocol's REST form and of its binary tensor data extension
(https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from fabric.core.errors import InvalidRequest, SpecialistFailed
from fabric.core.tensors import DTYPES
from fabric.wire.documents import dumps, loads, object_of
from fabric.wire.parameters import set_value, value_of
from fabric.wire.tensors import Place, from_contents, from_raw, to_raw

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from fabric.api.inference.v2.open_inference_pb2 import (
        InferParameter,
        ModelInferRequest,
        ModelInferResponse,
        ModelMetadataResponse,
    )

_BINARY_SIZE = "binary_data_size"
_BINARY = "binary_data"
_BINARY_BY_DEFAULT = "binary_data_output"
_REGION = "shared_memory_region"
_BINARY_ONLY = frozenset({"FP16", "BF16"})
_DEEPEST = 64  # dimensions of an array, at most
_PIECE = 1 << 14
"""Elements turned at once from JSON and to it; other threads go on in between."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Which outputs a caller wants as binary data."""

    by_default: bool
    by_name: Mapping[str, bool]

    def is_binary(self, name: str) -> bool:
        return self.by_name.get(name, self.by_default)


# ------------------------------------------------------------------ requests
def decode(body: bytes, header: int, request: ModelInferRequest) -> Wish:
    """Adds to *request* what *body* says, of which *header* bytes are JSON. All elements are raw.

    Raises:
        InvalidRequest: it is no request for inference.
    """
    document = object_of(loads(memoryview(body)[:header]), "the request")
    parameters = dict(object_of(document.get("parameters"), "'parameters'"))
    by_default = _flag(parameters, _BINARY_BY_DEFAULT)
    _set_parameters(request.parameters, parameters)
    if document.get("id") is not None:
        request.id = _text(document, "id", "the request")
    at = header
    for tensor in _tensors(document, "inputs"):
        at = _add_input(request, tensor, body, at)
    if at < len(body):
        raise InvalidRequest(
            f"unexpected additional input data for model '{request.model_name}': "
            f"{len(body) - at} bytes"
        )
    by_name = {}
    for tensor in _tensors(document, "outputs") if document.get("outputs") else ():
        name, is_binary = _add_output(request, tensor)
        if is_binary is not None:
            by_name[name] = is_binary
    return Wish(bool(by_default), by_name)


def decode_raw(body: bytes, request: ModelInferRequest, model: ModelMetadataResponse) -> Wish:
    """Makes *body* the elements of the one input that *model* has, in the only shape they fit.

    That of the batch is 1 if another dimension is variable, too. Answers are binary.

    Raises:
        InvalidRequest: the model has another number of inputs, or more than one shape would do.
    """
    if len(model.inputs) != 1:
        raise InvalidRequest(
            f"a raw binary request is for a model with one input, '{model.name}' has "
            f"{len(model.inputs)}: send JSON with the binary data behind it"
        )
    (spec,) = model.inputs
    shape = list(spec.shape)
    if spec.datatype == "BYTES":
        shape = [abs(size) for size in shape]
        body = len(body).to_bytes(4, "little") + body
    elif shape.count(-1) > 1:
        shape[0] = abs(shape[0])
    if shape.count(-1) > 1:
        raise InvalidRequest(
            f"a raw binary request is for a model whose input has one variable dimension, "
            f"'{spec.name}' of '{model.name}' has {shape}: send JSON with the binary data behind it"
        )
    if -1 in shape:
        known = math.prod(size for size in shape if size >= 0) * DTYPES[spec.datatype].itemsize
        shape[shape.index(-1)] = len(body) // known if known else 0
    request.inputs.add(name=spec.name, datatype=spec.datatype, shape=shape)
    request.raw_input_contents.append(bytes(body))
    return Wish(True, {})


def _add_input(request: ModelInferRequest, tensor: dict[str, Any], body: bytes, at: int) -> int:
    """Adds *tensor*; its binary data are in *body* from *at*. Returns where the next ones are."""
    name = _text(tensor, "name", "an input")
    datatype, shape = _text(tensor, "datatype", f"input '{name}'"), tensor.get("shape")
    if not isinstance(shape, list) or any(type(size) is not int for size in shape):
        raise InvalidRequest(f"input '{name}' must have a 'shape', a list of whole numbers")
    try:
        added = request.inputs.add(name=name, datatype=datatype, shape=shape)
    except ValueError as error:
        raise InvalidRequest(f"the shape of input '{name}' is not valid: {error}") from error
    parameters = dict(object_of(tensor.get("parameters"), "'parameters'"))
    size = parameters.pop(_BINARY_SIZE, None)
    _set_parameters(added.parameters, parameters)
    if size is not None:
        if type(size) is not int or not 0 <= size <= len(body) - at:
            raise InvalidRequest(
                f"unexpected size for input '{name}', expecting {size} bytes of binary data "
                f"for model '{request.model_name}' but {len(body) - at} are there"
            )
        request.raw_input_contents.append(bytes(memoryview(body)[at : at + size]))
        return at + size
    if tensor.get("data") is not None:
        request.raw_input_contents.append(_raw(tensor["data"], datatype, name))
    elif _REGION not in parameters:
        raise InvalidRequest(
            f"input '{name}' has no 'data'; give them, or '{_BINARY_SIZE}' or '{_REGION}' "
            "in its parameters"
        )
    return at


def _add_output(request: ModelInferRequest, tensor: dict[str, Any]) -> tuple[str, bool | None]:
    """Adds *tensor*; returns its name, and whether it is wanted as binary data, if it says so."""
    name = _text(tensor, "name", "an output")
    added = request.outputs.add(name=name)
    parameters = dict(object_of(tensor.get("parameters"), "'parameters'"))
    is_binary = _flag(parameters, _BINARY)
    _set_parameters(added.parameters, parameters)
    return name, is_binary


def _raw(data: Any, datatype: str, name: str) -> bytes:
    """The elements *data*, nested or flat, as they travel raw."""
    if datatype in _BINARY_ONLY:
        raise InvalidRequest(
            f"receiving {datatype} data via JSON is not supported. "
            f"Please use the binary data format for input {name}"
        )
    if datatype not in DTYPES:
        raise InvalidRequest(f"invalid datatype for input {name}")
    dtype = DTYPES[datatype]
    types = _TYPES[dtype.kind]
    pieces = []
    for piece in _pieces(_flat(_list(data, name), name)):
        if not types.issuperset(map(type, piece)):
            wrong = next(element for element in piece if type(element) not in types)
            raise InvalidRequest(f"{json.dumps(wrong):.40} is no {datatype} of input '{name}'")
        try:
            with np.errstate(over="ignore"):  # what FP32 cannot hold is infinite
                pieces.append(to_raw(np.array(piece, dtype), datatype))
        except OverflowError as error:
            raise InvalidRequest(f"input '{name}' of datatype {datatype}: {error}") from error
    return b"".join(pieces)


_TYPES: dict[str, frozenset[type]] = {
    "b": frozenset({bool}),
    "i": frozenset({int}),
    "u": frozenset({int}),
    "f": frozenset({int, float}),
    "O": frozenset({str}),
}
"""Types of elements in JSON by the kind of dtype."""


def _flat(data: list[Any], name: str) -> Iterable[Any]:
    """The elements of *data*, row-major, which are as deep as the first one."""
    elements: Iterable[Any] = data
    first, depth = data, 1
    while first and isinstance(first[0], list):
        first, depth = first[0], depth + 1
        if depth > _DEEPEST:
            raise InvalidRequest(f"the 'data' of input '{name}' are nested too deep")
        elements = chain.from_iterable(_list(row, name) for row in elements)
    return elements


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidRequest(f"the 'data' of input '{name}' must be a list, flat or evenly nested")
    return value


def _pieces(elements: Iterable[Any]) -> Iterator[list[Any]]:
    remaining = iter(elements)
    while piece := list(islice(remaining, _PIECE)):
        yield piece


def _tensors(document: dict[str, Any], key: str) -> list[dict[str, Any]]:
    tensors = document.get(key)
    if not isinstance(tensors, list):
        raise InvalidRequest(f"the request must have '{key}', a list of tensors")
    return [object_of(tensor, f"each of '{key}'") for tensor in tensors]


def _text(document: dict[str, Any], key: str, what: str) -> str:
    text = document.get(key)
    if not isinstance(text, str):
        raise InvalidRequest(f"{what} must have '{key}', a text")
    return text


def _flag(parameters: dict[str, Any], key: str) -> bool | None:
    """Takes *key* out of *parameters*; None if it is not there."""
    value = parameters.pop(key, None)
    if not isinstance(value, bool | None):
        raise InvalidRequest(f"parameter '{key}' must be true or false")
    return value


def _set_parameters(to: Mapping[str, InferParameter], parameters: dict[str, Any]) -> None:
    for name, value in parameters.items():
        if not isinstance(value, bool | int | float | str):
            raise InvalidRequest(f"parameter '{name}' must be a bool, a number or a text")
        try:
            set_value(to[name], value)
        except ValueError as error:
            raise InvalidRequest(f"parameter '{name}' is not valid: {error}") from error


# ------------------------------------------------------------------ responses
def encode(response: ModelInferResponse, wish: Wish) -> tuple[bytes, list[bytes]]:
    """The document of *response*, and the binary elements to be put behind it.

    Raises:
        InvalidRequest: JSON cannot carry an output that is wanted in it.
        SpecialistFailed: an output has not the elements of its shape.
    """
    head: dict[str, Any] = {} if not response.id else {"id": response.id}
    head |= {"model_name": response.model_name, "model_version": response.model_version}
    if response.parameters:
        head["parameters"] = _values(response.parameters)
    outputs, binary = [], []
    raws = iter(response.raw_output_contents)
    for output in response.outputs:
        parameters = _values(output.parameters)
        place = Place(output.name, response.model_name, "output")
        raw = _typed(output, place) if output.HasField("contents") else next(raws, b"")
        data = b""
        if _REGION not in parameters:
            if wish.is_binary(output.name):
                parameters[_BINARY_SIZE] = len(raw)
                binary.append(raw)
            else:
                data = b',"data":[' + _text_of(raw, output, place) + b"]"
        described: dict[str, Any] = {"name": output.name, "datatype": output.datatype}
        described["shape"] = [*output.shape]
        if parameters:
            described["parameters"] = parameters
        outputs.append(dumps(described)[:-1] + data + b"}")
    return dumps(head)[:-1] + b',"outputs":[' + b",".join(outputs) + b"]}", binary


def _values(parameters: Mapping[str, InferParameter]) -> dict[str, Any]:
    return {name: value_of(parameters[name]) for name in parameters}


def _typed(output: ModelInferResponse.InferOutputTensor, place: Place) -> bytes:
    array = from_contents(output.contents, output.datatype, output.shape, place)
    return to_raw(array, output.datatype)


def _text_of(raw: bytes, output: ModelInferResponse.InferOutputTensor, place: Place) -> bytes:
    """The elements *raw* as JSON, with commas between them."""
    if output.datatype in _BINARY_ONLY:
        raise InvalidRequest(
            f"sending {output.datatype} data via JSON is not supported. "
            f"Please use the binary data format for output {place.name}"
        )
    try:
        flat = from_raw(raw, output.datatype, output.shape, place).reshape(-1)
    except InvalidRequest as error:
        raise SpecialistFailed(f"the answer is not valid: {error.message}") from error
    pieces = (flat[at : at + _PIECE] for at in range(0, flat.size, _PIECE))
    return b",".join(dumps(_elements(piece, place))[1:-1] for piece in pieces)


def _elements(piece: NDArray[Any], place: Place) -> list[Any]:
    if piece.dtype.kind != "O":
        return piece.tolist()  # type: ignore[no-any-return]
    try:
        return [element.decode() for element in piece]
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            f"output '{place.name}' holds bytes that are no UTF-8, which JSON cannot carry: ask "
            f"for it with the parameter '{_BINARY}' = true"
        ) from error

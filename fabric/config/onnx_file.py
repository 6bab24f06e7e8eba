"""What an ONNX file takes and gives, read without opening the model.

An ONNX file is a protobuf message (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto): the few
fields that matter here are walked to in the mapped file, past weights of any size.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fabric.core.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Shape = tuple[int, ...]
"""Sizes of the dimensions; -1 where any size is accepted."""


@dataclass(frozen=True, slots=True)
class Tensors:
    """The shapes of a model's inputs and outputs, by name; None where the file does not say."""

    inputs: dict[str, Shape | None]
    outputs: dict[str, Shape | None]

    @property
    def can_batch(self) -> bool:
        """Whether the first dimension of all of them is free."""
        shapes = (*self.inputs.values(), *self.outputs.values())
        return bool(shapes) and all(shape and shape[0] == -1 for shape in shapes)


def read_tensors(file: Path) -> Tensors:
    """What the model in *file* takes and gives.

    Raises:
        InvalidRequest: it is no ONNX model.
    """
    try:
        with file.open("rb") as opened:
            model = memoryview(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ))
        (graph,) = _all(model, 7)
        weights = {_text(name) for each in _all(graph, 5) for name in _all(each, 8)}
        inputs = dict(map(_tensor, _all(graph, 11)))
        outputs = dict(map(_tensor, _all(graph, 12)))
    except OSError as error:
        raise InvalidRequest(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, IndexError) as error:
        raise InvalidRequest(f"{file} is no ONNX model") from error
    return Tensors({name: s for name, s in inputs.items() if name not in weights}, outputs)


def _tensor(value_info: memoryview) -> tuple[str, Shape | None]:
    (name,) = _all(value_info, 1)
    shapes = [
        shape
        for kind in _all(value_info, 2)
        for tensor in _all(kind, 1)
        for shape in _all(tensor, 2)
    ]
    return _text(name), tuple(map(_size, _all(shapes[0], 1))) if shapes else None


def _size(dimension: memoryview) -> int:
    sizes = [value for number, value in _fields(dimension) if number == 1]
    known = bool(sizes) and isinstance(sizes[-1], int) and sizes[-1] < 1 << 63
    return int(sizes[-1]) if known else -1


def _text(data: memoryview) -> str:
    return bytes(data).decode()


def _all(message: memoryview, number: int) -> Iterator[memoryview]:
    """The messages or texts of field *number*."""
    for each, value in _fields(message):
        if each == number and isinstance(value, memoryview):
            yield value


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field; numbers of fixed size are passed over."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
        elif kind == 2:
            size, at = _varint(message, at)
            if at + size > len(message):
                raise ValueError("a field is longer than its message")
            yield key >> 3, message[at : at + size]
            at += size
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ValueError(f"there are no fields of kind {kind}")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number, and the place behind it."""
    number = shift = 0
    while True:
        byte = message[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
        if shift > 63:
            raise ValueError("a number has more than 64 bits")

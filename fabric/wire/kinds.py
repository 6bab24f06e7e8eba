"""Requests of one kind: those of one caller differ in little but the elements of their tensors.

The head of a kind, everything before the raw elements, is remembered from a request that was
decoded with care; the elements of the next one with the same head are where they were.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fabric.core.tensors import DTYPES, Tensors
from fabric.wire.heads import head_size, marker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fabric.api.inference.v2.open_inference_pb2 import ModelInferRequest


@dataclass(frozen=True, slots=True)
class Step:
    """One request of a sequence."""

    id: int | str
    starts: bool
    ends: bool


@dataclass(slots=True, eq=False)
class Inputs:
    """A request that is right: what to run, and what the response must say."""

    tensors: Tensors
    rows: int
    """The batch size; 1 where requests are not batched."""
    shapes: tuple[tuple[int, ...] | None, ...]
    """Of one row of every input, None of one left out; requests with equal ones can be stacked."""
    model: str
    id: str
    wanted: tuple[str, ...]
    """The outputs asked for."""
    classes: dict[str, int] | None = None
    """How many classes the caller wants instead of the elements, by output."""
    priority: int = 0
    """1 is served first; 0 if the caller names none."""
    patience: float = math.inf
    """Seconds that the request may wait to be run."""
    sequence: Step | None = None
    """Where in a sequence the request stands, if it belongs to one."""
    typed: bool = False
    """Whether the elements of outputs are wanted in the fields of their datatypes."""


@dataclass(slots=True, eq=False)
class Kind:
    """Requests of one length and one head."""

    head: bytes
    markers: list[tuple[bytes, int]]
    """Between the raw elements of two tensors: the bytes that must stand there, and where."""
    views: list[tuple[str, tuple[int, ...], np.dtype[Any], int]]
    """Name, shape, dtype and offset of the elements of each tensor."""
    inputs: Inputs
    """Of the request that the kind was learnt from, without its tensors."""

    def read(self, payload: bytes | memoryview) -> Inputs | None:
        """The inputs of *payload*, which has the length of this kind; None if it is of another."""
        if payload[: len(self.head)] != self.head:
            return None
        for mark, at in self.markers:
            if payload[at : at + len(mark)] != mark:
                return None
        tensors: Tensors = {}
        for name, shape, dtype, offset in self.views:
            tensors[name] = np.ndarray(shape, dtype, payload, offset)
        like = self.inputs
        return Inputs(
            tensors,
            like.rows,
            like.shapes,
            like.model,
            "",
            like.wanted,
            like.classes,
            like.priority,
            like.patience,
            None,
            like.typed,
        )


def kind_of(
    payload: bytes | memoryview,
    request: ModelInferRequest,
    contents: Sequence[bytes | memoryview],
    inputs: Inputs,
) -> Kind | None:
    """The kind of *payload*, if it ends with its raw elements *contents*, all of fixed size.

    Other elements of the same lengths after the same head make the same request with other
    elements.
    """
    if not contents or request.id or inputs.sequence:  # an id is seldom the same twice
        return None
    markers = [marker(raw) for raw in contents]
    size = head_size(payload, request, contents)
    if not size:
        return None
    like = replace(inputs, tensors={})
    kind = Kind(bytes(payload[: size + len(markers[0])]), [], [], like)
    at = size
    for tensor, mark, raw in zip(request.inputs, markers, contents, strict=True):
        if tensor.datatype in ("BYTES", "BOOL") or (payload[at : at + len(mark)] != mark):
            return None
        kind.markers.append((mark, at))
        at += len(mark)
        shape = inputs.tensors[tensor.name].shape
        kind.views.append((tensor.name, shape, DTYPES[tensor.datatype], at))
        at += len(raw)
    del kind.markers[0]  # the head ends with it
    return kind

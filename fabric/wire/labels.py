"""What class an answer names, and how sure it is of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from fabric.api.inference.v2.open_inference_pb2 import ModelInferResponse
from fabric.core.errors import FabricError
from fabric.core.scores import probabilities
from fabric.wire.content import as_floats
from fabric.wire.tensors import decode_outputs

_LARGEST = 1 << 16
"""Bytes of an answer that is looked at; larger ones are seldom classifications."""
_LONGEST = 256
"""Characters of a label."""
_FLOATS = frozenset(("FP16", "BF16", "FP32", "FP64"))


def label_of(payload: bytes | memoryview) -> tuple[str, float | None]:
    """The class that the `ModelInferResponse` *payload* names, and its confidence from 0 to 1.

    The class is the one element of an output of texts or whole numbers, else the index of the
    largest of the first output of floats, whose shape is [C] or [1, C]. The confidence is the
    largest of the probabilities that these are. Empty and None where the answer is no
    classification of one thing.
    """
    if len(payload) > _LARGEST:
        return "", None
    try:
        response = ModelInferResponse.FromString(payload)  # type: ignore[arg-type] # any buffer
        outputs = decode_outputs(response)
    except (DecodeError, FabricError):
        return "", None
    label, scores = "", None
    for tensor in response.outputs:
        array = outputs[tensor.name]
        if tensor.datatype in _FLOATS:
            if scores is None and array.ndim and 1 < array.size == array.shape[-1]:
                scores = as_floats(array.reshape(-1), tensor.datatype)
        elif not label and array.size == 1:
            label = _text(array.reshape(-1)[0])
    if scores is None or not np.isfinite(scores).all():
        return label, None
    return label or str(int(scores.argmax())), float(probabilities(scores).max())


def _text(element: Any) -> str:
    if isinstance(element, bytes):
        return element[: 4 * _LONGEST].decode("utf-8", "ignore")[:_LONGEST]
    return str(int(element))

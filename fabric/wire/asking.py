"""Requests that are made here, of tensors that are held here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from fabric.api.inference.v2.open_inference_pb2 import ModelInferRequest
from fabric.wire.heads import marker, varint
from fabric.wire.parameters import set_value
from fabric.wire.reserved import PRIORITY
from fabric.wire.tensors import to_raw

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_RAW = marker(b"")[:1]
_MOST_HEADS = 1024


class Asking:
    """Encodes requests; heads of those that are alike but for their elements are kept."""

    def __init__(self) -> None:
        self._heads: dict[tuple[object, ...], bytes] = {}

    def encode(
        self,
        model: str,
        version: str,
        tensors: Mapping[str, tuple[str, NDArray[Any]]],
        priority: int = 0,
    ) -> bytes:
        """The `ModelInferRequest` to *model* with *tensors*, each a datatype and its elements."""
        kind = (
            *(model, version, priority),
            *((name, datatype, array.shape) for name, (datatype, array) in tensors.items()),
        )
        pieces: list[Any] = [self._heads.get(kind) or self._head(kind, tensors)]
        for datatype, array in tensors.values():
            if datatype != "BYTES" and array.flags.c_contiguous and array.dtype.isnative:
                pieces += (_RAW, varint(array.nbytes), array)
            else:
                raw = to_raw(array, datatype)
                pieces += (_RAW, varint(len(raw)), raw)
        return b"".join(pieces)

    def _head(
        self, kind: tuple[object, ...], tensors: Mapping[str, tuple[str, NDArray[Any]]]
    ) -> bytes:
        model, version, priority, *_ = kind
        message = ModelInferRequest(model_name=str(model), model_version=str(version))
        if priority:
            set_value(message.parameters[PRIORITY], cast("int", priority))
        for name, (datatype, array) in tensors.items():
            message.inputs.add(name=name, datatype=datatype, shape=array.shape)
        if len(self._heads) >= _MOST_HEADS:
            self._heads.clear()
        head = self._heads[kind] = bytes(message.SerializeToString())
        return head

"""The outputs of one specialist as responses."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from fabric.api.inference.v2.open_inference_pb2 import ModelInferResponse
from fabric.core.errors import InvalidAnswer, SpecialistFailed
from fabric.core.tensors import DTYPES
from fabric.wire.classes import classified
from fabric.wire.heads import varint
from fabric.wire.tensors import to_contents, to_raw

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from fabric.core.tensors import Signature, Tensors, TensorSpec
    from fabric.wire.kinds import Inputs

_RAW_OUTPUT = b"\x32"  # raw_output_contents = 6, length-delimited
_LARGE = 1 << 16
"""Bytes from which on elements are copied once, not twice."""
_shape_of = attrgetter("shape")
_OBJECTS = DTYPES["BYTES"]
_MAX_KINDS = 256
"""Kinds of responses remembered at most."""

_Prefix = tuple[bytes, "np.dtype[Any]", "TensorSpec"]
"""What precedes the elements of one output, the length included where it is fixed."""


class Encoder:
    """Encodes what the specialist *model* gives; *labels* names the classes of outputs.

    With *lends* large outputs are not copied: nobody writes in their memory afterwards.
    """

    def __init__(
        self,
        signature: Signature,
        model: str,
        version: str,
        labels: Mapping[str, Sequence[str]],
        *,
        batched: bool,
        lends: bool = False,
    ) -> None:
        self._outputs = {spec.name: spec for spec in signature.outputs}
        self._model = model
        self._version = version
        self._labels = labels
        self._batched = batched
        self._lends = lends
        self._prefixes: dict[tuple[Any, ...], list[_Prefix]] = {}

    def encode(self, inputs: Inputs, outputs: Tensors) -> bytes:
        """What `parts` gives, in one."""
        return b"".join(self.parts(inputs, outputs))

    def parts(self, inputs: Inputs, outputs: Tensors) -> Sequence[bytes | memoryview]:
        """The `ModelInferResponse` that answers *inputs* with *outputs*, in pieces.

        Raises:
            SpecialistFailed: an output that was asked for is missing or of another datatype.
            InvalidAnswer: one is of a shape that the signature does not allow.
        """
        try:
            arrays = list(map(outputs.__getitem__, inputs.wanted))
        except KeyError as error:
            raise SpecialistFailed(
                f"specialist '{self._model}' gave no output {error}, which its signature names"
            ) from None
        if inputs.typed or inputs.classes is not None:
            return (self._encode_as_asked(inputs, arrays),)
        key = (inputs.model, inputs.wanted, *map(_shape_of, arrays))
        prefixes = self._prefixes.get(key) or self._remember_prefixes(key, inputs, arrays)
        pieces: list[bytes | memoryview] = []
        is_large = False
        if inputs.id:
            pieces.append(ModelInferResponse(id=inputs.id).SerializeToString())
        for array, (prefix, dtype, spec) in zip(arrays, prefixes, strict=True):
            if array.dtype is not dtype and array.dtype != dtype:
                self._check_dtype(spec, array)
            if dtype is _OBJECTS:
                raw = to_raw(array, "BYTES")
                pieces += (prefix, varint(len(raw)), raw)
            elif array.nbytes > _LARGE and array.flags.c_contiguous:
                pieces += (prefix, array.reshape(-1).view(np.uint8).data)
                is_large = True
            else:
                pieces += (prefix, array.tobytes())
        return pieces if is_large and self._lends else (b"".join(pieces),)

    def _encode_as_asked(self, inputs: Inputs, arrays: list[NDArray[Any]]) -> bytes:
        """With classes instead of elements, or with typed elements."""
        response = ModelInferResponse(
            model_name=inputs.model, model_version=self._version, id=inputs.id
        )
        classes = inputs.classes or {}
        for name, array in zip(inputs.wanted, arrays, strict=True):
            spec = self._outputs[name]
            self._check_shape(spec, array)
            if array.dtype != DTYPES[spec.datatype]:
                self._check_dtype(spec, array)
            datatype, elements = spec.datatype, array
            if name in classes:
                datatype, elements = "BYTES", self._classified(spec, array, classes[name])
            output = response.outputs.add(name=name, datatype=datatype, shape=elements.shape)
            if inputs.typed:
                to_contents(output.contents, elements, datatype)
            else:
                response.raw_output_contents.append(to_raw(elements, datatype))
        return bytes(response.SerializeToString())

    def _classified(self, spec: TensorSpec, array: NDArray[Any], count: int) -> NDArray[Any]:
        labels = self._labels.get(spec.name, ())
        return classified(array, spec.datatype, count, labels, batched=self._batched)

    def _remember_prefixes(
        self, key: tuple[Any, ...], inputs: Inputs, arrays: list[NDArray[Any]]
    ) -> list[_Prefix]:
        head = ModelInferResponse(model_name=inputs.model, model_version=self._version)
        prefixes = []
        for name, array in zip(inputs.wanted, arrays, strict=True):
            self._check_shape(self._outputs[name], array)
            spec, dtype = self._outputs[name], DTYPES[self._outputs[name].datatype]
            head.outputs.add(name=name, datatype=spec.datatype, shape=array.shape)
            length = b"" if spec.datatype == "BYTES" else varint(array.size * dtype.itemsize)
            prefixes.append((_RAW_OUTPUT + length, dtype, spec))
        prefix, dtype, spec = prefixes[0]
        prefixes[0] = (head.SerializeToString() + prefix, dtype, spec)
        if len(self._prefixes) >= _MAX_KINDS:
            self._prefixes.clear()
        self._prefixes[key] = prefixes
        return prefixes

    def _check_shape(self, spec: TensorSpec, array: NDArray[Any]) -> None:
        """What a model's file says of its outputs need not be so; what a class says has to be."""
        if self._lends:
            return
        sizes = zip(spec.shape, array.shape, strict=False)
        if len(spec.shape) != array.ndim or any(a not in (-1, b) for a, b in sizes):
            raise InvalidAnswer(
                f"specialist '{self._model}' gave output '{spec.name}' of shape "
                f"{list(array.shape)}, its signature says {list(spec.shape)}"
            )

    def _check_dtype(self, spec: TensorSpec, array: NDArray[Any]) -> None:
        if spec.datatype != "BYTES" or array.dtype.kind not in "SUO":
            raise SpecialistFailed(
                f"specialist '{self._model}' gave output '{spec.name}' with dtype {array.dtype}, "
                f"its signature says {spec.datatype}"
            )

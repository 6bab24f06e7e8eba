"""What one specialist takes and gives: requests checked and decoded, responses encoded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from fabric.api.inference.v2.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from fabric.core.errors import InvalidRequest, SpecialistFailed, Unimplemented
from fabric.core.tensors import DTYPES, Signature, Tensors, TensorSpec
from fabric.wire.kinds import Inputs, Kind, kind_of, varint
from fabric.wire.tensors import Place, from_contents, from_raw, to_raw

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

_RAW_OUTPUT = b"\x32"  # raw_output_contents = 6, length-delimited
_MAX_KINDS = 256
"""Kinds of responses remembered at most."""
_MAX_LENGTHS = 64
_KINDS_OF_ONE_LENGTH = 4
"""Kinds of requests remembered at most; callers differ in heads of the same length."""

_Prefix = tuple[bytes, "np.dtype[Any]", TensorSpec]
"""What precedes the elements of one output, the length included where it is fixed."""


class Codec:
    """The codec of the specialist *model*.

    With *max_rows* above 1 the first dimension of every tensor is the batch and at most that;
    else shapes are taken as they are.
    """

    def __init__(self, signature: Signature, model: str, version: str, max_rows: int = 1) -> None:
        self._inputs = {spec.name: spec for spec in signature.inputs}
        self._outputs = {spec.name: spec for spec in signature.outputs}
        self._all_outputs = tuple(self._outputs)
        self._model = model
        self._version = version
        self._max_rows = max_rows
        self._kinds: dict[int, tuple[Kind, ...]] = {}
        """By the length of the request, the newest first."""
        self._prefixes: dict[tuple[Any, ...], list[_Prefix]] = {}

    def decode(self, payload: bytes | memoryview) -> Inputs:
        """The inputs of the `ModelInferRequest` *payload*.

        Arrays are read-only, and may share the memory of *payload* at any alignment.

        Raises:
            InvalidRequest: the request is not one that the signature takes.
            Unimplemented: it asks for an extension of the protocol that is not served.
        """
        for kind in self._kinds.get(len(payload), ()):
            if (inputs := kind.read(payload)) is not None:
                return inputs
        return self._decode_with_care(bytes(payload))

    def encode(self, inputs: Inputs, outputs: Tensors) -> bytes:
        """The `ModelInferResponse` that answers *inputs* with *outputs*, raw.

        Raises:
            SpecialistFailed: an output that was asked for is missing or of another datatype.
        """
        try:
            arrays = [outputs[name] for name in inputs.wanted]
        except KeyError as error:
            raise SpecialistFailed(
                f"specialist '{self._model}' gave no output {error}, which its signature names"
            ) from None
        key = (inputs.model, inputs.wanted, *[array.shape for array in arrays])
        prefixes = self._prefixes.get(key) or self._remember_prefixes(key, inputs, arrays)
        pieces = [ModelInferResponse(id=inputs.id).SerializeToString()] if inputs.id else []
        for array, (prefix, dtype, spec) in zip(arrays, prefixes, strict=True):
            if array.dtype != dtype:
                self._check_dtype(spec, array)
            if spec.datatype == "BYTES":
                raw = to_raw(array, "BYTES")
                pieces += (prefix, varint(len(raw)), raw)
            else:
                pieces += (prefix, array.tobytes())
        return b"".join(pieces)

    # ------------------------------------------------------------------ requests
    def _decode_with_care(self, payload: bytes) -> Inputs:
        try:
            request = ModelInferRequest.FromString(payload)
        except DecodeError as error:
            raise InvalidRequest(f"the request is no ModelInferRequest: {error}") from error
        self._check_names(request)
        rows = self._checked_rows(request)
        raw = iter(request.raw_input_contents)
        tensors = {tensor.name: self._tensor(tensor, raw) for tensor in request.inputs}
        if next(raw, None) is not None:
            raise InvalidRequest(
                f"expected {len(request.inputs)} raw_input_contents but got "
                f"{len(request.raw_input_contents)} for model '{self._model}'"
            )
        shapes = tuple(tensors[name].shape[1:] for name in self._inputs)
        wanted = self._wanted(request)
        inputs = Inputs(tensors, rows, shapes, request.model_name, request.id, wanted)
        if (kind := kind_of(payload, request, inputs)) is not None:
            self._remember_kind(len(payload), kind)
        return inputs

    def _remember_kind(self, length: int, kind: Kind) -> None:
        if len(self._kinds) >= _MAX_LENGTHS:
            self._kinds.clear()
        self._kinds[length] = (kind, *self._kinds.get(length, ()))[:_KINDS_OF_ONE_LENGTH]

    def _check_names(self, request: ModelInferRequest) -> None:
        seen: dict[str, None] = {}
        for tensor in request.inputs:
            if tensor.name in seen:
                raise InvalidRequest(f"input '{tensor.name}' already exists in request")
            if tensor.name not in self._inputs:
                raise InvalidRequest(
                    f"unexpected inference input '{tensor.name}' for model '{self._model}'"
                )
            if tensor.HasField("contents") and request.raw_input_contents:
                raise InvalidRequest(
                    "contents field must not be specified when using raw_input_contents for "
                    f"'{tensor.name}' for model '{self._model}'"
                )
            if "shared_memory_region" in tensor.parameters:
                raise Unimplemented(
                    f"input '{tensor.name}' is in shared memory, which is not served: "
                    "send its elements in the request"
                )
            seen[tensor.name] = None
        if missing := [name for name in self._inputs if name not in seen]:
            raise InvalidRequest(
                f"expected {len(self._inputs)} inputs but got {len(seen)} inputs for model "
                f"'{self._model}'. Got input(s) [{_quoted(seen)}], but missing required input(s) "
                f"[{_quoted(missing)}]. Please provide all required input(s)."
            )

    def _checked_rows(self, request: ModelInferRequest) -> int:
        rows = 0
        for tensor in request.inputs:
            spec, shape = self._inputs[tensor.name], tensor.shape
            if any(size < 0 for size in shape):
                raise InvalidRequest(
                    f"All input dimensions should be specified for input '{tensor.name}' "
                    f"for model '{self._model}', got {_dims(shape)}"
                )
            if self._max_rows > 1:
                rows = self._batch_size(tensor.name, shape, rows)
            if tensor.datatype != spec.datatype:
                raise InvalidRequest(
                    f"inference input '{tensor.name}' data-type is '{tensor.datatype}', "
                    f"but model '{self._model}' expects '{spec.datatype}'"
                )
            if not _fits(shape, spec):
                raise InvalidRequest(
                    f"unexpected shape for input '{tensor.name}' for model '{self._model}'. "
                    f"Expected {_dims(spec.shape)}, got {_dims(shape)}. "
                    + ("The first dimension is the batch." if self._max_rows > 1 else "")
                )
        return rows or 1

    def _batch_size(self, name: str, shape: Sequence[int], rows: int) -> int:
        if not shape:
            raise InvalidRequest(
                f"input '{name}' has no shape but model requires batch dimension for "
                f"'{self._model}'"
            )
        if rows and shape[0] != rows:
            raise InvalidRequest(
                f"input '{name}' batch size does not match other inputs for '{self._model}'"
            )
        if shape[0] < 1:
            raise InvalidRequest(f"inference request batch-size must be >= 1 for '{self._model}'")
        if shape[0] > self._max_rows:
            raise InvalidRequest(
                f"inference request batch-size must be <= {self._max_rows} for '{self._model}'"
            )
        return shape[0]

    def _tensor(self, tensor: ModelInferRequest.InferInputTensor, raw: Any) -> NDArray[Any]:
        place = Place(tensor.name, self._model)
        if tensor.HasField("contents"):
            return from_contents(tensor.contents, tensor.datatype, tensor.shape, place)
        elements = next(raw, None)
        if elements is None:
            raise InvalidRequest(
                f"unable to find data for input tensor '{tensor.name}' for model "
                f"'{self._model}' in request."
            )
        return from_raw(elements, tensor.datatype, tensor.shape, place)

    def _wanted(self, request: ModelInferRequest) -> tuple[str, ...]:
        if not request.outputs:
            return self._all_outputs
        wanted: dict[str, None] = {}
        for output in request.outputs:
            if output.name in wanted:
                raise InvalidRequest(f"output '{output.name}' already exists in request")
            if output.name not in self._outputs:
                raise InvalidRequest(
                    f"unexpected inference output '{output.name}' for model '{self._model}'"
                )
            for extension in ("shared_memory_region", "classification"):
                if extension in output.parameters:
                    raise Unimplemented(
                        f"output '{output.name}' asks for '{extension}', which is not served"
                    )
            wanted[output.name] = None
        return tuple(wanted)

    # ------------------------------------------------------------------ responses
    def _remember_prefixes(
        self, key: tuple[Any, ...], inputs: Inputs, arrays: list[NDArray[Any]]
    ) -> list[_Prefix]:
        head = ModelInferResponse(model_name=inputs.model, model_version=self._version)
        prefixes = []
        for name, array in zip(inputs.wanted, arrays, strict=True):
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

    def _check_dtype(self, spec: TensorSpec, array: NDArray[Any]) -> None:
        if spec.datatype != "BYTES" or array.dtype.kind not in "SUO":
            raise SpecialistFailed(
                f"specialist '{self._model}' gave output '{spec.name}' with dtype {array.dtype}, "
                f"its signature says {spec.datatype}"
            )


def _fits(shape: Sequence[int], spec: TensorSpec) -> bool:
    return len(shape) == len(spec.shape) and all(
        expected in (-1, size) for size, expected in zip(shape, spec.shape, strict=True)
    )


def _dims(shape: Sequence[int]) -> str:
    return f"[{','.join(map(str, shape))}]"


def _quoted(names: Any) -> str:
    return ",".join(f"'{name}'" for name in names)

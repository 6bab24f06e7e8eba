"""Requests checked against what one specialist takes, and decoded."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from fabric.core.errors import InvalidRequest
from fabric.wire.classes import UNRANKED
from fabric.wire.kinds import Inputs
from fabric.wire.reserved import BINARY_DATA, terms_of, truth
from fabric.wire.tensors import TYPED, Place, from_contents, from_raw

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from fabric.api.inference.v2.open_inference_pb2 import InferParameter, ModelInferRequest
    from fabric.core.tensors import Signature, Tensors, TensorSpec

    _Input = ModelInferRequest.InferInputTensor
    _Output = ModelInferRequest.InferRequestedOutputTensor

_CLASSIFICATION = "classification"
_REGION = "shared_memory_region"
_MOST_DIMS = 32
"""In the text of an error."""


class Decoder:
    """Decodes requests for the specialist *model*.

    With *max_rows* above 1 the first dimension of every tensor is the batch and at most that;
    else shapes are taken as they are. Requests that do not say how long they may wait have
    *queue_timeout* seconds, where that is not 0.
    """

    def __init__(
        self, signature: Signature, model: str, max_rows: int, queue_timeout: float = 0.0
    ) -> None:
        self._inputs = {spec.name: spec for spec in signature.inputs}
        self._required = [spec.name for spec in signature.inputs if not spec.optional]
        self._outputs = {spec.name: spec for spec in signature.outputs}
        self._all_outputs = tuple(self._outputs)
        self._model = model
        self._max_rows = max_rows
        self._patience = queue_timeout or math.inf

    def decode(self, request: ModelInferRequest, raw: Sequence[bytes | memoryview]) -> Inputs:
        """The inputs in *request*, whose raw elements are *raw*.

        Raises:
            InvalidRequest: the request is not one that the signature takes.
        """
        terms = terms_of(request.parameters)
        self._check_names(request, is_raw=bool(raw))
        rows = self._checked_rows(request)
        tensors = self._tensors(request, raw)
        shapes = tuple(
            tensors[name].shape[1:] if name in tensors else None for name in self._inputs
        )
        inputs = Inputs(tensors, rows, shapes, request.model_name, request.id, self._all_outputs)
        inputs.priority, patience, inputs.sequence, binary = terms
        inputs.patience = patience if patience < math.inf else self._patience
        if request.outputs:
            self._ask(inputs, request.outputs, binary)
        elif not binary:
            inputs.typed = self._can_type(inputs)
        return inputs

    # ------------------------------------------------------------------ inputs
    def _check_names(self, request: ModelInferRequest, *, is_raw: bool) -> None:
        seen: dict[str, None] = {}
        for tensor in request.inputs:
            if tensor.name in seen:
                raise InvalidRequest(f"input '{tensor.name}' already exists in request")
            if tensor.name not in self._inputs:
                raise InvalidRequest(
                    f"unexpected inference input '{tensor.name}' for model '{self._model}'"
                )
            if is_raw and tensor.HasField("contents"):
                raise InvalidRequest(
                    "contents field must not be specified when using raw_input_contents for "
                    f"'{tensor.name}' for model '{self._model}'"
                )
            if _REGION in tensor.parameters:
                raise _unknown_region(tensor.parameters[_REGION].string_param)
            seen[tensor.name] = None
        if missing := [name for name in self._required if name not in seen]:
            least, most = len(self._required), len(self._inputs)
            expected = f"{most} inputs"
            if least < most:
                expected = f"number of inputs between {least} and {most}"
            raise InvalidRequest(
                f"expected {expected} but got {len(seen)} inputs for model "
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

    def _tensors(self, request: ModelInferRequest, raw: Sequence[bytes | memoryview]) -> Tensors:
        """Raw elements belong to the inputs that have no other, in order."""
        elements = iter(raw)
        tensors = {tensor.name: self._tensor(tensor, elements) for tensor in request.inputs}
        if next(elements, None) is not None:
            raise InvalidRequest(
                f"expected {len(request.inputs)} raw_input_contents but got "
                f"{len(raw)} for model '{self._model}'"
            )
        return tensors

    def _tensor(self, tensor: _Input, raw: Iterator[bytes | memoryview]) -> NDArray[Any]:
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

    # ------------------------------------------------------------------ outputs
    def _ask(self, inputs: Inputs, outputs: Iterable[_Output], binary: bool) -> None:
        """Writes into *inputs* which *outputs* are wanted, and as what."""
        wanted: dict[str, bool] = {}
        for output in outputs:
            if output.name in wanted:
                raise InvalidRequest(f"output '{output.name}' already exists in request")
            if output.name not in self._outputs:
                raise InvalidRequest(
                    f"unexpected inference output '{output.name}' for model '{self._model}'"
                )
            wanted[output.name] = binary
            if output.parameters:
                wanted[output.name] = self._ask_for(inputs, output, binary)
        inputs.wanted = tuple(wanted)
        inputs.typed = not any(wanted.values()) and self._can_type(inputs)

    def _ask_for(self, inputs: Inputs, output: _Output, binary: bool) -> bool:
        """Whether the elements of *output* are wanted raw."""
        if _REGION in output.parameters:
            raise _unknown_region(output.parameters[_REGION].string_param)
        if _CLASSIFICATION in output.parameters:
            count = self._count_of_classes(output.name, output.parameters[_CLASSIFICATION])
            inputs.classes = {**(inputs.classes or {}), output.name: count}
        if BINARY_DATA in output.parameters:
            return truth(BINARY_DATA, output.parameters[BINARY_DATA])
        return binary

    def _count_of_classes(self, name: str, parameter: InferParameter) -> int:
        datatype = self._outputs[name].datatype
        if parameter.WhichOneof("parameter_choice") != "int64_param":
            raise InvalidRequest(
                "invalid value type for 'classification' parameter, expected int64_param"
            )
        if parameter.int64_param <= 0:
            raise InvalidRequest("invalid value for 'classification' parameter, expected > 0")
        if datatype in UNRANKED:
            raise InvalidRequest(
                f"class result not available for output due to unsupported type '{datatype}' "
                f"of output '{name}' for model '{self._model}'"
            )
        return parameter.int64_param

    def _can_type(self, inputs: Inputs) -> bool:
        """One message has typed elements or raw ones, and some datatypes have no typed ones."""
        classes = inputs.classes or {}
        return all(
            name in classes or self._outputs[name].datatype in TYPED for name in inputs.wanted
        )


def _unknown_region(name: str) -> InvalidRequest:
    return InvalidRequest(
        f"Unable to find shared memory region: '{name}'. Register it at the gateway first"
    )


def _fits(shape: Sequence[int], spec: TensorSpec) -> bool:
    return len(shape) == len(spec.shape) and all(
        expected in (-1, size) for size, expected in zip(shape, spec.shape, strict=True)
    )


def _dims(shape: Sequence[int]) -> str:
    shown = [*map(str, shape[:_MOST_DIMS]), *(["..."] if len(shape) > _MOST_DIMS else ())]
    return f"[{','.join(shown)}]"


def _quoted(names: Any) -> str:
    return ",".join(f"'{name}'" for name in names)

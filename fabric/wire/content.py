"""What the router looks at of a request: one of its inputs, as a text or as numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from google.protobuf.message import DecodeError

from fabric.api.inference.v2.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from fabric.core.errors import InvalidRequest, SpecialistFailed
from fabric.core.tensors import DTYPES
from fabric.wire.heads import parted
from fabric.wire.tensors import decode_outputs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

LONGEST = 4096
"""Characters of a text that are looked at, and numbers of a vector."""
_TYPED = (
    *("fp32_contents", "fp64_contents", "int_contents", "int64_contents"),
    *("uint_contents", "uint64_contents", "bool_contents"),
)


@dataclass(frozen=True, slots=True, eq=False)
class Input:
    """One input of a request."""

    tensor: ModelInferRequest.InferInputTensor
    raw: bytes | memoryview | None
    """Its elements, unless they are in the tensor itself."""

    @classmethod
    def of(cls, payload: bytes | memoryview, name: str) -> Input:
        """The input *name* of the `ModelInferRequest` *payload*, whose elements are not copied.

        Raises:
            InvalidRequest: there is none.
        """
        request, contents = parted(payload)
        raw = iter(contents)
        for tensor in request.inputs:
            elements = None if tensor.HasField("contents") else next(raw, None)
            if tensor.name != name:
                continue
            if elements is None and not tensor.HasField("contents"):
                break
            return cls(tensor, elements)
        names = ", ".join(f"'{tensor.name}'" for tensor in request.inputs) or "none"
        raise InvalidRequest(
            f"'{request.model_name}' decides by the input '{name}', and the request has no elements"
            f" of it; its inputs: {names}"
        )

    @property
    def is_text(self) -> bool:
        return self.tensor.datatype == "BYTES"

    def text(self) -> str:
        """Its elements as UTF-8, one a line, or as much of them as is looked at."""
        items = _texts(self.raw) if self.raw is not None else self.tensor.contents.bytes_contents
        found: list[str] = []
        left = LONGEST
        for item in items:
            part = bytes(item[: 4 * left]).decode("utf-8", "ignore")[:left]
            found.append(part)
            left -= len(part) + 1
            if left <= 0:
                break
        return "\n".join(found)

    def numbers(self) -> tuple[float, ...]:
        """Its first elements in a row, 0 for what is not finite; empty if they are no numbers."""
        datatype = self.tensor.datatype
        if datatype not in DTYPES or datatype == "BYTES":
            return ()
        if self.raw is None:
            return _bounded(np.array(_typed(self.tensor.contents), np.float64))
        dtype = DTYPES[datatype]
        count = min(len(self.raw) // dtype.itemsize, LONGEST)
        return _bounded(as_floats(np.frombuffer(self.raw, dtype, count), datatype))

    def request(self, model: str, name: str, output: str) -> bytes:
        """A `ModelInferRequest` to *model* with this input alone, under *name*.

        It asks for the one *output*, or for all of them if that is empty.
        """
        request = ModelInferRequest(model_name=model)
        tensor = request.inputs.add()
        tensor.CopyFrom(self.tensor)
        tensor.name = name or self.tensor.name
        if self.raw is not None:
            request.raw_input_contents.append(bytes(self.raw))
        if output:
            request.outputs.add(name=output)
        return bytes(request.SerializeToString())


def text_request(model: str, name: str, shape: Sequence[int], text: str, output: str = "") -> bytes:
    """A `ModelInferRequest` to *model* with one *text* as its input *name*, see `Input.request`."""
    tensor = ModelInferRequest.InferInputTensor(name=name, datatype="BYTES", shape=shape)
    tensor.contents.bytes_contents.append(text.encode())
    return Input(tensor, None).request(model, name, output)


def embedding(payload: bytes | memoryview, output: str) -> tuple[float, ...]:
    """The numbers of an encoder's answer: those of *output*, or of its first one.

    Raises:
        SpecialistFailed: it has none, or one of them is not finite.
    """
    try:
        response = ModelInferResponse.FromString(payload)  # type: ignore[arg-type] # any buffer
    except DecodeError:
        raise SpecialistFailed("the encoder's answer is no ModelInferResponse") from None
    outputs = decode_outputs(response)
    for tensor in response.outputs:
        if output in ("", tensor.name) and tensor.datatype != "BYTES":
            numbers = as_floats(outputs[tensor.name].reshape(-1)[:LONGEST], tensor.datatype)
            if not numbers.size or not np.isfinite(numbers).all():
                break
            return tuple(numbers.tolist())
    wanted = f"output '{output}'" if output else "first output"
    raise SpecialistFailed(f"the {wanted} of the encoder is no vector of finite numbers")


def as_floats(array: NDArray[Any], datatype: str) -> NDArray[np.float64]:
    """The numbers in *array*; BF16, which numpy lacks, is the upper half of FP32."""
    if datatype == "BF16":
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float64)


def _bounded(numbers: NDArray[np.float64]) -> tuple[float, ...]:
    if not np.isfinite(numbers).all():
        numbers = np.where(np.isfinite(numbers), numbers, 0.0)
    return tuple(numbers.tolist())


def _typed(contents: Any) -> Sequence[float]:
    return next((found[:LONGEST] for name in _TYPED if (found := getattr(contents, name))), ())


def _texts(raw: bytes | memoryview) -> Iterator[memoryview]:
    """The elements of a raw BYTES tensor, each after its length; the last may be cut off."""
    view, at = memoryview(raw), 4
    while at <= len(view):
        end = at + int.from_bytes(view[at - 4 : at], "little")
        yield view[at:end]
        at = end + 4

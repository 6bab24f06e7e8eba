"""Requests made short, and answers read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fabric.api.inference.v2 import open_inference_pb2 as pb
from fabric.conformance.checks import Broken, expect, expect_equal
from fabric.core.errors import FabricError
from fabric.core.tensors import DTYPES, Tensors, datatype_of
from fabric.wire.tensors import decode_outputs, to_raw

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Parameter = bool | int | float | str | pb.InferParameter
FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""The typed field of each datatype; FP16 and BF16 have none."""


def example(datatype: str, rows: int = 1) -> NDArray[Any]:
    """A batch of *rows* with the ends of the datatype's range, and what is odd in between."""
    if datatype == "BYTES":
        row: NDArray[Any] = np.array([b"a\0b", b"", "ü€".encode(), b"x" * 300], np.object_)
    elif datatype == "BOOL":
        row = np.array([True, False, True, True])
    elif datatype == "BF16":
        row = np.array([0x3F80, 0xBF80, 0x7F7F, 0x0000], np.uint16)
    elif datatype.startswith("FP"):
        info = np.finfo(DTYPES[datatype])
        row = np.array([info.max, info.min, info.tiny, -0.0], DTYPES[datatype])
    else:
        limits = np.iinfo(DTYPES[datatype])
        row = np.array([limits.min, limits.max, 0, 7], DTYPES[datatype])
    return np.stack([row] * rows)


def parameter(value: Parameter) -> pb.InferParameter:
    if isinstance(value, pb.InferParameter):
        return value
    if isinstance(value, bool):
        return pb.InferParameter(bool_param=value)
    if isinstance(value, int):
        return pb.InferParameter(int64_param=value)
    if isinstance(value, float):
        return pb.InferParameter(double_param=value)
    return pb.InferParameter(string_param=value)


def uint64(value: int) -> pb.InferParameter:
    return pb.InferParameter(uint64_param=value)


def parameters_of(given: Mapping[str, Parameter]) -> dict[str, pb.InferParameter]:
    return {name: parameter(value) for name, value in given.items()}


def tensor(
    name: str,
    datatype: str,
    shape: Sequence[int],
    contents: Mapping[str, Sequence[Any]] | None = None,
    parameters: Mapping[str, Parameter] | None = None,
) -> pb.ModelInferRequest.InferInputTensor:
    """An input whose elements come elsewhere, or typed as *contents*."""
    return pb.ModelInferRequest.InferInputTensor(
        name=name,
        datatype=datatype,
        shape=shape,
        contents=None if contents is None else pb.InferTensorContents(**contents),
        parameters=parameters_of(parameters or {}),
    )


def output(name: str, **parameters: Parameter) -> pb.ModelInferRequest.InferRequestedOutputTensor:
    return pb.ModelInferRequest.InferRequestedOutputTensor(
        name=name, parameters=parameters_of(parameters)
    )


def request(
    model: str,
    tensors: Tensors | Sequence[pb.ModelInferRequest.InferInputTensor] = (),
    *,
    raw: Sequence[bytes] = (),
    outputs: Sequence[str | pb.ModelInferRequest.InferRequestedOutputTensor] = (),
    version: str = "",
    id: str = "",
    datatype: str = "",
    parameters: Mapping[str, Parameter] | None = None,
) -> pb.ModelInferRequest:
    """A request of arrays, which go raw, or of *tensors* as they are with *raw* contents."""
    if isinstance(tensors, Mapping):
        inputs = [
            tensor(name, datatype or datatype_of(array), array.shape)
            for name, array in tensors.items()
        ]
        raw = [
            to_raw(array, given.datatype)
            for array, given in zip(tensors.values(), inputs, strict=True)
        ]
    else:
        inputs = list(tensors)
    return pb.ModelInferRequest(
        model_name=model,
        model_version=version,
        id=id,
        inputs=inputs,
        raw_input_contents=raw,
        outputs=[output(each) if isinstance(each, str) else each for each in outputs],
        parameters=parameters_of(parameters or {}),
    )


def typed(model: str, datatype: str, array: NDArray[Any], **options: Any) -> pb.ModelInferRequest:
    """A request for *model* with its one input in the typed field of *datatype*."""
    contents = {FIELDS[datatype]: list(array.flat)}
    return request(model, [tensor("x", datatype, array.shape, contents)], **options)


def outputs_of(response: pb.ModelInferResponse) -> Tensors:
    """The outputs, raw or typed, by name. Raises Broken where the response contradicts itself."""
    if response.raw_output_contents and any(o.HasField("contents") for o in response.outputs):
        raw, response = response, type(response)()  # the elements are raw, whatever else is there
        response.CopyFrom(raw)
        for each in response.outputs:
            each.ClearField("contents")
    try:
        return decode_outputs(response)
    except FabricError as error:
        raise Broken("a response that can be decoded", error.message) from error


def expect_output(response: pb.ModelInferResponse, name: str, array: NDArray[Any]) -> None:
    """Raises Broken unless the output *name* is *array*: shape, datatype and every bit."""
    found = outputs_of(response)
    expect(name in found, f"an output {name!r}", f"the outputs {sorted(found)}")
    got = found[name]
    expect_equal(list(got.shape), list(array.shape), f"shape of {name!r}")
    if array.dtype == object:
        if list(got.flat) != list(array.flat):
            raise Broken(f"elements of {name!r} {_some(array)}", _some(got))
        return
    expect_equal(str(got.dtype), str(array.dtype), f"dtype of {name!r}")
    if got.tobytes() != array.tobytes():
        raise Broken(f"elements of {name!r} {_some(array)}", _some(got))


def _some(array: NDArray[Any]) -> str:
    """The first elements of *array*."""
    return np.array2string(array, threshold=20)

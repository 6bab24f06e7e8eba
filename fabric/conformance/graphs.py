"""The ONNX graphs of the samples. The only module that needs the package `onnx`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

from fabric.conformance import samples as s

if TYPE_CHECKING:
    from fabric.core.tensors import TensorSpec

_TYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BF16": TensorProto.BFLOAT16,
    "BYTES": TensorProto.STRING,
}
_Node = tuple[str, list[str], list[str]]


def graph(sample: s.Sample, version: str) -> Any:
    """The model of *version* of *sample*, an `onnx.ModelProto`."""
    inputs, outputs = list(map(_value, sample.inputs)), list(map(_value, sample.outputs))
    weights: list[Any] = []
    nodes: list[Any]
    match sample.name:
        case s.SLOW:
            nodes, weights = _slow()
        case s.OPTIONAL:
            nodes = _nodes(("Add", ["x", "bias"], ["y"]))
            weights = [numpy_helper.from_array(np.zeros((1, 4), np.float32), "bias")]
        case s.SEQUENCE:
            nodes = _nodes(("Add", ["x", "state"], ["y"]), ("Identity", ["y"], ["state_out"]))
            inputs.append(helper.make_tensor_value_info("state", TensorProto.FLOAT, ["N", 1]))
            outputs.append(helper.make_tensor_value_info("state_out", TensorProto.FLOAT, ["N", 1]))
        case s.CONTROLS:
            told = (("start", "started"), ("end", "ended"), ("corrid", "id"))
            nodes = _nodes(("Identity", ["x"], ["y"]), *(("Identity", [a], [b]) for a, b in told))
            for name, datatype in (("start", "INT32"), ("end", "INT32"), ("corrid", "UINT64")):
                inputs.append(helper.make_tensor_value_info(name, _TYPES[datatype], ["N", 1]))
        case s.ADD_SUB:
            nodes = _nodes(("Add", ["a", "b"], ["sum"]), ("Sub", ["a", "b"], ["difference"]))
        case s.FAILING:
            nodes = _nodes(("Gather", ["table", "x"], ["y"]))
            weights = [numpy_helper.from_array(np.arange(4, dtype=np.float32), "table")]
        case s.VERSIONS:
            nodes = _nodes(("Add", ["x", "number"], ["y"]))
            weights = [numpy_helper.from_array(np.array([float(version)], np.float32), "number")]
        case _:
            pairs = zip(sample.inputs, sample.outputs, strict=True)
            nodes = _nodes(*(("Identity", [given.name], [made.name]) for given, made in pairs))
    made = helper.make_model(
        helper.make_graph(nodes, sample.name, inputs, outputs, weights),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    made.ir_version = 9  # of the oldest ONNX Runtime in use
    checker.check_model(made)
    return made


def _nodes(*given: _Node) -> list[Any]:
    return [helper.make_node(*node) for node in given]


def _value(spec: TensorSpec) -> Any:
    shape = [f"{spec.name}{at}" if size < 0 else size for at, size in enumerate(spec.shape)]
    if shape and isinstance(shape[0], str):
        shape[0] = "N"
    return helper.make_tensor_value_info(spec.name, _TYPES[spec.datatype], shape)


def _slow() -> tuple[list[Any], list[Any]]:
    """A loop over `work` matrix products, whose result leaves `work` as it is."""
    square = [256, 256]
    body = helper.make_graph(
        _nodes(("MatMul", ["h", "weight"], ["h_out"]), ("Identity", ["go"], ["go_on"])),
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("h", TensorProto.FLOAT, square),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("h_out", TensorProto.FLOAT, square),
        ],
    )
    nodes = [
        *_nodes(("Squeeze", ["work"], ["times"])),
        helper.make_node("Loop", ["times", "", "weight"], ["last"], body=body),
        helper.make_node("ReduceMin", ["last"], ["least"], keepdims=0),
        *_nodes(("Mul", ["least", "zero"], ["none"])),
        helper.make_node("Cast", ["none"], ["nothing"], to=TensorProto.INT64),
        *_nodes(("Add", ["work", "nothing"], ["done"])),
    ]
    weights = [
        numpy_helper.from_array(np.eye(256, dtype=np.float32), "weight"),
        numpy_helper.from_array(np.array(0, np.float32), "zero"),
    ]
    return nodes, weights

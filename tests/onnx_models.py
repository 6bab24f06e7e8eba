"""Small ONNX models, made where they are needed."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from pathlib import Path

FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING
BFLOAT16 = TensorProto.BFLOAT16


def save(path: Path, nodes, inputs, outputs, weights=()) -> Path:
    """*inputs* and *outputs* are (name, type, shape)."""
    graph = helper.make_graph(
        [helper.make_node(*node) for node in nodes],
        "g",
        [helper.make_tensor_value_info(*spec) for spec in inputs],
        [helper.make_tensor_value_info(*spec) for spec in outputs],
        [numpy_helper.from_array(array, name) for name, array in weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, path)
    return path


def doubling(path: Path, shape=("N", 2), datatype: int = FLOAT) -> Path:
    """y = x + x"""
    return save(
        path, [("Add", ["x", "x"], ["y"])], [("x", datatype, shape)], [("y", datatype, shape)]
    )


def scaling(path: Path, factor: float) -> Path:
    """y = factor * x"""
    return save(
        path,
        [("Mul", ["x", "factor"], ["y"])],
        [("x", FLOAT, ("n", 2))],
        [("y", FLOAT, ("n", 2))],
        [("factor", np.array(factor, np.float32))],
    )


def looking_up(path: Path) -> Path:
    """y = the row of a table of four that x names; fails for other rows."""
    table = np.arange(4, dtype=np.float32)
    return save(
        path,
        [("Gather", ["table", "x"], ["y"])],
        [("x", INT64, ["N"])],
        [("y", FLOAT, ["N"])],
        [("table", table)],
    )


def copying(path: Path, datatype: int, shape=("N",)) -> Path:
    """y = x"""
    return save(
        path, [("Identity", ["x"], ["y"])], [("x", datatype, shape)], [("y", datatype, shape)]
    )


def accumulating(path: Path, shape=("N", 1)) -> Path:
    """y = x + sum, which is also the sum to come; `told` = what the input `start` says."""
    return save(
        path,
        [
            ("Add", ["x", "sum"], ["y"]),
            ("Identity", ["y"], ["new_sum"]),
            ("Identity", ["start"], ["told"]),
        ],
        [("x", FLOAT, shape), ("sum", FLOAT, shape), ("start", FLOAT, shape)],
        [("y", FLOAT, shape), ("new_sum", FLOAT, shape), ("told", FLOAT, shape)],
    )


def slow(path: Path, layers: int = 100) -> Path:
    """y = x through many wide layers: long enough to be stopped on the way."""
    weight = np.eye(256, dtype=np.float32)
    names = ["x", *(f"h{i}" for i in range(layers - 1)), "y"]
    nodes = [("MatMul", [a, "w"], [b]) for a, b in pairwise(names)]
    spec = [256, 256]
    return save(path, nodes, [("x", FLOAT, spec)], [("y", FLOAT, spec)], [("w", weight)])


def shifting(path: Path, datatype: int = FLOAT) -> Path:
    """y = x + by, where by is [1, 1] unless it is given."""
    return save(
        path,
        [("Add", ["x", "by"], ["y"])],
        [("x", datatype, ["N", 2]), ("by", datatype, ["M", 2])],
        [("y", datatype, ["N", 2])],
        [("by", np.ones((1, 2), helper.tensor_dtype_to_np_dtype(datatype)))],
    )

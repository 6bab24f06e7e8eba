"""Fixtures shared by all tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def linear_model() -> Callable[..., None]:
    """Writes an ONNX model to a path: x FP32 [N, inputs] -> y FP32 [N, outputs], y = x @ ones."""

    def write(path: Path, inputs: int, outputs: int) -> None:
        graph = helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], ["y"])],
            "linear",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", inputs])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", outputs])],
            [numpy_helper.from_array(np.ones((inputs, outputs), np.float32), "w")],
        )
        opset = helper.make_opsetid("", 17)
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=10), path)

    return write

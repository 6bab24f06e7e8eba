"""A sentence encoder as sentence-transformers builds them, in small and with random weights."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

VOCABULARY = 2000
LONGEST = 128
HIDDEN, HEADS, LAYERS = 128, 4, 3


class _Graph:
    """Nodes and weights; every method gives the name of a tensor."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._random = np.random.default_rng(0)

    def node(self, kind: str, *inputs: str, to: str = "", **attributes: object) -> str:
        made = to or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [made], **attributes))
        return made

    def constant(self, values: object, dtype: type) -> str:
        name = f"c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def weight(self, *shape: int) -> str:
        return self.constant(self._random.standard_normal(shape) / shape[0] ** 0.5, np.float32)

    def dense(self, x: str, before: int, after: int) -> str:
        zeros = self.constant(np.zeros(after), np.float32)
        return self.node("Add", self.node("MatMul", x, self.weight(before, after)), zeros)

    def norm(self, x: str) -> str:
        ones = self.constant(np.ones(HIDDEN), np.float32)
        return self.node("LayerNormalization", x, ones, axis=-1)

    def heads(self, x: str, order: list[int]) -> str:
        """[N, L, HIDDEN] as [N, L, HEADS, -1], transposed to *order*."""
        split = self.constant([0, 0, HEADS, HIDDEN // HEADS], np.int64)
        made = self.node("Reshape", self.dense(x, HIDDEN, HIDDEN), split)
        return self.node("Transpose", made, perm=order)

    def attention(self, x: str) -> str:
        queries = self.heads(x, [0, 2, 1, 3])
        keys = self.heads(x, [0, 2, 3, 1])
        values = self.heads(x, [0, 2, 1, 3])
        scale = self.constant((HIDDEN // HEADS) ** -0.5, np.float32)
        scores = self.node("Mul", self.node("MatMul", queries, keys), scale)
        mixed = self.node("MatMul", self.node("Softmax", scores, axis=-1), values)
        joined = self.constant([0, 0, HIDDEN], np.int64)
        together = self.node("Reshape", self.node("Transpose", mixed, perm=[0, 2, 1, 3]), joined)
        return self.dense(together, HIDDEN, HIDDEN)

    def layer(self, x: str) -> str:
        x = self.norm(self.node("Add", x, self.attention(x)))
        wide = self.node("Relu", self.dense(x, HIDDEN, 4 * HIDDEN))
        return self.norm(self.node("Add", x, self.dense(wide, 4 * HIDDEN, HIDDEN)))


def encoder() -> onnx.ModelProto:
    """tokens INT64 [N, L] -> embedding FP32 [N, HIDDEN], the mean over the tokens."""
    graph = _Graph()
    words = graph.node("Gather", graph.weight(VOCABULARY, HIDDEN), "tokens")
    one, zero = graph.constant(1, np.int64), graph.constant(0, np.int64)
    length = graph.node("Gather", graph.node("Shape", "tokens"), one)
    places = graph.node("Range", zero, length, one)
    x = graph.node("Add", words, graph.node("Gather", graph.weight(LONGEST, HIDDEN), places))
    for _ in range(LAYERS):
        x = graph.layer(x)
    graph.node("ReduceMean", x, to="embedding", axes=[1], keepdims=0)
    tokens = helper.make_tensor_value_info("tokens", TensorProto.INT64, ["N", "L"])
    embedding = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", HIDDEN])
    made = helper.make_graph(graph.nodes, "encoder", [tokens], [embedding], graph.weights)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model

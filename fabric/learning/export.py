"""A policy as an ONNX model, to be hosted like any specialist."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fabric.routing.learned import STAGES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fabric.routing.forest import Forest
    from fabric.routing.learned import Learned, Numbers

_OPSET = 17
_ML_OPSET = 3
_IR = 8


def to_onnx(learned: Learned) -> bytes:
    """*learned* as a model from FP32 [N, F] to `probabilities`, FP32 [N, k] in its own order.

    The input of a policy that knows numbers and neither texts nor tags is `numbers`, F of them as
    queries give them. Of all others it is `features`: what `Learned.inputs` makes of each query,
    since texts are hashed outside of ONNX.
    """
    from onnx import TensorProto, checker, helper

    graph = _Graph()
    k = len(learned.candidates)
    if learned.numbers is not None and learned.words is None and len(learned.prior.rows) == 1:
        name, shape = "numbers", len(learned.numbers.middle)
        inputs = _scaled(graph, learned.numbers, learned.prior.means)
    else:
        name = inputs = "features"
        shape = learned.width
    slopes, level = _linear(learned)
    total = graph.add("Add", graph.add("MatMul", inputs, slopes), level)
    if learned.forest is not None:
        said = graph.trees(learned.forest, inputs)
        total = graph.add("Add", total, graph.add("MatMul", said, _mixing(learned, "forest")))
    _calibrated(graph, learned.curve, total)
    made = helper.make_graph(
        graph.nodes,
        "policy",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", shape])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", k])],
        graph.constants,
    )
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("ai.onnx.ml", _ML_OPSET)]
    model = helper.make_model(made, opset_imports=opsets, ir_version=_IR, producer_name="fabric")
    checker.check_model(model)
    return bytes(model.SerializeToString())


@dataclass
class _Graph:
    """Nodes and constants of a graph, named as they come."""

    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def add(self, op: str, *inputs: str | NDArray[Any], output: str = "", **how: Any) -> str:
        """A node; its arrays become constants. What its output is called."""
        from onnx import helper

        output = output or f"{op.lower()}{len(self.nodes)}"
        names = [name if isinstance(name, str) else self._constant(name) for name in inputs]
        self.nodes.append(helper.make_node(op, names, [output], **how))
        return output

    def _constant(self, value: NDArray[Any]) -> str:
        from onnx import numpy_helper

        name = f"constant{len(self.constants)}"
        kept = value.astype(np.float32) if value.dtype.kind == "f" else value
        self.constants.append(numpy_helper.from_array(kept, name))
        return name

    def trees(self, forest: Forest, inputs: str) -> str:
        """What *forest* says of *inputs*: [N, k]."""
        inner, k = len(forest.feature), forest.values.shape[1]
        tree, node = _walked(forest)
        asks = node < inner
        at = node[asks]
        features, thresholds = np.zeros(len(node), np.int64), np.zeros(len(node), np.float32)
        left, right = np.zeros(len(node), np.int64), np.zeros(len(node), np.int64)
        features[asks], thresholds[asks] = forest.feature[at], forest.threshold[at]
        left[asks], right[asks] = forest.children[at].T
        leaves = node[~asks]
        return self.add(
            "TreeEnsembleRegressor",
            inputs,
            domain="ai.onnx.ml",
            aggregate_function="AVERAGE",
            n_targets=k,
            nodes_treeids=tree.tolist(),
            nodes_nodeids=node.tolist(),
            nodes_featureids=features.tolist(),
            nodes_values=thresholds.tolist(),
            nodes_modes=["BRANCH_LEQ" if ask else "LEAF" for ask in asks],
            nodes_truenodeids=left.tolist(),
            nodes_falsenodeids=right.tolist(),
            target_treeids=np.repeat(tree[~asks], k).tolist(),
            target_nodeids=np.repeat(leaves, k).tolist(),
            target_ids=np.tile(np.arange(k), len(leaves)).tolist(),
            target_weights=forest.values[leaves - inner].astype(np.float32).ravel().tolist(),
        )


def _walked(forest: Forest) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of each node that is reached: its tree and its number, one tree after the other."""
    inner = len(forest.feature)
    tree, node = np.arange(len(forest.roots)), forest.roots.astype(np.int64)
    found = [(tree, node)]
    while (asks := node < inner).any():
        tree = np.repeat(tree[asks], 2)
        node = forest.children[node[asks]].astype(np.int64).ravel()
        found.append((tree, node))
    trees, nodes = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(trees, kind="stable")
    return trees[order], nodes[order]


def _scaled(graph: _Graph, numbers: Numbers, prior: NDArray[np.float32]) -> str:
    """From raw numbers to `Learned.inputs`: the prior, and numbers as `scaled` makes them."""
    logs = graph.add("Log", graph.add("Add", graph.add("Abs", "numbers"), np.ones(1)))
    signed = graph.add("Mul", graph.add("Sign", "numbers"), logs)
    z = graph.add("Div", graph.add("Sub", signed, numbers.middle), numbers.spread)
    wrong = graph.add("Or", graph.add("IsNaN", "numbers"), graph.add("IsInf", "numbers"))
    clipped = graph.add("Clip", z, np.array(-10.0), np.array(10.0))
    known = graph.add("Where", wrong, np.zeros(1), clipped)
    none = np.zeros((len(numbers.middle), prior.shape[1]))
    means = graph.add("Add", graph.add("MatMul", known, none), prior[:1])
    return graph.add("Concat", means, known, axis=1)


def _mixing(learned: Learned, stage: str) -> NDArray[np.float64]:
    """What a stage adds to scores, as a matrix [k, k]: its differences and its level, weighed."""
    between, level = learned.weights[STAGES.index(stage)]
    k = len(learned.candidates)
    mean = np.full((k, k), 1 / k)
    return np.asarray(between * (np.eye(k) - mean) + level * mean)


def _linear(learned: Learned) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What all stages but the forest make of `Learned.inputs`: slopes [F, k] and level [k]."""
    k = len(learned.candidates)
    slopes, level = np.zeros((learned.width, k)), learned.offset.copy()
    slopes[:k] += _mixing(learned, "prior")
    if learned.words is not None:
        slopes[k : 2 * k] += _mixing(learned, "words")
    if learned.numbers is not None:
        mixing = _mixing(learned, "numbers")
        slopes[-len(learned.numbers.middle) :] += learned.numbers.slopes @ mixing
        level += learned.numbers.level @ mixing
    return slopes, level


def _calibrated(graph: _Graph, curve: NDArray[np.float64], scores: str) -> None:
    """Linear interpolation: of each piece of the curve the part that lies below the score."""
    xs, ys = curve
    column = graph.add("Unsqueeze", scores, np.array([2]))
    above = graph.add("Div", graph.add("Sub", column, xs[:-1]), np.diff(xs))
    parts = graph.add("Clip", above, np.array(0.0), np.array(1.0))
    rise = graph.add("Squeeze", graph.add("MatMul", parts, np.diff(ys)[:, None]), np.array([2]))
    graph.add("Add", rise, ys[:1], output="probabilities")

"""The models that are served, and requests for them.

`small` and `medium` are MLPs of three microseconds and about a millisecond of work: the one
measures everything that is not the model, the other batching. The encoder and the trees are there
so that nothing is tuned to two MLPs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
from numpy.random import Generator
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier

from fabric.api.inference.v2 import open_inference_pb2 as pb
from fabric.core.tensors import Tensors, TensorSpec
from tests.benchmarks.encoder import VOCABULARY, encoder

if TYPE_CHECKING:
    from pathlib import Path

SEED = 0
MEBI = 1 << 20


@dataclass(frozen=True)
class Model:
    """A model of the benchmarks; `rows` is 0 for one that takes no batches."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    make: Callable[[], onnx.ModelProto]
    sample: Callable[[Generator], Tensors]
    """The inputs of one request."""
    rows: int = 64
    """In one batch at most."""

    def write(self, folder: Path) -> Path:
        path = folder / f"{self.name}.onnx"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            onnx.save(self.make(), path)
        return path

    def samples(self, count: int) -> list[Tensors]:
        random = np.random.default_rng(SEED)
        return [self.sample(random) for _ in range(count)]

    def answers(self, folder: Path, inputs: Tensors) -> Tensors:
        """What ONNX Runtime alone gives."""
        session = onnxruntime.InferenceSession(
            self.write(folder), providers=["CPUExecutionProvider"]
        )
        names = [spec.name for spec in self.outputs]
        return dict(zip(names, session.run(names, inputs), strict=True))


def request(model: str, inputs: Tensors) -> bytes:
    """The body of a unary call: five bytes of framing and a ModelInferRequest."""
    types = {np.dtype(np.float32): "FP32", np.dtype(np.int64): "INT64"}
    message = pb.ModelInferRequest(model_name=model)
    for name, array in inputs.items():
        message.inputs.add(name=name, datatype=types[array.dtype], shape=array.shape)
        message.raw_input_contents.append(array.tobytes())
    payload = message.SerializeToString()
    return b"\0" + len(payload).to_bytes(4, "big") + payload


def _fp32(name: str, *shape: int) -> TensorSpec:
    return TensorSpec(name=name, datatype="FP32", shape=(-1, *shape))


def _normal(width: int) -> Callable[[Generator], Tensors]:
    return lambda random: {"x": random.standard_normal((1, width), np.float32)}


# ------------------------------------------------------------------ two MLPs
def _mlp(*widths: int) -> onnx.ModelProto:
    random = np.random.default_rng(SEED)
    nodes, weights, last = [], [], "x"
    for layer, (before, after) in enumerate(pairwise(widths)):
        values = random.standard_normal((before, after), np.float32) / np.float32(before**0.5)
        weights.append(numpy_helper.from_array(values, f"w{layer}"))
        is_last = layer == len(widths) - 2
        made = "y" if is_last else f"h{layer}"
        nodes.append(helper.make_node("MatMul", [last, f"w{layer}"], [made]))
        if not is_last:
            nodes.append(helper.make_node("Relu", [f"h{layer}"], [f"r{layer}"]))
            last = f"r{layer}"
    return _model(nodes, ("x", ["N", widths[0]]), ("y", ["N", widths[-1]]), weights)


def _model(nodes, given, made, weights=()) -> onnx.ModelProto:
    """Of one FP32 input and one FP32 output, each (name, shape)."""
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (given, made)]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model


SMALL = Model("small", (_fp32("x", 64),), (_fp32("y", 10),), lambda: _mlp(64, 128, 10), _normal(64))
MEDIUM = Model(
    "medium",
    (_fp32("x", 512),),
    (_fp32("y", 512),),
    lambda: _mlp(512, 2048, 2048, 512),
    _normal(512),
)


# ------------------------------------------------------------------ bytes alone
def identity(mebibytes: int) -> Model:
    """y = x, of so many MiB."""
    count = mebibytes * MEBI // 4
    copy = [helper.make_node("Identity", ["x"], ["y"])]
    return Model(
        f"identity{mebibytes}",
        (_fp32("x"),),
        (_fp32("y"),),
        lambda: _model(copy, ("x", ["N"]), ("y", ["N"])),
        lambda random: {"x": random.standard_normal(count, np.float32)},
        rows=0,
    )


# ------------------------------------------------------------------ two of other kinds
def _sentence(random: Generator) -> Tensors:
    """Of four to sixty-four tokens."""
    length = int(random.integers(4, 65))
    return {"tokens": random.integers(0, VOCABULARY, (1, length), np.int64)}


def _trees() -> onnx.ModelProto:
    """Gradient-boosted trees that read handwritten digits."""
    from skl2onnx import to_onnx

    images, labels = load_digits(return_X_y=True)
    trained = HistGradientBoostingClassifier(max_iter=30, random_state=SEED).fit(images, labels)
    return to_onnx(
        trained,
        images[:1].astype(np.float32),
        options={"zipmap": False},
        target_opset={"": 17, "ai.onnx.ml": 3},
    )


@cache
def _images() -> np.ndarray:
    return load_digits().data.astype(np.float32)


ENCODER = Model(
    "encoder",
    (TensorSpec(name="tokens", datatype="INT64", shape=(-1, -1)),),
    (_fp32("embedding", 128),),
    encoder,
    _sentence,
)
TREES = Model(
    "trees",
    (_fp32("X", 64),),
    (_fp32("probabilities", 10),),
    _trees,
    lambda random: {"X": _images()[random.integers(len(_images()), size=1)]},
)

"""A Triton model repository, imported and served: `python -m examples.from_triton`.

On the command line it is `fabric import triton-repository DIR -f portfolio.yaml`, and then
`fabric up -f portfolio.yaml`.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import tritonclient.grpc.aio as triton
from onnx import TensorProto, helper

from fabric.app import Fabric, FabricSettings
from fabric.config.triton import read_repository

CONFIG = """
platform: "onnxruntime_onnx"
max_batch_size: 16
input [{ name: "x" data_type: TYPE_FP32 dims: [3] }]
output [{ name: "y" data_type: TYPE_FP32 dims: [3] }]
instance_group [{ count: 1 kind: KIND_CPU }]
dynamic_batching { max_queue_delay_microseconds: 500 }
"""


def save_repository(folder: Path) -> None:
    """One model, `double`, of which version 2 is served, since it is the latest."""
    tensors = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 3]) for n in "xy"]
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "g", *zip(tensors))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    for version in ("1", "2"):
        (folder / "double" / version).mkdir(parents=True)
        onnx.save(model, folder / "double" / version / "model.onnx")
    (folder / "double" / "config.pbtxt").write_text(CONFIG)


async def main() -> int:
    with tempfile.TemporaryDirectory(prefix="from-triton-") as name:
        folder = Path(name)
        save_repository(folder / "models")
        imported = read_repository(folder / "models")
        for each in imported.findings:
            print(f"{each.model}: {each.path}: {each.effect}: {each.text}")
        settings = FabricSettings(state=folder / "state", host="local", listen="127.0.0.1:0")
        async with Fabric(settings, imported.portfolio) as fabric:
            await fabric.ready()
            async with triton.InferenceServerClient(fabric.server) as client:
                x = triton.InferInput("x", [1, 3], "FP32")
                x.set_data_from_numpy(np.array([[1, 2, 3]], np.float32))
                result = await client.infer("double", [x])
        print("double", result.get_response().model_version, result.as_numpy("y").tolist())
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))

"""KServe's Python server with the models of the folder `onnx` beside this file.

Usage: python kserve_server.py GRPC_PORT HTTP_PORT
"""

from __future__ import annotations

import sys
import uuid
from pathlib import Path

import numpy as np
import onnxruntime
from kserve import InferOutput, InferResponse, Model, ModelServer

HERE = Path(__file__).parent


class OnnxModel(Model):
    def __init__(self, path: Path) -> None:
        name, _, self.version = path.stem.rpartition("-")
        super().__init__(name)
        self._path = str(path)
        self.load()

    def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        providers = ["CPUExecutionProvider"]
        self._session = onnxruntime.InferenceSession(self._path, options, providers=providers)
        self.ready = True
        return True

    async def get_input_types(self):
        optional = self._session.get_overridable_initializers()
        return [_described(each) for each in (*self._session.get_inputs(), *optional)]

    async def get_output_types(self):
        return [_described(each) for each in self._session.get_outputs()]

    async def predict(self, payload, headers=None, response_headers=None):
        feeds = {given.name: _text(given.as_numpy()) for given in payload.inputs}
        wanted = dict.fromkeys(output.name for output in payload.request_outputs or ())
        names = list(wanted) or [output.name for output in self._session.get_outputs()]
        outputs = []
        for name, array in zip(names, self._session.run(names, feeds), strict=True):
            made = InferOutput(name, list(array.shape), _datatype(array.dtype))
            made.set_data_from_numpy(array, binary_data=True)
            outputs.append(made)
        return InferResponse(
            payload.id or uuid.uuid4().hex, self.name, outputs, model_version=self.version
        )


def _text(array):
    """*array* as ONNX Runtime wants it: text, where KServe has bytes."""
    if array.dtype.kind != "O":
        return array
    flat = np.empty(array.size, object)
    flat[:] = [item.decode() if isinstance(item, bytes) else item for item in array.flat]
    return flat.reshape(array.shape)


def _datatype(dtype) -> str:
    if dtype.kind == "O":
        return "BYTES"
    kind = {"b": "BOOL", "i": "INT", "u": "UINT", "f": "FP"}[dtype.kind]
    return kind if kind == "BOOL" else f"{kind}{8 * dtype.itemsize}"


def _described(each) -> dict:
    names = {"float": "FP32", "double": "FP64", "float16": "FP16", "bfloat16": "BF16"}
    inner = each.type.removeprefix("tensor(").removesuffix(")")
    datatype = {**names, "string": "BYTES"}.get(inner, inner.upper())
    shape = [size if isinstance(size, int) else -1 for size in each.shape]
    return {"name": each.name, "datatype": datatype, "shape": shape}


if __name__ == "__main__":
    models = [
        OnnxModel(path)
        for path in sorted((HERE / "onnx").glob("*.onnx"))
        if not any(word in path.name for word in ("sequence", "controls", "bf16"))
    ]
    latest = {model.name: model for model in models}
    grpc_port, http_port = map(int, sys.argv[1:3])
    ModelServer(
        http_port=http_port, grpc_port=grpc_port, enable_grpc=True, access_log_format=None
    ).start(list(latest.values()))

"""Triton's Python backend: one run of ONNX Runtime for a whole dynamic batch."""

import json

import numpy as np
import triton_python_backend_utils as pb_utils
from onnx_sessions import open_session


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        self._inputs = [tensor["name"] for tensor in config["input"]]
        self._outputs = [tensor["name"] for tensor in config["output"]]
        self._session = open_session(config["name"])

    def execute(self, requests):
        given = [
            [pb_utils.get_input_tensor_by_name(r, name).as_numpy() for name in self._inputs]
            for r in requests
        ]
        names = self._outputs
        stacked = [np.concatenate(arrays) for arrays in zip(*given, strict=True)]
        made = self._session.run(names, dict(zip(self._inputs, stacked, strict=True)))
        cuts = np.cumsum([len(arrays[0]) for arrays in given])[:-1]
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor(n, part.copy()) for n, part in zip(names, parts, strict=True)]
            )
            for parts in zip(*(np.split(array, cuts) for array in made), strict=True)
        ]

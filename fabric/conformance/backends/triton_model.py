"""A model of Triton's Python backend: runs the `model.onnx` beside it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        self._outputs = [output["name"] for output in config["output"]]
        self._decoupled = config.get("model_transaction_policy", {}).get("decoupled", False)
        self._states: dict[int, np.ndarray] = {}
        self._inputs: set[str] = set()
        model = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        if not model.exists():
            return
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        providers = ["CPUExecutionProvider"]
        self._session = onnxruntime.InferenceSession(str(model), options, providers=providers)
        self._inputs = {each.name for each in self._session.get_inputs()}
        self._inputs |= {each.name for each in self._session.get_overridable_initializers()}

    def execute(self, requests):
        if self._decoupled:
            for request in requests:
                self._repeat(request)
            return None
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        try:
            given = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
            if not self._inputs:
                return pb_utils.InferenceResponse([_tensor("y", given["x"])])
            feeds = {name: _text(array) for name, array in given.items() if name in self._inputs}
            if "state" in self._inputs:
                who = int(given["corrid"].flat[0])
                fresh = bool(given["start"].flat[0])
                zeros = np.zeros_like(given["x"])
                feeds["state"] = zeros if fresh else self._states.get(who, zeros)
            names = [*self._outputs, *(("state_out",) if "state" in self._inputs else ())]
            made = dict(zip(names, self._session.run(names, feeds), strict=True))
            if "state" in self._inputs:
                self._states[who] = made.pop("state_out")
                if given["end"].flat[0]:
                    del self._states[who]
            wanted = set(request.requested_output_names())
            outputs = [_tensor(name, made[name]) for name in self._outputs if name in wanted]
            return pb_utils.InferenceResponse(outputs)
        except Exception as error:  # noqa: BLE001 - what fails is the request's answer
            return pb_utils.InferenceResponse([], pb_utils.TritonError(str(error)))

    def _repeat(self, request):
        sender = request.get_response_sender()
        count, pause = (
            int(pb_utils.get_input_tensor_by_name(request, name).as_numpy()[0])
            for name in ("count", "pause")
        )
        if count < 0:
            error = pb_utils.TritonError(f"count is {count}, it cannot be negative")
            sender.send(pb_utils.InferenceResponse([], error))
        for index in range(count):
            time.sleep(pause / 1000)
            tensor = pb_utils.Tensor("index", np.array([index], np.int32))
            sender.send(pb_utils.InferenceResponse([tensor]))
        sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


def _text(array):
    """*array* as ONNX Runtime wants it: text, where Triton has bytes."""
    if array.dtype != np.object_:
        return array
    flat = np.empty(array.size, np.object_)
    flat[:] = [item.decode() for item in array.flat]
    return flat.reshape(array.shape)


def _tensor(name, array):
    if array.dtype == np.object_:
        items = [item if isinstance(item, bytes) else item.encode() for item in array.flat]
        flat = np.empty(len(items), np.object_)
        flat[:] = items
        array = flat.reshape(array.shape)
    return pb_utils.Tensor(name, array)

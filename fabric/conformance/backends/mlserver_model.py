"""A runtime of MLServer: runs the ONNX model that its settings name."""

from __future__ import annotations

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.errors import InferenceError
from mlserver.types import InferenceResponse, ResponseOutput
from mlserver.utils import get_model_uri


class OnnxModel(MLModel):
    async def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        model = await get_model_uri(self.settings)
        providers = ["CPUExecutionProvider"]
        self._session = onnxruntime.InferenceSession(model, options, providers=providers)
        return True

    async def predict(self, payload):
        feeds = {}
        for given in payload.inputs:
            if given.datatype == "BYTES":
                array = NumpyCodec.decode_input(given).astype(object)
            else:
                array = NumpyCodec.decode_input(given)
            feeds[given.name] = array.reshape(given.shape)
        wanted = [output.name for output in payload.outputs or ()]
        names = wanted or [output.name for output in self._session.get_outputs()]
        try:
            arrays = self._session.run(names, feeds)
        except Exception as error:
            raise InferenceError(str(error)) from error
        outputs = [_output(*each) for each in zip(names, arrays, strict=True)]
        return InferenceResponse(
            id=payload.id, model_name=self.name, model_version=self.version, outputs=outputs
        )


def _output(name, array) -> ResponseOutput:
    if array.dtype == object:
        made = StringCodec.encode_output(name, list(array.flat))
        made.shape = list(array.shape)
        return made
    return NumpyCodec.encode_output(name, array)

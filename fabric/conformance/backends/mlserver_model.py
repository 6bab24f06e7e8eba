"""A runtime of MLServer: runs the ONNX model that its settings name."""

from __future__ import annotations

import numpy as np
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
        wanted = dict.fromkeys(output.name for output in payload.outputs or ())
        names = list(wanted) or [output.name for output in self._session.get_outputs()]
        try:
            feeds = {given.name: _array(given) for given in payload.inputs}
            arrays = self._session.run(names, feeds)
        except Exception as error:
            raise InferenceError(str(error)) from error
        outputs = [_output(*each) for each in zip(names, arrays, strict=True)]
        return InferenceResponse(
            id=payload.id, model_name=self.name, model_version=self.version, outputs=outputs
        )

    async def predict_stream(self, payloads):
        async for payload in payloads:
            yield await self.predict(payload)


def _array(given):
    if given.datatype != "BYTES":
        return NumpyCodec.decode_input(given).reshape(given.shape)
    items = StringCodec.decode_input(given)
    flat = np.empty(len(items), object)
    flat[:] = items
    return flat.reshape(given.shape)


def _output(name, array) -> ResponseOutput:
    if array.dtype.kind == "O":
        made = StringCodec.encode_output(name, list(array.flat))
    else:
        made = NumpyCodec.encode_output(name, array)
    made.shape = list(array.shape)  # the codecs add a dimension to some
    return made

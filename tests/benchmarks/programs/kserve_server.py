"""KServe's Python model server; `python kserve_server.py GRPC-PORT HTTP-PORT`."""

import sys

from kserve import InferOutput, InferResponse, Model, ModelServer
from onnx_sessions import NAMES, open_session


class OnnxModel(Model):
    def __init__(self, name):
        super().__init__(name)
        self._session = open_session(name)
        self.ready = True

    async def predict(self, payload, headers=None, response_headers=None):
        y = self._session.run(None, {"x": payload.inputs[0].as_numpy()})[0]
        output = InferOutput("y", list(y.shape), "FP32")
        output.set_data_from_numpy(y, binary_data=True)
        return InferResponse(response_id="1", model_name=self.name, infer_outputs=[output])


if __name__ == "__main__":
    grpc, http = map(int, sys.argv[1:])
    server = ModelServer(http_port=http, grpc_port=grpc, enable_grpc=True, access_log_format=None)
    server.start([OnnxModel(name) for name in NAMES])

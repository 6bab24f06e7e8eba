"""Ray Serve's own gRPC ingress before one deployment: `… ray_server.py GRPC-PORT HTTP-PORT`."""

import sys
import time

import numpy as np
import ray
from onnx_sessions import NAMES, open_session
from ray import serve
from ray.serve.config import gRPCOptions
from tritonclient.grpc import service_pb2 as pb

SERVICER = "tritonclient.grpc.service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server"


@serve.deployment(max_ongoing_requests=128, ray_actor_options={"num_cpus": 0.5})
class Models:
    def __init__(self):
        self._sessions = {name: open_session(name) for name in NAMES}

    async def ModelInfer(self, request):  # noqa: N802 - the proto's name
        x = np.frombuffer(request.raw_input_contents[0], np.float32)
        x = x.reshape(tuple(request.inputs[0].shape))
        y = self._sessions[request.model_name].run(None, {"x": x})[0]
        response = pb.ModelInferResponse(model_name=request.model_name)
        response.outputs.add(name="y", datatype="FP32", shape=y.shape)
        response.raw_output_contents.append(y.tobytes())
        return response


if __name__ == "__main__":
    grpc, http = map(int, sys.argv[1:])
    ray.init(include_dashboard=False, num_cpus=4, log_to_driver=False)
    options = gRPCOptions(port=grpc, grpc_servicer_functions=[SERVICER])
    serve.start(grpc_options=options, http_options={"port": http})
    serve.run(Models.bind(), name="models", route_prefix="/")
    while True:
        time.sleep(60)

"""What KServe's two clients get from the server at argv[1], as JSON on the standard output."""

from __future__ import annotations

import asyncio
import json
import logging
import sys

import bare
import numpy as np

bare.package("kserve")
logging.disable(logging.ERROR)  # the clients log the errors that are asked for here

import grpc  # noqa: E402
import httpx  # noqa: E402
from kserve.inference_client import (  # noqa: E402
    InferenceGRPCClient,
    InferenceRESTClient,
    RESTConfig,
)
from kserve.protocol.infer_type import InferInput, InferRequest, RequestedOutput  # noqa: E402

X = np.array([[1, 2], [3, 4]], np.float32)


def request_of(model="double", *, binary=True, **more):
    x = InferInput("x", [2, 2], "FP32")
    x.set_data_from_numpy(X, binary_data=binary)
    return InferRequest(model, [x], request_id="r-1", **more)


def texts_of(*, binary):
    x = InferInput("x", [3], "BYTES")
    x.set_data_from_numpy(np.array(["", "ü", "abc"], np.object_), binary_data=binary)
    return InferRequest("echo", [x])


def seen(response):
    (output,) = response.outputs
    return [response.id, response.model_name, output.name, output.as_numpy().tolist()]


def texts_in(response):
    elements = response.outputs[0].as_numpy().tolist()
    return [each.decode() if isinstance(each, bytes) else each for each in elements]


async def by_grpc(address):
    async with InferenceGRPCClient(address, timeout=20, retries=0) as client:
        found = {
            "live": await client.is_server_live(),
            "ready": await client.is_server_ready(),
            "model": await client.is_model_ready("double"),
            "route": await client.is_model_ready("scale"),
            "raw": seen(await client.infer(request_of())),
            "typed": seen(await client.infer(request_of(binary=False))),
            "wanted": seen(
                await client.infer(request_of("scale", request_outputs=[RequestedOutput("y")]))
            ),
            "headers": seen(await client.infer(request_of(), headers=(("x-mine", "yes"),))),
        }
        for binary in (True, False):
            found[f"texts {binary}"] = texts_in(await client.infer(texts_of(binary=binary)))
        answer = await client.infer(request_of("scale", parameters={"fabric_substitute": False}))
        found["specialist"] = answer.parameters["fabric_specialist"].string_param
        for name, call in (
            ("no model", client.infer(request_of("none"))),
            ("no such ready", client.is_model_ready("none")),
        ):
            try:
                await call
            except grpc.RpcError as error:
                found[name] = [error.code().name, error.details()]
        return found


async def by_rest(address):
    url = f"http://{address}"
    config = RESTConfig(protocol="v2", timeout=20, retries=0)
    async with InferenceRESTClient(config) as client:

        async def infer(request, model="double", **more):
            return await client.infer(url, request, model_name=model, **more)

        binary_out = {"binary_data_output": True}
        found = {
            "live": await client.is_server_live(url),
            "ready": await client.is_server_ready(url),
            "model": await client.is_model_ready(url, "double"),
            "no such ready": await client.is_model_ready(url, "none"),
            "raw": seen(await infer(request_of())),
            "json": seen(await infer(request_of(binary=False))),
            "raw out": seen(await infer(request_of(parameters=binary_out))),
            "wanted": seen(
                await infer(
                    request_of(request_outputs=[RequestedOutput("y", {"binary_data": True})]),
                )
            ),
        }
        for binary in (True, False):
            found[f"texts {binary}"] = texts_in(await infer(texts_of(binary=binary), "echo"))
        document = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}
        headers = {}
        answer = await infer(document, "scale", response_headers=headers)
        found["document"] = answer.outputs[0].data
        found["type"] = headers["content-type"]
        found["specialist"] = answer.parameters["fabric_specialist"]
        try:
            await infer(request_of("none"), "none")
        except httpx.HTTPStatusError as error:
            found["no model"] = [error.response.status_code, str(error)]
        return found


async def main(address):
    json.dump({"grpc": await by_grpc(address), "rest": await by_rest(address)}, sys.stdout)


asyncio.run(main(sys.argv[1]))

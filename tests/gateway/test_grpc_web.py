"""gRPC-Web, as browsers speak it: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md."""

from __future__ import annotations

import base64

import httpx
import numpy as np
import pytest
from grpc_health.v1 import health_pb2
from running import Running, Saying, served, unique

from fabric.api.catalog.v1 import catalog_service_pb2 as catalog_pb2
from fabric.api.inference.v2 import open_inference_pb2 as oip

SERVICE = "/inference.GRPCInferenceService"
TYPES = [
    "application/grpc-web+proto",
    "application/grpc-web-text",
    "application/grpc-web-text+proto",
]
TRAILERS = 0x80
ORIGIN = "https://example.org"


def framed(message):
    payload = message.SerializeToString()
    return b"\0" + len(payload).to_bytes(4, "big") + payload


def frames(body):
    """Flags and payload of each frame in *body*."""
    at = 0
    while len(body) - at >= 5:
        size = int.from_bytes(body[at + 1 : at + 5], "big")
        if len(body) - at - 5 < size:
            return
        yield body[at], body[at + 5 : at + 5 + size]
        at += 5 + size


def status_of(payload):
    lines = (line.partition(":") for line in payload.decode().splitlines())
    return {name: value.strip() for name, _, value in lines}


def coded(kind, data):
    return base64.b64encode(data) if "text" in kind else data


def plain(kind, body):
    """*body* out of base64, which may be padded wherever Envoy flushed."""
    if "text" not in kind:
        return body
    return b"".join(base64.b64decode(body[at : at + 4]) for at in range(0, len(body), 4))


@pytest.fixture(params=[False, True], ids=["http1", "http2"])
async def http(request, running):
    """A browser's end, in either HTTP."""
    base, http2 = f"http://{running.address}", request.param
    async with httpx.AsyncClient(
        base_url=base, trust_env=False, timeout=20, http1=not http2, http2=http2
    ) as made:
        yield made


@pytest.mark.parametrize("kind", TYPES)
async def test_a_unary_call_is_answered(running, client, http, kind):
    """With one message, and its status in the body."""
    name = unique("web")
    said = oip.ModelInferResponse(id="i", raw_output_contents=[np.zeros(1000).tobytes()])
    async with served(running, client, name, Saying(said.SerializeToString())):
        body = coded(kind, framed(oip.ModelInferRequest(model_name=name)))
        headers = {"content-type": kind, "accept": kind, "x-grpc-web": "1"}
        response = await http.post(f"{SERVICE}/ModelInfer", content=body, headers=headers)
    assert response.headers["content-type"].startswith(kind.removesuffix("+proto"))
    (flag, message), (last, trailers) = frames(plain(kind, response.content))
    assert (flag, last) == (0, TRAILERS)
    answer = oip.ModelInferResponse.FromString(message)
    assert (answer.id, answer.raw_output_contents) == ("i", said.raw_output_contents)
    assert answer.parameters["fabric_specialist"].string_param == name
    assert status_of(trailers) == {"grpc-status": "0"}


@pytest.mark.parametrize("kind", TYPES)
async def test_an_error_is_a_status(http, kind):
    """In the headers, where there is nothing else."""
    body = coded(kind, framed(oip.ModelInferRequest(model_name="none")))
    headers = {"content-type": kind, "accept": kind}
    response = await http.post(f"{SERVICE}/ModelInfer", content=body, headers=headers)
    assert (response.status_code, response.headers["grpc-status"]) == (200, "5")
    assert "'none' is not found" in response.headers["grpc-message"]
    assert "grpc-status-details-bin" in response.headers


STREAMS = {
    "/fabric.api.catalog.v1.CatalogService/Watch": (catalog_pb2.WatchResponse, "snapshot", True),
    "/grpc.health.v1.Health/Watch": (health_pb2.HealthCheckResponse, "status", 1),
}


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("path", STREAMS)
async def test_a_stream_of_answers_arrives_as_it_is_sent(http, kind, path):
    """The first message long before the last, from the control plane and from the gateway."""
    cls, field, value = STREAMS[path]
    body = coded(kind, framed(health_pb2.HealthCheckRequest()))
    headers = {"content-type": kind, "accept": kind}
    async with http.stream("POST", path, content=body, headers=headers) as response:
        came, found = b"", []
        async for chunk in response.aiter_raw():
            came += chunk
            whole = came[: len(came) // 4 * 4] if "text" in kind else came
            if found := list(frames(plain(kind, whole))):
                break
        (flag, message), *_ = found
        assert flag == 0
        assert getattr(cls.FromString(message), field) == value


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """A fabric that a page of one origin may call."""
    folder = tmp_path_factory.mktemp("opened")
    environ = {"FABRIC_CORS_ORIGINS": f'["{ORIGIN}"]'}
    with Running(folder, environ=environ).started() as running:
        yield f"http://{running.address}"


PREFLIGHT = {"access-control-request-method": "POST", "origin": ORIGIN}


@pytest.mark.parametrize("path", ["/v2/models/m/infer", f"{SERVICE}/ModelInfer"])
def test_browsers_are_told_what_a_page_may_do(opened, path):
    """One of an origin that is named; another may nothing."""
    with httpx.Client(base_url=opened, trust_env=False) as http:
        told = http.options(path, headers=PREFLIGHT)
        assert (told.status_code, told.headers["access-control-allow-origin"]) == (200, ORIGIN)
        assert "x-grpc-web" in told.headers["access-control-allow-headers"]
        other = http.options(path, headers=PREFLIGHT | {"origin": "https://other.org"})
        assert "access-control-allow-origin" not in other.headers
        answer = http.get("/v2", headers={"origin": ORIGIN})
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert "grpc-status" in answer.headers["access-control-expose-headers"]


async def test_no_page_may_anything_unless_told(http):
    """That is the default."""
    told = await http.options("/v2", headers=PREFLIGHT)
    assert (told.status_code, "access-control-allow-origin" in told.headers) == (204, False)

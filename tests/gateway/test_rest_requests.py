"""REST requests on their way: deadlines, callers that leave, bodies that are too large."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import time

import httpx
import pytest
from running import Failing, Held, Running, Saying, served, unique, until

from fabric.api.inference.v2 import open_inference_pb2 as oip
from fabric.core.errors import (
    Conflict,
    FabricError,
    InvalidRequest,
    Overloaded,
    SpecialistFailed,
    Unimplemented,
)

DOCUMENT = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}


@pytest.fixture
async def http(running):
    base = f"http://{running.address}"
    async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=20) as made:
        yield made


def path(name):
    return f"/v2/models/{name}/infer"


async def test_the_replica_is_asked_as_by_grpc(running, client, http):
    """The elements raw, with the time that is left, and the trace that the caller is in."""
    name, held = unique("asked"), Held()
    trace = f"00-{'ab' * 16}-{'cd' * 8}-01"
    async with served(running, client, name, held):
        headers = {"fabric-timeout": "60", "traceparent": trace}
        asking = asyncio.create_task(http.post(path(name), json=DOCUMENT, headers=headers))
        call = await held.next()
        request = oip.ModelInferRequest.FromString(call.payload)
        assert list(request.raw_input_contents) == [b"\0\0\x80\x3f"]
        assert 0 < call.expires - time.monotonic() <= 60
        assert bytes.fromhex("ab" * 16) in bytes(call.trace)
        call.respond(oip.ModelInferResponse(id="i").SerializeToString())
        assert (await asking).json()["id"] == "i"


async def test_a_caller_that_leaves_is_cancelled(running, client, http):
    """At the replica, and the gateway goes on."""
    name, held = unique("left"), Held()
    async with served(running, client, name, held):
        asking = asyncio.create_task(http.post(path(name), json=DOCUMENT))
        call = await held.next()
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
        await until(lambda: call.is_cancelled)
        assert (await http.get("/v2/health/live")).status_code == 200


async def test_time_that_is_up_is_said(running, client, http):
    """As a gateway that waited."""
    name = unique("late")
    async with served(running, client, name, Held()):
        headers = {"fabric-timeout": "0.05"}
        response = await http.post(path(name), json=DOCUMENT, headers=headers)
        assert response.status_code == 504


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidRequest, 400),
        (Conflict, 400),
        (Overloaded, 429),
        (SpecialistFailed, 500),
        (FabricError, 500),
        (Unimplemented, 501),
    ],
)
async def test_an_error_has_the_status_of_its_kind(running, client, http, error, status):
    """And its own text."""
    name = unique("failing")
    async with served(running, client, name, Failing(error("so it is"))):
        response = await http.post(path(name), json=DOCUMENT)
        assert response.status_code == status
        assert "so it is" in response.json()["error"]


async def test_a_wrong_answer_is_not_the_callers_fault(running, client, http):
    """It is said to be the specialist's."""
    name = unique("wrong")
    made = oip.ModelInferResponse(raw_output_contents=[b"a"])
    made.outputs.add(name="y", datatype="FP32", shape=[1])
    async with served(running, client, name, Saying(made.SerializeToString())):
        response = await http.post(path(name), json=DOCUMENT)
        text = "the answer is not valid: output byte size mismatch"
        assert (response.status_code, text in response.json()["error"]) == (500, True)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A fabric whose gateway takes little."""
    folder = tmp_path_factory.mktemp("small")
    environ = {"FABRIC_MAX_MESSAGE_BYTES": "200000"}
    with Running(folder, environ=environ).started() as running:
        yield running


@pytest.mark.parametrize("size", [200_001, 5_000_000])
async def test_a_body_that_is_too_large_is_refused(small, size):
    """As it came, and unpacked; the gateway goes on."""
    base = f"http://{small.address}"
    async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=20) as http:
        body = b" " * size + json.dumps(DOCUMENT).encode()
        response = await http.post(path("none"), content=body)
        assert (response.status_code, "200000" in response.json()["error"]) == (413, True)
        headers = {"content-encoding": "gzip"}
        response = await http.post(path("none"), content=gzip.compress(body), headers=headers)
        assert (response.status_code, "200000" in response.json()["error"]) == (413, True)
        response = await http.post(path("none"), json=DOCUMENT)
        assert response.status_code == 404


async def test_head_has_no_body_even_where_it_fails(running):
    """What came there would be taken for the answer to the next request of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    for target, status in (("/v2/nothing", b"404"), ("/v2", b"200"), (path("none"), b"405")):
        writer.write(f"HEAD {target} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
        start = await reader.readuntil(b"\r\n\r\n")
        assert start.split()[:2] == [b"HTTP/1.1", status]
    writer.write(b"GET /v2/health/live HTTP/1.1\r\nhost: a\r\n\r\n")
    assert await reader.readexactly(len("HTTP/1.1 200")) == b"HTTP/1.1 200"
    writer.close()
    await writer.wait_closed()


async def test_a_large_answer_waits_for_a_slow_client(running, client):
    """It comes whole to one that reads at last, and nobody is told of one that leaves before."""
    name, log = unique("slow"), running.folder / "gateway.log"
    output = {"name": "y", "datatype": "FP32", "shape": [1 << 23]}
    payload = oip.ModelInferResponse(outputs=[output], raw_output_contents=[bytes(4 << 23)])
    asked = DOCUMENT | {"parameters": {"binary_data_output": True}}
    document = json.dumps(asked).encode()
    head = f"POST {path(name)} HTTP/1.1\r\nhost: a\r\ncontent-length: {len(document)}\r\n\r\n"
    async with served(running, client, name, Saying(payload.SerializeToString())):
        before = log.stat().st_size
        for reads in (False, True):
            reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
            writer.write(head.encode() + document)
            start = (await reader.readuntil(b"\r\n\r\n")).lower()
            if reads:
                length = int(start.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0])
                assert (await reader.readexactly(length)).endswith(bytes(4 << 23))
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        assert log.read_bytes()[before:] == b""

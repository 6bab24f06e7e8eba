"""One request through the gateway: what reaches the replica, and what comes back."""

from __future__ import annotations

import asyncio
import time

import grpc
import h2.config
import h2.connection
import h2.events
import httpx
import numpy as np
import pytest
from running import Failing, Held, Saying, served, unique

from fabric import AsyncClient, telemetry
from fabric.api.inference.v2.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from fabric.core.errors import DeadlineExceeded, NotFound
from fabric.core.routes import ChainEntry, Route

INFER = "/inference.GRPCInferenceService/ModelInfer"
LIVE = "/inference.GRPCInferenceService/ServerLive"
X = {"x": np.zeros(1, np.float32)}
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


async def told(call):
    """Returns when the replica has heard that the caller of *call* is gone."""
    heard = asyncio.Event()
    call.on_cancel = heard.set
    if not call.is_cancelled:
        async with asyncio.timeout(0.1):
            await heard.wait()


# ------------------------------------------------------------------ callers that leave
async def test_a_cancelled_call_stops_the_work(running, client):
    """The replica hears of it within a tenth of a second."""
    held, name = Held(), unique("held")
    async with served(running, client, name, held) as (server,):
        task = asyncio.create_task(client.infer(name, X))
        call = await held.next()
        task.cancel()
        await told(call)
        assert server.in_flight == 0
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_lost_connection_stops_the_work(running, client):
    """All that came over it, and nothing of the others."""
    held, name = Held(), unique("held")
    async with served(running, client, name, held) as (server,):
        other = AsyncClient(running.address)
        lost = [asyncio.create_task(other.infer(name, X)) for _ in range(2)]
        calls = [await held.next() for _ in lost]
        stays = asyncio.create_task(client.infer(name, X))
        last = await held.next()
        await other.close()
        for call in calls:
            await told(call)
        last.respond(ModelInferResponse(id="still here").SerializeToString())
        assert (await stays).id == "still here"
        assert server.in_flight == 0
        await asyncio.gather(*lost, return_exceptions=True)


async def test_a_deadline_that_passes_stops_the_work(running, client):
    """The caller is answered in time and the replica is told."""
    held, name = Held(), unique("held")
    async with served(running, client, name, held):
        task = asyncio.create_task(client.infer(name, X, timeout=0.2))
        call = await held.next()
        with pytest.raises(DeadlineExceeded):
            await task
        await told(call)


# ------------------------------------------------------------------ what goes along
async def test_the_deadline_reaches_the_replica_shortened(running, client):
    """What the caller has left, or what the specialist allows if that is less."""
    held, name = Held(), unique("held")
    async with served(running, client, name, held):
        # gRPC's clients round timeouts up, by a hundredth at most.
        for timeout, most in ((5.0, 5.05), (None, 30.0), (90.0, 30.0)):
            task = asyncio.create_task(client.infer(name, X, timeout=timeout))
            call = await held.next()
            assert most - 1 < call.expires - time.monotonic() < most
            call.respond(b"")
            await task


async def test_a_routes_own_timeout_is_a_deadline(running, client):
    """For callers who set none."""
    held, name, route = Held(), unique("held"), unique("route")
    async with served(running, client, name, held):
        await client.apply([], [Route(name=route, chain=(ChainEntry(name=name),), timeout=3.0)])
        await running.until_linked(client, route)
        task = asyncio.create_task(client.infer(route, X))
        call = await held.next()
        assert 2 < call.expires - time.monotonic() < 3
        call.respond(b"")
        await task


@pytest.mark.parametrize("header", [TRACEPARENT, "garbage", None])
async def test_the_trace_context_reaches_the_replica(running, client, channel, header):
    """As it came, where nobody records spans; what is no context is left out."""
    held, name = Held(), unique("held")
    async with served(running, client, name, held):
        request = ModelInferRequest(model_name=name).SerializeToString()
        metadata = [("traceparent", header)] if header else []
        answer = channel.unary_unary(INFER)(request, metadata=metadata)
        call = await held.next()
        assert call.trace == telemetry.parse(header or "")
        assert bytes(call.payload) == request
        call.respond(b"")
        await answer


async def test_a_replicas_error_reaches_the_caller_whole(running, client):
    """Class and message, in any script."""
    name = unique("failing")
    async with served(running, client, name, Failing(NotFound("100 % weg: größer\nals ☃"))):
        with pytest.raises(NotFound) as caught:
            await client.infer(name, X)
    assert caught.value.message == "100 % weg: größer\nals ☃"


# ------------------------------------------------------------------ what is no request
def identity(payload):
    return payload


async def code_of(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details()


@pytest.mark.parametrize("path", [INFER, "/fabric.api.routing.v1.RoutingService/Explain"])
async def test_a_body_that_is_no_message_is_an_invalid_argument(channel, path):
    """For every call with a request."""
    code, text = await code_of(channel.unary_unary(path)(b"\xff" * 40, timeout=5))
    assert (code, "the request is no" in text) == (grpc.StatusCode.INVALID_ARGUMENT, True)


@pytest.mark.parametrize("messages", [0, 2])
async def test_a_unary_call_takes_one_message(channel, messages):
    """No more, and no less."""
    code, text = await code_of(channel.stream_unary(LIVE)([b""] * messages, timeout=5))
    assert (code, "message" in text) == (grpc.StatusCode.INVALID_ARGUMENT, True)


@pytest.mark.parametrize("how", [grpc.Compression.Gzip, grpc.Compression.Deflate])
@pytest.mark.parametrize("size", [10, 2000, 2_000_000])
async def test_compressed_messages_are_read_and_answered(running, client, channel, how, size):
    """As gRPC's own library writes and reads them."""
    held, name = Held(), unique("held")
    async with served(running, client, name, held):
        request = ModelInferRequest(model_name=name, raw_input_contents=[bytes(size)])
        call = channel.unary_unary(INFER)(request.SerializeToString(), compression=how, timeout=20)
        asked = await held.next()
        assert bytes(asked.payload) == request.SerializeToString()
        response = ModelInferResponse(id="a", raw_output_contents=[bytes(size)])
        asked.respond(response.SerializeToString())
        answer = ModelInferResponse.FromString(await call)
        assert answer.raw_output_contents == response.raw_output_contents


async def test_an_unknown_compression_is_unimplemented(running):
    """With what could be used instead."""
    headers = {"content-type": "application/grpc", "grpc-encoding": "br"}
    async with httpx.AsyncClient(trust_env=False, timeout=5) as http:
        url = f"http://{running.address}{LIVE}"
        answer = await http.post(url, content=b"\1\0\0\0\3abc", headers=headers)
    assert answer.headers["grpc-status"] == "12"
    assert answer.headers["grpc-accept-encoding"] == "identity,deflate,gzip"


@pytest.mark.parametrize("path", ["/inference.GRPCInferenceService/Nothing", "/a.B/C"])
async def test_a_call_that_does_not_exist_is_unimplemented(channel, path):
    """By its name."""
    code, text = await code_of(channel.unary_unary(path)(b"", timeout=5))
    assert (code, text) == (
        grpc.StatusCode.UNIMPLEMENTED,
        f"there is no call {path}, or its headers cannot be read",
    )


@pytest.mark.parametrize(
    ("header", "wrong", "right", "why"),
    [
        ("grpc-timeout", "soon", "4S", "grpc-timeout"),
        ("x-own-bin", "!!!!", "AAEC", "x-own-bin"),
    ],
)
async def test_a_wrong_header_of_one_caller_costs_no_other(running, header, wrong, right, why):
    """Calls of the control plane share a connection behind the gateway; the next one is read."""
    url = f"http://{running.address}/fabric.api.catalog.v1.CatalogService/List"
    async with httpx.AsyncClient(trust_env=False, timeout=5) as http:
        answers = []
        for value in (wrong, right):
            headers = {"content-type": "application/grpc", "te": "trailers", header: value}
            answers.append(await http.post(url, content=FRAME, headers=headers))
    assert [answer.headers["grpc-status"] for answer in answers] == ["3", "3"]
    assert why in answers[0].headers["grpc-message"]
    assert "kind" in answers[1].headers["grpc-message"]  # it has to say what to list


async def test_a_malformed_request_costs_no_other_on_its_connection(running):
    """It ends alone."""
    sent = h2.connection.H2Connection(
        h2.config.H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False)
    )
    sent.initiate_connection()
    headers = [(":method", "POST"), (":scheme", "http"), (":path", LIVE), (":authority", "x")]
    grpc_headers = [("content-type", "application/grpc"), ("te", "trailers")]
    sent.send_headers(1, [*headers, *grpc_headers, ("content-length", "many")])
    sent.send_headers(3, [*headers, *grpc_headers])
    sent.send_data(3, FRAME, end_stream=True)
    host, _, port = running.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(sent.data_to_send())
    ends: dict[int, str] = {}
    async with asyncio.timeout(5):
        while len(ends) < 2:
            for event in sent.receive_data(await reader.read(65536)):
                if isinstance(event, h2.events.StreamReset | h2.events.StreamEnded):
                    ends.setdefault(event.stream_id, type(event).__name__)
    writer.close()
    assert ends == {1: "StreamReset", 3: "StreamEnded"}


FRAME = b"\0\0\0\0\0"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (FRAME, "0"),
        (b"", "3"),
        (b"\0\0", "3"),
        (b"\0\0\0\0\4abc", "3"),
        (b"\0\xff\xff\xff\xffabc", "8"),
        (FRAME + b"\0", "3"),
        (b"\1\0\0\0\0", "3"),
    ],
)
async def test_frames_that_are_cut_or_wrong_get_a_status(running, body, status):
    """And never a hang."""
    headers = {"content-type": "application/grpc"}
    async with httpx.AsyncClient(trust_env=False, timeout=5) as http:
        answer = await http.post(f"http://{running.address}{LIVE}", content=body, headers=headers)
    assert answer.status_code == 200
    assert answer.headers.get("grpc-status", "0") == status


async def test_a_body_that_never_ends_is_no_request(running, client):
    """A caller that leaves in the middle of its message costs nothing."""
    host, port = running.address.split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"POST {LIVE} HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\n"
        "content-length: 100\r\n\r\n".encode()
        + FRAME
    )
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert await client.live()


@pytest.mark.parametrize(
    ("method", "content_type"),
    [("POST", "application/json"), ("POST", "text/plain"), ("POST", None), ("GET", None)],
)
async def test_what_is_no_grpc_is_told_so(running, method, content_type):
    """By an HTTP status, as gRPC's specification asks."""
    headers = {"content-type": content_type} if content_type else {}
    async with httpx.AsyncClient(trust_env=False, timeout=5) as http:
        answer = await http.request(method, f"http://{running.address}{LIVE}", headers=headers)
    assert answer.status_code == 415
    assert "grpc-status" not in answer.headers


async def test_noise_on_the_port_disturbs_nobody(running, client):
    """What speaks no HTTP costs its own connection."""
    host, port = running.address.split(":")
    for noise in (bytes(4096), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100):
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(noise)
        await writer.drain()
        assert await client.live()
        writer.close()


# ------------------------------------------------------------------ the other services
async def test_the_control_planes_calls_pass_through_the_same_port(running, client):
    """Lists and watches, with the control plane's own errors."""
    name = unique("listed")
    async with served(running, client, name, Saying()):
        listed = await client.list("specialist")
        assert name in {hosted.specialist.card.name for hosted in listed}
        async for changes in client.watch():
            assert changes.snapshot
            assert name in {hosted.specialist.card.name for hosted in changes.specialists}
            break
    with pytest.raises(NotFound, match="no specialist none"):
        await client.get("specialist", "none")

"""Fallback chains behind a real gateway, asked by Triton's client and by ours."""

from __future__ import annotations

import asyncio

import aiohttp
import numpy as np
import pytest
import tritonclient.grpc.aio as triton
from running import Failing, Held, Saying, served, unique, until
from tritonclient.utils import InferenceServerException

import fabric
from fabric.api.inference.v2.open_inference_pb2 import ModelInferResponse
from fabric.core.cards import Batching, Caching, Concurrency
from fabric.core.errors import Overloaded, SpecialistFailed, Unavailable
from fabric.core.routes import ChainEntry, Hedging, Requirements, Route
from fabric.core.tensors import TensorValue
from fabric.wire.parameters import value_of

OUTPUTS = (
    TensorValue(name="y", datatype="FP32", shape=(1, 2), numbers=(0.25, 0.75)),
    TensorValue(name="half", datatype="BF16", shape=(1,), numbers=(1.5,)),
    TensorValue(name="why", datatype="BYTES", shape=(2,), texts=("nobody", "knows")),
    TensorValue(name="known", datatype="BOOL", shape=(1,), numbers=(0,)),
)
FAILS = SpecialistFailed("0/0")


@pytest.fixture
async def client(running):
    async with fabric.AsyncClient(running.address) as made:
        yield made


def inputs():
    made = triton.InferInput("x", [1], "FP32")
    made.set_data_from_numpy(np.zeros(1, np.float32))
    return [made]


async def test_a_static_answer_comes_where_all_fail(running, client):
    """With its outputs, the request's id, and how the others failed; to any client."""
    name, route = unique("failing"), unique("route")
    async with served(running, client, name, Failing(FAILS)):
        chain = (ChainEntry(name=name), ChainEntry(static=OUTPUTS))
        await client.apply(routes=[Route(name=route, chain=chain)])
        async with triton.InferenceServerClient(running.address) as server:
            result = await server.infer(route, inputs(), request_id="7")
            some = await server.infer(route, inputs(), outputs=[triton.InferRequestedOutput("y")])
        assert result.as_numpy("y").tolist() == [[0.25, 0.75]]
        assert result.as_numpy("half").tolist() == [1.5]
        assert result.as_numpy("why").tolist() == [b"nobody", b"knows"]
        assert result.as_numpy("known").tolist() == [False]
        response = result.get_response()
        assert (response.id, response.model_name) == ("7", route)
        assert [output.name for output in some.get_response().outputs] == ["y"]
        said = {key: value_of(value) for key, value in response.parameters.items()}
        assert said["fabric_specialist"] == "static"
        assert said["fabric_fallback"] is True
        assert said["fabric_failed"] == f"{name}:1 SPECIALIST_FAILED: 0/0"
        given = await client.infer(route, {"x": np.zeros(1, np.float32)})
        assert given.failed == f"{name}:1 SPECIALIST_FAILED: 0/0"


async def test_a_route_may_have_nothing_but_a_static_answer(running, client):
    """It is ready, it answers, and explains what it would give."""
    route = unique("static")
    await client.apply(routes=[Route(name=route, chain=(ChainEntry(static=OUTPUTS),))])
    assert await client.ready(route)
    answer = await client.infer(route, {"x": np.zeros(1, np.float32)})
    assert (answer["y"].tolist(), answer.specialist) == ([[0.25, 0.75]], "static")
    explained = await client.explain(route)
    assert explained.candidates == ()
    assert explained.given == (ChainEntry(static=OUTPUTS),)


async def test_who_meets_a_selection_answers(running, client):
    """Whoever is there by then; a route need not name them."""
    label, name, route = unique("label"), unique("found"), unique("route")
    select = Requirements(labels={"kind": label})
    chain = (ChainEntry(select=select), ChainEntry(static=OUTPUTS))
    await client.apply(routes=[Route(name=route, chain=chain)])
    x = {"x": np.zeros(1, np.float32)}
    assert (await client.infer(route, x)).specialist == "static"
    response = ModelInferResponse(model_name=name).SerializeToString()
    async with served(running, client, name, Saying(response), labels={"kind": label}):
        assert (await client.infer(route, x)).specialist == name


async def test_what_must_not_be_answered_twice_is_not_asked_again(running, client):
    """The caller says so; the replica that is lost may have begun."""
    name, route = unique("once"), unique("route")
    held, other = Held(), Saying(ModelInferResponse().SerializeToString())
    async with (
        served(running, client, name, held) as (server,),
        served(running, client, unique("other"), other),
    ):
        await client.apply(routes=[Route(name=route, chain=(ChainEntry(name=name),))])
        x = {"x": np.zeros(1, np.float32)}
        asking = asyncio.create_task(client.infer(route, x, idempotent=False))
        await held.next()
        await server.close()
        with pytest.raises(fabric.FabricError, match="the link to a replica of"):
            await asking


async def test_a_slow_replica_is_overtaken(running, client):
    """By its sibling, and its own work is cancelled."""
    name, route = unique("slow"), unique("route")
    response = ModelInferResponse(model_name=name).SerializeToString()
    held, quick = Held(), Saying(response)
    async with served(running, client, name, held, quick):
        hedging = Hedging(quantile=0.5, least=0.001)
        chain = (ChainEntry(name=name),)
        await client.apply(routes=[Route(name=route, chain=chain, hedging=hedging)])
        x = {"x": np.zeros(1, np.float32)}
        answering = asyncio.create_task(answered(held, response))
        for _ in range(8):  # both have answered something then
            await client.infer(name, x)
        answering.cancel()
        await asyncio.wait([answering])
        overtaken = []
        while not overtaken:
            answer = await client.infer(route, x)
            assert not answer.fallback
            if "OVERTAKEN" in answer.failed:
                overtaken.append(answer)
        assert overtaken[0].attempts == 2
        call = await held.next()
        await until(lambda: call.is_cancelled)


async def answered(held, response):
    while True:
        (await held.next()).respond(response)


async def test_who_is_refused_hears_when_to_come_again(running, client):
    """Over gRPC and REST alike."""
    name = unique("full")
    async with served(running, client, name, Failing(Overloaded("full"))):
        with pytest.raises(Overloaded) as caught:
            await client.infer(name, {"x": np.zeros(1, np.float32)})
        assert caught.value.retry_after == 0.1
        async with aiohttp.ClientSession() as session:
            url = f"http://{running.address}/v2/models/{name}/infer"
            body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [0]}]}
            async with session.post(url, json=body) as answer:
                assert (answer.status, answer.headers["Retry-After"]) == (429, "1")


async def test_an_answer_that_is_kept_comes_where_all_fail(running, client):
    """Beyond its ttl, as old as the route allows, and with its age; to equal requests alone."""
    name, route = unique("kept"), unique("route")
    chain = (ChainEntry(name=name), ChainEntry(cached=3600.0))
    response = ModelInferResponse(model_name=name, model_version="1").SerializeToString()
    x, other = {"x": np.zeros(1, np.float32)}, {"x": np.ones(1, np.float32)}
    async with served(running, client, name, Saying(response), cache=Caching(ttl=1e-4)):
        await client.apply(routes=[Route(name=route, chain=chain)])
        first = await client.infer(route, x)
        assert (first.specialist, first.cached, first.fallback) == (name, False, False)
    await running.until_linked(client, name, 0)
    kept = await client.infer(route, x, id="8")
    assert (kept.specialist, kept.cached, kept.fallback, kept.id) == (name, True, True, "8")
    assert kept.age > 1e-4
    assert kept.failed == f"{name}:1 UNAVAILABLE: no replica of '{name}:1' is ready"
    with pytest.raises(Unavailable):
        await client.infer(route, other)
    with pytest.raises(Unavailable):
        await client.infer(route, x, substitute=False)


async def test_a_tenant_does_not_keep_out_another(running, client):
    """Half of what may wait is anybody's; of the rest each who asks has a share."""
    name = unique("shared")
    held = Held()
    async with (
        served(running, client, name, held, batching=Batching(max_queue=8)),
        triton.InferenceServerClient(running.address) as server,
    ):

        def asked(tenant):
            headers = {"fabric-tenant": tenant}
            return asyncio.create_task(server.infer(name, inputs(), headers=headers))

        async def refused(tenant):
            with pytest.raises(InferenceServerException, match="all are busy for longer"):
                await asked(tenant)

        modest = [asked("modest")]
        greedy = [asked("greedy") for _ in range(3)]
        calls = [await held.next() for _ in range(4)]
        greedy.append(asked("greedy"))
        calls.append(await held.next())
        await refused("greedy")
        modest += [asked("modest") for _ in range(3)]
        calls += [await held.next() for _ in range(3)]
        await refused("modest")
        for call in calls:
            call.respond(ModelInferResponse(model_name=name).SerializeToString())
        await asyncio.gather(*modest, *greedy)


async def test_a_limit_that_follows_latency_lets_in_so_many(running, client):
    """Until something is known of it, as many as it says; the others are refused at once."""
    name = unique("limited")
    held = Held()
    concurrency = Concurrency(first=2, least=1)
    async with served(running, client, name, held, concurrency=concurrency):
        x = {"x": np.zeros(1, np.float32)}
        asking = []
        for _ in range(2):
            asking.append(asyncio.create_task(client.infer(name, x)))
            await asyncio.sleep(0)
        calls = [await held.next() for _ in range(2)]
        with pytest.raises(Overloaded) as caught:
            await client.infer(name, x)
        assert caught.value.retry_after == 0.1
        for call in calls:
            call.respond(ModelInferResponse(model_name=name).SerializeToString())
        await asyncio.gather(*asking)

"""Answers that are kept, as clients of a real gateway see them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton
from running import Held, replica, served, unique, until

from fabric import AsyncClient
from fabric.api.inference.v2 import extensions_pb2 as extensions
from fabric.api.inference.v2.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from fabric.cli.views import provenance
from fabric.core.cards import Caching
from fabric.core.errors import InvalidRequest, Unavailable
from fabric.core.routes import ChainEntry, Mixture, Route
from fabric.core.tensors import Signature
from fabric.testing import specialist

SERVICE = "/inference.GRPCInferenceService/"
KEPT = Caching(ttl=60)


class Counting:
    """Answers with the number of the call as `y`, and the id that it was asked with."""

    def __init__(self, size=1):
        self.count = 0
        self.size = size

    def handle(self, call):
        self.count += 1
        request = ModelInferRequest.FromString(bytes(call.payload))
        response = ModelInferResponse(model_name=request.model_name, id=request.id)
        response.outputs.add(name="y", datatype="FP32", shape=[self.size])
        response.raw_output_contents.append(np.full(self.size, self.count, np.float32).tobytes())
        call.respond(response.SerializeToString())

    def statistics(self):
        success = {"count": self.count, "ns": 1000}
        return extensions.ModelStatistics(
            inference_count=self.count, inference_stats={"success": success}
        ).SerializeToString()


@pytest.fixture
async def name(running, client):
    """A specialist whose answers are kept; its handler is `name.handler`."""

    class Name(str):
        handler = Counting()

    made = Name(unique("kept"))
    async with served(running, client, made, made.handler, cache=KEPT):
        yield made


@asynccontextmanager
async def tenant_of(running, tenant):
    client = AsyncClient(running.address, tenant=tenant)
    try:
        yield client
    finally:
        await client.close()


def x(*values):
    return {"x": np.array(values, np.float32)}


async def test_a_client_hears_that_an_answer_was_kept(client, name):
    """And how old it is; who gave it is said as before."""
    first = await client.infer(name, x(1), id="one")
    assert (first["y"], first.cached, first.age) == (1, False, 0.0)
    again = await client.infer(name, x(1), id="two")
    assert (again["y"], again.cached, again.id) == (1, True, "two")
    assert again.age > 0
    assert (again.specialist, again.replica, again.attempts) == (name, first.replica, 1)
    assert provenance(again) == f"answered by {name}:1 after 1 attempt, {again.age:.3g} s ago"
    assert (await client.infer(name, x(1))).id == ""
    assert (await client.infer(name, x(2)))["y"] == 2
    assert name.handler.count == 2


async def test_triton_clients_have_the_ids_of_their_requests(running, name):
    """Each its own, and none where it gave none, whoever was asked first."""

    def ask():
        given = triton.InferInput("x", [1], "FP32").set_data_from_numpy(np.ones(1, np.float32))
        with triton.InferenceServerClient(running.address) as server:
            for asked in ("first", "", "x" * 200, "first"):
                result = server.infer(name, [given], request_id=asked)
                said = result.get_response()
                is_cached = "fabric_cached" in said.parameters
                yield said.id, result.as_numpy("y").item(), is_cached

    answers = await asyncio.to_thread(lambda: list(ask()))
    assert answers == [("first", 1, False), ("", 1, True), ("x" * 200, 1, True), ("first", 1, True)]


async def test_rest_and_grpc_share_answers(running, client, name):
    """They are the same messages."""
    await client.infer(name, x(1))
    document = {
        "id": "seven",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}],
    }
    base = f"http://{running.address}"
    async with httpx.AsyncClient(base_url=base, trust_env=False) as http:
        path = f"/v2/models/{name}/infer"
        first, again = [(await http.post(path, json=document)).json() for _ in range(2)]
        other = (await http.post(path, json=document, headers={"fabric-tenant": "b"})).json()
    assert [each["id"] for each in (first, again, other)] == ["seven"] * 3
    assert again["parameters"]["fabric_cached"] is True
    assert again["parameters"]["fabric_age"] > 0
    assert again["outputs"] == first["outputs"]
    assert "fabric_cached" not in other["parameters"]
    assert other["outputs"] != again["outputs"]


async def test_tenants_have_answers_of_their_own(running, name):
    """By any protocol; who says nothing is one too."""
    async with tenant_of(running, "a") as one, tenant_of(running, "b") as other:
        answers = [await each.infer(name, x(1)) for each in (one, other, one, other)]
    assert [(each["y"].item(), each.cached) for each in answers] == [
        (1, False),
        (2, False),
        (1, True),
        (2, True),
    ]


@pytest.mark.parametrize("tenants", [["a b"], ["a,b"], ["a" * 129], [""], ["a", "b"]])
async def test_a_tenant_that_is_none_is_refused(channel, name, tenants):
    """Rather than taken for another."""
    call = channel.unary_unary(SERVICE + "ModelInfer", ModelInferRequest.SerializeToString)
    metadata = tuple(("fabric-tenant", tenant) for tenant in tenants)
    with pytest.raises(grpc.aio.AioRpcError, match="fabric-tenant") as caught:
        await call(ModelInferRequest(model_name=name), metadata=metadata)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def asked_since(held, client, name):
    """Returns when a request that came now is answered: what came before it has been looked at."""
    asking = asyncio.create_task(client.infer(name, x(9), parameters={"sequence_id": 7}))
    (await held.next()).respond(b"")
    await asking


async def test_equal_requests_in_flight_ask_one_replica(running, client):
    """One who leaves does not end it for the others, and all of them do."""
    name, held = unique("held"), Held()
    async with served(running, client, name, held, held, cache=KEPT) as servers:
        first = asyncio.create_task(client.infer(name, x(1), id="first"))
        call = await held.next()
        others = [asyncio.create_task(client.infer(name, x(1), id=str(n))) for n in range(3)]
        await asked_since(held, client, name)
        first.cancel()
        await asked_since(held, client, name)
        assert not call.is_cancelled
        call.respond(ModelInferResponse(id="first").SerializeToString())
        answers = await asyncio.gather(*others)
        assert [each.id for each in answers] == ["0", "1", "2"]
        assert held.calls.empty()

        alone = asyncio.create_task(client.infer(name, x(2)))
        call = await held.next()
        alone.cancel()
        await until(lambda: call.is_cancelled)
        assert sum(server.in_flight for server in servers) == 0


async def test_large_answers_are_kept_out_of_what_replicas_lend(running, client):
    """They are the same after the replica has used its memory for others."""
    name, handler = unique("large"), Counting(size=1 << 18)
    async with served(running, client, name, handler, cache=KEPT):
        await client.infer(name, x(1))
        for value in range(2, 6):
            await client.infer(name, x(value))
        again = await client.infer(name, x(1))
    assert again.cached
    assert (again["y"] == 1).all()


async def test_a_new_model_has_answers_of_its_own(running, client):
    """Also where it has the version of the one before; while both are there, nothing is kept."""
    name, old, new = unique("changed"), Counting(), Counting()
    of = specialist(name, cache=KEPT)
    await client.apply([of])
    async with replica(running.control_address, of, old, digest="old"):
        await running.until_linked(client, name)
        assert [(await client.infer(name, x(1))).cached for _ in range(2)] == [False, True]
        async with replica(running.control_address, of, new, digest="new"):
            await running.until_linked(client, name, 2)
            assert not any([(await client.infer(name, x(1))).cached for _ in range(4)])
        await running.until_linked(client, name)
        assert (await client.infer(name, x(1))).cached
    async with replica(running.control_address, of, new, digest="new"):
        await running.until_linked(client, name)
        count = new.count
        assert [(await client.infer(name, x(1))).cached for _ in range(2)] == [False, True]
        assert new.count == count + 1


async def test_a_restart_of_a_replica_costs_no_answer(running, client):
    """What is kept is given while none is there, and after; errors are not kept."""
    name, handler = unique("restarted"), Counting()
    of = specialist(name, cache=KEPT)
    await client.apply([of])
    async with replica(running.control_address, of, handler):
        await running.until_linked(client, name)
        await client.infer(name, x(1))
    await running.until_linked(client, name, 0)
    assert (await client.infer(name, x(1))).cached
    with pytest.raises(Unavailable):
        await client.infer(name, x(2))
    async with replica(running.control_address, of, handler):
        await running.until_linked(client, name)
        assert (await client.infer(name, x(1))).cached
        assert not (await client.infer(name, x(2))).cached
    assert handler.count == 2


async def test_answers_that_are_not_to_be_kept_are_not(running, client, stack):
    """Where the card does not say so, the model says no, or requests belong together."""
    random = Signature(random=True)
    for said in ({}, {"cache": KEPT, "signature": random}):
        name = unique("plain")
        await stack.enter_async_context(served(running, client, name, Counting(), **said))
        answers = [await client.infer(name, x(1)) for _ in range(2)]
        assert [(each["y"].item(), each.cached) for each in answers] == [(1, False), (2, False)]


async def test_requests_of_sequences_are_asked_each_time(client, name):
    """As those on a stream are."""
    answers = [await client.infer(name, x(1), parameters={"sequence_id": 7}) for _ in range(2)]
    assert not any(each.cached for each in answers)
    assert name.handler.count == 2


async def test_what_is_declared_anew_holds_at_once(running, client):
    """For what is kept as well; what is deleted is forgotten."""
    name, handler = unique("declared"), Counting()
    async with served(running, client, name, handler, cache=KEPT):
        await client.infer(name, x(1))
        await client.apply([specialist(name)])

        async def is_asked():
            return not (await client.infer(name, x(1))).cached

        await until(is_asked)
        await client.apply([specialist(name, cache=Caching(ttl=0.001))])
        await asyncio.sleep(0.01)
        assert await is_asked()


async def test_statistics_tell_hits_and_misses(client, channel, name):
    """Of this gateway; a hit is a success, and no inference."""
    for value in (1, 1, 1, 2):
        await client.infer(name, x(value))
    call = channel.unary_unary(
        SERVICE + "ModelStatistics",
        request_serializer=extensions.ModelStatisticsRequest.SerializeToString,
        response_deserializer=extensions.ModelStatisticsResponse.FromString,
    )
    (told,) = (await call(extensions.ModelStatisticsRequest(name=name))).model_stats
    stats = told.inference_stats
    assert told.inference_count == 2
    assert (stats.cache_hit.count, stats.cache_miss.count, stats.success.count) == (2, 2, 4)
    assert stats.cache_hit.ns > 0
    assert stats.success.ns == 1000 + stats.cache_hit.ns


async def test_a_route_gives_what_its_candidates_keep(client, name):
    """Also to those who asked them by their names."""
    route = unique("route")
    await client.apply([], [Route(name=route, chain=(ChainEntry(name=name),))])
    await client.infer(name, x(1))
    answer = await client.infer(route, x(1), id="mine")
    assert (answer.model, answer.route, answer.cached, answer.id) == (route, route, True, "mine")


async def test_a_mixture_is_as_old_as_the_oldest_in_it(running, client, name):
    """And has the id of its own request."""
    route, other = unique("mixed"), unique("other")
    async with served(running, client, other, Counting()):
        chain = (ChainEntry(name=other), ChainEntry(name=name))
        await client.apply([], [Route(name=route, chain=chain, mixture=Mixture())])
        first, again = [await client.infer(route, x(1), id=id) for id in ("one", "two")]
    assert (first["y"], first.cached, first.id) == (1, False, "one")
    assert (again["y"], again.cached, again.id) == (1.5, True, "two")
    assert again.age > 0


async def test_a_request_that_is_wrong_is_told_so_each_time(client, name):
    """By whoever reads it, though the rest of it was answered before."""
    await client.infer(name, x(1))
    with pytest.raises(InvalidRequest, match="fabric_nonsense"):
        await client.infer(name, x(1), parameters={"fabric_nonsense": 1})

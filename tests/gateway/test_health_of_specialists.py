"""How specialists fare, as a real gateway tells it."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from running import Failing, Held, served, unique

import fabric
from fabric.api.inference.v2.open_inference_pb2 import ModelInferResponse
from fabric.core.cards import Batching
from fabric.core.errors import NotFound, SpecialistFailed
from fabric.testing import specialist

X = {"x": np.zeros(1, np.float32)}


@pytest.fixture
async def client(running):
    async with fabric.AsyncClient(running.address) as made:
        yield made


async def test_what_is_in_flight_and_how_answers_came_is_told(running, client):
    """By specialist and replica."""
    name, held = unique("well"), Held()
    async with served(running, client, name, held, batching=Batching(max_queue=7)) as (server,):
        asking = [asyncio.create_task(client.infer(name, X)) for _ in range(3)]
        calls = [await held.next() for _ in range(3)]
        (one,) = await client.health(name)
        assert (one.name, one.version, one.in_flight, one.limit) == (name, "1", 3, 7)
        assert (one.breaker, one.answers, one.p50, one.budget) == ("closed", 0, None, 1.0)
        for call in calls:
            call.respond(ModelInferResponse(model_name=name).SerializeToString())
        await asyncio.gather(*asking)
        (one,) = await client.health(name)
        (replica,) = one.replicas
        assert (replica.id, replica.in_flight, replica.answers) == (server.hello.replica, 0, 3)
        assert 0 < replica.p50 <= replica.p99
        assert one.answers == 3


async def test_what_is_wrong_is_told(running, client):
    """The breaker, what opened it, and the errors by their reason."""
    name = unique("ill")
    async with served(running, client, name, Failing(SpecialistFailed("0/0"))):
        for _ in range(5):
            with pytest.raises(SpecialistFailed):
                await client.infer(name, X)
        (one,) = await client.health(name)
        assert (one.breaker, one.failures) == ("open", {"SPECIALIST_FAILED": 5})
        assert one.replicas[0].why == "5 failures in a row"
        assert 0 < one.replicas[0].again <= 1


async def test_who_is_not_there_is_told(running, client):
    """A specialist without replicas is not well, and one that is not declared is an error."""
    name = unique("alone")
    await client.apply([specialist(name)])
    (one,) = await client.health(name)
    assert (one.replicas, one.why) == ((), "no replica is ready")
    assert name in {each.name for each in await client.health()}
    with pytest.raises(NotFound, match=f"did you mean '{name}'"):
        await client.health(f"{name}x")

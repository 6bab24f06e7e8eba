"""A gateway's process from its start to its end, and without its control plane."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack, suppress
from functools import partial

import numpy as np
import pytest
from running import (
    Held,
    Running,
    Saying,
    answering,
    control_process,
    gateway_process,
    replica,
    served,
    unique,
    until,
)

from fabric import AsyncClient
from fabric.api.inference.v2.open_inference_pb2 import ModelInferResponse
from fabric.core.errors import NotFound, Unavailable
from fabric.testing import specialist

X = {"x": np.zeros(1, np.float32)}


@pytest.fixture
async def own(running, tmp_path):
    """A gateway that the test may kill, beside that of the session, and a client of it."""
    made = Running(tmp_path, control_port=running.control_port)
    with gateway_process(tmp_path, made.port, made.control_port) as made.gateway:
        answering(made.port)
        async with AsyncClient(made.address) as client:
            await until(partial(knows, client))
            yield made, client


async def knows(client):
    """Whether the gateway has the catalog; it is ready only once all of it could be asked."""
    with suppress(Unavailable):
        try:
            await client.ready(unique("unknown"))
        except NotFound:
            return True
    return False


async def test_a_second_gateway_on_a_port_fails(own, tmp_path):
    """Unless both are told to share it, no other fabric gets a part of the requests."""
    running, client = own
    folder = tmp_path / "second"
    folder.mkdir()
    with gateway_process(folder, running.port, running.control_port) as second:
        async with asyncio.timeout(20):
            assert await asyncio.to_thread(second.wait) == 1
    assert await client.live()


async def test_what_is_in_flight_is_answered_after_sigterm(own):
    """New connections are refused meanwhile, and the process ends without a failure."""
    running, client = own
    held, name = Held(), unique("held")
    async with served(running, client, name, held):
        tasks = [asyncio.create_task(client.infer(name, X)) for _ in range(2)]
        calls = [await held.next() for _ in tasks]
        running.gateway.send_signal(signal.SIGTERM)

        async def is_refused():
            async with AsyncClient(running.address) as late:
                try:
                    await late.live()
                except Unavailable:
                    return True
            return False

        await until(is_refused)
        assert not any(task.done() for task in tasks)
        for call in calls:
            assert not call.is_cancelled
            call.respond(ModelInferResponse(id="last").SerializeToString())
        assert [(await task).id for task in tasks] == ["last", "last"]
        assert await asyncio.to_thread(running.gateway.wait, 10) == 0


async def test_without_the_control_plane_the_last_snapshot_serves(tmp_path):
    """Requests are answered, the catalog's calls are unavailable, and later changes arrive."""
    name, new = unique("stays"), unique("new")
    of = specialist(name)
    async with AsyncExitStack() as stack:
        running = stack.enter_context(Running(tmp_path).started())
        client = await stack.enter_async_context(AsyncClient(running.address))
        await client.apply([of])
        await stack.enter_async_context(replica(running.control_address, of, Saying()))
        await running.until_linked(client, name)
        running.control.kill()
        running.control.wait()
        with pytest.raises(Unavailable):
            await client.list("specialist")
        answers = await asyncio.gather(*[client.infer(name, X) for _ in range(50)])
        assert {answer.specialist for answer in answers} == {name}
        assert await client.ready()
        with pytest.raises(NotFound):
            await client.infer(new, X)

        with control_process(running.folder, running.control_port):
            answering(running.control_port)
            async with served(running, client, new, Saying()):
                assert (await client.infer(new, X)).specialist == new
                assert (await client.infer(name, X)).specialist == name


async def test_before_the_catalog_has_arrived_the_gateway_is_live_and_not_ready(tmp_path):
    """It starts without a control plane."""
    running = Running(tmp_path)
    with gateway_process(tmp_path, running.port, running.control_port):
        answering(running.port)
        async with AsyncClient(running.address) as client:
            assert await client.live()
            assert not await client.ready()
            with pytest.raises(Unavailable, match="first catalog"):
                await client.infer("any", X)

"""What models have done, from their replicas and from the gateway itself."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from running import Held, Saying, served, unique

from fabric.api.inference.v2 import extensions_pb2 as pb
from fabric.gateway.statistics import of_virtual, summed
from fabric.testing import route


def told(count, last=0, **said):
    duration = {"count": count, "ns": 10 * count}
    return pb.ModelStatistics(
        name="told",
        last_inference=last,
        inference_count=count,
        execution_count=count,
        inference_stats={"success": duration, "queue": duration},
        batch_stats=[{"batch_size": size, "compute_infer": duration} for size in (1, count)],
        response_stats={"0": {"success": duration}},
        **said,
    ).SerializeToString()


def test_replicas_are_added_up():
    """Counts and times, by the size of batches too; the last run is the latest."""
    total = summed("m", "7", [told(2, last=5), told(3, last=4), b"\xff", b""])
    assert (total.name, total.version, total.last_inference) == ("m", "7", 5)
    assert (total.inference_count, total.execution_count) == (5, 5)
    stats = total.inference_stats
    assert [(d.count, d.ns) for d in (stats.success, stats.queue, stats.fail)] == [
        (5, 50),
        (5, 50),
        (0, 0),
    ]
    assert [(batch.batch_size, batch.compute_infer.count) for batch in total.batch_stats] == [
        (1, 5),
        (2, 2),
        (3, 3),
    ]
    assert total.response_stats["0"].success.count == 5


def test_a_route_that_nobody_called_has_done_nothing():
    """But it is there."""
    total = of_virtual("r", None)
    assert (total.name, total.inference_count, total.last_inference) == ("r", 0, 0)
    assert total.HasField("inference_stats")


class Counting(Saying):
    """Has done what it is told to say."""

    def __init__(self, said):
        super().__init__()
        self.said = said

    def statistics(self):
        return self.said


@pytest.fixture
def ask(channel):
    call = channel.unary_unary(
        "/inference.GRPCInferenceService/ModelStatistics",
        request_serializer=pb.ModelStatisticsRequest.SerializeToString,
        response_deserializer=pb.ModelStatisticsResponse.FromString,
    )

    async def ask(name="", version=""):
        response = await call(pb.ModelStatisticsRequest(name=name, version=version))
        return {(each.name, each.version): each.inference_count for each in response.model_stats}

    return ask


async def test_every_version_has_an_entry(running, client, stack, ask):
    """That of all its replicas, or only the one that was asked for."""
    name = unique("counting")
    for version, handlers in (
        ("1", [Counting(told(1)), Counting(told(2))]),
        ("2", [Counting(told(4))]),
    ):
        serving = served(running, client, name, *handlers, version=version)
        await stack.enter_async_context(serving)
    assert await ask(name) == {(name, "2"): 4, (name, "1"): 3}
    assert await ask(name, "1") == {(name, "1"): 3}
    everything = await ask()
    assert (everything[name, "1"], everything[name, "2"]) == (3, 4)


async def test_a_replica_that_says_nothing_is_left_out(running, client, stack, ask):
    """The others are told of all the same."""
    name = unique("silent")

    class Silent(Held):
        def statistics(self):
            raise AssertionError("out of order")

    await stack.enter_async_context(served(running, client, name, Counting(told(2)), Silent()))
    assert await ask(name) == {(name, "1"): 2}


async def test_a_route_is_told_of_as_the_gateway_saw_it(running, client, stack, ask):
    """Its candidates have numbers of their own."""
    name, other = unique("routed"), unique("route")
    await stack.enter_async_context(served(running, client, name, Counting(told(2))))
    await client.apply([], [route(other, name)])
    assert (await ask(other)) == {(other, ""): 0}
    await asyncio.gather(*(client.infer(other, {}) for _ in range(3)))
    assert (await ask(other)) == {(other, ""): 3}


@pytest.mark.parametrize("version", ["", "9"])
async def test_an_unknown_model_is_not_found(ask, version):
    """In the words that clients know."""
    with pytest.raises(
        grpc.aio.AioRpcError, match="Request for unknown model: 'never-declared'"
    ) as caught:
        await ask("never-declared", version)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND

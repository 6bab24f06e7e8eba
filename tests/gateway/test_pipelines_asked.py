"""What clients ask of pipelines, as of any model."""

from __future__ import annotations

import asyncio
import re

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from running import SIGNATURE, Saying, replica, served, unique

from fabric.api.inference.v2 import extensions_pb2 as pb
from fabric.api.inference.v2 import open_inference_pb2 as oip
from fabric.core.errors import InvalidRequest, NotFound, Unavailable
from fabric.core.tensors import Signature, TensorSpec
from fabric.testing import pipeline, specialist

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
ANSWER = oip.ModelInferResponse(
    outputs=[{"name": "y", "datatype": "FP32", "shape": [1]}],
    raw_output_contents=[np.array([2], np.float32).tobytes()],
).SerializeToString()


@pytest.fixture
async def name(running, client):
    """A pipeline that a replica answers for."""
    called, name = unique("called"), unique("pipeline")
    async with served(running, client, called, Saying(ANSWER)):
        await client.apply(pipelines=[pipeline(name, called, called)])
        while not await known(client, name):
            await asyncio.sleep(0.005)
        yield name
        await client.delete("pipeline", name)


@pytest.fixture
def ask(channel):
    async def ask(method, request, response):
        called = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
        return response.FromString(await called(request.SerializeToString()))

    return ask


@pytest.fixture
def entry(ask):
    """What the index says of a model."""

    async def entry(name):
        index = await ask(
            "RepositoryIndex", pb.RepositoryIndexRequest(), pb.RepositoryIndexResponse
        )
        return next(model for model in index.models if model.name == name)

    return entry


async def known(client, name):
    try:
        return await client.ready(name)
    except NotFound:
        return False  # it is on its way


async def test_a_pipeline_takes_and_gives_what_its_steps_do(client, ask, name):
    """Metadata and configuration say so, and there are no versions."""
    metadata = await client.metadata(name)
    assert (metadata.platform, metadata.versions) == ("pipeline", ())
    assert [(t.name, t.datatype, t.shape) for t in metadata.inputs] == [("x", "FP32", (-1,))]
    assert [(t.name, t.datatype, t.shape) for t in metadata.outputs] == [("y", "FP32", (-1,))]
    request = pb.ModelConfigRequest(name=name)
    config = (await ask("ModelConfig", request, pb.ModelConfigResponse)).config
    assert (config.name, config.platform, config.max_batch_size) == (name, "pipeline", 0)
    assert list(config.output[0].dims) == [-1]
    for call in (client.metadata, client.ready):
        with pytest.raises(NotFound, match="it is a pipeline, and pipelines have no versions"):
            await call(name, version="1")


async def test_a_pipeline_that_can_be_run_is_ready_everywhere(client, channel, entry, name):
    """For health, the index, and whoever asks."""
    stub = HealthStub(channel)
    status = (await stub.Check(health_pb2.HealthCheckRequest(service=name))).status
    assert status == SERVING
    assert await client.ready(name)
    assert ((await entry(name)).state, (await entry(name)).reason) == ("READY", "")


async def test_a_pipeline_is_unloaded_and_loaded(client, channel, entry, name):
    """As any model; a watch of its health tells."""
    watching = HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=name))
    assert (await watching.read()).status == SERVING
    await client.unload(name)
    assert (await watching.read()).status == NOT_SERVING
    assert ((await entry(name)).state, (await entry(name)).reason) == ("UNAVAILABLE", "unloaded")
    with pytest.raises(Unavailable, match="unloaded"):
        await client.metadata(name)
    await client.load(name)
    assert (await watching.read()).status == SERVING
    watching.cancel()


async def test_a_pipeline_that_turns_out_not_to_fit_says_why(running, client, entry):
    """When a replica of whom it calls tells its signature; nobody is asked for it."""
    a, b, name = unique("a"), unique("b"), unique("wrong")
    other = TensorSpec(name="y", datatype="INT64", shape=(-1,))
    told = specialist(a, signature=Signature(inputs=SIGNATURE.inputs, outputs=(other,)))
    handler = Saying(ANSWER)
    async with served(running, client, b, handler):
        await client.apply([specialist(a)], pipelines=[pipeline(name, a, b)])
        async with replica(running.control_address, told, handler):
            await running.until_linked(client, a)
            assert not await client.ready(name)
            said = f"pipeline '{name}', step 's1', inputs.x: .*INT64"
            for call in (client.metadata(name), client.infer(name, {"x": np.zeros(1)})):
                with pytest.raises(InvalidRequest, match=said):
                    await call
            assert re.match(said, (await entry(name)).reason)
            with pytest.raises(InvalidRequest, match=said):
                await client.load(name)
    assert handler.count == 0
    await client.delete("pipeline", name)


async def test_a_pipeline_is_counted_as_the_gateway_saw_it(client, ask, name):
    """What replicas did for it is in the numbers of theirs."""
    for _ in range(3):
        assert (await client.infer(name, {"x": np.zeros(1, np.float32)}))["y"].tolist() == [2]
    request = pb.ModelStatisticsRequest(name=name)
    (told,) = (await ask("ModelStatistics", request, pb.ModelStatisticsResponse)).model_stats
    assert (told.name, told.version, told.inference_count) == (name, "", 3)
    assert told.inference_stats.success.count == 3
    assert told.inference_stats.success.ns > 0
    assert told.last_inference > 0
    assert told.inference_stats.fail.count == 0
    request = pb.ModelStatisticsRequest(name=name, version="1")
    with pytest.raises(grpc.aio.AioRpcError, match="it is a pipeline, and pipelines have no"):
        await ask("ModelStatistics", request, pb.ModelStatisticsResponse)


async def test_a_pipeline_is_called_without_a_version(client, name):
    """There is one of it."""
    with pytest.raises(NotFound, match="it is a pipeline, and pipelines have no versions"):
        await client.infer(name, {"x": np.zeros(1, np.float32)}, version="1")

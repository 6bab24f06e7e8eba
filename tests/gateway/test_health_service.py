"""`grpc.health.v1` and reflection through the gateway, as gRPC's own clients use them."""

from __future__ import annotations

import asyncio

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from running import Saying, served, unique

from fabric.api.inference.v2.open_inference_pb2 import ModelInferResponse
from fabric.core.routes import ChainEntry, Route
from fabric.testing import specialist

STATES = health_pb2.HealthCheckResponse
OF_GATEWAY = ["", "inference.GRPCInferenceService", "grpc.health.v1.Health"]
SERVICES = {
    "inference.GRPCInferenceService",
    "fabric.api.catalog.v1.CatalogService",
    "fabric.api.routing.v1.LearningService",
    "fabric.api.routing.v1.RoutingService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
}


def asked(service):
    return health_pb2.HealthCheckRequest(service=service)


@pytest.fixture
def watch(channel):
    """Opens a watch; gives what reads its next status."""

    def open_watch(service):
        call = HealthStub(channel).Watch(asked(service))

        async def following():
            async with asyncio.timeout(20):
                return (await call.read()).status

        return call, following

    return open_watch


# ------------------------------------------------------------------ health
@pytest.mark.parametrize("service", OF_GATEWAY)
async def test_the_gateway_is_serving(channel, service):
    """Under the name of any of its services, or none."""
    assert (await HealthStub(channel).Check(asked(service))).status == STATES.SERVING


async def test_a_model_is_serving_while_it_has_a_replica(running, client, channel):
    """Specialists, their versions, and routes."""
    name, route = unique("healthy"), unique("route")
    check = HealthStub(channel).Check
    async with served(running, client, name, Saying()):
        await client.apply([], [Route(name=route, chain=(ChainEntry(name=name),))])
        await running.until_linked(client, route)
        for service in (name, f"{name}:1", route):
            assert (await check(asked(service))).status == STATES.SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await check(asked(f"{name}:2"))
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    while (await check(asked(name))).status == STATES.SERVING:
        await asyncio.sleep(0.005)
    assert (await check(asked(route))).status == STATES.NOT_SERVING


async def test_all_models_are_listed(running, client, channel):
    """With the gateway, by name; the generated code of the library does not know the call yet."""
    name, absent = unique("healthy"), unique("absent")
    database = await asyncio.to_thread(described, running.address)
    pool = DescriptorPool(database)
    pool.FindFileContainingSymbol("grpc.health.v1.Health")
    response = GetMessageClass(pool.FindMessageTypeByName("grpc.health.v1.HealthListResponse"))
    async with served(running, client, name, Saying()):
        await client.apply([specialist(absent)])
        call = channel.unary_unary("/grpc.health.v1.Health/List", None, response.FromString)
        while absent not in (statuses := (await call(b"")).statuses):  # it is on its way
            await asyncio.sleep(0.005)
        assert statuses[absent].status == STATES.NOT_SERVING
        assert statuses[""].status == STATES.SERVING
        assert statuses[name].status == STATES.SERVING
    database.channel.close()


async def test_a_watch_tells_changes_as_they_happen(running, client, watch):
    """From a model that nobody knows to one that serves, and back."""
    name = unique("watched")
    call, following = watch(name)
    assert await following() == STATES.SERVICE_UNKNOWN
    async with served(running, client, name, Saying()):
        assert await following() == STATES.NOT_SERVING
        assert await following() == STATES.SERVING
    assert await following() == STATES.NOT_SERVING
    await client.delete("specialist", f"{name}:1")
    assert await following() == STATES.SERVICE_UNKNOWN
    call.cancel()


async def test_a_watch_of_the_gateway_is_quiet(channel, watch):
    """It says what is, and then only what changes."""
    call, following = watch("")
    assert await following() == STATES.SERVING
    waiting = asyncio.ensure_future(call.read())
    _, other = watch("")
    assert await other() == STATES.SERVING
    assert not waiting.done()
    call.cancel()
    await asyncio.wait((waiting,))


@pytest.mark.parametrize("count", [0, 2])
async def test_a_watch_takes_one_request(channel, count):
    """Without one nobody knows what is watched, and what came behind it would keep the call."""
    call = channel.stream_stream("/grpc.health.v1.Health/Watch")(iter([b""] * count))
    assert await call.code() == grpc.StatusCode.INVALID_ARGUMENT


# ------------------------------------------------------------------ reflection
def described(address):
    """What a client learns by reflection of the server at *address*."""
    return Learnt(address)


class Learnt(ProtoReflectionDescriptorDatabase):
    """Keeps its channel."""

    def __init__(self, address):
        self.channel = grpc.insecure_channel(address)
        super().__init__(self.channel)


@pytest.fixture
def learnt(running):
    database = described(running.address)
    yield database
    database.channel.close()


def test_all_services_are_listed(learnt):
    """Those that the port serves, wherever they are."""
    assert set(learnt.get_services()) == SERVICES


def test_a_client_without_protos_calls_a_model(running, learnt):
    """It learns the messages, fills in a request and reads the answer."""
    pool = DescriptorPool(learnt)
    service = pool.FindServiceByName("inference.GRPCInferenceService")
    method = service.FindMethodByName("ServerMetadata")
    assert method.input_type.full_name == "inference.ServerMetadataRequest"
    request, response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
    call = learnt.channel.unary_unary(
        f"/{service.full_name}/{method.name}", request.SerializeToString, response.FromString
    )
    assert call(request()).name == "fabric"


async def test_a_request_made_by_reflection_reaches_a_model(running, client, channel):
    """Its fields are those of everybody's protos."""
    name = unique("said")
    payload = ModelInferResponse(id="a", outputs=[{"name": "y", "shape": [1]}]).SerializeToString()
    database = await asyncio.to_thread(described, running.address)
    pool = DescriptorPool(database)
    infer = await asyncio.to_thread(
        lambda: pool.FindServiceByName("inference.GRPCInferenceService").FindMethodByName(
            "ModelInfer"
        )
    )
    request = GetMessageClass(infer.input_type)(model_name=name, id="a")
    tensor = request.inputs.add(name="x", datatype="FP32", shape=[1])
    tensor.parameters["p"].int64_param = 1
    request.raw_input_contents.append(np.zeros(1, np.float32).tobytes())
    async with served(running, client, name, Saying(payload)):
        call = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            type(request).SerializeToString,
            GetMessageClass(infer.output_type).FromString,
        )
        answer = await call(request)
    assert (answer.id, answer.model_name, answer.outputs[0].name) == ("a", name, "y")
    database.channel.close()


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_each_service_is_described_with_all_that_it_uses(learnt, service):
    """Down to the messages of its last call."""
    pool = DescriptorPool(learnt)
    methods = pool.FindServiceByName(service).methods
    assert methods
    for method in methods:
        for message in (method.input_type, method.output_type):
            GetMessageClass(message)().SerializeToString()


async def test_todays_name_of_reflection_answers_the_same(channel):
    """Its messages have the fields of the older one."""
    call = channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )()
    for request in (
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="no.such.Thing"),
    ):
        await call.write(request)
    listed = (await call.read()).list_services_response
    assert {service.name for service in listed.service} == SERVICES
    assert (await call.read()).error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
    await call.done_writing()
    assert await call.code() == grpc.StatusCode.OK

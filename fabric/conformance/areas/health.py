"""grpc.health.v1 and reflection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from fabric.conformance.checks import Broken, Rules, expect, expect_equal
from fabric.conformance.dialects import UNKNOWN
from fabric.conformance.samples import FP32
from fabric.conformance.server import Call

if TYPE_CHECKING:
    from fabric.conformance.server import Server


class Undecoded:
    """Stands for a message that the packages of Python have no class for yet."""

    FromString = staticmethod(bytes)


CHECK: Call[Any] = Call("/grpc.health.v1.Health/Check", health_pb2.HealthCheckResponse)
LIST: Call[Any] = Call("/grpc.health.v1.Health/List", Undecoded)
WATCH = "/grpc.health.v1.Health/Watch"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
SERVICE = "inference.GRPCInferenceService"
SERVING = health_pb2.HealthCheckResponse.SERVING

health = Rules("health", "gRPC: health checking protocol", extension="health")
triton = Rules("health.triton", "Triton: health", FP32, extension="health", dialect="triton")
reflection = Rules("reflection", "gRPC: server reflection protocol", extension="reflection")


@health()
async def of_the_server(server: Server) -> None:
    """Check with an empty service says SERVING of a server that serves."""
    answer = await server.call(CHECK, health_pb2.HealthCheckRequest())
    expect_equal(answer.status, SERVING, "status")


@health()
async def of_an_unknown_service(server: Server) -> None:
    """Check of a service that is not known is NOT_FOUND."""
    asked = health_pb2.HealthCheckRequest(service=UNKNOWN)
    refused = await server.refused(CHECK, asked)
    if refused.code == "UNIMPLEMENTED":
        raise refused
    expect_equal(refused.code, "NOT_FOUND", "status")


@health()
async def watch_begins_with_the_state(server: Server) -> None:
    """Watch sends the state of the server at once."""
    asked = health_pb2.HealthCheckRequest()
    answer = await server.first(WATCH, asked, health_pb2.HealthCheckResponse)
    expect_equal(answer.status, SERVING, "status")


@health()
async def watch_of_an_unknown_service(server: Server) -> None:
    """Watch of a service that is not known sends SERVICE_UNKNOWN and stays open."""
    asked = health_pb2.HealthCheckRequest(service=UNKNOWN)
    answer = await server.first(WATCH, asked, health_pb2.HealthCheckResponse)
    unknown = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    expect_equal(answer.status, unknown, "status")


@health(source="gRPC: health checking protocol, List")
async def all_at_once(server: Server) -> None:
    """List gives the state of all services."""
    answer = await server.call(LIST, health_pb2.HealthCheckRequest())  # without fields
    expect(answer, "states", "none")


@triton()
async def of_a_model(server: Server) -> None:
    """Check with the name of a model says SERVING of one that is ready."""
    answer = await server.call(CHECK, health_pb2.HealthCheckRequest(service=FP32))
    expect_equal(answer.status, SERVING, "status")


# ------------------------------------------------------------------ reflection
async def _reflect(server: Server, **asked: str) -> Any:
    message = reflection_pb2.ServerReflectionRequest(**asked)
    return await server.first(
        REFLECTION, message, reflection_pb2.ServerReflectionResponse, streams=True
    )


async def _files(server: Server, symbol: str) -> list[FileDescriptorProto]:
    answer = await _reflect(server, file_containing_symbol=symbol)
    if answer.HasField("error_response"):
        raise Broken(f"the file of {symbol}", answer.error_response.error_message)
    return [
        FileDescriptorProto.FromString(each)
        for each in answer.file_descriptor_response.file_descriptor_proto
    ]


@reflection()
async def names_the_service(server: Server) -> None:
    """The list of services has inference.GRPCInferenceService."""
    answer = await _reflect(server, list_services="")
    names = [each.name for each in answer.list_services_response.service]
    expect(SERVICE in names, SERVICE, names)


@reflection()
async def describes_the_service(server: Server) -> None:
    """The file of the service describes ModelInfer with the protocol's messages."""
    files = await _files(server, SERVICE)
    methods = {
        method.name: (method.input_type, method.output_type)
        for file in files
        for service in file.service
        if f"{file.package}.{service.name}" == SERVICE
        for method in service.method
    }
    expected = (".inference.ModelInferRequest", ".inference.ModelInferResponse")
    expect_equal(methods.get("ModelInfer"), expected, "types of ModelInfer")


@reflection()
async def describes_messages(server: Server) -> None:
    """The file of a message has its fields by the protocol's numbers."""
    files = await _files(server, "inference.ModelInferRequest")
    messages = [m for file in files for m in file.message_type if m.name == "ModelInferRequest"]
    numbers = {field.name: field.number for message in messages for field in message.field}
    expect_equal(numbers.get("raw_input_contents"), 7, "number of raw_input_contents")


@reflection()
async def of_an_unknown_symbol(server: Server) -> None:
    """An unknown symbol is an error in the message, and the stream stays."""
    answer = await _reflect(server, file_containing_symbol="no.such.Symbol")
    expect(answer.HasField("error_response"), "an error_response", answer)


PARTS = (health, triton, reflection)

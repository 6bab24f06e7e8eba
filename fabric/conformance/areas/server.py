"""What the server says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fabric.api.inference.v2 import open_inference_pb2 as pb
from fabric.conformance.checks import Rules, expect, expect_equal
from fabric.conformance.server import LIVE, READY, SERVER_METADATA, SERVICE, Call

if TYPE_CHECKING:
    from fabric.conformance.server import Server

rules = Rules("server", "OIP v2 gRPC: Health, Server Metadata")
_TRITONS = (
    "classification",
    "sequence",
    "model_repository",
    "model_repository(unload_dependents)",
    "schedule_policy",
    "model_configuration",
    "system_shared_memory",
    "cuda_shared_memory",
    "binary_tensor_data",
    "parameters",
    "statistics",
    "trace",
    "logging",
)
triton = Rules("server.triton", "Triton: ServerMetadata, extensions", dialect="triton")


@rules()
async def live(server: Server) -> None:
    """ServerLive is true while the server can receive and respond to requests."""
    answer = await server.call(LIVE, pb.ServerLiveRequest())
    expect(answer.live, "live: true", "live: false")


@rules()
async def ready(server: Server) -> None:
    """ServerReady is true when the server is ready for inference."""
    answer = await server.call(READY, pb.ServerReadyRequest())
    expect(answer.ready, "ready: true", "ready: false")


@rules()
async def has_a_name(server: Server) -> None:
    """ServerMetadata gives the server's name."""
    answer = await server.call(SERVER_METADATA, pb.ServerMetadataRequest())
    expect(answer.name, "a name", "none")


@rules()
async def has_a_version(server: Server) -> None:
    """ServerMetadata gives the server's version."""
    answer = await server.call(SERVER_METADATA, pb.ServerMetadataRequest())
    expect(answer.version, "a version", "none")


@rules()
async def extensions_are_distinct(server: Server) -> None:
    """ServerMetadata names each extension once, and none without a name."""
    answer = await server.call(SERVER_METADATA, pb.ServerMetadataRequest())
    names = list(answer.extensions)
    expect(all(names), "extensions with names", names)
    expect_equal(sorted(names), sorted(set(names)), "extensions")


@rules()
async def metadata_stay(server: Server) -> None:
    """ServerMetadata are the same when they are asked for again."""
    first = await server.call(SERVER_METADATA, pb.ServerMetadataRequest())
    again = await server.call(SERVER_METADATA, pb.ServerMetadataRequest())
    expect_equal(str(again), str(first))


@rules(source="gRPC: status codes")
async def unknown_calls_are_unimplemented(server: Server) -> None:
    """A call that the service does not have ends with UNIMPLEMENTED."""
    call = Call(f"{SERVICE}NoSuchCall", pb.ServerLiveResponse)
    await server.refused(call, pb.ServerLiveRequest(), "UNIMPLEMENTED")


@rules(source="Protocol Buffers: unknown fields")
async def unknown_fields_are_passed_by(server: Server) -> None:
    """A request with fields that this version of the protocol does not have is answered."""
    newer = pb.ModelReadyRequest(name="of the future")  # ServerLiveRequest has no fields
    answer = await server.call(LIVE, newer)
    expect(answer.live, "live: true", "live: false")


@triton()
async def extensions_are_those_of_triton(server: Server) -> None:
    """The extensions are some of those that Triton names, by these names."""
    answer = await server.call(SERVER_METADATA, pb.ServerMetadataRequest())
    strange = sorted(set(answer.extensions) - set(_TRITONS))
    expect(not strange, f"extensions among {', '.join(_TRITONS)}", ", ".join(strange))


@triton()
async def binary_data_are_offered(server: Server) -> None:
    """Triton's clients send and read raw tensors: binary_tensor_data is offered."""
    answer = await server.call(SERVER_METADATA, pb.ServerMetadataRequest())
    expect("binary_tensor_data" in answer.extensions, "binary_tensor_data", answer.extensions)


PARTS = (rules, triton)

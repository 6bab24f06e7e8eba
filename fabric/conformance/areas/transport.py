"""gRPC itself: compression, large messages, many calls at a time."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import grpc
import numpy as np

from fabric.api.inference.v2 import open_inference_pb2 as pb
from fabric.conformance.checks import Rules, expect_equal
from fabric.conformance.requests import expect_output, request
from fabric.conformance.samples import FP32, identity
from fabric.conformance.server import LIVE, within

if TYPE_CHECKING:
    from fabric.conformance.server import Server

compression = Rules("transport.compression", "gRPC: compression", FP32)
messages = Rules("transport.messages", "gRPC: messages", identity("UINT8"))
calls = Rules("transport.calls", "gRPC: concurrent calls and metadata", FP32)
_X = np.arange(4000, dtype=np.float32).reshape(1, -1)


async def _compressed(server: Server, how: grpc.Compression) -> None:
    answer = await server.infer(request(FP32, {"x": _X}), compression=how)
    expect_output(answer, "y", _X)


for _how in (grpc.Compression.Gzip, grpc.Compression.Deflate, grpc.Compression.NoCompression):
    compression.add(
        _how.name,
        f"A request whose message is compressed by {_how.name} is answered.",
        partial(_compressed, how=_how),
    )


async def _passes(server: Server, megabytes: int) -> None:
    x = np.resize(np.arange(251, dtype=np.uint8), (1, megabytes * 1_000_000))
    answer = await server.infer(request(identity("UINT8"), {"x": x}), timeout=30)
    expect_output(answer, "y", x)


for _megabytes in (1, 3):
    messages.add(
        f"of_{_megabytes}_mb",
        f"A request and an answer of {_megabytes} MB pass: plain stubs take 4 MiB.",
        partial(_passes, megabytes=_megabytes),
    )
large = Rules(
    "transport.messages", "Triton: INT32_MAX both ways", identity("UINT8"), dialect="triton"
)
for _megabytes in (5, 33, 129):
    large.add(
        f"of_{_megabytes}_mb",
        f"A request and an answer of {_megabytes} MB pass.",
        partial(_passes, megabytes=_megabytes),
    )


@calls()
async def two_hundred_at_once(server: Server) -> None:
    """Two hundred calls on one connection at the same time get their own answers."""
    asked = [request(FP32, {"x": np.full((1, 2), n, np.float32)}) for n in range(200)]
    answers = await within(30, *(server.infer(each, timeout=30) for each in asked))
    for n, answer in enumerate(answers):
        expect_output(answer, "y", np.full((1, 2), n, np.float32))


@calls()
async def metadata_are_passed_by(server: Server) -> None:
    """Metadata of the caller's own change nothing."""
    metadata = (("x-of-my-own", "value"), ("x-another", "AAEC"))
    answer = await server.call(LIVE, pb.ServerLiveRequest(), metadata=metadata)
    expect_equal(answer.live, True, "live")


@calls()
async def one_after_the_other(server: Server) -> None:
    """A thousand calls on one connection, one after the other, are all answered."""
    for _ in range(1000):
        await server.call(LIVE, pb.ServerLiveRequest())


PARTS = (compression, messages, large, calls)

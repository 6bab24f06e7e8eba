"""How requests fail, and what that means for others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np

from fabric.api.inference.v2 import open_inference_pb2 as pb
from fabric.conformance.checks import Broken, Rules, expect
from fabric.conformance.dialects import UNKNOWN
from fabric.conformance.requests import expect_output, request
from fabric.conformance.samples import FAILING, FP32, REPEAT, SLOW
from fabric.conformance.server import INFER, LIVE, Refused, within

if TYPE_CHECKING:
    from fabric.conformance.server import Server

rules = Rules("errors", "OIP v2 gRPC: errors are indicated by the status", FP32)
_X = np.array([[1.0]], np.float32)
_LATE = ("DEADLINE_EXCEEDED", "CANCELLED", "UNAVAILABLE")


async def work(server: Server, seconds: float) -> pb.ModelInferRequest:
    """A request that keeps the slow model busy for at least about *seconds*."""
    loop = asyncio.get_running_loop()
    rates = []
    for probe in (10, 200, 400):  # the first runs of a model are slow
        began = loop.time()
        await server.infer(request(SLOW, {"work": np.array([probe])}))
        rates.append(probe / (loop.time() - began))
    return request(SLOW, {"work": np.array([int(max(rates) * seconds)])})


@rules()
async def unknown_model(server: Server) -> None:
    """A request for a model that does not exist ends with an error that names it."""
    refused = await server.refused(INFER, request(UNKNOWN, {"x": _X}))
    expect(UNKNOWN in refused.text, f"a text that names {UNKNOWN!r}", refused.text)


@rules()
async def no_model(server: Server) -> None:
    """A request without the name of a model ends with an error."""
    await server.refused(INFER, request("", {"x": _X}))


@rules()
async def empty_request(server: Server) -> None:
    """A request without anything ends with an error."""
    await server.refused(INFER, pb.ModelInferRequest())


@rules()
async def have_a_text(server: Server) -> None:
    """An error has a text that says what is wrong."""
    refused = await server.refused(INFER, request(FP32, {"none": _X}))
    expect(refused.text.strip(), "a text", "none")


@rules()
async def wrong_requests_are_the_callers(server: Server) -> None:
    """What a caller did wrong is not reported as the server's fault: neither INTERNAL, UNKNOWN
    nor UNAVAILABLE, which clients try again."""
    wrong = ("INTERNAL", "UNKNOWN", "UNAVAILABLE", "DATA_LOSS")
    for asked in (
        request(UNKNOWN, {"x": _X}),
        request(FP32, {"none": _X}),
        request(FP32, {"x": _X.astype(np.int64)}),
        request(FP32, {"x": np.zeros((1, 1, 1), np.float32)}),
        request(FP32, {"x": _X}, outputs=["none"]),
    ):
        refused = await server.refused(INFER, asked)
        expect(
            refused.code not in wrong,
            "INVALID_ARGUMENT, NOT_FOUND or alike",
            f"{refused.code}: {refused.text}",
        )


@rules(FAILING)
async def a_model_that_fails(server: Server) -> None:
    """A model whose run fails ends the request with an error."""
    await server.refused(INFER, request(FAILING, {"x": np.array([99])}))


@rules(FAILING)
async def a_failure_is_no_end(server: Server) -> None:
    """After a failed run the model answers again."""
    await server.refused(INFER, request(FAILING, {"x": np.array([99])}))
    answer = await server.infer(request(FAILING, {"x": np.array([2, 3])}))
    expect_output(answer, "y", np.array([2, 3], np.float32))


@rules(FAILING)
async def a_failure_costs_no_other(server: Server) -> None:
    """A run that fails changes nothing for requests that arrive with it."""

    async def outcome(x: int) -> object:
        try:
            return await server.infer(request(FAILING, {"x": np.array([x])}))
        except Refused as refused:
            return refused

    got = await within(30, *(outcome(99 if n % 2 else 1) for n in range(20)))
    for n, each in enumerate(got):
        if n % 2:
            expect(isinstance(each, Refused), "an error", each)
        else:
            expect(isinstance(each, pb.ModelInferResponse), "an answer", each)


@rules(SLOW, source="gRPC: deadlines")
async def a_deadline_ends_the_call(server: Server) -> None:
    """A call whose deadline passes ends with DEADLINE_EXCEEDED or CANCELLED."""
    asked = await work(server, 2.0)
    await server.refused(INFER, asked, *_LATE, timeout=0.2)


@rules(SLOW, source="gRPC: deadlines")
async def a_deadline_costs_no_other(server: Server) -> None:
    """While a model is busy with a call that nobody waits for any more, others are answered."""
    asked = await work(server, 1.0)
    await server.refused(INFER, asked, *_LATE, timeout=0.1)
    expect_output(await server.infer(request(FP32, {"x": _X})), "y", _X)
    answer = await server.infer(request(SLOW, {"work": np.array([1])}), timeout=30)
    expect_output(answer, "done", np.array([1]))


@rules(SLOW)
async def a_busy_model_blocks_no_other(server: Server) -> None:
    """While one model is busy, another one and the queries are answered."""
    asked = await work(server, 2.0)
    busy = asyncio.create_task(server.infer(asked, timeout=30))
    try:
        await asyncio.sleep(0.1)
        for _ in range(5):
            await server.call(LIVE, pb.ServerLiveRequest(), timeout=5)
            expect_output(await server.infer(request(FP32, {"x": _X})), "y", _X)
        if busy.done():
            raise Broken("answers while the model is busy", "answers only when it was done")
    finally:
        await busy


@rules(REPEAT, source="Triton: decoupled models")
async def a_decoupled_model_is_not_for_unary_calls(server: Server) -> None:
    """A model with any number of responses cannot be asked by ModelInfer: UNIMPLEMENTED."""
    asked = request(REPEAT, {"count": np.array([1], np.int32), "pause": np.array([0], np.int32)})
    await server.refused(INFER, asked, "UNIMPLEMENTED")


PARTS = (rules,)

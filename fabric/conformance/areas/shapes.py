"""Shapes and datatypes of tensors, and batches."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from fabric.api.inference.v2 import open_inference_pb2 as pb
from fabric.conformance.checks import NotOffered, Rules, expect
from fabric.conformance.requests import (
    expect_output,
    request,
    tensor,
)
from fabric.conformance.samples import (
    FP32,
    LITERAL,
    MAX_BATCH,
    SCALAR,
)
from fabric.conformance.server import INFER, METADATA, Refused, within

if TYPE_CHECKING:
    from fabric.conformance.server import Server

shapes = Rules("data.shapes", "OIP v2 gRPC: InferInputTensor.shape", FP32)
batches = Rules("data.batches", "OIP v2 REST: Request Input, the full shape of the batch", FP32)


# ------------------------------------------------------------------ shapes
async def _shape_refused(server: Server, model: str, shape: list[int], size: int) -> None:
    await server.refused(INFER, request(model, [tensor("x", "FP32", shape)], raw=[bytes(size)]))


_WRONG_SHAPES = {
    "variable_dimension": ("[-1, 4]: sizes are given, -1 is for metadata only", [-1, 4], 16),
    "negative_dimension": ("[1, -4]: no size is negative", [1, -4], 16),
    "two_negative_dimensions": ("[-2, -2]: their product is no size", [-2, -2], 16),
    "overflow": ("whose number of elements is over 64 bits", [2**62, 4], 0),
    "overflow_to_right": ("whose size in bytes wraps to the right one", [2**62 + 1, 4], 16),
    "too_few_dimensions": ("with fewer dimensions than the model's", [4], 16),
    "too_many_dimensions": ("with more dimensions than the model's", [1, 1, 4], 16),
    "wrong_size": ("with another size than the model's", [1, 3], 12),
    "no_dimension": ("without any, where the model has two", [], 4),
}
for _name, (_what, _shape, _size) in _WRONG_SHAPES.items():
    shapes.add(
        _name,
        f"A shape {_what}, is refused.",
        partial(_shape_refused, model=LITERAL, shape=_shape, size=_size),
        LITERAL,
    )


@shapes(SCALAR)
async def a_scalar_has_no_dimension(server: Server) -> None:
    """A tensor of shape [] has one element."""
    answer = await server.call(METADATA, pb.ModelMetadataRequest(name=SCALAR))
    if list(answer.inputs[0].shape) != []:
        raise NotOffered(f"the model is served with shape {list(answer.inputs[0].shape)}")
    x = np.array(2.5, np.float32)
    expect_output(await server.infer(request(SCALAR, {"x": x})), "y", x)


@shapes(LITERAL)
async def an_empty_tensor_comes_back(server: Server) -> None:
    """A tensor with a dimension of 0 has no elements, and keeps its shape."""
    x = np.zeros((0, 4), np.float32)
    expect_output(await server.infer(request(LITERAL, {"x": x})), "y", x)


@shapes()
async def an_empty_row_comes_back(server: Server) -> None:
    """A dimension of variable size may be 0."""
    x = np.zeros((1, 0), np.float32)
    expect_output(await server.infer(request(FP32, {"x": x})), "y", x)


@shapes(LITERAL)
async def an_empty_tensor_has_no_bytes(server: Server) -> None:
    """A tensor with a dimension of 0 has no raw contents but b''."""
    given = [tensor("x", "FP32", [0, 4])]
    await server.refused(INFER, request(LITERAL, given, raw=[bytes(16)]))


@shapes()
async def rows_stay_rows(server: Server) -> None:
    """Elements are row-major: each row comes back as it was."""
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    expect_output(await server.infer(request(FP32, {"x": x})), "y", x)


@shapes(LITERAL)
async def variable_dimensions_vary(server: Server) -> None:
    """A dimension that is -1 in the metadata takes any size, one request after another."""
    for rows in (1, 2, 17, 100):
        x = np.arange(4 * rows, dtype=np.float32).reshape(rows, 4)
        expect_output(await server.infer(request(LITERAL, {"x": x})), "y", x)


async def _datatype_refused(server: Server, datatype: str) -> None:
    given = [tensor("x", datatype, [1, 2])]
    await server.refused(INFER, request(FP32, given, raw=[bytes(8)]))


for _name, _datatype in {
    "of_another_datatype": "INT32",
    "of_an_unknown_datatype": "FLOAT",
    "of_no_datatype": "",
    "of_a_datatype_in_small_letters": "fp32",
}.items():
    shapes.add(
        _name,
        f"An input whose datatype is {_datatype!r}, where the model's is 'FP32', is refused.",
        partial(_datatype_refused, datatype=_datatype),
        FP32,
        source="OIP v2 gRPC: Tensor Data Types",
    )


# ------------------------------------------------------------------ batches
@batches()
async def of_every_size(server: Server) -> None:
    """A request may have 1 to max_batch_size rows, each answered by itself."""
    for rows in range(1, MAX_BATCH + 1):
        x = np.arange(3 * rows, dtype=np.float32).reshape(rows, 3)
        expect_output(await server.infer(request(FP32, {"x": x})), "y", x)


@batches()
async def of_many_callers(server: Server) -> None:
    """Requests that arrive together get their own answers, whatever is stacked."""
    arrays = [np.full((1 + n % 3, 2), n, np.float32) for n in range(40)]
    answers = await within(30, *(server.infer(request(FP32, {"x": x})) for x in arrays))
    for x, answer in zip(arrays, answers, strict=True):
        expect_output(answer, "y", x)


@batches()
async def of_many_shapes(server: Server) -> None:
    """Requests of different shapes that arrive together get their own answers."""
    arrays = [np.full((1, 1 + n % 5), n, np.float32) for n in range(40)]
    answers = await within(30, *(server.infer(request(FP32, {"x": x})) for x in arrays))
    for x, answer in zip(arrays, answers, strict=True):
        expect_output(answer, "y", x)


@batches()
async def one_bad_request_costs_no_other(server: Server) -> None:
    """A request that is refused changes nothing for those that arrive with it."""
    good = [np.full((1, 2), n, np.float32) for n in range(20)]
    bad = request(FP32, [tensor("x", "FP32", [1, 2])], raw=[bytes(7)])
    asked = [request(FP32, {"x": x}) for x in good]

    async def outcome(each: pb.ModelInferRequest) -> object:
        try:
            return await server.infer(each)
        except Refused as refused:
            return refused

    mixed = [each for one in asked for each in (one, bad)]
    got = await within(30, *(outcome(each) for each in mixed))
    for x, answer, refusal in zip(good, got[::2], got[1::2], strict=True):
        expect(isinstance(answer, pb.ModelInferResponse), "an answer", answer)
        assert isinstance(answer, pb.ModelInferResponse)  # noqa: S101 - for the type checker
        expect_output(answer, "y", x)
        expect(isinstance(refusal, Refused), "an error", refusal)


PARTS = (shapes, batches)

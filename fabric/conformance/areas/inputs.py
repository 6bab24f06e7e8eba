"""Which inputs a request has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fabric.conformance.checks import Rules
from fabric.conformance.requests import expect_output, request, tensor
from fabric.conformance.samples import ADD_SUB, FP32, OPTIONAL, SEVERAL
from fabric.conformance.server import INFER

if TYPE_CHECKING:
    from fabric.conformance.server import Server

rules = Rules("inputs", "OIP v2 gRPC: ModelInferRequest.inputs", ADD_SUB)
_A = np.array([[1, 2, 3, 4]], np.int32)
_B = np.array([[5, 6, 7, 8]], np.int32)


@rules()
async def in_any_order(server: Server) -> None:
    """Inputs are told apart by name, in whatever order they come."""
    expect_output(await server.infer(request(ADD_SUB, {"b": _B, "a": _A})), "difference", _A - _B)


@rules()
async def missing(server: Server) -> None:
    """A request without an input that the model needs is refused."""
    await server.refused(INFER, request(ADD_SUB, {"a": _A}))


@rules(FP32)
async def none(server: Server) -> None:
    """A request without inputs is refused where the model has some."""
    await server.refused(INFER, request(FP32))


@rules()
async def unknown(server: Server) -> None:
    """A request with an input that the model does not have is refused."""
    await server.refused(INFER, request(ADD_SUB, {"a": _A, "b": _B, "c": _A}))


@rules()
async def unknown_instead(server: Server) -> None:
    """As many inputs as the model has, but another name among them, are refused."""
    await server.refused(INFER, request(ADD_SUB, {"a": _A, "c": _B}))


@rules()
async def twice(server: Server) -> None:
    """A request that names an input twice is refused."""
    given = [tensor(name, "INT32", [1, 4]) for name in ("a", "a")]
    await server.refused(INFER, request(ADD_SUB, given, raw=[bytes(16)] * 2))


@rules()
async def without_a_name(server: Server) -> None:
    """An input without a name is refused."""
    given = [tensor(name, "INT32", [1, 4]) for name in ("a", "")]
    await server.refused(INFER, request(ADD_SUB, given, raw=[bytes(16)] * 2))


@rules(SEVERAL)
async def of_several_datatypes(server: Server) -> None:
    """Inputs of one request may be of several datatypes and shapes."""
    f, n = np.ones(3, np.float32), np.arange(5)
    s = np.array([b"one", b"two"], np.object_)
    answer = await server.infer(request(SEVERAL, {"f": f, "n": n, "s": s}))
    for name, array in (("f_out", f), ("n_out", n), ("s_out", s)):
        expect_output(answer, name, array)


@rules(OPTIONAL, source="Triton: ModelInput.optional")
async def optional_may_be_left_out(server: Server) -> None:
    """An optional input may be left out."""
    x = np.array([[1, 2, 3, 4]], np.float32)
    expect_output(await server.infer(request(OPTIONAL, {"x": x})), "y", x)


@rules(OPTIONAL, source="Triton: ModelInput.optional")
async def optional_may_be_given(server: Server) -> None:
    """An optional input that is given counts."""
    x = np.array([[1, 2, 3, 4]], np.float32)
    answer = await server.infer(request(OPTIONAL, {"x": x, "bias": x}))
    expect_output(answer, "y", x + x)


@rules(OPTIONAL, source="Triton: ModelInput.optional")
async def optional_is_not_required_to_stay(server: Server) -> None:
    """What an optional input was in one request means nothing for the next."""
    x = np.array([[1, 2, 3, 4]], np.float32)
    await server.infer(request(OPTIONAL, {"x": x, "bias": x}))
    expect_output(await server.infer(request(OPTIONAL, {"x": x})), "y", x)


@rules(OPTIONAL, source="Triton: ModelInput.optional")
async def optional_does_not_replace_required(server: Server) -> None:
    """An optional input alone does not make up for one that is required."""
    bias = np.array([[1, 2, 3, 4]], np.float32)
    await server.refused(INFER, request(OPTIONAL, {"bias": bias}))


PARTS = (rules,)

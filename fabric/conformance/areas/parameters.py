"""Ids and parameters of requests."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from fabric.api.inference.v2 import open_inference_pb2 as pb
from fabric.conformance.checks import Rules, expect, expect_equal
from fabric.conformance.requests import expect_output, output, request, tensor, uint64
from fabric.conformance.samples import FP32
from fabric.conformance.server import INFER, within

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fabric.conformance.requests import Parameter
    from fabric.conformance.server import Server

ids = Rules("parameters.id", "OIP v2 gRPC: ModelInferRequest.id", FP32)
custom = Rules("parameters.custom", "OIP v2 gRPC: Parameters", FP32)
triton = Rules(
    "parameters.triton", "Triton: parameters and schedule policy extensions", FP32, dialect="triton"
)
_X = np.array([[1.0, 2.0]], np.float32)


# ------------------------------------------------------------------ ids
async def _id_comes_back(server: Server, id: str) -> None:
    answer = await server.infer(request(FP32, {"x": _X}, id=id))
    expect_equal(answer.id, id, "id")


for _name, _id in {
    "comes_back": "request-1",
    "may_be_any_text": 'ü€ "quoted" \n\t\\ 漢字',
    "may_be_long": "i" * 5000,
    "may_look_like_a_number": "00042",
}.items():
    ids.add(
        _name,
        "The id of a request is the id of its answer, letter for letter.",
        partial(_id_comes_back, id=_id),
    )


@ids()
async def without_one_is_accepted(server: Server) -> None:
    """A request without an id is answered."""
    expect_output(await server.infer(request(FP32, {"x": _X})), "y", _X)


@ids()
async def are_not_mixed_up(server: Server) -> None:
    """Requests in flight at the same time get the ids that are theirs."""
    asked = [request(FP32, {"x": _X * n}, id=f"id-{n}") for n in range(30)]
    answers = await within(30, *map(server.infer, asked))
    expect_equal([each.id for each in answers], [each.id for each in asked], "ids")


@ids()
async def may_be_used_again(server: Server) -> None:
    """Two requests may have the same id, also at the same time."""
    asked = [request(FP32, {"x": _X * n}, id="same") for n in range(4)]
    for n, answer in enumerate(await within(30, *map(server.infer, asked))):
        expect_output(answer, "y", _X * n)


# ------------------------------------------------------------------ custom parameters
async def _accepted(server: Server, parameters: Mapping[str, Parameter]) -> None:
    answer = await server.infer(request(FP32, {"x": _X}, parameters=parameters))
    expect_output(answer, "y", _X)


_KINDS: dict[str, Parameter] = {"bool": True, "int64": -7, "string": "text", "empty_string": ""}
for _name, _value in _KINDS.items():
    custom.add(
        f"{_name}_is_accepted",
        f"A parameter of its own with a value of kind {_name} is accepted.",
        partial(_accepted, parameters={"of_my_own": _value}),
    )


@custom(source="Triton and KServe: InferParameter.double_param")
async def double_is_accepted(server: Server) -> None:
    """A parameter of its own with a value of kind double is accepted."""
    await _accepted(server, {"of_my_own": 0.5})


@custom()
async def of_an_input(server: Server) -> None:
    """An input may have a parameter of its own."""
    given = [tensor("x", "FP32", [1, 2], parameters={"of_my_own": "text"})]
    expect_output(await server.infer(request(FP32, given, raw=[_X.tobytes()])), "y", _X)


@custom()
async def of_an_output(server: Server) -> None:
    """A requested output may have a parameter of its own."""
    asked = request(FP32, {"x": _X}, outputs=[output("y", of_my_own="text")])
    expect_output(await server.infer(asked), "y", _X)


@custom()
async def many_at_once(server: Server) -> None:
    """A request may have a hundred parameters."""
    await _accepted(server, {f"own_{n}": n for n in range(100)})


# ------------------------------------------------------------------ Triton's dialect
_RIGHT: dict[str, dict[str, Parameter]] = {
    "priority_of_tritonclient": {"priority": uint64(1)},
    "priority_as_int64": {"priority": 1},
    "priority_zero": {"priority": uint64(0)},
    "timeout_in_microseconds": {"timeout": 10_000_000},
    "timeout_zero": {"timeout": 0},
    "empty_final_response": {"triton_enable_empty_final_response": True},
    "binary_data_output": {"binary_data_output": True},
}
for _name, _parameters in _RIGHT.items():
    triton.add(
        f"{_name}_is_accepted",
        f"The reserved parameter {next(iter(_parameters))!r} is accepted with a value of its kind.",
        partial(_accepted, parameters=_parameters),
    )


async def _refused(server: Server, parameters: Mapping[str, Parameter]) -> None:
    asked = request(FP32, {"x": _X}, parameters=parameters)
    await server.refused(INFER, asked, "INVALID_ARGUMENT")


_WRONG: dict[str, dict[str, Parameter]] = {
    "priority_of_text": {"priority": "high"},
    "priority_negative": {"priority": -1},
    "timeout_of_text": {"timeout": "soon"},
    "sequence_start_of_number": {"sequence_start": 1},
    "sequence_end_of_text": {"sequence_end": "yes"},
    "sequence_id_of_bool": {"sequence_id": True},
    "custom_uint64": {"of_my_own": uint64(1)},
    "reserved_prefix": {"triton_of_my_own": "x"},
}
for _name, _parameters in _WRONG.items():
    triton.add(
        f"{_name}_is_refused",
        f"The parameter {next(iter(_parameters))!r} with a value that is none of its kinds is an "
        "INVALID_ARGUMENT.",
        partial(_refused, parameters=_parameters),
    )


@triton()
async def the_reserved_prefix_is_named(server: Server) -> None:
    """A parameter that begins with 'triton_' is refused as reserved for Triton usage."""
    asked = request(FP32, {"x": _X}, parameters={"triton_of_my_own": "x"})
    refused = await server.refused(INFER, asked, "INVALID_ARGUMENT")
    expect("reserved for Triton usage" in refused.text, "'reserved for Triton usage'", refused.text)


@triton()
async def a_parameter_without_a_value_is_refused(server: Server) -> None:
    """A parameter without a value is an INVALID_ARGUMENT."""
    await _refused(server, {"of_my_own": pb.InferParameter()})


PARTS = (ids, custom, triton)

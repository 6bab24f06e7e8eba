"""Elements of tensors: raw and typed, every datatype, every shape."""

from __future__ import annotations

import struct
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from fabric.conformance.checks import Rules, expect, expect_equal
from fabric.conformance.requests import (
    FIELDS,
    example,
    expect_output,
    outputs_of,
    request,
    tensor,
    typed,
)
from fabric.conformance.samples import (
    ADD_SUB,
    BLOBS,
    BYTES,
    FP32,
    SEVERAL,
    identity,
)
from fabric.conformance.server import INFER, Refused
from fabric.core.tensors import DTYPES

if TYPE_CHECKING:
    from fabric.conformance.server import Server

raw = Rules("data.raw", "OIP v2 gRPC: Tensor Data, raw_input_contents", FP32)
typed_rules = Rules("data.typed", "OIP v2 gRPC: Tensor Data, InferTensorContents", FP32)

FIXED = [datatype for datatype in DTYPES if datatype != "BYTES"]
_X = np.array([[1.5, -2.0]], np.float32)
_LENGTH = struct.Struct("<I")


# ------------------------------------------------------------------ raw
async def _raw_comes_back(server: Server, datatype: str) -> None:
    x = example(datatype, 2)
    answer = await server.infer(request(identity(datatype), {"x": x}, datatype=datatype))
    expect_equal(answer.outputs[0].datatype, datatype, "datatype")
    expect_output(answer, "y", x)


async def _raw_of_wrong_size(server: Server, datatype: str, more: int) -> None:
    size = DTYPES[datatype].itemsize
    given = [tensor("x", datatype, [1, 4])]
    asked = request(identity(datatype), given, raw=[bytes(4 * size + more)])
    await server.refused(INFER, asked)


for _datatype in DTYPES:
    raw.add(
        f"{_datatype.lower()}_comes_back",
        f"A {_datatype} tensor of raw contents is read row-major, little-endian and without "
        "padding, and comes back as it was.",
        partial(_raw_comes_back, datatype=_datatype),
        identity(_datatype),
    )
for _datatype in FIXED:
    for _more, _word in ((-1, "short"), (DTYPES[_datatype].itemsize, "long")):
        raw.add(
            f"{_datatype.lower()}_too_{_word}",
            f"Raw contents of {_datatype} whose size is not what shape and datatype say are "
            "refused.",
            partial(_raw_of_wrong_size, datatype=_datatype, more=_more),
            identity(_datatype),
        )


@raw()
async def special_floats_come_back(server: Server) -> None:
    """NaN, both infinities, both zeros and the smallest numbers keep every bit."""
    x = np.array([[np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45]], np.float32)
    expect_output(await server.infer(request(FP32, {"x": x})), "y", x)


@raw()
async def too_few_contents(server: Server) -> None:
    """raw_input_contents without an entry for an input are refused."""
    await server.refused(INFER, request(FP32, [tensor("x", "FP32", [1, 2])]))


@raw(ADD_SUB)
async def fewer_contents_than_inputs(server: Server) -> None:
    """Of two inputs, both must have raw contents."""
    given = [tensor("a", "INT32", [1, 4]), tensor("b", "INT32", [1, 4])]
    await server.refused(INFER, request(ADD_SUB, given, raw=[bytes(16)]))


@raw()
async def more_contents_than_inputs(server: Server) -> None:
    """Of raw_input_contents with more entries than inputs the first ones count, or they are
    refused."""
    given = [tensor("x", "FP32", [1, 2])]
    try:
        answer = await server.infer(request(FP32, given, raw=[_X.tobytes(), bytes(8)]))
    except Refused:
        return
    expect_output(answer, "y", _X)


@raw()
async def contents_beside_raw(server: Server) -> None:
    """If raw_input_contents are given, no input may have contents."""
    given = [tensor("x", "FP32", [1, 2], {"fp32_contents": [1, 2]})]
    await server.refused(INFER, request(FP32, given, raw=[bytes(8)]))


@raw(ADD_SUB)
async def some_typed_and_some_raw(server: Server) -> None:
    """If raw_input_contents are given, no input may have contents, not even another one."""
    given = [
        tensor("a", "INT32", [1, 4], {"int_contents": [1, 2, 3, 4]}),
        tensor("b", "INT32", [1, 4]),
    ]
    await server.refused(INFER, request(ADD_SUB, given, raw=[bytes(16)]))


@raw(SEVERAL)
async def contents_are_in_the_order_of_inputs(server: Server) -> None:
    """Raw contents belong to the inputs in the order in which the request names these."""
    f, n, s = np.ones(2, np.float32), np.array([7, 8, 9]), np.array([b"s"], np.object_)
    answer = await server.infer(request(SEVERAL, {"s": s, "f": f, "n": n}))
    for name, array in (("f_out", f), ("n_out", n), ("s_out", s)):
        expect_output(answer, name, array)


@raw(SEVERAL)
async def an_empty_tensor_has_an_entry(server: Server) -> None:
    """A tensor without elements takes an entry of no bytes in raw_input_contents."""
    f, n, s = np.zeros(0, np.float32), np.array([7]), np.array([b"s"], np.object_)
    answer = await server.infer(request(SEVERAL, {"f": f, "n": n, "s": s}))
    for name, array in (("f_out", f), ("n_out", n), ("s_out", s)):
        expect_output(answer, name, array)


async def _bytes_refused(server: Server, contents: bytes, count: int) -> None:
    given = [tensor("x", "BYTES", [1, count])]
    await server.refused(INFER, request(BYTES, given, raw=[contents]))


_WRONG_BYTES = {
    "bytes_incomplete_length": ("whose last length is cut off", b"\1\0", 1),
    "bytes_incomplete_element": ("whose last element is cut off", b"\5\0\0\0ab", 1),
    "bytes_of_endless_length": ("with a length far past the end", b"\xff\xff\xff\xffab", 1),
    "bytes_too_few": ("with fewer elements than the shape says", _LENGTH.pack(0), 2),
    "bytes_too_many": ("with more elements than the shape says", 2 * _LENGTH.pack(0), 1),
    "bytes_without_any": ("without elements, where the shape says one", b"", 1),
}
for _name, (_what, _contents, _count) in _WRONG_BYTES.items():
    raw.add(
        _name,
        f"Raw contents of BYTES {_what} are refused: each element is a 4-byte little-endian "
        "length and as many bytes.",
        partial(_bytes_refused, contents=_contents, count=_count),
        BYTES,
        source="Triton: binary tensor data extension, BYTES",
    )


@raw(BLOBS)
async def bytes_may_be_no_text(server: Server) -> None:
    """Elements of BYTES are any bytes, those of no encoding too."""
    x = np.array([bytes(range(256)), b"\xff\xfe\x00"], np.object_)
    expect_output(await server.infer(request(BLOBS, {"x": x})), "y", x)


@raw(BYTES)
async def bytes_may_be_long(server: Server) -> None:
    """An element of BYTES may be a megabyte."""
    x = np.array([[b"a" * 1_000_000, b"", b"b"]], np.object_)
    expect_output(await server.infer(request(BYTES, {"x": x})), "y", x)


@raw()
async def outputs_are_parallel(server: Server) -> None:
    """raw_output_contents have one entry for each output, and then no output has contents."""
    answer = await server.infer(request(FP32, {"x": _X}))
    if not answer.raw_output_contents:
        expect(answer.outputs[0].HasField("contents"), "raw or typed contents", "neither")
        return
    expect_equal(len(answer.raw_output_contents), len(answer.outputs), "raw_output_contents")
    expect(not any(o.HasField("contents") for o in answer.outputs), "no contents", "contents too")


# ------------------------------------------------------------------ typed
async def _typed_comes_back(server: Server, datatype: str) -> None:
    x = example(datatype, 2)
    answer = await server.infer(typed(identity(datatype), datatype, x))
    expect_output(answer, "y", x)


async def _typed_of_wrong_count(server: Server, datatype: str, count: int) -> None:
    row = example(datatype)[0]
    contents = {FIELDS[datatype]: list(np.resize(row, count))}
    given = [tensor("x", datatype, [1, 4], contents)]
    await server.refused(INFER, request(identity(datatype), given))


async def _typed_in_wrong_field(server: Server, datatype: str) -> None:
    field, values = ("fp64_contents", [1.0] * 4)
    if FIELDS[datatype] == field:
        field, values = "int64_contents", [1] * 4
    given = [tensor("x", datatype, [1, 4], {field: values})]
    await server.refused(INFER, request(identity(datatype), given))


for _datatype in FIELDS:
    typed_rules.add(
        f"{_datatype.lower()}_comes_back",
        f"A {_datatype} tensor in {FIELDS[_datatype]} is read, and comes back as it was.",
        partial(_typed_comes_back, datatype=_datatype),
        identity(_datatype),
    )
for _datatype in FIELDS:
    typed_rules.add(
        f"{_datatype.lower()}_too_few",
        f"The size of {FIELDS[_datatype]} must match what the shape of a {_datatype} tensor says.",
        partial(_typed_of_wrong_count, datatype=_datatype, count=3),
        identity(_datatype),
    )
    typed_rules.add(
        f"{_datatype.lower()}_in_another_field",
        f"A {_datatype} tensor is in {FIELDS[_datatype]}; in another field it is refused.",
        partial(_typed_in_wrong_field, datatype=_datatype),
        identity(_datatype),
    )


@typed_rules()
async def too_many(server: Server) -> None:
    """Typed contents with more elements than the shape says are refused."""
    await _typed_of_wrong_count(server, "FP32", 5)


@typed_rules()
async def in_two_fields(server: Server) -> None:
    """The elements of one tensor are in one field only."""
    contents = {"fp32_contents": [1.0, 2.0], "fp64_contents": [1.0, 2.0]}
    given = [tensor("x", "FP32", [1, 2], contents)]
    await server.refused(INFER, request(FP32, given))


async def _halves_are_raw_only(server: Server, datatype: str) -> None:
    given = [tensor("x", datatype, [1, 2], {"fp32_contents": [1, 2]})]
    await server.refused(INFER, request(identity(datatype), given))


for _datatype in ("FP16", "BF16"):
    typed_rules.add(
        f"{_datatype.lower()}_is_raw_only",
        f"{_datatype} must be given as raw contents, there is no field for it.",
        partial(_halves_are_raw_only, datatype=_datatype),
        identity(_datatype),
    )


@typed_rules(ADD_SUB)
async def several_inputs(server: Server) -> None:
    """Each of several inputs may have typed contents."""
    given = [
        tensor("a", "INT32", [1, 4], {"int_contents": [1, 2, 3, 4]}),
        tensor("b", "INT32", [1, 4], {"int_contents": [4, 3, 2, 1]}),
    ]
    answer = await server.infer(request(ADD_SUB, given))
    expect_output(answer, "sum", np.full((1, 4), 5, np.int32))


@typed_rules()
async def means_the_same_as_raw(server: Server) -> None:
    """A tensor means the same raw and typed."""
    raw_answer = await server.infer(request(FP32, {"x": _X}))
    typed_answer = await server.infer(typed(FP32, "FP32", _X))
    expect_output(typed_answer, "y", outputs_of(raw_answer)["y"])


PARTS = (raw, typed_rules)

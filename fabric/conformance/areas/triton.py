"""The words and statuses of Triton's errors, which its clients match."""

# ruff: noqa: E501 - texts that clients match are kept whole
from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from fabric.conformance.checks import Broken, Rules
from fabric.conformance.dialects import UNKNOWN
from fabric.conformance.requests import request, tensor
from fabric.conformance.samples import (
    ADD_SUB,
    BYTES,
    FP32,
    LITERAL,
    MAX_BATCH,
    REPEAT,
    SEVERAL,
    VERSIONS,
)
from fabric.conformance.server import INFER

if TYPE_CHECKING:
    from fabric.api.inference.v2 import open_inference_pb2 as pb
    from fabric.conformance.server import Server

rules = Rules("triton", "Triton: infer_handler.cc, infer_request.cc", dialect="triton")
INVALID = "INVALID_ARGUMENT"
_EIGHT = bytes(8)
_X = tensor("x", "FP32", [1, 2])
_AB = {"a": np.zeros((1, 4), np.int32), "b": np.zeros((1, 4), np.int32)}


async def _says(
    server: Server, asked: pb.ModelInferRequest, text: str, code: str = INVALID
) -> None:
    refused = await server.refused(INFER, asked, code)
    if text not in refused.text:
        raise Broken(f"a text with {text!r}", refused.text)


def _rule(
    name: str, clause: str, model: str, asked: pb.ModelInferRequest, text: str, code: str = INVALID
) -> None:
    clause = f"{clause}: {code} with the words {text!r}."
    rules.add(name, clause, partial(_says, asked=asked, text=text, code=code), model)


_rule(
    "unknown_model",
    "An unknown model",
    FP32,
    request(UNKNOWN, [_X], raw=[_EIGHT]),
    f"Request for unknown model: '{UNKNOWN}' is not found",
    "NOT_FOUND",
)
_rule(
    "unknown_version",
    "An unknown version",
    VERSIONS,
    request(VERSIONS, {"x": np.zeros(1, np.float32)}, version="987654"),
    "Request for unknown model",
    "NOT_FOUND",
)
_rule(
    "wrong_datatype",
    "An input of another datatype",
    FP32,
    request(FP32, [tensor("x", "INT32", [1, 2])], raw=[_EIGHT]),
    f"inference input 'x' data-type is 'INT32', but model '{FP32}' expects 'FP32'",
)
_rule(
    "wrong_shape",
    "An input of another shape",
    LITERAL,
    request(LITERAL, [tensor("x", "FP32", [1, 3])], raw=[bytes(12)]),
    f"unexpected shape for input 'x' for model '{LITERAL}'. Expected [-1,4], got [1,3]",
)
_rule(
    "variable_shape",
    "A shape with -1",
    LITERAL,
    request(LITERAL, [tensor("x", "FP32", [-1, 4])], raw=[bytes(16)]),
    "All input dimensions should be specified for input 'x'",
)
_rule(
    "byte_size",
    "Raw contents of the wrong size",
    FP32,
    request(FP32, [_X], raw=[bytes(12)]),
    f"input byte size mismatch for input 'x' for model '{FP32}'. Expected 8, got 12",
)
_rule(
    "unknown_input",
    "An input that the model does not have",
    ADD_SUB,
    request(ADD_SUB, {**_AB, "z": _AB["a"]}),
    "'z'",
)
_rule(
    "duplicate_input",
    "An input named twice",
    FP32,
    request(FP32, [_X, _X], raw=[_EIGHT, _EIGHT]),
    "input 'x' already exists in request",
)
_rule(
    "missing_input",
    "Inputs that are missing",
    SEVERAL,
    request(SEVERAL, {"f": np.zeros(1, np.float32)}),
    f"expected 3 inputs but got 1 inputs for model '{SEVERAL}'. Got input(s) ['f'], but missing required input(s) ['n','s']. Please provide all required input(s).",
)
_rule(
    "no_data",
    "An input without contents",
    FP32,
    request(FP32, [_X]),
    f"unable to find data for input tensor 'x' for model '{FP32}' in request.",
)
_rule(
    "contents_beside_raw",
    "Contents beside raw ones",
    FP32,
    request(FP32, [tensor("x", "FP32", [1, 2], {"fp32_contents": [1, 2]})], raw=[_EIGHT]),
    f"contents field must not be specified when using raw_input_contents for 'x' for model '{FP32}'",
)
_rule(
    "wrong_field",
    "Contents in the field of another datatype",
    FP32,
    request(FP32, [tensor("x", "FP32", [1, 2], {"fp64_contents": [1, 2]})]),
    "unexpected explicit tensor data for input tensor 'x'",
)
_rule(
    "unknown_output",
    "An output that the model does not have",
    FP32,
    request(FP32, [_X], raw=[_EIGHT], outputs=["z"]),
    f"unexpected inference output 'z' for model '{FP32}'",
)
_rule(
    "batch_size",
    "More rows than max_batch_size",
    FP32,
    request(FP32, {"x": np.zeros((MAX_BATCH + 1, 2), np.float32)}),
    f"inference request batch-size must be <= {MAX_BATCH} for '{FP32}'",
)
_rule(
    "batch_mismatch",
    "Inputs of different numbers of rows",
    ADD_SUB,
    request(ADD_SUB, {"a": np.zeros((2, 4), np.int32), "b": np.zeros((1, 4), np.int32)}),
    f"batch size does not match other inputs for '{ADD_SUB}'",
)
_rule(
    "bytes_length",
    "A length of BYTES that is cut off",
    BYTES,
    request(BYTES, [tensor("x", "BYTES", [1, 1])], raw=[b"\1\0"]),
    "incomplete string length indicator for inference input 'x'",
)
_rule(
    "bytes_too_many",
    "Too many elements of BYTES",
    BYTES,
    request(BYTES, [tensor("x", "BYTES", [1, 1])], raw=[bytes(8)]),
    "unexpected number of string elements 2 for inference input 'x'",
)
_rule(
    "bytes_too_few",
    "Too few elements of BYTES",
    BYTES,
    request(BYTES, [tensor("x", "BYTES", [1, 2])], raw=[bytes(4)]),
    "expected 2 string elements for inference input 'x'",
)
_rule(
    "decoupled",
    "A decoupled model by ModelInfer",
    REPEAT,
    request(REPEAT, {"count": np.ones(1, np.int32), "pause": np.zeros(1, np.int32)}),
    "decoupled",
    "UNIMPLEMENTED",
)


@rules(FP32)
async def typed_inputs_are_answered_raw(server: Server) -> None:
    """Outputs are raw also where inputs are typed: Triton's clients read nothing else."""
    contents = {"fp32_contents": [1.0, 2.0]}
    answer = await server.infer(request(FP32, [tensor("x", "FP32", [1, 2], contents)]))
    if len(answer.raw_output_contents) != 1:
        raise Broken("one entry of raw_output_contents", len(answer.raw_output_contents))


@rules("oip_identity_int8", source="Triton: InferTensorContents.int_contents")
async def small_integers_keep_their_low_bytes(server: Server) -> None:
    """An INT8 in int_contents keeps the low byte of what is given."""
    given = [tensor("x", "INT8", [1, 2], {"int_contents": [0x101, -1]})]
    answer = await server.infer(request("oip_identity_int8", given))
    if answer.raw_output_contents[0] != b"\x01\xff":
        raise Broken(b"\x01\xff", answer.raw_output_contents[0])


PARTS = (rules,)

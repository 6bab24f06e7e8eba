"""REST with binary tensors behind the JSON."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fabric.conformance.checks import Broken, Rules, expect_equal
from fabric.conformance.documents import document_of, expect_refusal, output_of
from fabric.conformance.requests import example
from fabric.conformance.samples import ADD_SUB, FP32, SEVERAL, identity
from fabric.core.tensors import DTYPES
from fabric.wire.tensors import to_raw

if TYPE_CHECKING:
    import httpx

    from fabric.conformance.server import Server

rules = Rules(
    "rest.binary", "Triton: binary tensor data extension", FP32, extension="binary_tensor_data"
)
LENGTH = "inference-header-content-length"
_X = np.array([[1.5, -2.0]], np.float32)
_RAW = _X.tobytes()


def _input(
    name: str, datatype: str, shape: list[int], size: int | str | None = None, **changed: Any
) -> dict[str, Any]:
    said = {"name": name, "datatype": datatype, "shape": shape, **changed}
    return said if size is None else {**said, "parameters": {"binary_data_size": size}}


async def _post(
    server: Server,
    model: str,
    document: dict[str, Any],
    *binary: bytes,
    length: str | None = None,
) -> httpx.Response:
    """The response to *document* with *binary* behind it."""
    head = json.dumps(document).encode()
    return await server.rest(
        "POST",
        f"/v2/models/{model}/infer",
        content=b"".join((head, *binary)),
        headers={
            LENGTH: str(len(head)) if length is None else length,
            "content-type": "application/octet-stream",
        },
    )


def _read(response: httpx.Response) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The document and the binary data by output."""
    expect_equal(response.status_code, 200, "status")
    at = int(response.headers.get(LENGTH, len(response.content)))
    try:
        document: dict[str, Any] = json.loads(response.content[:at])
    except ValueError as error:
        raise Broken(f"JSON in the first {at} bytes", error) from None
    binary = {}
    for output in document["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        if size is not None:
            binary[output["name"]] = response.content[at : at + size]
            at += size
    expect_equal(at, len(response.content), "end of the binary data")
    return document, binary


_WANTED = [{"name": "y", "parameters": {"binary_data": True}}]


# ------------------------------------------------------------------ both ways
async def _comes_back(server: Server, datatype: str) -> None:
    x = example(datatype, 2)
    raw = to_raw(x, datatype)
    asked = {"inputs": [_input("x", datatype, [2, 4], len(raw))], "outputs": _WANTED}
    document, binary = _read(await _post(server, identity(datatype), asked, raw))
    found = output_of(document)
    expect_equal((found["datatype"], found["shape"]), (datatype, [2, 4]), "datatype and shape")
    expect_equal(binary["y"], raw, "binary data")


for _datatype in DTYPES:
    rules.add(
        f"{_datatype.lower()}_comes_back",
        f"A {_datatype} tensor behind the JSON comes back behind the JSON, bit for bit.",
        partial(_comes_back, datatype=_datatype),
        identity(_datatype),
    )


@rules()
async def in_and_json_out(server: Server) -> None:
    """Without binary_data an output is JSON, also where the input was binary."""
    asked = {"inputs": [_input("x", "FP32", [1, 2], 8)], "outputs": [{"name": "y"}]}
    response = await _post(server, FP32, asked, _RAW)
    expect_equal(output_of(document_of(response))["data"], [1.5, -2.0], "data")


@rules()
async def json_in_and_binary_out(server: Server) -> None:
    """An output may be binary where the input was JSON."""
    x = _input("x", "FP32", [1, 2], data=[1.5, -2.0])
    path = f"/v2/models/{FP32}/infer"
    asked = {"inputs": [x], "outputs": _WANTED}
    _, binary = _read(await server.rest("POST", path, json=asked))
    expect_equal(binary["y"], _RAW, "binary data")


@rules()
async def all_outputs_by_one_parameter(server: Server) -> None:
    """binary_data_output: true makes all outputs binary."""
    inputs = [_input("x", "FP32", [1, 2], 8)]
    asked = {"inputs": inputs, "parameters": {"binary_data_output": True}}
    _, binary = _read(await _post(server, FP32, asked, _RAW))
    expect_equal(binary, {"y": _RAW}, "binary data")


@rules()
async def the_parameter_of_the_output_counts_first(server: Server) -> None:
    """binary_data: false of an output goes before binary_data_output: true."""
    asked = {
        "inputs": [_input("x", "FP32", [1, 2], 8)],
        "outputs": [{"name": "y", "parameters": {"binary_data": False}}],
        "parameters": {"binary_data_output": True},
    }
    response = await _post(server, FP32, asked, _RAW)
    expect_equal(output_of(document_of(response))["data"], [1.5, -2.0], "data")


@rules(ADD_SUB)
async def some_inputs_only(server: Server) -> None:
    """Of several inputs some may be binary and some JSON."""
    a, b = np.array([1, 2, 3, 4], np.int32), [5, 6, 7, 8]
    inputs = [
        _input("b", "INT32", [1, 4], data=b),
        _input("a", "INT32", [1, 4], 16),
    ]
    wanted = [{"name": "sum", "parameters": {"binary_data": True}}, {"name": "difference"}]
    response = await _post(server, ADD_SUB, {"inputs": inputs, "outputs": wanted}, a.tobytes())
    document, binary = _read(response)
    expect_equal(binary["sum"], (a + b).astype(np.int32).tobytes(), "sum")
    expect_equal(output_of(document, "difference")["data"], [-4] * 4, "difference")


@rules(SEVERAL)
async def in_the_order_of_inputs(server: Server) -> None:
    """Binary data are in the order of the inputs that have a binary_data_size."""
    f, n, s = np.ones(2, np.float32), np.arange(3), np.array([b"text"], np.object_)
    raws = {"n": n.tobytes(), "s": to_raw(s, "BYTES"), "f": f.tobytes()}
    kinds = {"n": ("INT64", [3]), "s": ("BYTES", [1]), "f": ("FP32", [2])}
    inputs = [_input(name, *kinds[name], len(raw)) for name, raw in raws.items()]
    asked = {"inputs": inputs, "parameters": {"binary_data_output": True}}
    _, binary = _read(await _post(server, SEVERAL, asked, *raws.values()))
    expect_equal(binary, {f"{name}_out": raw for name, raw in raws.items()}, "binary data")


@rules()
async def of_an_empty_tensor(server: Server) -> None:
    """A tensor without elements has a binary_data_size of 0."""
    asked = {"inputs": [_input("x", "FP32", [1, 0], 0)], "outputs": _WANTED}
    document, binary = _read(await _post(server, FP32, asked))
    expect_equal((output_of(document)["shape"], binary["y"]), ([1, 0], b""), "shape and data")


# ------------------------------------------------------------------ errors
async def _refused(server: Server, size: Any, raw: bytes = _RAW, length: str | None = None) -> None:
    asked = {"inputs": [_input("x", "FP32", [1, 2], size)]}
    expect_refusal(await _post(server, FP32, asked, raw, length=length))


_WRONG: dict[str, tuple[str, dict[str, Any]]] = {
    "size_too_small": ("A binary_data_size below what the shape says", {"size": 4}),
    "size_too_large": ("A binary_data_size above what is there", {"size": 1000}),
    "size_negative": ("A negative binary_data_size", {"size": -8}),
    "size_of_text": ("A binary_data_size that is no number", {"size": "eight"}),
    "more_than_sizes_say": ("More binary data than all sizes say", {"size": 8, "raw": bytes(12)}),
    "less_than_sizes_say": ("Less binary data than all sizes say", {"size": 8, "raw": bytes(4)}),
    "length_too_large": ("A length of the JSON past the end", {"size": 8, "length": "100000"}),
    "length_too_small": ("A length that cuts the JSON", {"size": 8, "length": "10"}),
    "length_negative": ("A negative length of the JSON", {"size": 8, "length": "-1"}),
    "length_of_text": ("A length of the JSON that is no number", {"size": 8, "length": "many"}),
}
for _name, (_what, _given) in _WRONG.items():
    rules.add(_name, f"{_what} has an error status and an error.", partial(_refused, **_given))


PARTS = (rules,)

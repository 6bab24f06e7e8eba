"""REST: how requests fail."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from fabric.conformance.checks import Rules, expect, expect_equal
from fabric.conformance.dialects import UNKNOWN
from fabric.conformance.documents import (
    X,
    ask,
    data_of,
    expect_refusal,
    input_of,
    object_of,
    refused,
)
from fabric.conformance.samples import (
    FAILING,
    FP32,
    VERSIONS,
)
from fabric.conformance.server import check_versions

if TYPE_CHECKING:
    from fabric.conformance.server import Server

errors = Rules("rest.errors", "OIP v2 REST: Inference Response JSON Error Object", FP32)


async def _refused(server: Server, model: str, fields: dict[str, Any]) -> None:
    await refused(server, model, **fields)


_WRONG: dict[str, tuple[str, dict[str, Any]]] = {
    "unknown_input": ("with an input that the model does not have", input_of(name="z")),
    "unknown_output": (
        "for an output that the model does not have",
        {**input_of(), "outputs": [{"name": "z"}]},
    ),
    "unknown_datatype": ("with a datatype that does not exist", input_of(datatype="FLOAT")),
    "wrong_datatype": ("with another datatype than the model's", input_of(datatype="INT64")),
    "wrong_rank": ("with more dimensions than the model's", input_of(shape=[1, 1, 2])),
    "negative_size": ("with a negative size", input_of(shape=[-1, 2])),
    "too_few_elements": ("with fewer elements than the shape says", input_of(data=[1])),
    "too_many_elements": ("with more elements than the shape says", input_of(data=[1, 2, 3])),
    "text_for_a_number": ("with a text for a number", input_of(data=["a", "b"])),
    "data_of_no_list": ("whose data are an object", input_of(data={"a": 1})),
    "no_data": ("with an input without data", input_of(data=...)),
    "no_shape": ("with an input without a shape", input_of(shape=...)),
    "no_name": ("with an input without a name", input_of(name=...)),
    "no_datatype": ("with an input without a datatype", input_of(datatype=...)),
    "shape_of_texts": ("whose shape is no list of numbers", input_of(shape=["one", "two"])),
    "shape_of_fractions": ("whose shape has fractions", input_of(shape=[1.5, 2])),
    "overflow": ("whose shape is over 64 bits", input_of(shape=[2**62, 2**62])),
    "no_inputs": ("without inputs", {}),
    "inputs_of_no_list": ("whose inputs are an object", {"inputs": {"x": X}}),
    "inputs_of_numbers": ("whose inputs are numbers", {"inputs": [1, 2]}),
}
for _name, (_what, _fields) in _WRONG.items():
    if "inputs" in _fields or not _fields:
        errors.add(
            _name,
            f"A request {_what} has an error status and an error object.",
            partial(_refused, model=FP32, fields=_fields),
            FP32,
        )


@errors()
async def wrong_requests_are_the_callers(server: Server) -> None:
    """What a caller did wrong has a status of 4xx, typically 400, and not one of the server's
    own faults."""
    path = f"/v2/models/{FP32}/infer"
    for what, fields in _WRONG.values():
        status = (await server.rest("POST", path, json=fields)).status_code
        expect(400 <= status < 500, f"a status of 4xx for a request {what}", status)


async def _body_refused(server: Server, content: bytes) -> None:
    path = f"/v2/models/{FP32}/infer"
    expect_refusal(await server.rest("POST", path, content=content))


for _name, _content in {
    "no_json": b"{no json",
    "no_object": b"[1, 2]",
    "nothing": b"",
    "no_text": b"\xff\xfe\x00",
    "half_an_object": b'{"inputs": [',
    "deep_nesting": b"[" * 100_000,
}.items():
    errors.add(
        f"body_of_{_name}",
        "A body that is no JSON object has an error status and an error object.",
        partial(_body_refused, content=_content),
        FP32,
    )


@errors()
async def naming_an_unknown_model(server: Server) -> None:
    """A request for a model that does not exist has an error status and an error that names it."""
    text = await refused(server, UNKNOWN, X)
    expect(UNKNOWN in text, f"a text that names {UNKNOWN!r}", text)


@errors(VERSIONS)
async def naming_an_unknown_version(server: Server) -> None:
    """A request for a version that does not exist has an error status and an error object."""
    check_versions(server)
    await refused(server, f"{VERSIONS}/versions/987654", X)


@errors(FAILING)
async def of_a_model_that_fails(server: Server) -> None:
    """A model whose run fails has an error status and an error object, and goes on."""
    x = {"name": "x", "datatype": "INT64", "shape": [1], "data": [99]}
    asked = {"inputs": [x]}
    response = await server.rest("POST", f"/v2/models/{FAILING}/infer", json=asked)
    expect(400 <= response.status_code < 600, "an error status", response.status_code)
    expect(isinstance(object_of(response).get("error"), str), "an error", response.text[:200])
    found = await ask(server, FAILING, {**x, "data": [3]})
    expect_equal(data_of(found), [3.0], "data")


@errors()
async def of_an_unknown_path(server: Server) -> None:
    """A path that does not exist has status 404."""
    response = await server.rest("GET", "/v2/no/such/path")
    expect_equal(response.status_code, 404, "status")


@errors()
async def of_a_wrong_verb(server: Server) -> None:
    """GET of an inference has a status of 4xx."""
    response = await server.rest("GET", f"/v2/models/{FP32}/infer")
    expect(400 <= response.status_code < 500, "a status of 4xx", response.status_code)


@errors()
async def are_no_end(server: Server) -> None:
    """After errors the server answers as before."""
    await _body_refused(server, b"{no json")
    expect_equal(data_of(await ask(server, FP32, X)), X["data"], "data")


PARTS = (errors,)

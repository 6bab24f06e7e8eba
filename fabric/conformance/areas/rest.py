"""REST: health, metadata and inference as JSON."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fabric.conformance.checks import NotOffered, Rules, expect, expect_equal
from fabric.conformance.dialects import UNKNOWN
from fabric.conformance.documents import (
    X,
    ask,
    data_of,
    document_of,
    expect_refusal,
    flat,
    get,
    output_of,
)
from fabric.conformance.requests import FIELDS
from fabric.conformance.samples import (
    ADD_SUB,
    FP32,
    LITERAL,
    SCALAR,
    VERSIONS,
    identity,
)
from fabric.conformance.server import check_versions, within
from fabric.core.tensors import DTYPES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fabric.conformance.server import Server

health = Rules("rest.health", "OIP v2 REST: Server Live, Server Ready, Model Ready", FP32)
metadata = Rules("rest.metadata", "OIP v2 REST: Server Metadata, Model Metadata", FP32)
infer = Rules("rest.infer", "OIP v2 REST: Inference", FP32)


# ------------------------------------------------------------------ health
async def _well(server: Server, path: str) -> None:
    response = await server.rest("GET", path)
    expect_equal(response.status_code, 200, "status")


for _name, _path in {
    "live": "/v2/health/live",
    "ready": "/v2/health/ready",
    "model": f"/v2/models/{FP32}/ready",
}.items():
    health.add(_name, f"GET {_path} has status 200.", partial(_well, path=_path), FP32)


@health(VERSIONS)
async def version(server: Server) -> None:
    """GET of the readiness of a version has status 200."""
    check_versions(server)
    await _well(server, f"/v2/models/{VERSIONS}/versions/10/ready")


@health()
async def unknown_model(server: Server) -> None:
    """The readiness of a model that does not exist has another status than 200."""
    response = await server.rest("GET", f"/v2/models/{UNKNOWN}/ready")
    expect(400 <= response.status_code < 600, "an error", response.status_code)


# ------------------------------------------------------------------ metadata
@metadata()
async def of_the_server(server: Server) -> None:
    """GET /v2 gives name, version and extensions."""
    found = await get(server, "/v2")
    expect(isinstance(found.get("name"), str) and found["name"], "a name", found)
    expect(isinstance(found.get("version"), str) and found["version"], "a version", found)
    expect(isinstance(found.get("extensions"), list), "a list of extensions", found)


@metadata()
async def are_json(server: Server) -> None:
    """Documents are of the content type application/json."""
    response = await server.rest("GET", "/v2")
    kind = response.headers.get("content-type", "")
    expect(kind.startswith("application/json"), "application/json", kind)


async def _tensors(server: Server, datatype: str) -> None:
    found = await get(server, f"/v2/models/{identity(datatype)}")
    expect_equal(found["name"], identity(datatype), "name")
    expect(isinstance(found.get("platform"), str), "a platform", found)
    for kind, name in (("inputs", "x"), ("outputs", "y")):
        expect_equal(found[kind], [{"name": name, "datatype": datatype, "shape": [-1, -1]}], kind)


for _datatype in DTYPES:
    metadata.add(
        f"of_{_datatype.lower()}",
        f"Metadata of a model of {_datatype} give name, datatype and shape of each tensor, "
        "sizes as numbers, -1 where variable.",
        partial(_tensors, datatype=_datatype),
        identity(_datatype),
    )


@metadata(VERSIONS)
async def versions_are_named(server: Server) -> None:
    """Metadata name the versions that can be asked for."""
    found = await get(server, f"/v2/models/{VERSIONS}")
    if not found.get("versions"):
        raise NotOffered("the server names no versions")
    expect_equal(sorted(found["versions"]), ["10", "2"], "versions")


@metadata(VERSIONS)
async def of_a_version(server: Server) -> None:
    """GET /v2/models/{name}/versions/{version} gives the metadata of a version."""
    check_versions(server)
    found = await get(server, f"/v2/models/{VERSIONS}/versions/2")
    expect_equal(found["name"], VERSIONS, "name")


@metadata()
async def of_an_unknown_model(server: Server) -> None:
    """Metadata of a model that does not exist are an error object with an error status."""
    expect_refusal(await server.rest("GET", f"/v2/models/{UNKNOWN}"))


@metadata()
async def of_an_unknown_version(server: Server) -> None:
    """Metadata of a version that does not exist are an error object with an error status."""
    check_versions(server)
    expect_refusal(await server.rest("GET", f"/v2/models/{FP32}/versions/987654"))


# ------------------------------------------------------------------ inference
def _json_example(datatype: str) -> list[Any]:
    if datatype == "BYTES":
        return ["text", "", 'ü€ "quoted" \\ \n', "x" * 300]
    if datatype == "BOOL":
        return [True, False, True, True]
    if datatype.startswith("FP"):
        return [0.5, -2.25, 0.0, 1e10]
    limits = np.iinfo(DTYPES[datatype])
    return [int(limits.min), int(limits.max), 0, 7]


async def _comes_back(server: Server, datatype: str) -> None:
    data = _json_example(datatype)
    x = {"name": "x", "datatype": datatype, "shape": [2, 2], "data": data}
    found = output_of(await ask(server, identity(datatype), x))
    expect_equal((found["datatype"], found["shape"]), (datatype, [2, 2]), "datatype and shape")
    expect_equal(flat(found["data"]), data, "data")


for _datatype in FIELDS:
    infer.add(
        f"{_datatype.lower()}_comes_back",
        f"A {_datatype} tensor as JSON comes back as it was.",
        partial(_comes_back, datatype=_datatype),
        identity(_datatype),
    )


@infer()
async def data_may_be_nested(server: Server) -> None:
    """Data may be given in nested arrays as well as flat, and mean the same."""
    x = {"name": "x", "datatype": "FP32", "shape": [2, 3], "data": [[1, 2, 3], [4, 5, 6]]}
    expect_equal(data_of(await ask(server, FP32, x)), [1, 2, 3, 4, 5, 6], "data")


@infer(SCALAR)
async def a_scalar(server: Server) -> None:
    """A tensor of shape [] has one element."""
    shape = (await get(server, f"/v2/models/{SCALAR}"))["inputs"][0]["shape"]
    if shape:
        raise NotOffered(f"the model is served with shape {shape}")
    x = {"name": "x", "datatype": "FP32", "shape": [], "data": [2.5]}
    found = output_of(await ask(server, SCALAR, x))
    expect_equal((found["shape"], flat(found["data"])), ([], [2.5]), "shape and data")


@infer(LITERAL)
async def an_empty_tensor(server: Server) -> None:
    """A tensor with a dimension of 0 has no elements, and keeps its shape."""
    x = {"name": "x", "datatype": "FP32", "shape": [0, 4], "data": []}
    found = output_of(await ask(server, LITERAL, x))
    expect_equal((found["shape"], flat(found["data"])), ([0, 4], []), "shape and data")


@infer()
async def the_id_comes_back(server: Server) -> None:
    """If an id is given, it is returned in the response."""
    expect_equal((await ask(server, FP32, X, id='ü "42"')).get("id"), 'ü "42"', "id")


@infer()
async def the_model_is_named(server: Server) -> None:
    """The response names the model."""
    expect_equal((await ask(server, FP32, X)).get("model_name"), FP32, "model_name")


@infer(VERSIONS)
async def the_version_is_named(server: Server) -> None:
    """A version is asked for in the path, and the response says which answered."""
    check_versions(server)
    x = {"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}
    for version in ("2", "10"):
        found = await ask(server, f"{VERSIONS}/versions/{version}", x)
        expect_equal(found.get("model_version"), version, "model_version")
        expect_equal(data_of(found), [1.0 + float(version)], "data")


@infer()
async def parameters_are_passed_by(server: Server) -> None:
    """Parameters of the request, of inputs and of outputs may be anything of their own."""
    own = {"own_text": "a", "own_number": 7, "own_flag": True}
    wanted = [{"name": "y", "parameters": own}]
    answer = await ask(server, FP32, {**X, "parameters": own}, parameters=own, outputs=wanted)
    expect_equal(data_of(answer), X["data"], "data")


_AB = [
    {"name": "b", "datatype": "INT32", "shape": [1, 4], "data": [5, 6, 7, 8]},
    {"name": "a", "datatype": "INT32", "shape": [1, 4], "data": [1, 2, 3, 4]},
]


@infer(ADD_SUB)
async def several_inputs_and_outputs(server: Server) -> None:
    """Inputs and outputs are told apart by name; without a wish all outputs are given."""
    answer = await ask(server, ADD_SUB, *_AB)
    expect_equal(data_of(answer, "sum"), [6, 8, 10, 12], "sum")
    expect_equal(data_of(answer, "difference"), [-4] * 4, "difference")


@infer(ADD_SUB)
async def outputs_asked_for(server: Server) -> None:
    """Only the outputs that are asked for are given."""
    answer = await ask(server, ADD_SUB, *_AB, outputs=[{"name": "sum"}])
    expect_equal([each["name"] for each in answer["outputs"]], ["sum"], "outputs")


@infer()
async def an_empty_list_of_outputs(server: Server) -> None:
    """An empty list of outputs means all of them."""
    expect_equal(data_of(await ask(server, FP32, X, outputs=[])), X["data"], "data")


@infer()
async def numbers_without_a_point(server: Server) -> None:
    """Elements of FP32 may be written as whole numbers."""
    expect_equal(data_of(await ask(server, FP32, {**X, "data": [1, 2]})), [1.0, 2.0], "data")


@infer()
async def at_the_same_time(server: Server) -> None:
    """Forty requests at the same time get their own answers."""
    asked = [{**X, "data": [n, -n]} for n in range(40)]
    answers = await within(30, *(ask(server, FP32, each) for each in asked))
    expect_equal([data_of(each) for each in answers], [each["data"] for each in asked], "data")


@infer()
async def in_chunks(server: Server) -> None:
    """A body may come in chunks, without a content length."""

    async def chunks() -> AsyncIterator[bytes]:
        body = json.dumps({"inputs": [X]}).encode()
        for at in range(0, len(body), 16):
            yield body[at : at + 16]

    response = await server.rest("POST", f"/v2/models/{FP32}/infer", content=chunks())
    expect_equal(data_of(document_of(response)), X["data"], "data")


@infer()
async def a_megabyte(server: Server) -> None:
    """A body of a megabyte and more passes, both ways."""
    data = [float(n) for n in range(200_000)]
    answer = await ask(server, FP32, {**X, "shape": [1, len(data)], "data": data})
    expect(data_of(answer) == data, "the data as they came", "others")


PARTS = (health, metadata, infer)

"""REST: content codings, and what Triton adds."""

from __future__ import annotations

import gzip
import json
import zlib
from functools import partial
from typing import TYPE_CHECKING, Any

from fabric.conformance.checks import NotOffered, Rules, expect, expect_equal
from fabric.conformance.dialects import UNKNOWN
from fabric.conformance.documents import (
    X,
    ask,
    data_of,
    document_of,
    expect_refusal,
    get,
    input_of,
    refused,
)
from fabric.conformance.samples import (
    BYTES,
    CLASSES,
    FP32,
)

if TYPE_CHECKING:
    from fabric.conformance.server import Server

codings = Rules("rest.codings", "HTTP: RFC 9110, content codings", FP32)
coded = Rules("rest.codings", "Triton: HTTP compression", FP32, dialect="triton")
triton = Rules("rest.triton", "Triton: http_server.cc", FP32, dialect="triton")


# ------------------------------------------------------------------ codings
async def _coded(server: Server, how: str) -> None:
    body = json.dumps({"inputs": [X]}).encode()
    content = gzip.compress(body) if how == "gzip" else zlib.compress(body)
    response = await server.rest(
        "POST", f"/v2/models/{FP32}/infer", content=content, headers={"content-encoding": how}
    )
    if response.status_code == 415:
        raise NotOffered(f"the server takes no content-encoding: {how}")
    expect_equal(data_of(document_of(response)), X["data"], "data")


async def _coded_back(server: Server, how: str) -> None:
    body = json.dumps({"inputs": [X]}).encode()
    response = await server.rest(
        "POST", f"/v2/models/{FP32}/infer", content=body, headers={"accept-encoding": how}
    )
    coding = response.headers.get("content-encoding", "identity")
    expect(coding in (how, "identity"), f"{how} or identity", coding)
    expect_equal(data_of(document_of(response)), X["data"], "data")


for _how in ("gzip", "deflate"):
    coded.add(
        f"{_how}_request",
        f"A body with content-encoding: {_how} is read.",
        partial(_coded, how=_how),
    )
    codings.add(
        f"{_how}_response",
        f"A client that accepts {_how} gets that or a plain response.",
        partial(_coded_back, how=_how),
    )


@codings()
async def broken_gzip(server: Server) -> None:
    """A body that is no gzip though it says so has a status of 4xx."""
    response = await server.rest(
        "POST",
        f"/v2/models/{FP32}/infer",
        content=b"no gzip",
        headers={"content-encoding": "gzip"},
    )
    expect(400 <= response.status_code < 500, "a status of 4xx", response.status_code)


# ------------------------------------------------------------------ Triton's dialect
async def _words(server: Server, model: str, fields: dict[str, Any], text: str) -> None:
    got = await refused(server, model, **fields)
    expect(text in got, f"a text with {text!r}", got)


for _name, _model, _fields, _text in (
    ("unknown_model", UNKNOWN, input_of(), f"Request for unknown model: '{UNKNOWN}' is not found"),
    ("wrong_datatype", FP32, input_of(datatype="INT64", data=[1, 2]), "data-type is 'INT64'"),
    ("unknown_output", FP32, {**input_of(), "outputs": [{"name": "z"}]}, "unexpected inference"),
    ("input_twice", FP32, {"inputs": [X, X]}, "already exists in request"),
):
    triton.add(
        f"words_for_{_name}",
        f"The error says what Triton's clients match: {_text!r}.",
        partial(_words, model=_model, fields=_fields, text=_text),
        FP32,
    )


@triton()
async def configuration(server: Server) -> None:
    """GET /v2/models/{name}/config gives the model's configuration."""
    found = await get(server, f"/v2/models/{FP32}/config")
    expect_equal(found.get("name"), FP32, "name")
    expect_equal(int(found.get("max_batch_size", 0)), 8, "max_batch_size")


@triton()
async def statistics(server: Server) -> None:
    """GET /v2/models/{name}/stats gives the model's statistics."""
    found = await get(server, f"/v2/models/{FP32}/stats")
    expect_equal([each["name"] for each in found["model_stats"]], [FP32], "models")


@triton()
async def statistics_of_all(server: Server) -> None:
    """GET /v2/models/stats gives the statistics of all models."""
    found = await get(server, "/v2/models/stats")
    expect(FP32 in {each["name"] for each in found["model_stats"]}, FP32, found)


@triton()
async def index(server: Server) -> None:
    """POST /v2/repository/index gives a list of models with their states."""
    response = await server.rest("POST", "/v2/repository/index", json={})
    expect_equal(response.status_code, 200, "status")
    states = {each["name"]: each.get("state") for each in response.json()}
    expect_equal(states.get(FP32), "READY", f"state of {FP32}")


@triton()
async def unknown_models_cannot_be_loaded(server: Server) -> None:
    """Loading a model that does not exist has an error status and an error object."""
    path = f"/v2/repository/models/{UNKNOWN}/load"
    expect_refusal(await server.rest("POST", path, json={}))


@triton(CLASSES)
async def classification(server: Server) -> None:
    """The output parameter `classification` gives value:index:label."""
    x = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [0, 2, 1, 0]}
    wanted = [{"name": "y", "parameters": {"classification": 1}}]
    (found,) = data_of(await ask(server, CLASSES, x, outputs=wanted))
    expect_equal(found.split(":")[1:], ["1", "one"], "index and label")


@triton()
async def regions(server: Server) -> None:
    """GET /v2/systemsharedmemory/status gives a list."""
    response = await server.rest("GET", "/v2/systemsharedmemory/status")
    if response.status_code in (403, 501):
        raise NotOffered(response.text[:200])
    expect_equal(response.status_code, 200, "status")
    expect(isinstance(response.json(), list), "a list", response.text[:200])


@triton()
async def trace_settings(server: Server) -> None:
    """GET /v2/trace/setting gives the settings that hold."""
    expect("trace_level" in await get(server, "/v2/trace/setting"), "trace_level", "none")


@triton()
async def log_settings(server: Server) -> None:
    """GET /v2/logging gives the settings that hold."""
    expect("log_info" in await get(server, "/v2/logging"), "log_info", "none")


@triton(BYTES)
async def bytes_keep_their_marks(server: Server) -> None:
    """Elements of BYTES with control characters come back."""
    data = ["a\u0001b", "\t\r\n"]
    x = {"name": "x", "datatype": "BYTES", "shape": [1, 2], "data": data}
    expect_equal(data_of(await ask(server, BYTES, x)), data, "data")


PARTS = (codings, coded, triton)

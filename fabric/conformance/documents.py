"""Requests for inference as JSON, and documents that answer them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fabric.conformance.checks import Broken, expect, expect_equal

if TYPE_CHECKING:
    import httpx

    from fabric.conformance.server import Server

X: dict[str, Any] = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.5, -2.0]}
"""An input of the model that gives FP32 as it came."""


def document_of(response: httpx.Response) -> dict[str, Any]:
    """The JSON object of a response that succeeded. Raises Broken if it is none."""
    expect_equal(response.status_code, 200, f"status of {response.request.url.path}")
    return object_of(response)


def object_of(response: httpx.Response) -> dict[str, Any]:
    """The JSON object of *response*, whatever its status. Raises Broken if it is none."""
    try:
        document = response.json()
    except ValueError as error:
        raise Broken("a JSON object", f"{response.text[:200]!r}: {error}") from None
    expect(isinstance(document, dict), "a JSON object", document)
    found: dict[str, Any] = document
    return found


async def get(server: Server, path: str) -> dict[str, Any]:
    return document_of(await server.rest("GET", path))


async def ask(server: Server, model: str, *inputs: Any, **fields: Any) -> dict[str, Any]:
    """The document that answers an inference."""
    asked = {"inputs": list(inputs), **fields}
    return document_of(await server.rest("POST", f"/v2/models/{model}/infer", json=asked))


def expect_refusal(response: httpx.Response) -> str:
    """The error of *response*. Raises Broken unless it is one as the protocol has it."""
    status = response.status_code
    expect(400 <= status < 600, "an error status", f"{status}: {response.text[:200]}")
    error = object_of(response).get("error")
    expect(isinstance(error, str) and error, 'an object {"error": text}', response.text[:200])
    return str(error)


async def refused(server: Server, model: str, *inputs: Any, **fields: Any) -> str:
    """The error that an inference ends with."""
    asked = {"inputs": list(inputs), **fields}
    return expect_refusal(await server.rest("POST", f"/v2/models/{model}/infer", json=asked))


def flat(value: Any) -> list[Any]:
    """The elements of nested lists, row-major."""
    return [each for item in value for each in flat(item)] if isinstance(value, list) else [value]


def output_of(document: dict[str, Any], name: str = "y") -> dict[str, Any]:
    found: dict[str, dict[str, Any]] = {each["name"]: each for each in document["outputs"]}
    expect(name in found, f"an output {name!r}", sorted(found))
    return found[name]


def data_of(document: dict[str, Any], name: str = "y") -> list[Any]:
    return flat(output_of(document, name)["data"])


def input_of(**changed: Any) -> dict[str, Any]:
    """The fields of a request with `X`, *changed*; what is `...` is left out."""
    said = {**X, **changed}
    return {"inputs": [{key: value for key, value in said.items() if value is not ...}]}

"""The OpenAPI document says what is served."""

from __future__ import annotations

import re

import httpx
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from fabric.api.inference.v2 import open_inference_service_pb2
from fabric.gateway.endpoints import DOCUMENT, ENDPOINTS, Node
from fabric.gateway.openapi import document

SERVED = document()
CALLS = open_inference_service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
ALL = (*ENDPOINTS, DOCUMENT)


def test_the_document_is_valid():
    """By the rules of OpenAPI 3.1."""
    OpenAPIV31SpecValidator(SERVED).validate()


def test_every_endpoint_is_in_the_document():
    """And no other."""
    said = {(verb.upper(), path) for path, verbs in SERVED["paths"].items() for verb in verbs}
    assert said == {(endpoint.verb, endpoint.path) for endpoint in ALL}


def test_every_call_but_the_stream_has_an_endpoint():
    """A call that is added must be, too."""
    calls = {endpoint.call for endpoint in ENDPOINTS}
    assert calls == {call.name for call in CALLS} - {"ModelStreamInfer"}


@pytest.mark.parametrize("endpoint", ALL, ids=lambda each: f"{each.verb} {each.path}")
def test_every_endpoint_is_found_by_its_path(endpoint):
    """With the names in it."""
    root = Node()
    for each in ALL:
        root.add(each)
    segments = re.sub(r"{(\w+)}", r"<\1>", endpoint.path).split("/")[1:]
    node, names = root.find(segments)
    assert node.endpoints[endpoint.verb] is endpoint
    assert names == [f"<{name}>" for name in endpoint.variables]


def test_literal_names_go_first():
    """A model that is called as one is reached wherever there is no doubt."""
    root = Node()
    for each in ALL:
        root.add(each)
    assert root.find(["v2", "models", "stats"])[0].endpoints["GET"].call == "ModelStatistics"
    node, names = root.find(["v2", "models", "stats", "infer"])
    assert (node.endpoints["POST"].call, names) == ("ModelInfer", ["stats"])
    assert root.find(["v2", "models", "{}"])[1] == ["{}"]
    assert root.find(["v2", "models", "", "infer"]) is None


@pytest.fixture(scope="module")
def http(running):
    with httpx.Client(base_url=f"http://{running.address}", trust_env=False, timeout=20) as made:
        yield made


def test_the_document_is_served(http):
    """Whole."""
    assert http.get("/v2/openapi.json").json() == SERVED


@pytest.mark.parametrize("endpoint", ALL, ids=lambda each: f"{each.verb} {each.path}")
def test_every_endpoint_answers_as_the_document_says(http, endpoint):
    """With a document of its schema, or with one of an error's."""
    path = re.sub(r"{\w+}", "none", endpoint.path)
    response = http.request(endpoint.verb, path, content=b"{}" if endpoint.verb == "POST" else None)
    responses = SERVED["paths"][endpoint.path][endpoint.verb.lower()]["responses"]
    said = responses.get(str(response.status_code), SERVED["components"]["responses"]["Error"])
    if "content" in said:
        schema = said["content"]["application/json"]["schema"]
        Draft202012Validator(schema | {"components": SERVED["components"]}).validate(
            response.json()
        )
    else:
        assert response.content == b""
    missing = "there is nothing at" in response.text or "not allowed" in response.text
    assert not missing

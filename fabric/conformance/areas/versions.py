"""Versions of models: asked for by name, or chosen by the server."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from fabric.api.inference.v2 import open_inference_pb2 as pb
from fabric.conformance.checks import Rules, expect, expect_equal
from fabric.conformance.requests import expect_output, request
from fabric.conformance.samples import FP32, VERSIONS
from fabric.conformance.server import INFER, METADATA, check_versions

if TYPE_CHECKING:
    from fabric.conformance.server import Server

rules = Rules("versions", "OIP v2 gRPC: ModelInferRequest.model_version", VERSIONS)
triton = Rules("versions.triton", "Triton: version policy", VERSIONS, dialect="triton")
_X = np.array([1.0], np.float32)


async def _answers(server: Server, version: str) -> None:
    check_versions(server)
    answer = await server.infer(request(VERSIONS, {"x": _X}, version=version))
    expect_output(answer, "y", _X + np.float32(version))
    expect_equal(answer.model_version, version, "model_version")


for _version in ("2", "10"):
    rules.add(
        f"answer_{_version}",
        f"Version {_version}, which is asked for, answers, and the answer says so.",
        partial(_answers, version=_version),
    )


@rules(FP32)
async def the_answer_says_which(server: Server) -> None:
    """The answer says which version was used, also where none was asked for."""
    answer = await server.infer(request(FP32, {"x": _X.reshape(1, 1)}))
    expect(answer.model_version, "a model_version", "none")


@rules()
async def one_is_chosen(server: Server) -> None:
    """Without a version the server chooses one, and the answer says which truly."""
    answer = await server.infer(request(VERSIONS, {"x": _X}))
    expect(answer.model_version in ("2", "10"), "version 2 or 10", answer.model_version)
    expect_output(answer, "y", _X + np.float32(answer.model_version))


@rules()
async def the_choice_stays(server: Server) -> None:
    """The version that is chosen is the same for the next request."""
    first = await server.infer(request(VERSIONS, {"x": _X}))
    for _ in range(5):
        answer = await server.infer(request(VERSIONS, {"x": _X}))
        expect_equal(answer.model_version, first.model_version, "model_version")


@rules()
async def metadata_are_of_a_version(server: Server) -> None:
    """Every version that the metadata name can be asked for."""
    metadata = await server.call(METADATA, pb.ModelMetadataRequest(name=VERSIONS))
    for version in metadata.versions:
        answer = await server.infer(request(VERSIONS, {"x": _X}, version=version))
        expect_equal(answer.model_version, version, "model_version")


async def _refused(server: Server, version: str) -> None:
    check_versions(server)
    await server.refused(INFER, request(VERSIONS, {"x": _X}, version=version))


_ABSENT = {"absent": "987654", "text": "v1.2.3", "negative": "-1"}
for _name, _version in _ABSENT.items():
    rules.add(
        f"{_name}_is_refused",
        f"Version {_version!r}, which does not exist, is refused.",
        partial(_refused, version=_version),
    )


@triton()
async def the_highest_is_chosen(server: Server) -> None:
    """Without a version the highest answers, by number: 10 before 2."""
    answer = await server.infer(request(VERSIONS, {"x": _X}))
    expect_equal(answer.model_version, "10", "model_version")


@triton()
async def unknown_are_not_found(server: Server) -> None:
    """A version that does not exist is NOT_FOUND."""
    asked = request(VERSIONS, {"x": _X}, version="987654")
    refused = await server.refused(INFER, asked, "NOT_FOUND")
    expect("Request for unknown model" in refused.text, "'unknown model'", refused.text)


PARTS = (rules, triton)

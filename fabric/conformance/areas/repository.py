"""The model repository: what there is, loading and unloading."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import numpy as np

from fabric.api.inference.v2 import extensions_pb2 as ext
from fabric.api.inference.v2 import open_inference_pb2 as pb
from fabric.conformance.checks import Broken, NotOffered, Rules, expect, expect_equal
from fabric.conformance.dialects import UNKNOWN
from fabric.conformance.requests import expect_output, request
from fabric.conformance.samples import FP32, LOADING, VERSIONS
from fabric.conformance.server import INDEX, INFER, LOAD, MODEL_READY, UNLOAD, Refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fabric.conformance.server import Server

index = Rules(
    "repository.index", "Triton: model repository extension", FP32, extension="model_repository"
)
loading = Rules(
    "repository.loading",
    "Triton: model repository extension",
    LOADING,
    extension="model_repository",
)
triton = Rules(
    "repository.triton",
    "Triton: model repository extension",
    LOADING,
    extension="model_repository",
    dialect="triton",
)
_X = np.array([1.0, 2.0], np.float32)
_LONG = 60.0
"""Seconds that a model may take to be loaded."""


async def _models(server: Server, ready: bool = False) -> list[tuple[str, str, str]]:
    answer = await server.call(INDEX, ext.RepositoryIndexRequest(ready=ready))
    return [(each.name, each.version, each.state) for each in answer.models]


# ------------------------------------------------------------------ index
@index()
async def names_models(server: Server) -> None:
    """RepositoryIndex names the models of the repository."""
    names = {name for name, _, _ in await _models(server)}
    expect(FP32 in names, f"{FP32!r} among the models", sorted(names))


@index(VERSIONS)
async def names_versions(server: Server) -> None:
    """RepositoryIndex has an entry for each version of a model."""
    versions = sorted(version for name, version, _ in await _models(server) if name == VERSIONS)
    expect_equal(versions, ["10", "2"], "versions")


@index()
async def says_ready(server: Server) -> None:
    """The state of a model that can be asked is READY."""
    states = {state for name, _, state in await _models(server) if name == FP32}
    expect_equal(states, {"READY"}, "states")


@index()
async def of_ready_models_only(server: Server) -> None:
    """With `ready` RepositoryIndex names only models that can be asked."""
    states = {state for _, _, state in await _models(server, ready=True)}
    expect(states <= {"READY"}, "READY only", states)


@index()
async def of_an_unknown_repository(server: Server) -> None:
    """RepositoryIndex of a repository by name gives its models or an error, and goes on."""
    asked = ext.RepositoryIndexRequest(repository_name=UNKNOWN)
    with contextlib.suppress(Refused):
        await server.call(INDEX, asked)
    await names_models(server)


# ------------------------------------------------------------------ loading
async def _load(server: Server, asked: ext.RepositoryModelLoadRequest | None = None) -> None:
    field = "repository_name" if server.names_models_first else "model_name"
    if asked is None:
        asked = ext.RepositoryModelLoadRequest()
        setattr(asked, field, LOADING)
    try:
        await server.call(LOAD, asked, timeout=_LONG)
    except Refused as refused:
        _raise_if_not_allowed(refused)
        raise


async def _unload(server: Server) -> None:
    asked = ext.RepositoryModelUnloadRequest()
    setattr(asked, "repository_name" if server.names_models_first else "model_name", LOADING)
    try:
        await server.call(UNLOAD, asked, timeout=_LONG)
    except Refused as refused:
        _raise_if_not_allowed(refused)
        raise


def _raise_if_not_allowed(refused: Refused) -> None:
    if "not allowed" in refused.text:
        raise NotOffered(refused.text) from refused


async def _is_ready(server: Server) -> bool:
    try:
        asked = pb.ModelReadyRequest(name=LOADING)
        return (await server.call(MODEL_READY, asked)).ready
    except Refused:
        return False


async def _until(server: Server, ready: bool) -> None:
    for _ in range(200):
        if await _is_ready(server) is ready:
            return
        await asyncio.sleep(0.05)
    raise Broken(f"ModelReady {ready} in ten seconds", not ready)


@contextlib.asynccontextmanager
async def _unloaded(server: Server) -> AsyncIterator[None]:
    """The model is not loaded inside, and loaded again afterwards."""
    await _unload(server)
    try:
        await _until(server, ready=False)
        yield
    finally:
        await _load(server)
        await _until(server, ready=True)


@loading()
async def unloading_ends_readiness(server: Server) -> None:
    """After RepositoryModelUnload the model is not ready, and can be loaded again."""
    async with _unloaded(server):
        expect(not await _is_ready(server), "ready: false", "ready: true")
    answer = await server.infer(request(LOADING, {"x": _X}))
    expect_output(answer, "y", _X)


@loading()
async def unloaded_models_are_refused(server: Server) -> None:
    """A request for a model that is not loaded ends with an error."""
    async with _unloaded(server):
        await server.refused(INFER, request(LOADING, {"x": _X}))


@loading()
async def the_index_follows(server: Server) -> None:
    """RepositoryIndex does not say READY of a model that is not loaded, and does not say so
    with `ready` either."""
    async with _unloaded(server):
        states = {state for name, _, state in await _models(server) if name == LOADING}
        expect("READY" not in states, "another state than READY", states)
        names = {name for name, _, _ in await _models(server, ready=True)}
        expect(LOADING not in names, "no entry with ready: true", LOADING)


@loading()
async def others_go_on(server: Server) -> None:
    """Other models are ready while one is not."""
    x = _X.reshape(1, 2)
    async with _unloaded(server):
        expect_output(await server.infer(request(FP32, {"x": x})), "y", x)


@loading()
async def loading_again_is_no_error(server: Server) -> None:
    """RepositoryModelLoad of a model that is loaded leaves it ready."""
    await _load(server)
    await _until(server, ready=True)
    expect_output(await server.infer(request(LOADING, {"x": _X})), "y", _X)


@loading()
async def unknown_models_cannot_be_loaded(server: Server) -> None:
    """RepositoryModelLoad of a model that does not exist ends with an error."""
    asked = ext.RepositoryModelLoadRequest(model_name=UNKNOWN)
    refused = await server.refused(LOAD, asked, timeout=_LONG)
    _raise_if_not_allowed(refused)


@loading()
async def models_without_a_name_cannot_be_loaded(server: Server) -> None:
    """RepositoryModelLoad without a name ends with an error."""
    refused = await server.refused(LOAD, ext.RepositoryModelLoadRequest(), timeout=_LONG)
    _raise_if_not_allowed(refused)


@loading(source="KServe: RepositoryModelLoadRequest.model_name = 1")
async def by_the_first_field(server: Server) -> None:
    """Where the server takes the name in field 1, as KServe's clients send it, the model is
    loaded by it."""
    try:
        await _load(server, ext.RepositoryModelLoadRequest(repository_name=LOADING))
    except Refused as refused:
        raise NotOffered(f"{refused.code}: {refused.text}") from refused
    await _until(server, ready=True)


@triton()
async def after_unloading_it_is_not_ready(server: Server) -> None:
    """A request for a model that is known and not loaded is UNAVAILABLE or NOT_FOUND."""
    async with _unloaded(server):
        await server.refused(INFER, request(LOADING, {"x": _X}), "UNAVAILABLE", "NOT_FOUND")


@triton()
async def a_config_that_is_no_json(server: Server) -> None:
    """The parameter `config` is JSON: what is none is refused, and the model stays."""
    asked = ext.RepositoryModelLoadRequest(model_name=LOADING)
    asked.parameters["config"].string_param = "{no json"
    _raise_if_not_allowed(await server.refused(LOAD, asked, timeout=_LONG))
    await _until(server, ready=True)


@triton()
async def a_config_that_is_no_text(server: Server) -> None:
    """The parameter `config` is a text: a number is refused."""
    asked = ext.RepositoryModelLoadRequest(model_name=LOADING)
    asked.parameters["config"].int64_param = 1
    _raise_if_not_allowed(await server.refused(LOAD, asked, timeout=_LONG))


@triton()
async def an_unknown_parameter(server: Server) -> None:
    """RepositoryModelLoad refuses a parameter that is neither `config` nor a file."""
    asked = ext.RepositoryModelLoadRequest(model_name=LOADING)
    asked.parameters["of_my_own"].string_param = "x"
    _raise_if_not_allowed(await server.refused(LOAD, asked, timeout=_LONG))


PARTS = (index, loading, triton)

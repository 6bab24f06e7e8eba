"""Finds out which dialect of the protocol a server speaks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fabric.api.inference.v2 import extensions_pb2 as ext
from fabric.api.inference.v2 import open_inference_pb2 as pb
from fabric.conformance.checks import Broken
from fabric.conformance.requests import request, typed
from fabric.conformance.samples import FAILING, FP32, VERSIONS, identity
from fabric.conformance.server import INFER, LOAD, SERVER_METADATA, UNLOAD, Refused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from google.protobuf.message import Message

    from fabric.conformance.server import Call, M, Server

NAMES = ("triton", "mlserver", "kserve")
UNKNOWN = "oip_no_such_model"
_X = np.ones((1, 1), np.float32)
_SIZES = (1, 5, 65)
"""Megabytes of the messages that are tried."""


@dataclass(kw_only=True)
class Dialect:
    """What servers do differently, and the protocol allows or is silent about."""

    name: str = "any"
    server: str = ""
    """Name and version that the server says."""
    extensions: tuple[str, ...] = ()
    echo: str = ""
    """How typed inputs are answered: raw or typed."""
    stream: str = ""
    """The message of ModelStreamInfer: wrapped (Triton) or bare (MLServer)."""
    load: str = ""
    """The number of the field that names the model to load: 1 (KServe) or 2 (Triton), or both."""
    versions: str = ""
    """What may stand for a version: integers or any text."""
    messages: str = ""
    """The largest message that was tried and answered."""
    errors: dict[str, str] = field(default_factory=dict)
    """The status that each kind of error has."""
    codes: tuple[str, ...] = ()
    """Every status that was given."""


async def find(server: Server) -> Dialect:
    """Asks what tells dialects apart; what cannot be asked stays empty."""
    found = Dialect()
    metadata = await server.call(SERVER_METADATA, pb.ServerMetadataRequest())
    found.server = f"{metadata.name} {metadata.version}".strip()
    found.extensions = tuple(metadata.extensions)
    unknown = await _refusal(server, request(UNKNOWN, {"x": _X}))
    found.name = _named(metadata.name, unknown)
    found.errors["unknown model"] = unknown.code if unknown else "OK"
    for name, model, asked in (
        ("unknown version", FP32, request(FP32, {"x": _X}, version="987654")),
        ("wrong input", FP32, request(FP32, {"none": _X})),
        ("failing model", FAILING, request(FAILING, {"x": np.array([99])})),
    ):
        if await server.has(model):
            refused = await _refusal(server, asked)
            found.errors[name] = refused.code if refused else "OK"
    found.load = await _quietly(_load, server)
    if await server.has(FP32):
        found.echo = await _quietly(_echo, server)
        found.stream = await _quietly(_stream, server)
    if await server.has(VERSIONS):
        found.versions = await _quietly(_versions, server)
    if await server.has(identity("UINT8")):
        found.messages = await _quietly(_messages, server)
    return found


async def _quietly(ask: Callable[[Server], Awaitable[str]], server: Server) -> str:
    try:
        return await ask(server)
    except (Refused, Broken) as error:
        if isinstance(error, Broken):
            return ""
        return "none" if error.code == "UNIMPLEMENTED" else f"none: {error.code}"


async def _refusal(server: Server, asked: pb.ModelInferRequest) -> Refused | None:
    try:
        await server.call(INFER, asked)
    except Refused as refused:
        return refused
    return None


def _named(name: str, unknown: Refused | None) -> str:
    """By the words for an unknown model, which clients match; else by the server's name."""
    if unknown is not None and "Request for unknown model" in unknown.text:
        return "triton"
    return next((dialect for dialect in NAMES if dialect in name.lower()), "any")


async def _echo(server: Server) -> str:
    answer = await server.infer(typed(FP32, "FP32", _X))
    return "raw" if answer.raw_output_contents else "typed"


async def _stream(server: Server) -> str:
    async with server.stream() as stream:
        await stream.send(request(FP32, {"x": _X}, id="s"))
        payload = await stream.raw()
    try:
        if ext.ModelStreamInferResponse.FromString(payload).infer_response.model_name:
            return "wrapped"
    except ValueError:
        pass
    return "bare" if pb.ModelInferResponse.FromString(payload).model_name == FP32 else "unknown"


async def _load(server: Server) -> str:
    """The fields in which a name is looked for: the texts of the errors have it."""
    fields = []
    for number, name in (("1", "repository_name"), ("2", "model_name")):
        loaded = await _text_of(server, LOAD, ext.RepositoryModelLoadRequest(), name)
        unloaded = await _text_of(server, UNLOAD, ext.RepositoryModelUnloadRequest(), name)
        if UNKNOWN in loaded + unloaded:
            fields.append(number)
    return " and ".join(fields) or "none"


async def _text_of(server: Server, call: Call[M], message: Message, field: str) -> str:
    setattr(message, field, UNKNOWN)
    try:
        await server.call(call, message)
    except Refused as refused:
        return refused.text
    return ""


async def _versions(server: Server) -> str:
    asked = request(VERSIONS, {"x": np.ones(1, np.float32)}, version="v1.2.3")
    refused = await _refusal(server, asked)
    if refused is None:
        return "ignored"
    return "any text" if refused.code == "NOT_FOUND" else f"integers ({refused.code})"


async def _messages(server: Server) -> str:
    largest = "under 1 MB"
    for size in _SIZES:
        x = np.zeros((1, size * 1_000_000), np.uint8)
        try:
            await server.infer(request(identity("UINT8"), {"x": x}), timeout=30)
        except Refused as refused:
            return f"{largest}, then {refused.code}"
        largest = f"at least {size} MB"
    return largest

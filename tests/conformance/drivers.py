"""Triton's four clients behind one face, and which of their methods have a test."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
import tritonclient.http.aio

MODULES = {
    "grpc": tritonclient.grpc,
    "grpc.aio": tritonclient.grpc.aio,
    "http": tritonclient.http,
    "http.aio": tritonclient.http.aio,
}
TESTED: dict[str, set[str]] = defaultdict(set)
"""By client, the methods that a test names."""


def methods(kind):
    client = MODULES[kind].InferenceServerClient
    return {name for name in dir(client) if not name.startswith("_")}


def of(*names, kinds=tuple(MODULES)):
    """A test of the methods *names*, run with each client that has the first of them."""
    having = [kind for kind in kinds if names[0] in methods(kind)]
    for kind in having:
        TESTED[kind].update(names)
    return pytest.mark.parametrize("kind", having)


def _reading(ask):
    async def asked(*args, **more):
        response = await ask(*args, **more)
        await response.read()
        return response

    return asked


class Driver:
    """One client. Its methods give what they give when awaited, documents as dictionaries."""

    def __init__(self, kind, address):
        self.kind = kind
        self.is_http = kind.startswith("http")
        self.module = MODULES["http" if self.is_http else "grpc"]
        self._runner = asyncio.Runner() if kind.endswith("aio") else None
        self.client = self._done(self._made, address)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()
        if self._runner is not None:
            self._runner.close()

    def __getattr__(self, name):
        method = getattr(self.client, name)
        is_document = name.startswith(("get_", "update_"))
        said = {"as_json": True} if is_document and not self.is_http else {}
        return lambda *args, **more: self._done(method, *args, **more, **said)

    def run(self, coroutine):
        return self._runner.run(coroutine)

    def tensor(self, name, array, datatype, **more):
        made = self.module.InferInput(name, list(np.shape(array)), datatype)
        made.set_data_from_numpy(array, **more)
        return made

    def said(self, result, field):
        """A field of an answer."""
        response = result.get_response()
        return response.get(field) if self.is_http else getattr(response, field)

    async def _made(self, address):
        client = MODULES[self.kind].InferenceServerClient(address)
        if self.kind == "http.aio":  # it leaves answers unread that it takes nothing from
            client._get, client._post = _reading(client._get), _reading(client._post)
        return client

    def _done(self, method, *args, **more):
        given = method(*args, **more)
        if not asyncio.iscoroutine(given):
            return given
        if self._runner is not None:
            return self._runner.run(given)
        return asyncio.run(given)

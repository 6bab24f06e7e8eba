"""The endpoints of REST: one table, which the routing and the OpenAPI document follow."""

# ruff: noqa: E501 - a row of the table is a line
from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from google.protobuf.message import Message  # noqa: TC002 - read by dataclass
from google.protobuf.message_factory import GetMessageClass

from fabric.api.inference.v2 import open_inference_service_pb2
from fabric.wire import documents as d

_METHODS = open_inference_service_pb2.DESCRIPTOR.services_by_name[
    "GRPCInferenceService"
].methods_by_name
_ANY = None
"""In place of a variable's name."""


def _read_nothing(request: Message, document: dict[str, Any]) -> None:
    """What the path says is all."""


@dataclass(frozen=True)
class Endpoint:
    """What one verb does at one path, by a call of the gRPC service."""

    verb: str
    path: str
    """Variables are in braces, by the names of the request's fields that they set."""
    call: str
    summary: str
    read: Callable[[Any, dict[str, Any]], None] = _read_nothing
    """Sets the fields of the request that the body's document names."""
    write: Callable[[Any], Any] = d.plain
    """The document of the response; None for an empty body."""
    truth: str = ""
    """The field of the response that makes the difference between the statuses 200 and 400."""

    @cached_property
    def segments(self) -> tuple[str, ...]:
        return tuple(self.path.split("/")[1:])

    @cached_property
    def variables(self) -> tuple[str, ...]:
        return tuple(segment[1:-1] for segment in self.segments if segment[0] == "{")

    @cached_property
    def request(self) -> type[Message]:
        return GetMessageClass(_METHODS[self.call].input_type)

    @cached_property
    def response(self) -> type[Message]:
        return GetMessageClass(_METHODS[self.call].output_type)


@dataclass
class Node:
    """What paths with one beginning lead to."""

    following: dict[str | None, Node] = field(default_factory=dict)
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    """By verb, for the path that ends here."""

    def add(self, endpoint: Endpoint) -> None:
        node = self
        for segment in endpoint.segments:
            key = _ANY if segment[0] == "{" else segment
            node = node.following.setdefault(key, Node())
        node.endpoints[endpoint.verb] = endpoint

    def find(self, segments: list[str]) -> tuple[Node, list[str]] | None:
        """Where *segments* end, and those that stand for variables; literal names go first."""
        if not segments:
            return (self, []) if self.endpoints else None
        first, *rest = segments
        if (node := self.following.get(first)) is not None and (found := node.find(rest)):
            return found
        if first and (node := self.following.get(_ANY)) is not None and (found := node.find(rest)):
            found[1].insert(0, first)
            return found
        return None


def _all(table: Iterable[Endpoint]) -> Iterator[Endpoint]:
    """Those of *table*, each with and without what its path has in brackets."""
    for row in table:
        without = re.sub(r"\[.*\]", "", row.path)
        yield replace(row, path=without)
        if without != row.path:
            yield replace(row, path=re.sub(r"[][]", "", row.path))


_MODEL = "/v2/models/{name}[/versions/{version}]"
_INFER = "/v2/models/{model_name}[/versions/{model_version}]/infer"
_TRACE = "/v2[/models/{model_name}]/trace/setting"
_INDEX = "/v2/repository[/{repository_name}]/index"
_STORED = "/v2/repository[/{repository_name}]/models/{model_name}"
_SYSTEM, _SYSTEM_ONE = "/v2/systemsharedmemory", "/v2/systemsharedmemory/region/{name}"
_CUDA, _CUDA_ONE = "/v2/cudasharedmemory", "/v2/cudasharedmemory/region/{name}"

# fmt: off
ENDPOINTS = tuple(_all((
    Endpoint("GET", "/v2", "ServerMetadata", "Who the server is, and what it speaks"),
    Endpoint("GET", "/v2/health/live", "ServerLive", "Is the server alive?", truth="live"),
    Endpoint("GET", "/v2/health/ready", "ServerReady", "Is the server ready?", truth="ready"),
    Endpoint("GET", _MODEL, "ModelMetadata", "A model's inputs and outputs"),
    Endpoint("GET", f"{_MODEL}/ready", "ModelReady", "Is the model ready?", truth="ready"),
    Endpoint("POST", _INFER, "ModelInfer", "Ask the model"),
    Endpoint("GET", f"{_MODEL}/config", "ModelConfig", "A model's configuration", write=d.configuration),
    Endpoint("GET", f"{_MODEL}/stats", "ModelStatistics", "What the model has done so far"),
    Endpoint("GET", "/v2/models/stats", "ModelStatistics", "What all models have done so far"),
    Endpoint("POST", _INDEX, "RepositoryIndex", "Which models there are", d.read_fields, d.index),
    Endpoint("POST", f"{_STORED}/load", "RepositoryModelLoad", "Load a model", d.read_parameters, d.nothing),
    Endpoint("POST", f"{_STORED}/unload", "RepositoryModelUnload", "Unload a model", d.read_parameters, d.nothing),
    Endpoint("GET", f"{_SYSTEM}/status", "SystemSharedMemoryStatus", "All regions of shared memory", write=d.regions),
    Endpoint("GET", f"{_SYSTEM_ONE}/status", "SystemSharedMemoryStatus", "One region of shared memory", write=d.regions),
    Endpoint("POST", f"{_SYSTEM_ONE}/register", "SystemSharedMemoryRegister", "Register a region", d.read_fields, d.nothing),
    Endpoint("POST", f"{_SYSTEM_ONE}/unregister", "SystemSharedMemoryUnregister", "Forget a region", write=d.nothing),
    Endpoint("POST", f"{_SYSTEM}/unregister", "SystemSharedMemoryUnregister", "Forget all regions", write=d.nothing),
    Endpoint("GET", f"{_CUDA}/status", "CudaSharedMemoryStatus", "All regions of GPU memory", write=d.regions),
    Endpoint("GET", f"{_CUDA_ONE}/status", "CudaSharedMemoryStatus", "One region of GPU memory", write=d.regions),
    Endpoint("POST", f"{_CUDA_ONE}/register", "CudaSharedMemoryRegister", "Register a region of a GPU", d.read_fields, d.nothing),
    Endpoint("POST", f"{_CUDA_ONE}/unregister", "CudaSharedMemoryUnregister", "Forget a region of a GPU", write=d.nothing),
    Endpoint("POST", f"{_CUDA}/unregister", "CudaSharedMemoryUnregister", "Forget all regions of GPUs", write=d.nothing),
    Endpoint("GET", _TRACE, "TraceSetting", "What is traced", write=d.trace_settings),
    Endpoint("POST", _TRACE, "TraceSetting", "Change what is traced", d.read_trace_settings, d.trace_settings),
    Endpoint("GET", "/v2/logging", "LogSettings", "What is logged", write=d.log_settings),
    Endpoint("POST", "/v2/logging", "LogSettings", "Change what is logged", d.read_log_settings, d.log_settings),
)))
# fmt: on
DOCUMENT = Endpoint("GET", "/v2/openapi.json", "", "This document")
"""The one endpoint that is no call."""

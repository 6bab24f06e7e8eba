"""The shape of the package, as it is written down."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

from fabric import AsyncClient, Client
from fabric.api.catalog.v1 import catalog_service_pb2
from fabric.api.inference.v2 import open_inference_service_pb2
from fabric.api.pipelines.v1 import pipelines_service_pb2
from fabric.api.routing.v1 import learning_service_pb2, routing_service_pb2
from fabric.control.servicer import CatalogServicer, LearningServicer
from fabric.gateway.application import _handlers
from fabric.gateway.replicas import ReplicaPool
from fabric.gateway.settings import GatewaySettings
from fabric.gateway.view import View

ROOT = Path(__file__).parent.parent
FOR_REPLICAS = {"Register", "Renew", "Withdraw"}
"""What no person calls; the replica's lease does."""


def loaded(module: str) -> set[str]:
    """The top-level modules in a fresh interpreter that has imported *module*."""
    code = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=ROOT)
    return {name.partition(".")[0] for name in json.loads(shown.stdout)}


def test_imports_point_downwards_only():
    """The contracts in pyproject.toml hold."""
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    shown = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert shown.returncode == 0, shown.stdout


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("fabric", {"grpc", "numpy", "pydantic", "ray", "onnxruntime", "google", "opentelemetry"}),
        ("fabric.gateway.application", {"ray", "onnxruntime", "pydantic", "typer", "sqlalchemy"}),
        ("fabric.gateway.__main__", {"ray", "onnxruntime", "pydantic", "typer", "sqlalchemy"}),
        ("fabric.control.__main__", {"ray", "onnxruntime", "pydantic", "typer", "sklearn"}),
        ("fabric.runtime.replica", {"ray", "onnxruntime", "pydantic", "typer", "sqlalchemy"}),
        ("fabric.runtime.tuner", {"ray", "onnxruntime", "pydantic", "typer", "sqlalchemy"}),
        ("fabric.cli.commands", {"grpc", "numpy", "pydantic", "rich", "matplotlib"}),
        ("fabric.dispatch", {"grpc", "google", "ray", "onnxruntime", "pydantic"}),
    ],
)
def test_a_process_loads_what_it_needs(module, absent):
    """Nothing heavy comes along with it."""
    assert not loaded(module) & absent


def test_every_call_of_the_catalog_has_both_ends():
    """A servicer's method, and one of both clients."""
    for method in catalog_service_pb2.DESCRIPTOR.services_by_name["CatalogService"].methods:
        assert inspect.iscoroutinefunction(vars(CatalogServicer)[method.name])
        if method.name not in FOR_REPLICAS:
            assert hasattr(AsyncClient, method.name.lower())
            assert hasattr(Client, method.name.lower())


def test_every_call_of_learning_has_both_ends():
    """A servicer's method, and one of both clients but for what gateways record."""
    methods = {"SubmitFeedback": "feedback", "ListDecisions": "decisions", "Train": "train"}
    service = learning_service_pb2.DESCRIPTOR.services_by_name["LearningService"]
    assert {method.name for method in service.methods} == {"Record", *methods}
    for method in service.methods:
        assert inspect.iscoroutinefunction(vars(LearningServicer)[method.name])
    for name in methods.values():
        assert hasattr(AsyncClient, name)
        assert hasattr(Client, name)


async def test_every_call_of_the_gateways_services_has_both_ends():
    """A handler under its path, and a method of both clients."""
    handlers, streaming = _handlers(View(ReplicaPool()), None, None, GatewaySettings())
    service = routing_service_pb2.DESCRIPTOR.services_by_name["RoutingService"]
    for method in service.methods:
        assert f"/{service.full_name}/{method.name}" in handlers
        assert hasattr(AsyncClient, method.name.lower())
        assert hasattr(Client, method.name.lower())
    calls = {"GetRun": "run_of", "GetProfile": "profile"}
    service = pipelines_service_pb2.DESCRIPTOR.services_by_name["PipelinesService"]
    assert {method.name for method in service.methods} == calls.keys()
    for name, call in calls.items():
        assert f"/{service.full_name}/{name}" in handlers
        assert hasattr(AsyncClient, call)
        assert hasattr(Client, call)
    protocol = open_inference_service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    for method in protocol.methods:
        table = streaming if method.client_streaming else handlers
        assert f"/inference.GRPCInferenceService/{method.name}" in table


def test_every_service_is_in_one_of_these_tests():
    """A new service needs its two ends too."""
    declared = {
        line.split()[1]
        for file in (ROOT / "protos").rglob("*_service.proto")
        for line in file.read_text().splitlines()
        if line.startswith("service ")
    }
    assert declared == {
        "CatalogService",
        "GRPCInferenceService",
        "LearningService",
        "PipelinesService",
        "RoutingService",
    }

"""A whole fabric keeps every rule that the suite has."""

from __future__ import annotations

import pytest

from fabric.app import Fabric, FabricSettings
from fabric.config import load
from fabric.conformance.checks import Status
from fabric.conformance.report import failures
from fabric.conformance.suite import run
from fabric.conformance.writing import write

NOT_HERE = "shared-memory.cuda."
"""There is no GPU."""


@pytest.mark.timeout(300)
async def test_a_fabric_keeps_every_rule(tmp_path, monkeypatch):
    """Over gRPC and REST, with all models of the suite, and without an exception."""
    monkeypatch.setenv("FABRIC_SHARED_MEMORY", "true")  # of the gateway
    write(tmp_path)
    portfolio = load(tmp_path / "portfolio.yaml")
    settings = FabricSettings(state=tmp_path / "state", host="local", listen="127.0.0.1:0")
    async with Fabric(settings, portfolio) as fabric:
        assert await fabric.ready() == {}
        report = await run(fabric.server)
    assert failures(report)[1] == []
    assert report.dialect.name == "triton"
    without = [o.name for o in report.outcomes if o.status is Status.NOT_OFFERED]
    assert [name for name in without if not name.startswith(NOT_HERE)] == []

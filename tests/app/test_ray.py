"""A whole fabric on Ray Serve."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
from models import save_scaler

from fabric.app import Fabric, FabricSettings
from fabric.config import load

X = np.array([[1, 2]], np.float32)


@pytest.mark.ray
@pytest.mark.timeout(240)
async def test_a_portfolio_is_served_by_ray_and_nothing_of_it_is_left(tmp_path):
    """Replicas are Serve deployments, which survive the control plane, and go with the fabric."""
    save_scaler(tmp_path / "double.onnx", 2)
    file = tmp_path / "portfolio.yaml"
    file.write_text("specialists: [{name: double, model: double.onnx}]")
    state = tmp_path / "state"
    async with Fabric(FabricSettings(state=state, listen="127.0.0.1:0"), load(file)) as fabric:
        assert await fabric.ready() == {}
        assert {*fabric.processes} == {"gateway", "control", "ray", "reaper"}
        (replica,) = await fabric.client.list("replica")
        os.kill(fabric.processes["control"], signal.SIGKILL)
        answer = await fabric.client.infer("double", {"x": X}, timeout=10)
        assert answer["y"].tolist() == [[2, 4]]
        assert await fabric.ready() == {}
        assert [r.id for r in await fabric.client.list("replica")] == [replica.id]
        family = fabric._family
    assert not family.alive()
    assert [path.name for path in state.iterdir()] == ["fabric.db"]

"""What was learned for a route, hosted like any specialist."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from gateways import recording_gateway
from typer.testing import CliRunner

from fabric.app.fabric import Fabric, FabricSettings
from fabric.cli.commands import app
from fabric.config import load
from fabric.core.decisions import Query
from fabric.learning.training import Training, fit
from tests.learning import tables

PORTFOLIO = "specialists: [{name: judge, model: judge.onnx, batching: {max_size: 16}}]"


async def test_a_policy_answers_like_any_specialist(tmp_path):
    """Exported by the command line, on the local host, it says what the policy says."""
    made = tables.of_numbers()
    learned = fit(made, Training(trees=8))
    file = tmp_path / "judge.onnx"
    async with recording_gateway() as gateway:
        gateway.policy = learned.write()
        command = ["get", "policy", "digits:1", "--onnx", str(file), "-s", gateway.address]
        shown = await asyncio.to_thread(CliRunner().invoke, app, command)
        assert shown.exit_code == 0, shown.stderr

    portfolio = tmp_path / "portfolio.yaml"
    portfolio.write_text(PORTFOLIO)
    settings = FabricSettings(state=tmp_path / "state", host="local", listen="127.0.0.1:0")
    numbers = np.array([query.numbers for query in made.queries[:16]], np.float32)
    async with Fabric(settings, load(portfolio)) as fabric:
        assert await fabric.ready() == {}
        answer = await fabric.client.infer("judge", {"numbers": numbers})

    queries = [Query(numbers=tuple(map(float, row))) for row in numbers]
    expected = [learned.predict(query, learned.candidates) for query in queries]
    assert answer["probabilities"] == pytest.approx(np.array(expected), abs=1e-5)

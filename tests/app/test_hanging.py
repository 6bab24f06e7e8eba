"""What hangs, in a fabric of real processes."""

from __future__ import annotations

import asyncio
import os
import signal

import numpy as np
import pytest
from models import save_scaler
from running import until

from fabric.app import Fabric, FabricSettings
from fabric.config import load

PORTFOLIO = """
specialists:
  - {name: double, model: double.onnx}
  - {name: triple, model: triple.onnx, replicas: {min: 2, max: 2}}
routes:
  - {name: scale, chain: [double, triple]}
"""
X = np.array([[1, 2]], np.float32)
IN_FLIGHT = 64
TIMEOUT = 4.0
"""Seconds: who waits for a link to be cut by its silence is late."""


@pytest.fixture
async def fabric(tmp_path):
    save_scaler(tmp_path / "double.onnx", 2)
    save_scaler(tmp_path / "triple.onnx", 3)
    (tmp_path / "portfolio.yaml").write_text(PORTFOLIO)
    settings = FabricSettings(state=tmp_path / "state", host="local", listen="127.0.0.1:0")
    async with Fabric(settings, load(tmp_path / "portfolio.yaml")) as fabric:
        assert await fabric.ready() == {}
        yield fabric


async def test_a_replica_that_is_stopped_costs_no_answer(fabric):
    """Others give them, of its specialist or of the next one, and it is back when it goes on."""
    pids: dict[str, dict[str, int]] = {"double": {}, "triple": {}}

    async def are_three():
        for each in await fabric.client.list("replica"):
            pids[each.specialist][each.id] = each.pid
        return sum(map(len, pids.values())) == 3

    await until(are_three)
    for model, specialist in (("scale", "double"), ("triple", "triple")):
        stopped, pid = next(iter(pids[specialist].items()))
        await goes_on(fabric.client, model, stopped, pid)


@pytest.mark.parametrize("name", ["gateway", "control"])
async def test_what_the_supervisor_started_is_replaced(fabric, monkeypatch, name):
    """Nobody else would notice, and replicas stay where they are."""
    monkeypatch.setattr("fabric.app.pulse.MISSES", 4)
    before = {each.pid for each in await fabric.client.list("replica")}
    stopped = fabric.processes[name]
    os.kill(stopped, signal.SIGSTOP)
    await until(lambda: fabric.processes[name] != stopped)
    assert await fabric.ready() == {}
    assert (await fabric.client.infer("scale", {"x": X})).specialist == "double"
    assert {each.pid for each in await fabric.client.list("replica")} == before


async def goes_on(client, model, stopped, pid):
    by: list[str] = []
    is_over = False

    async def ask():
        while not is_over:
            answer = await client.infer(model, {"x": X}, timeout=TIMEOUT)
            by.append(answer.replica)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(IN_FLIGHT):
            tasks.create_task(ask())
        await until(lambda: by.count(stopped) >= IN_FLIGHT)
        os.kill(pid, signal.SIGSTOP)
        try:
            before = len(by) + IN_FLIGHT
            await until(lambda: len(by) >= before + 4 * IN_FLIGHT)
            assert stopped not in by[before:]
        finally:
            os.kill(pid, signal.SIGCONT)
        before = len(by) + IN_FLIGHT
        await until(lambda: stopped in by[before:])
        is_over = True

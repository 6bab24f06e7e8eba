"""A whole fabric on the local host: real children, real models."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace

import grpc
import numpy as np
import pytest
from models import save_scaler
from onnx_models import accumulating

from fabric import AsyncClient
from fabric.api.catalog.v1.card_pb2 import Replica
from fabric.api.catalog.v1.catalog_service_pb2 import RegisterRequest
from fabric.api.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from fabric.app import Fabric, FabricSettings
from fabric.app.family import Identity
from fabric.app.state import is_held, read
from fabric.config import load
from fabric.core.errors import Conflict, FabricError, SequenceLost, Unavailable

PORTFOLIO = """
specialists:
  - {name: double, model: double.onnx, domains: [even]}
  - {name: triple, model: triple.onnx, domains: [odd]}
routes:
  - {name: scale, chain: [double, triple]}
pipelines:
  - name: both
    inputs: [{name: x}]
    steps:
      - {name: doubled, call: scale, inputs: {x: x}}
      - {name: tripled, call: triple, inputs: {x: doubled.y}}
    outputs: {y: tripled.y}
"""
STATEFUL = """
specialists:
  - name: sum
    model: sum.onnx
    replicas: {min: 2, max: 2}
    timeouts: {drain: 0.1}
    sequences:
      max_sequences: 8
      states: [{input: sum, output: new_sum}]
      controls: [{input: start, kind: start}]
routes:
  - {name: total, chain: [sum]}
"""
PYTHON = """
from fabric.core.tensors import Signature, TensorSpec

X, Y = (TensorSpec(name=name, datatype="FP32", shape=(-1, 2)) for name in "xy")


class Double:
    signature = Signature(inputs=(X,), outputs=(Y,))

    async def infer(self, inputs):
        return {"y": 2 * inputs["x"]}
"""
X = np.array([[1, 2]], np.float32)


@pytest.fixture
def portfolio(tmp_path):
    save_scaler(tmp_path / "double.onnx", 2)
    save_scaler(tmp_path / "triple.onnx", 3)
    file = tmp_path / "portfolio.yaml"
    file.write_text(PORTFOLIO)
    return file


@pytest.fixture
def settings(tmp_path):
    return FabricSettings(state=tmp_path / "state", host="local", listen="127.0.0.1:0")


async def until(condition, seconds=20.0):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def answer(client, name="scale", **options):
    """The first answer that comes, while parts of the fabric come back."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await client.infer(name, {"x": X}, timeout=5, **options)
            except Unavailable:
                await asyncio.sleep(0.05)


async def test_a_portfolio_is_served_and_leaves_only_its_store(settings, portfolio):
    """Specialists, routes and pipelines answer; afterwards no process, folder or log is left."""
    steps = []
    fabric = Fabric(settings, load(portfolio), lambda *step: steps.append(step))
    async with fabric:
        assert await fabric.ready() == {}
        first = await fabric.client.infer("scale", {"x": X})
        odd = await fabric.client.infer("scale", {"x": X}, requirements={"domain": "odd"})
        both = await fabric.client.infer("both", {"x": X})
        record = read(settings.state)
        assert {*fabric.processes} == {"gateway", "control", "reaper"}
        replicas = await fabric.client.list("replica")
    assert (first["y"].tolist(), first.specialist) == ([[2, 4]], "double")
    assert (odd["y"].tolist(), odd.specialist) == ([[3, 6]], "triple")
    assert both["y"].tolist() == [[6, 12]]
    assert ("double:1", "ready") in steps
    assert record.ready
    assert record.server == fabric.server
    assert not record.family.alive()
    assert not any(Identity.of(replica.pid) for replica in replicas)
    assert [path.name for path in settings.state.iterdir()] == ["fabric.db"]
    assert not os.path.exists(record.scratch)  # noqa: PTH110


async def test_children_that_are_killed_come_back(settings, portfolio):
    """The gateway on its port, the control plane on its own with the replicas it had."""
    async with Fabric(settings, load(portfolio)) as fabric:
        await fabric.ready()
        before = {replica.pid for replica in await fabric.client.list("replica")}
        for name in ("control", "gateway"):
            killed = fabric.processes[name]
            os.kill(killed, signal.SIGKILL)
            await until(lambda name=name, killed=killed: fabric.processes[name] != killed)
            assert (await answer(fabric.client)).specialist == "double"
        assert await fabric.ready() == {}
        assert {replica.pid for replica in await fabric.client.list("replica")} == before
        family = fabric._family
    assert not family.alive()


async def test_gateways_share_a_port(settings, portfolio):
    """Each takes some of the connections, and what one of them had comes back when it dies."""
    several = replace(settings, gateways=2)
    async with Fabric(several, load(portfolio)) as fabric:
        assert await fabric.ready() == {}
        pids = {fabric.processes[name] for name in ("gateway", "gateway-2")}
        assert len(pids) == 2
        for _ in range(12):  # a new client is a new connection
            async with AsyncClient(fabric.server) as client:
                assert (await answer(client)).specialist == "double"
        os.kill(fabric.processes["gateway-2"], signal.SIGKILL)
        for _ in range(12):
            async with AsyncClient(fabric.server) as client:
                assert (await answer(client)).specialist == "double"
        await until(lambda: fabric.processes["gateway-2"] not in pids)


async def test_a_sequence_is_lost_with_its_replica(settings, tmp_path):
    """The caller is told, and may start it again, with another replica if there is one."""
    accumulating(tmp_path / "sum.onnx")
    (tmp_path / "portfolio.yaml").write_text(STATEFUL)
    async with Fabric(settings, load(tmp_path / "portfolio.yaml")) as fabric:
        assert await fabric.ready() == {}
        pids: dict[str, int] = {}
        while len(pids) < 2:
            pids = {each.id: each.pid for each in await fabric.client.list("replica")}

        async def ask(name, **said):
            parameters = {"sequence_id": 7, **said}
            x = {"x": np.ones((1, 1), np.float32)}
            return await fabric.client.infer(name, x, parameters=parameters, timeout=5)

        first = await ask("total", sequence_start=True)
        assert (await ask("total"))["y"].item() == 2
        os.kill(pids[first.replica], signal.SIGKILL)
        await until(lambda: Identity.of(pids[first.replica]) is None)
        for _ in range(2):
            with pytest.raises(SequenceLost, match=r"^sequence 7 of .total. was lost with its"):
                await ask("total")
        again = await ask("total", sequence_start=True)
        assert (again["y"].item(), again.route) == (1, "total")
        assert again.replica != first.replica


async def test_a_watch_ends_with_the_control_plane(settings):
    """Killed, it ends the watches through the gateway as unavailable, like a connection lost."""
    async with Fabric(settings) as fabric:
        stream = fabric.client.watch()
        await anext(stream)
        os.kill(fabric.processes["control"], signal.SIGKILL)
        with pytest.raises(Unavailable):
            await anext(stream)


async def test_a_specialist_that_cannot_start_is_reported_and_the_others_serve(settings, portfolio):
    """The reason is the replica's own."""
    (portfolio.parent / "triple.onnx").write_bytes(b"no model")
    async with Fabric(settings, load(portfolio)) as fabric:
        failed = await asyncio.wait_for(fabric.ready(), 45)
        assert [*failed] == ["triple:1"]
        assert "triple.onnx" in failed["triple:1"]
        assert (await answer(fabric.client)).specialist == "double"


async def test_what_was_declared_is_there_after_a_restart(settings, portfolio):
    """Without a portfolio a fabric serves what its store has."""
    async with Fabric(settings, load(portfolio)):
        pass
    async with Fabric(settings) as fabric:
        assert await fabric.ready() == {}
        assert (await answer(fabric.client, "triple")).specialist == "triple"
        assert (await answer(fabric.client, "both"))["y"].tolist() == [[6, 12]]


async def test_whoever_waits_until_the_server_is_ready_is_answered(settings, portfolio):
    """By all models, at the first start and at the next one."""
    for declared in (load(portfolio), None):
        async with Fabric(settings, declared) as fabric, AsyncClient(fabric.server) as client:
            while not await client.ready():
                await asyncio.sleep(0.005)
            for name in ("double", "triple", "scale"):
                assert (await client.infer(name, {"x": X})).specialist


async def test_replicas_of_an_earlier_fabric_are_forgotten(settings, portfolio):
    """One that went without a word is not in the catalog when the next fabric is there."""
    async with (
        Fabric(settings, load(portfolio)) as fabric,
        grpc.aio.insecure_channel(fabric._control) as channel,
    ):
        gone = Replica(id="gone", specialist="double", version="1", address="127.0.0.1:1")
        await CatalogServiceStub(channel).Register(RegisterRequest(replica=gone))
    async with Fabric(settings) as fabric:
        assert "gone" not in {replica.id for replica in await fabric.client.list("replica")}


async def test_a_taken_port_is_refused_before_anything_starts(settings):
    """The error names the address and the option."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        host, port = taken.getsockname()
        wanted = FabricSettings(state=settings.state, host="local", listen=f"{host}:{port}")
        with pytest.raises(Conflict, match=rf"{host}:{port} is taken.*--port"):
            await Fabric(wanted).__aenter__()
    assert not settings.state.exists()


async def test_a_child_that_cannot_start_ends_the_others(settings):
    """The error has the child's words, its log stays, and nothing runs."""
    broken = FabricSettings(
        state=settings.state, host="local", listen="127.0.0.1:0", store="nonsense://"
    )
    fabric = Fabric(broken)
    with pytest.raises(Unavailable, match=r"control ended with status 1"):
        await fabric.__aenter__()
    assert not fabric._family.alive()
    assert (settings.state / "logs" / "control.log").exists()
    assert not is_held(settings.state)


# ------------------------------------------------------------------ the command
def command(*arguments):
    return [sys.executable, "-m", "fabric.cli", *map(str, arguments)]


@pytest.fixture
def up(settings, portfolio):
    return command(
        *("up", "-f", portfolio, "--host", "local", "--port", 0, "--state", settings.state)
    )


@pytest.fixture
def down(settings):
    """The command, which runs after the test too if the fabric still does."""
    arguments = command("down", "--state", settings.state)
    yield arguments
    if is_held(settings.state):
        run(*arguments)


def run(*arguments):
    return subprocess.run(arguments, capture_output=True, text=True, timeout=50)


async def test_up_runs_until_it_is_interrupted(up, settings):
    """Ctrl-C drains, leaves nothing running, and is no failure."""
    with subprocess.Popen(up, stderr=subprocess.PIPE, text=True) as process:
        await until(lambda: (record := read(settings.state)) and record.ready)
        family = read(settings.state).family
        process.send_signal(signal.SIGINT)
        _, shown = await asyncio.to_thread(process.communicate, timeout=20)
    assert process.returncode == 0
    assert "gateway: stopped" in shown
    assert not family.alive()
    assert [path.name for path in settings.state.iterdir()] == ["fabric.db"]


async def test_detached_it_runs_until_down(up, down, settings):
    """`up --detach` returns when specialists answer; a second one is refused; `down` waits."""
    shown = await asyncio.to_thread(run, *up, "--detach")
    assert shown.returncode == 0, shown.stderr
    record = read(settings.state)
    async with AsyncClient(record.server) as client:
        assert (await client.infer("scale", {"x": X})).specialist == "double"
    again = await asyncio.to_thread(run, *up)
    log = (settings.state / "logs" / "fabric.log").read_bytes()
    refused = await asyncio.to_thread(run, *up, "--detach")
    for each in (again, refused):
        assert each.returncode == 1
        assert f"as process {record.pid}, at {record.server}" in each.stderr
    assert (settings.state / "logs" / "fabric.log").read_bytes() == log != b""
    ended = await asyncio.to_thread(run, *down)
    assert ended.returncode == 0, ended.stderr
    assert not record.family.alive()
    assert [path.name for path in settings.state.iterdir()] == ["fabric.db"]


async def test_a_killed_supervisor_takes_its_fabric_along(up, settings):
    """The lifeline ends the children; the next `up` starts afresh on the same directory."""
    with subprocess.Popen(up, stderr=subprocess.DEVNULL) as process:
        await until(lambda: (record := read(settings.state)) and record.ready)
        family = read(settings.state).family
        process.kill()
        process.wait()
        assert await family.gone(20)
        await until(lambda: read(settings.state) is None and not is_held(settings.state))
        assert [path.name for path in settings.state.iterdir()] == ["fabric.db"]
    with subprocess.Popen(up, stderr=subprocess.DEVNULL) as process:
        await until(
            lambda: (record := read(settings.state)) and record.pid == process.pid and record.ready
        )
        process.terminate()
        process.wait(20)
    assert [path.name for path in settings.state.iterdir()] == ["fabric.db"]


async def test_a_start_that_is_interrupted_leaves_nothing(up, settings):
    """SIGTERM in the middle of starting ends what had been started."""
    with subprocess.Popen(up, stderr=subprocess.DEVNULL) as process:
        await until(lambda: (record := read(settings.state)) and record.family.leaders)
        family = read(settings.state).family
        process.terminate()
        assert await asyncio.to_thread(process.wait, 20) == 0
    assert not family.alive()
    assert not is_held(settings.state)


async def test_modules_beside_a_portfolio_are_for_its_specialists_alone(up, settings, portfolio):
    """One with the name of a standard module harms nobody."""
    folder = portfolio.parent
    (folder / "queue.py").write_text("raise RuntimeError('not the queue that was asked for')")
    (folder / "mine.py").write_text(PYTHON)
    portfolio.write_text("specialists: [{name: double, python: 'mine:Double'}]")
    with subprocess.Popen(up, stderr=subprocess.DEVNULL) as process:
        await until(lambda: (record := read(settings.state)) and record.ready)
        async with AsyncClient(read(settings.state).server) as client:
            assert (await client.infer("double", {"x": X}))["y"].tolist() == [[2, 4]]
        process.terminate()
        assert await asyncio.to_thread(process.wait, 20) == 0


async def test_detached_it_tells_what_failed(up, down, settings, portfolio):
    """The status is 1, and the fabric runs without it."""
    (portfolio.parent / "triple.onnx").write_bytes(b"no model")
    shown = await asyncio.to_thread(run, *up, "--detach")
    record = read(settings.state)
    assert shown.returncode == 1
    assert f"fabric runs at {record.server} without triple:1, which failed" in shown.stderr
    assert is_held(settings.state)


async def test_detaching_that_is_interrupted_leaves_nothing(up, settings):
    """Ctrl-C before it is ready ends the fabric, too."""
    with subprocess.Popen([*up, "--detach"], stderr=subprocess.DEVNULL) as process:
        await until(lambda: (record := read(settings.state)) and record.family.leaders)
        record = read(settings.state)
        process.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(process.wait, 20) != 0
    assert not record.supervisor.is_alive
    assert not record.family.alive()


async def test_a_failed_start_is_told(settings, tmp_path):
    """Detached or not, the status is 1 and the reason is shown."""
    file = tmp_path / "portfolio.yaml"
    file.write_text("routes: [{name: r, chain: [nothing]}]")
    for options in ((), ("--detach",)):
        arguments = command("up", "-f", file, "--state", settings.state, *options)
        shown = await asyncio.to_thread(run, *arguments)
        assert shown.returncode == 1
        assert f"{file}:1: routes[0].chain[0]: nothing is named 'nothing'" in shown.stderr


def test_a_host_is_ray_or_local():
    """Another one is refused by name."""
    with pytest.raises(FabricError, match="host is 'cloud'; use ray or local"):
        FabricSettings(host="cloud")

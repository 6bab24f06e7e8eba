"""The fabric under test: `fabric up` with routes, fallback chains and telemetry."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING

import yaml

from fabric import Client
from fabric.control.settings import ControlSettings
from fabric.core.errors import FabricError
from fabric.gateway.settings import GatewaySettings
from fabric.processes import to_environ
from tests.benchmarks.environments import ROOT
from tests.benchmarks.processes import Started, free_port, started
from tests.benchmarks.servers import Server, is_right
from tests.running import NO_RAY, answering

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from tests.benchmarks.models import Model

GATEWAY = "fabric.gateway"
_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@contextlib.contextmanager
def fabric(
    models: Sequence[Model],
    folder: Path,
    host: str,
    *,
    name: str = "fabric",
    fillers: int = 0,
    telemetry: bool = True,
) -> Iterator[Server]:
    """A fabric that answers for each of *models* by a route with a chain of two specialists.

    Args:
        fillers: Specialists, and routes to them, that are in the catalog and have no replicas.
        telemetry: Whether spans leave, at the default sampling, for a sink that takes them.

    Raises:
        Failed: it does not start, or answers wrongly.
    """
    files, work, port = folder / "models", folder / name, free_port()
    work.mkdir(exist_ok=True)
    portfolio = work / "portfolio.yaml"
    portfolio.write_text(yaml.safe_dump(_portfolio(models, files, fillers), sort_keys=False))
    options = {"--file": portfolio, "--host": host, "--port": port, "--state": work / "state"}
    words = (str(word) for option in options.items() for word in option)
    with contextlib.ExitStack() as stack:
        environ = _environ()
        if telemetry:
            environ[_ENDPOINT] = f"http://{stack.enter_context(sink(work))}"
        argv = [sys.executable, "-m", "fabric.cli", "up", *words]
        running = stack.enter_context(started(name, argv, work, environ, patience=150.0))
        address = f"127.0.0.1:{port}"
        running.until(lambda: is_right(address, models, files))
        yield Server(name, address, running)


@contextlib.contextmanager
def sink(folder: Path) -> Iterator[str]:
    """The address of a process that takes all telemetry and keeps none."""
    port = free_port()
    argv = [sys.executable, "-m", "tests.benchmarks.sink", str(port)]
    with started("sink", argv, folder, _environ()):
        answering(port)
        yield f"127.0.0.1:{port}"


@contextlib.contextmanager
def before_instant_replicas(folder: Path, count: int) -> Iterator[Server]:
    """*count* gateways on one port, before a replica that answers at once."""
    work = folder / f"gateways-{count}"
    work.mkdir(exist_ok=True)
    control = ControlSettings(
        listen=f"127.0.0.1:{free_port()}",
        store=f"sqlite+aiosqlite:///{work / 'fabric.db'}",
        ray=NO_RAY,
    )
    public = GatewaySettings(
        listen=f"127.0.0.1:{free_port()}", control=control.listen, shares_port=count > 1
    )
    with contextlib.ExitStack() as stack:
        stack.enter_context(_module("fabric.control", work, to_environ(control)))
        gateway, *others = (
            stack.enter_context(_module(GATEWAY, work, to_environ(public))) for _ in range(count)
        )
        answering(int(control.listen.rpartition(":")[2]))
        stack.enter_context(_module("tests.benchmarks.instant", work, {}, control.listen))
        with Client(public.listen) as client:
            gateway.until(lambda: _has(client, "instant"))
        time.sleep(1.0)  # the other gateways have their links a moment later
        yield Server(f"gateways-{count}", public.listen, gateway, tuple(others))


def replica_pids(server: Server, specialist: str) -> list[int]:
    """The processes of the replicas of *specialist*."""
    with Client(server.address) as client:
        return [r.pid for r in client.list("replica") if r.specialist == specialist]


def _has(client: Client, model: str) -> bool:
    with contextlib.suppress(FabricError):
        return client.ready(model)
    return False


def _module(
    module: str, work: Path, environ: Mapping[str, str], *arguments: str
) -> contextlib.AbstractContextManager[Started]:
    argv = [sys.executable, "-m", module, *arguments]
    return started(module, argv, work, {**_environ(), **environ})


def _environ() -> dict[str, str]:
    """For our own modules, whatever folder they run in."""
    paths = (str(ROOT), os.environ.get("PYTHONPATH"))
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths)), _ENDPOINT: ""}


# ------------------------------------------------------------------ the portfolio
def _portfolio(models: Sequence[Model], files: Path, fillers: int) -> dict[str, list[dict]]:
    specialists, routes = [], []
    for model in models:
        path = str(model.write(files))
        chain = [f"{model.name}-{which}" for which in ("first", "second")]
        batching = {"max_size": model.rows or 1}
        specialists += [{"name": name, "model": path, "batching": batching} for name in chain]
        routes.append({"name": model.name, "chain": chain})
    for number in range(fillers):
        name = f"filler-{number:04}"
        specialists.append({"name": name, "model": path, "loaded": False})
        routes.append({"name": f"to-{name}", "chain": [name, chain[0]]})
    return {"specialists": specialists, "routes": routes}

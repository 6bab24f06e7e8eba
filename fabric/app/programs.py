"""What the children run: command lines, environments, and how to know that they are ready."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import sys
from typing import TYPE_CHECKING, Any

import grpc
import httpx
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from fabric.app.child import Program
from fabric.client import AsyncClient
from fabric.core.errors import FabricError, Unavailable
from fabric.processes import to_environ

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fabric.control.settings import ControlSettings
    from fabric.gateway.settings import GatewaySettings

_PROBE = 1.0


def python_program(
    module: str, settings: Any, environ: Mapping[str, str], name: str = "", **options: Any
) -> Program:
    """`python -m fabric.<module>` with *settings*."""
    return Program(
        name=name or module,
        arguments=(sys.executable, "-m", f"fabric.{module}"),
        environ={**environ, **to_environ(settings)},
        **options,
    )


def control(settings: ControlSettings, environ: Mapping[str, str]) -> Program:
    async def is_ready() -> bool:
        async with grpc.aio.insecure_channel(settings.listen) as channel:
            try:
                request = health_pb2.HealthCheckRequest()
                response = await HealthStub(channel).Check(request, timeout=_PROBE)
            except grpc.aio.AioRpcError:
                return False
            return bool(response.status == health_pb2.HealthCheckResponse.SERVING)

    return python_program(
        "control", settings, environ, is_ready=is_ready, beats=True, keeps_family=True
    )


def gateway(number: int, settings: GatewaySettings, environ: Mapping[str, str]) -> Program:
    """One of several that share a port, or the only one."""

    async def is_ready() -> bool:
        async with AsyncClient(settings.listen) as client:
            try:
                return await client.live()
            except FabricError:
                return False

    name = "gateway" if number == 1 else f"gateway-{number}"
    return python_program("gateway", settings, environ, name, is_ready=is_ready, beats=True)


def reaper(directory: Path, environ: Mapping[str, str]) -> Program:
    async def is_ready() -> bool:
        return True

    return Program(
        name="reaper",
        arguments=(sys.executable, "-m", "fabric.app.reaper", str(directory)),
        environ=environ,
        is_ready=is_ready,
    )


# ------------------------------------------------------------------ Ray
_RAY_PORTS = (
    "port",
    "dashboard-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "runtime-env-agent-port",
    "metrics-export-port",
    "ray-client-server-port",
    "node-manager-port",
    "object-manager-port",
)
_WORKER_PORTS = 100
RAY_STATE = "RAY_gcs_storage_path"
"""The environment variable with the folder of what one run of Ray knows of itself."""
_RAY_FLAGS = {
    # Ray replaces 127.0.0.1 with an address of the machine that others reach, but not this one.
    "node-ip-address": "127.0.0.2",
    "dashboard-host": "127.0.0.1",
    "include-dashboard": "true",
    "include-log-monitor": "false",
    "object-store-memory": "83886080",  # tensors travel over links, never through the store
}
_RAY_ENVIRON = {
    "RAY_gcs_storage": "rocksdb",
    "RAY_USAGE_STATS_ENABLED": "0",
    # A token in the user's home would turn authentication on, and fabric sends none.
    "RAY_AUTH_MODE": "disabled",
    "RAY_enable_metrics_collection": "0",
    "RAY_enable_open_telemetry": "0",
    "RAY_DISABLE_DASHBOARD_LOG_INFO": "1",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
    "RAY_worker_niceness": "0",  # replicas are no background work; Ray's default is 15
    # Under `uv run` Ray would upload the working directory and start workers by `uv run` there.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # What Ray does while nothing happens takes its time from requests. In percent of a core and
    # context switches a second, of four idle replicas:
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.25",  # not 0.1, each with three calls: 2.8 %, 410
    "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "0",  # nobody collects them: ten wake-ups a replica
    "RAY_SERVE_AUTOSCALING_METRIC_RECORD_INTERVAL_FACTOR": "0.5",  # as often as it is reported
    # Only so does a change of how often replicas report their load reach those that run.
    "RAY_SERVE_COLLECT_AUTOSCALING_METRICS_ON_HANDLE": "0",
    "METRICS_RECORD_INTERVAL_S": "3600",  # of the dashboard's own processes: 0.5 %
    # Of this machine and all workers, and of events, ten times a second: 0.6 %, 30.
    "REPORTER_UPDATE_INTERVAL_MS": "60000",
    "EVENT_AGENT_REPORT_INTERVAL_SECONDS": "10",
    # Raylet's looks after memory and disk, and what workers tell of tasks: 0.2 %, 50.
    "RAY_local_fs_monitor_interval_ms": "60000",
    "RAY_raylet_check_gc_period_milliseconds": "10000",
    "RAY_object_manager_timer_freq_ms": "1000",
    "RAY_memory_monitor_refresh_ms": "1000",  # not 250, each through /proc of all workers
    "RAY_task_events_report_interval_ms": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
_LEAST_CPUS = 64
_FIRST_PORT, _LAST_PORT = 20000, 32500  # below those that Linux gives to clients


def ray(scratch: Path, environ: Mapping[str, str]) -> tuple[Program, str]:
    """A Ray of its own on this machine, and the URL of its dashboard.

    It counts more CPUs than a small machine has, so that a portfolio runs on a laptop too.
    """
    base = free_block(len(_RAY_PORTS) + 1 + _WORKER_PORTS)
    ports = {name: base + index for index, name in enumerate(_RAY_PORTS)}
    workers = base + len(_RAY_PORTS) + 1
    flags = {
        **_RAY_FLAGS,
        **ports,
        "min-worker-port": workers,
        "max-worker-port": workers + _WORKER_PORTS - 1,
        "num-cpus": max(_LEAST_CPUS, os.cpu_count() or 1),
        "temp-dir": scratch / "ray",
    }
    clean = {name: value for name, value in environ.items() if not name.startswith("RAY_")}
    metrics = str(base + len(_RAY_PORTS))
    url = f"http://127.0.0.1:{ports['dashboard-port']}"

    async def is_ready() -> bool:
        return await asyncio.to_thread(answers, "127.0.0.1", ports["dashboard-port"])

    async def end_applications() -> None:
        """Lets the replicas drain, which SIGTERM would not."""
        async with httpx.AsyncClient(timeout=15.0, trust_env=False) as client:
            try:
                await client.delete(f"{url}/api/serve/applications/")
            except httpx.HTTPError:
                return

    program = Program(
        name="ray",
        arguments=(
            *(sys.executable, "-m", "fabric.app.head"),
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head"),
            *("--disable-usage-stats", "--no-monitor"),
            *(f"--{name}={value}" for name, value in flags.items()),
        ),
        environ={
            **clean,
            **_RAY_ENVIRON,
            "DASHBOARD_METRIC_PORT": metrics,
            RAY_STATE: str(scratch / "ray-state"),
        },
        is_ready=is_ready,
        before_stop=end_applications,
        startup=120.0,
        lifeline=False,  # its workers inherit variables but no descriptors
    )
    return program, url


# ------------------------------------------------------------------ ports
def free_port(host: str) -> int:
    """A port that nobody listens at, and that no client is given before somebody does.

    Raises:
        Unavailable: there seems to be none.
    """
    for _ in range(100):
        port = random.randrange(_FIRST_PORT, _LAST_PORT)  # noqa: S311
        if is_free(host, port):
            return port
    raise Unavailable(f"no free port from {_FIRST_PORT} to {_LAST_PORT}")


def free_block(count: int) -> int:
    """The first of *count* ports in a row that nobody listens at.

    Raises:
        Unavailable: there seem to be none.
    """
    for _ in range(100):
        base = random.randrange(_FIRST_PORT, _LAST_PORT - count)  # noqa: S311
        if all(is_free("", port) for port in range(base, base + count)):
            return base
    raise Unavailable(f"no {count} free ports in a row from {_FIRST_PORT} to {_LAST_PORT}")


def is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=_PROBE).close()
    except OSError:
        return False
    return True

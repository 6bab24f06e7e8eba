"""The other servers: Triton, KServe, MLServer and Ray Serve, each as fast as it is known to go.

Models run in ONNX Runtime with one thread in all of them, as they do in fabric.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tritonclient.grpc as triton_client
from tritonclient.utils import InferenceServerException

from tests.benchmarks.environments import PYTHON, interpreter
from tests.benchmarks.processes import Started, free_port, started

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.benchmarks.models import Model

PROGRAMS = Path(__file__).parent / "programs"
_TYPES = {"FP32": "TYPE_FP32", "INT64": "TYPE_INT64"}
_FAST = {
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_AUTH_MODE": "disabled",  # else it puts a token into the home that binds every other Ray
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",  # five seconds are few on two cores
}


@dataclass(frozen=True)
class Server:
    """A server that has given right answers for all of its models."""

    name: str
    address: str
    running: Started
    others: tuple[Started, ...] = ()
    """Further processes that answer at the address."""


@contextlib.contextmanager
def other(name: str, models: Sequence[Model], folder: Path) -> Iterator[Server]:
    """The server *name* with *models*, for as long as the block lasts.

    Raises:
        Failed: it does not start, or answers wrongly.
    """
    files, work, port = folder / "models", folder / name, free_port()
    for model in models:
        model.write(files)
    work.mkdir(exist_ok=True)
    argv, environ = _COMMANDS[name](models, work, port)
    with started(name, argv, work, {"MODELS": str(files), **environ}) as running:
        address = f"127.0.0.1:{port}"
        running.until(lambda: is_right(address, models, files))
        yield Server(name, address, running)


def is_right(address: str, models: Sequence[Model], files: Path) -> bool:
    """Whether the server at *address* answers for each of *models* as ONNX Runtime alone does."""
    try:
        with triton_client.InferenceServerClient(address) as client:
            return all(_is_right(client, model, files) for model in models)
    except InferenceServerException:  # not yet
        return False


def _is_right(client: triton_client.InferenceServerClient, model: Model, files: Path) -> bool:
    (inputs,) = model.samples(1)
    given = []
    for spec in model.inputs:
        array = inputs[spec.name]
        given.append(triton_client.InferInput(spec.name, list(array.shape), spec.datatype))
        given[-1].set_data_from_numpy(array)
    got = client.infer(model.name, given)
    wanted = model.answers(files, inputs)
    return all(np.allclose(got.as_numpy(name), wanted[name], atol=1e-4) for name in wanted)


# ------------------------------------------------------------------ how each is started
Command = tuple[list[str], dict[str, str]]


def _triton(models: Sequence[Model], work: Path, port: int) -> Command:
    python = interpreter("triton")
    (site,) = python.parent.parent.glob("lib/python3*/site-packages")
    server = site / "pytriton" / "tritonserver"
    stub = server / "backends" / "python" / "triton_python_backend_stub"
    if not stub.exists():
        shutil.copy(next((server / "python_backend_stubs").glob(f"{PYTHON}/*")), stub)
    for binary in (stub, server / "bin" / "tritonserver"):
        binary.chmod(0o755)
    where = "import sysconfig; print(sysconfig.get_config_var('LIBDIR'))"
    libraries = subprocess.run(
        [str(python), "-c", where], capture_output=True, text=True, check=True
    )
    for model in models:
        _into_repository(model, work / "repository")
    argv = [
        str(server / "bin" / "tritonserver"),
        f"--model-repository={work / 'repository'}",
        f"--backend-directory={server / 'backends'}",
        f"--grpc-port={port}",
        f"--http-port={free_port()}",
        f"--metrics-port={free_port()}",
    ]
    environ = {
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": libraries.stdout.strip(),
    }
    return argv, environ


def _into_repository(model: Model, repository: Path) -> None:
    program = "triton_model.py" if model.rows else "triton_identity.py"
    version = repository / model.name / "1"
    version.mkdir(parents=True, exist_ok=True)
    shutil.copy(PROGRAMS / program, version / "model.py")
    shutil.copy(PROGRAMS / "onnx_sessions.py", version)  # the one folder that it imports from
    lines = [
        'backend: "python"',
        f"max_batch_size: {model.rows}",
        "instance_group [ { kind: KIND_CPU count: 1 } ]",
    ]
    if model.rows:
        lines.append("dynamic_batching { }")
    for kind, specs in (("input", model.inputs), ("output", model.outputs)):
        for spec in specs:
            sizes = list(spec.shape[1:] if model.rows else spec.shape)
            said = f'name: "{spec.name}" data_type: {_TYPES[spec.datatype]} dims: {sizes}'
            lines.append(f"{kind} [ {{ {said} }} ]")
    (repository / model.name / "config.pbtxt").write_text("\n".join(lines) + "\n")


def _kserve(models: Sequence[Model], work: Path, port: int) -> Command:
    program = str(PROGRAMS / "kserve_server.py")
    return [str(interpreter("kserve")), program, str(port), str(free_port())], {}


def _mlserver(models: Sequence[Model], work: Path, port: int) -> Command:
    for model in models:
        (work / model.name).mkdir(exist_ok=True)
        said = {"name": model.name, "implementation": "mlserver_model.OnnxModel"}
        (work / model.name / "model-settings.json").write_text(json.dumps(said))
    ports = {"grpc_port": port, "http_port": free_port(), "metrics_port": free_port()}
    # Without workers of its own: those cost it more than they give with models this small.
    (work / "settings.json").write_text(json.dumps({"parallel_workers": 0, **ports}))
    mlserver = interpreter("mlserver").with_name("mlserver")
    return [str(mlserver), "start", "."], {"PYTHONPATH": str(PROGRAMS)}


def _ray_fast(models: Sequence[Model], work: Path, port: int) -> Command:
    program = str(PROGRAMS / "ray_server.py")
    argv = [str(interpreter("ray")), program, str(port), str(free_port())]
    return argv, {**_FAST, "PYTHONPATH": str(PROGRAMS)}


_COMMANDS = {"triton": _triton, "kserve": _kserve, "mlserver": _mlserver, "ray-fast": _ray_fast}

"""Clients of KServe and of MLServer, unmodified, on both hosts.

They have processes and environments of their own: two copies of the protocol's messages cannot
live in one process, and their packages ask for other versions than ours.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CLIENTS = Path(__file__).parent / "clients"
DOUBLED = [[2, 4], [6, 8]]
TEXTS = ["", "ü", "abc"]

pytestmark = pytest.mark.timeout(180)


def run(*arguments):
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def python_of(tmp_path_factory):
    """The interpreter of an environment with what one file of requirements lists."""
    made = {}

    def get(name):
        if name not in made:
            uv = shutil.which("uv")
            assert uv, "uv is not on the PATH, where `make test` puts it"
            folder = tmp_path_factory.mktemp(name)
            run(uv, "venv", "--quiet", "--python", sys.executable, str(folder))
            made[name] = str(folder / "bin" / "python")
            file = str(CLIENTS / f"{name}.txt")
            to = ("--quiet", "--no-deps", "--python", made[name])
            run(uv, "pip", "install", *to, "--requirements", file)
        return made[name]

    return get


def ask(python_of, name, address):
    return json.loads(run(python_of(name), str(CLIENTS / f"ask_{name}.py"), address))


def test_kserves_clients_are_served(python_of, hosted):
    """`InferenceGRPCClient` and `InferenceRESTClient`, every method of both."""
    found = ask(python_of, "kserve", hosted)
    unknown = "Request for unknown model: 'none' is not found"
    answer, routed = ["r-1", "double", "y", DOUBLED], ["r-1", "scale", "y", DOUBLED]
    assert found["grpc"] == {
        "live": True,
        "ready": True,
        "model": True,
        "route": True,
        "raw": answer,
        "typed": answer,
        "wanted": routed,
        "headers": answer,
        "texts True": TEXTS,
        "texts False": TEXTS,
        "specialist": "double",
        "no model": ["NOT_FOUND", unknown],
        "no such ready": ["NOT_FOUND", unknown],
    }
    status, text = found["rest"].pop("no model")
    assert (status, unknown in text) == (404, True)
    assert found["rest"] == {
        "live": True,
        "ready": True,
        "model": True,
        "no such ready": False,
        "raw": answer,
        "json": answer,
        "raw out": answer,
        "wanted": answer,
        "texts True": TEXTS,
        "texts False": TEXTS,
        "document": [2, 4],
        "type": "application/json",
        "specialist": "double",
    }


def test_mlservers_stubs_are_served(python_of, hosted):
    """Every call that they have; streams in MLServer's dialect, where that is asked for."""
    found = ask(python_of, "mlserver", hosted)
    unknown = "Request for unknown model: 'none' is not found"
    assert found.pop("no load")[0] != "OK"
    assert found == {
        "live": True,
        "ready": True,
        "model": True,
        "server": "fabric",
        "inputs": [["x", "FP32", [-1, 2]]],
        "typed": [2, 4],
        "alike": [2, 4],
        "raw": [2, 4],
        "route": "r-1",
        "no model": ["NOT_FOUND", unknown],
        "stream": [["a", 2, 4], ["b", 2, 4]],
        "decoupled": [[0], [1], [2]],
        "no stream": ["NOT_FOUND", unknown],
        "state": "READY",
        "unloaded": True,
        "loaded": "READY",
    }

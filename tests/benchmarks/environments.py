"""Virtual environments of the other servers, made on first use and kept for the next one.

They live in `~/.cache/fabric-peers`, or where `FABRIC_PEERS` says.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.benchmarks.processes import Failed
from tests.benchmarks.progress import say

ROOT = Path(__file__).resolve().parents[2]
PYTHON = "3.11"
"""The one that Triton's Python backend is built for."""
_BASE = ("onnxruntime", "numpy", "tritonclient[grpc]")
_PACKAGES = {
    "triton": ("nvidia-pytriton", *_BASE),
    "kserve": ("kserve", *_BASE),
    "mlserver": ("mlserver", *_BASE),
    "ray": ("ray[serve]==2.60.0", *_BASE),
}


def interpreter(name: str) -> Path:
    """The Python of the environment *name*, which has everything it needs.

    Raises:
        Failed: it cannot be made.
    """
    cache = os.environ.get("FABRIC_PEERS") or Path.home() / ".cache" / "fabric-peers"
    home = Path(cache) / name
    python, made = home / "bin" / "python", home / "ok"
    if not made.exists():
        say(f"{name}: installing {', '.join(_PACKAGES[name])}")
        shutil.rmtree(home, ignore_errors=True)
        _uv("venv", "--python", PYTHON, str(home))
        _uv("pip", "install", "--python", str(python), *_PACKAGES[name])
        made.touch()
    return python


def _uv(*arguments: str) -> None:
    uv = shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")
    try:
        subprocess.run([uv, *arguments, "--quiet"], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise Failed("uv, which installs the other servers, is not there: make env") from None
    except subprocess.CalledProcessError as error:
        raise Failed(f"uv {arguments[0]} failed: {error.stderr.strip()[-500:]}") from None

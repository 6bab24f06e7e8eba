"""The README is true: its portfolio is served, and its code and commands run against it."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from onnx_models import accumulating, doubling

from fabric.app import Fabric, FabricSettings
from fabric.config import load
from fabric.config.portfolio import Portfolio

README = Path(__file__).parent.parent / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)


@pytest.mark.timeout(120)
async def test_the_readme_works_as_written(tmp_path):
    """Portfolio, Python and shell blocks do what the text says, in the order it says it."""
    (tmp_path / "models").mkdir()
    for name in ("sentiment-en", "sentiment-any"):
        doubling(tmp_path / "models" / f"{name}.onnx", shape=("N", 4))
    accumulating(tmp_path / "models" / "running-total.onnx")
    files = []
    for text in blocks("yaml"):
        file = tmp_path / "portfolio.yaml"
        file.write_text(text)
        files.append(load(file, {each.key for before in files for each in before.specialists}))
    portfolio = Portfolio(
        specialists=tuple(each for file in files for each in file.specialists),
        routes=tuple(each for file in files for each in file.routes),
        pipelines=tuple(each for file in files for each in file.pipelines),
    )
    settings = FabricSettings(state=tmp_path / "state", host="local", listen="127.0.0.1:0")

    async with Fabric(settings, portfolio) as fabric:
        assert await fabric.ready() == {}
        for code in blocks("python"):
            here = code.replace("localhost:8080", fabric.server)
            run = partial(subprocess.run, capture_output=True, text=True)
            done = await asyncio.to_thread(run, [sys.executable, "-c", here])
            assert done.returncode == 0, done.stderr
            assert "sentiment-en" in done.stdout
        (commands,) = blocks("sh")
        here = commands.replace("localhost:8080", fabric.server)
        strict = ["bash", "-euo", "pipefail", "-c", here]
        done = await asyncio.to_thread(run, strict, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert '"ready":true' in done.stdout
        assert '"data":[2.0,4.0,6.0,8.0]' in done.stdout
        assert done.stdout.endswith(commands.splitlines()[-1].removeprefix("# "))
        assert (tmp_path / "answer").read_bytes().endswith(b"]}" + bytes(16))

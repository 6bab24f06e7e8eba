"""The examples run, and end as they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.timeout(180)
def test_the_digits_demo_answers_every_request():
    """Without Ray, so that it is quick: specialists, route and a kill -9, and nothing is left."""
    done = subprocess.run(
        [sys.executable, "-m", "examples.digits", "--host", "local"],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "the specialist was back" in done.stdout
    assert "processes are gone" in done.stdout

"""Processes of the benchmarks, and whatever those start, end with their block."""

from __future__ import annotations

import sys

import pytest

from fabric.app.family import Identity
from tests.benchmarks.processes import Failed, resident, started

STARTS_ANOTHER = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
print("started", flush=True)
sys.stdin = open("/dev/null")
import signal; signal.pause()
"""


def test_nothing_outlives_the_block(tmp_path):
    """Not even what went into a session of its own."""
    argv = [sys.executable, "-c", STARTS_ANOTHER]
    with started("parent", argv, tmp_path) as running:
        running.until(lambda: len(running.pids()) == 2 and running.log.read_text() == "started\n")
        pids = running.pids()
        assert resident(pids) > 0
    assert not any(Identity.of(pid) for pid in pids)


def test_what_ends_early_says_why(tmp_path):
    """The last lines of its log are in the error."""
    argv = [sys.executable, "-c", "raise SystemExit('no such port')"]
    with (
        started("server", argv, tmp_path) as running,
        pytest.raises(Failed, match=r"server: ended with status 1; its log ends:\nno such port"),
    ):
        running.until(lambda: False)

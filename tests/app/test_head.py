"""What `ray start` leaves behind, with programs that stand for Ray's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fabric.app.family import Family, Identity, children
from fabric.app.programs import RAY_STATE


@pytest.fixture
def head(tmp_path):
    """A `raylet` and a `store`, kept."""
    for name in ("raylet", "store"):
        (tmp_path / name).symlink_to("/bin/sleep")
    (tmp_path / "state").mkdir()
    starting = (
        f"cd {tmp_path}; for each in raylet store; do $PWD/$each 1000 >>$each.log 2>&1 & done"
    )
    kept = subprocess.Popen(
        [sys.executable, "-m", "fabric.app.head", "sh", "-c", starting],
        env={**os.environ, RAY_STATE: str(tmp_path / "state")},
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    with kept:
        try:
            assert b"keeps raylet, store" in kept.stderr.readline()
            yield kept
        finally:
            Family((Identity.of(kept.pid) or Identity(kept.pid, 0),)).kill()


def named(head, name):
    return [pid for pid in children(head.pid) if comm(pid) == name]


def comm(pid):
    """The name of *pid*; none once it has ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return None


def found(head, name, but=0):
    """The process *name* that is not *but*, once there is one."""
    while not (pids := [pid for pid in named(head, name) if pid != but]):
        assert head.poll() is None
        time.sleep(0.01)
    return pids[0]


def test_what_dies_is_started_again_as_it_was(head, tmp_path):
    """With its arguments and its files; the others are left alone, and what was stored before."""
    raylet, store = found(head, "raylet"), found(head, "store")
    os.kill(store, signal.SIGKILL)
    again = found(head, "store", but=store)
    arguments = Path(f"/proc/{again}/cmdline").read_bytes()
    assert arguments == f"{tmp_path}/store\0001000\000".encode()
    assert Path(f"/proc/{again}/fd/1").readlink() == tmp_path / "store.log"
    assert named(head, "raylet") == [raylet]
    assert not (tmp_path / "state").exists()


def test_without_the_raylet_all_ends(head):
    """Whoever started it starts everything again."""
    store = found(head, "store")
    os.kill(found(head, "raylet"), signal.SIGKILL)
    assert head.wait() == 1
    assert Identity.of(store) is None


def test_what_dies_at_once_again_is_not_started_for_ever(head):
    """All is to be started anew."""
    store = found(head, "store")
    os.kill(store, signal.SIGKILL)
    os.kill(found(head, "store", but=store), signal.SIGKILL)
    assert head.wait() == 1


def test_told_to_stop_it_ends_all(head):
    """And says that this was right."""
    pids = children(head.pid)
    assert len(pids) == 2
    head.terminate()
    assert head.wait() == 0
    assert not any(Identity.of(pid) for pid in pids)

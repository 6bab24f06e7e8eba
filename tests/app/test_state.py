"""The state directory."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fabric.app.family import Family, Identity
from fabric.app.state import State, default_directory, is_held, read
from fabric.core.errors import Conflict, Unavailable

HOLDER = """
import pathlib, subprocess, sys
from fabric.app.family import Family, Identity
from fabric.app.state import State
state = State(pathlib.Path(sys.argv[1]))
orphan = subprocess.Popen(
    [sys.executable, "-c", "import time; time.sleep(60)"],
    start_new_session=True, stdout=subprocess.DEVNULL,
)
state.record("127.0.0.1:1", Family((Identity.of(orphan.pid),)), ready=True)
print(orphan.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the directory, with a child of its own."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "state")],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    ) as process:
        process.orphan = Identity.of(int(process.stdout.readline()))
        yield process
        process.kill()
        Family((process.orphan,)).kill()
        if left := read(tmp_path / "state"):
            shutil.rmtree(left.scratch)


def test_the_default_follows_the_xdg_directories(monkeypatch):
    """XDG_STATE_HOME counts, and else ~/.local/state."""
    assert default_directory({"XDG_STATE_HOME": "/s"}) == Path("/s/fabric/default")
    monkeypatch.setenv("HOME", "/h")
    assert default_directory({}) == Path("/h/.local/state/fabric/default")


def test_a_directory_is_held_by_one_supervisor(tmp_path, holder):
    """The second is told who is there and what to do."""
    assert is_held(tmp_path / "state")
    with pytest.raises(Conflict, match=rf"process {holder.pid}, at 127\.0\.0\.1:1.*fabric down"):
        State(tmp_path / "state")
    assert holder.orphan.is_alive


def test_what_a_killed_supervisor_left_is_cleared(tmp_path, holder):
    """Its children end, its scratch folder goes, and the directory is free."""
    scratch = Path(read(tmp_path / "state").scratch)
    assert scratch.is_dir()
    holder.kill()
    holder.wait()
    assert not is_held(tmp_path / "state")
    state = State(tmp_path / "state")
    assert not holder.orphan.is_alive
    assert not scratch.exists()
    assert read(tmp_path / "state") is None
    state.release(keep_logs=False)


def test_a_record_without_room_is_named_and_the_one_before_stays(tmp_path, monkeypatch):
    """Whole: it is what the next supervisor goes by."""
    state = State(tmp_path)
    state.record("127.0.0.1:1", Family(), ready=True)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", full)
        with pytest.raises(Unavailable, match=r"json.new .* No space"):
            state.record("127.0.0.1:2", Family(), ready=True)
    assert read(tmp_path).server == "127.0.0.1:1"
    state.release(keep_logs=False)


def test_a_record_of_another_boot_names_nobody(tmp_path):
    """After a restart of the machine the numbers in it are others'."""
    with subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True
    ) as process:
        state = State(tmp_path)
        family = Family((Identity.of(process.pid),))
        state.record("127.0.0.1:1", family, ready=True)
        os.close(state._descriptor)
        file = tmp_path / "fabric.json"
        said = file.read_text()
        file.write_text(said.replace(read(tmp_path).boot, "another"))
        State(tmp_path).release(keep_logs=False)
        assert process.poll() is None
        process.kill()


def test_a_released_directory_has_nothing_but_the_store(tmp_path):
    """Logs stay only where they are wanted."""
    state = State(tmp_path)
    (state.logs / "gateway.log").write_text("a line")
    (tmp_path / "fabric.db").touch()
    state.record("127.0.0.1:1", Family(), ready=False)
    state.release(keep_logs=True)
    assert (tmp_path / "logs" / "gateway.log").exists()
    State(tmp_path).release(keep_logs=False)
    assert [path.name for path in tmp_path.iterdir()] == ["fabric.db"]
    assert not state.scratch.exists()
    assert not is_held(tmp_path)


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    """The error says which and why."""
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match=r"file/state: Not a directory"):
        State(tmp_path / "file" / "state")


def test_nothing_runs_on_a_directory_that_is_not_there():
    """Asking makes no directory."""
    assert not is_held(Path("/nowhere"))
    assert read(Path("/nowhere")) is None


def test_a_look_at_a_directory_keeps_nobody_from_holding_it(tmp_path):
    """Whoever looks whether it is held has it for a moment; that moment is waited for."""
    looked, done = threading.Event(), threading.Event()

    def look():
        while not done.wait(0.001):
            is_held(tmp_path)
            looked.set()

    looking = threading.Thread(target=look)
    looking.start()
    try:
        looked.wait()
        for _ in range(50):
            State(tmp_path).release(keep_logs=False)
    finally:
        done.set()
        looking.join()

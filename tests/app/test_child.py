"""Children: real processes, in small."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from fabric.app import child as child_module
from fabric.app.child import Child, Program
from fabric.app.pulse import Pulse
from fabric.core.errors import Unavailable

if TYPE_CHECKING:
    from pathlib import Path

WORKER = """
import os, pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
family = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
pathlib.Path(sys.argv[1]).write_text(f"{os.getpid()} {family.pid}")
time.sleep(60)
"""


async def until(condition, seconds=10.0):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
async def make(tmp_path):
    made = []

    def make(*arguments, **options):
        async def is_ready():
            return options.get("ready", (tmp_path / "ready").exists)()

        program = Program(
            name="worker",
            arguments=(sys.executable, "-c", *arguments),
            environ=os.environ,
            is_ready=is_ready,
            startup=options.get("startup", 10.0),
            keeps_family=options.get("keeps_family", False),
            beats=options.get("beats", False),
        )
        made.append(Child(program, tmp_path, lifeline=0))
        return made[-1]

    yield make
    for child in made:
        await child.stop()
        child.kill()


def pids(file: Path) -> list[int]:
    return [int(pid) for pid in file.read_text().split()]


def runs(pid: int) -> bool:
    return child_module.Identity.of(pid) is not None


async def test_a_child_that_is_killed_comes_back_without_what_it_started(make, tmp_path):
    """Its descendants are ended before the next one starts."""
    file = tmp_path / "ready"
    child = make(WORKER, str(file))
    await child.start()
    first, family = pids(file)
    os.kill(first, signal.SIGKILL)
    await until(lambda: child.restarts == 1 and child.pid != first)
    assert not runs(family)
    await until(lambda: pids(file)[0] == child.pid)


async def test_a_child_comes_back_though_it_cannot_be_told(make, tmp_path):
    """Whoever is told of a start may have no room to write it down."""
    file = tmp_path / "ready"
    child = make(WORKER, str(file))
    await child.start()

    def told():
        raise Unavailable("no room")

    child._on_start = told
    for restarts in (1, 2):
        before = child.pid
        os.kill(before, signal.SIGKILL)
        await until(lambda n=restarts, pid=before: child.restarts == n and child.pid != pid)
        await until(lambda: str(child.pid) in file.read_text())


async def test_a_family_may_be_kept(make, tmp_path):
    """Where descendants outlive their parent, they are ended with the child."""
    file = tmp_path / "ready"
    child = make(WORKER, str(file), keeps_family=True)
    await child.start()
    first, family = pids(file)
    os.kill(first, signal.SIGKILL)
    await until(lambda: child.pid != first)
    assert runs(family)
    await child.stop()
    child.kill()
    assert not runs(family)


async def test_a_child_that_ends_at_once_is_an_error_with_its_last_words(make):
    """The message has the status and the end of the log, and names the log."""
    child = make("import sys; sys.exit('no such model')")
    with pytest.raises(Unavailable, match=r"(?s)worker ended with status 1.*worker\.log.*no such"):
        await child.start()


async def test_a_child_that_is_not_ready_in_time_is_an_error(make):
    """It is not waited for without end."""
    child = make("import time; time.sleep(60)", startup=0.2)
    with pytest.raises(Unavailable, match=r"worker is not ready after 0\.2 s"):
        await child.start()


async def test_a_child_that_keeps_dying_is_started_ever_less_often(make, monkeypatch):
    """The pause doubles up to its limit."""
    pauses = []
    sleep = asyncio.sleep

    async def record(seconds):
        pauses.append(seconds)
        await sleep(0)

    child = make("import time; time.sleep(0.05)", ready=lambda: True)
    monkeypatch.setattr(child_module.asyncio, "sleep", record)
    await child.start()
    await asyncio.wait_for(_reaches(child, 8, sleep), 20)
    assert pauses[:7] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0]


async def _reaches(child, restarts, sleep):
    while child.restarts < restarts:
        await sleep(0.01)


BEATING = """
import asyncio, pathlib, sys
from fabric.processes import beating
async def main():
    with beating():
        pathlib.Path(sys.argv[1]).touch()
        await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_a_child_that_hangs_is_replaced(make, tmp_path, monkeypatch):
    """One whose event loop turns is not, however often it is looked at."""
    monkeypatch.setattr("fabric.app.child.LOOK", 0.02)
    looks = []
    is_lost = Pulse.is_lost
    monkeypatch.setattr(Pulse, "is_lost", lambda pulse: looks.append(1) or is_lost(pulse))
    monkeypatch.setattr("fabric.app.pulse.MISSES", 100)
    child = make(BEATING, str(tmp_path / "ready"), beats=True)
    await child.start()
    first = child.pid
    await until(lambda: len(looks) > 110)
    assert child.restarts == 0
    os.kill(first, signal.SIGSTOP)
    await until(lambda: child.restarts == 1 and child.pid != first)
    assert not runs(first)
    again = len(looks)
    await until(lambda: len(looks) > again + 10)
    assert child.restarts == 1


def test_a_pulse_is_lost_after_many_looks_without_a_beat():
    """In a row; before the first it has as long as a start may take."""
    pulse = Pulse()
    try:
        pulse.begin(30.0)
        assert [pulse.is_lost() for _ in range(30)] == [False] * 29 + [True]
        for _ in range(2):
            os.write(pulse.writing, b"..")
            assert [pulse.is_lost() for _ in range(10)] == [False] * 10
        assert pulse.is_lost()
    finally:
        pulse.close()


async def test_stopping_waits_for_what_is_being_finished(make, tmp_path):
    """SIGTERM comes first, and stopping twice does nothing."""
    code = """
import pathlib, signal, sys, time
def finish(*_):
    time.sleep(0.1)
    pathlib.Path(sys.argv[2]).touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, finish)
pathlib.Path(sys.argv[1]).touch()
time.sleep(60)
"""
    child = make(code, str(tmp_path / "ready"), str(tmp_path / "finished"))
    await child.start()
    await child.stop()
    assert (tmp_path / "finished").exists()
    await child.stop()

"""Settings, the lifeline, and a clean end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import dataclass

import pytest
from running import until

from fabric import processes
from fabric.processes import LIFELINE, from_environ, stop, to_environ, until_told_to_stop


@dataclass(frozen=True, kw_only=True)
class Settings:
    name: str
    count: int = 1
    share: float = 0.5
    is_on: bool = False


# ------------------------------------------------------------------ settings
def test_settings_survive_the_environment():
    """Texts as they are, everything else as JSON."""
    settings = Settings(name="07 [x]", count=-2, share=1.25, is_on=True)
    environ = to_environ(settings)
    assert environ == {
        "FABRIC_NAME": "07 [x]",
        "FABRIC_COUNT": "-2",
        "FABRIC_SHARE": "1.25",
        "FABRIC_IS_ON": "true",
    }
    assert from_environ(Settings, environ) == settings


def test_what_is_unset_keeps_its_default():
    """And variables of others are passed by."""
    environ = {"FABRIC_NAME": "a", "FABRIC_OTHER": "b"}
    assert from_environ(Settings, environ) == Settings(name="a")


def test_a_value_of_another_type_is_refused():
    """By variable and type."""
    with pytest.raises(ValueError, match="FABRIC_COUNT='two' is not a valid int"):
        from_environ(Settings, {"FABRIC_NAME": "a", "FABRIC_COUNT": "two"})


def test_a_required_setting_is_asked_for():
    """With the names of all variables."""
    with pytest.raises(ValueError, match=r"'name'.*FABRIC_NAME, FABRIC_COUNT"):
        from_environ(Settings, {})


# ------------------------------------------------------------------ told to stop
@pytest.fixture
def lifeline(monkeypatch):
    """The writing end; the reading one is this process's lifeline."""
    reading, writing = os.pipe()
    monkeypatch.setenv(LIFELINE, str(reading))
    yield os.fdopen(writing, "wb")
    os.close(reading)


async def waiting():
    task = asyncio.create_task(until_told_to_stop())
    await asyncio.sleep(0)
    assert not task.done()
    return task


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_wait(number):
    """Once: a second one is not caught."""
    task = await waiting()
    os.kill(os.getpid(), number)
    await asyncio.wait_for(task, 5)
    assert signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)


async def test_the_end_of_the_lifeline_ends_the_wait(lifeline):
    """However its holder went."""
    task = await waiting()
    lifeline.close()
    await asyncio.wait_for(task, 5)


async def test_a_wait_that_is_cancelled_leaves_nothing(lifeline):
    """Neither handlers nor readers."""
    before = signal.getsignal(signal.SIGTERM)
    task = await waiting()
    task.cancel()
    await asyncio.wait((task,))
    assert signal.getsignal(signal.SIGTERM) == before
    assert not asyncio.get_running_loop().remove_reader(int(os.environ[LIFELINE]))
    lifeline.close()


def test_children_inherit_the_lifeline(lifeline, monkeypatch):
    """Where there is one."""
    assert processes.inherited() == (int(os.environ[LIFELINE]),)
    monkeypatch.delenv(LIFELINE)
    assert processes.inherited() == ()
    lifeline.close()


async def test_a_grandchild_outlives_its_parent_and_not_the_holder(tmp_path):
    """The lifeline is the supervisor's, whoever handed it on."""
    reading, writing = os.pipe()
    grandchild = (
        "import asyncio; from fabric.processes import until_told_to_stop as u; print('up', "
        "flush=True); asyncio.run(u()); print('down', flush=True)"
    )
    parent = (
        "import subprocess, sys; from fabric.processes import inherited; "
        f"subprocess.Popen([sys.executable, '-c', {grandchild!r}], pass_fds=inherited()).wait()"
    )
    said = tmp_path / "said"
    with said.open("w") as output:
        child = subprocess.Popen(
            [sys.executable, "-c", parent],
            env={**os.environ, LIFELINE: str(reading)},
            pass_fds=(reading,),
            stdout=output,
        )
    os.close(reading)
    await until(lambda: said.read_text() == "up\n")
    child.kill()
    child.wait()
    assert said.read_text() == "up\n"
    os.close(writing)
    await until(lambda: said.read_text() == "up\ndown\n")


# ------------------------------------------------------------------ ending others
async def started(code):
    """A process that has run *code* and waits."""
    reading, writing = os.pipe()
    code = f"import os, time; {code}; os.close({writing}); time.sleep(60)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, pass_fds=(writing,))
    os.close(writing)
    await asyncio.to_thread(os.read, reading, 1)
    os.close(reading)
    return process


async def test_a_process_is_ended_by_sigterm():
    """It has its time for it, and one that has ended already is no error."""
    process = await started("pass")
    await stop(process, 5)
    assert process.returncode == -signal.SIGTERM
    await stop(process, 5)


async def test_one_that_does_not_listen_is_killed():
    """When patience is at its end."""
    process = await started("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    await stop(process, 0.02)
    assert process.returncode == -signal.SIGKILL

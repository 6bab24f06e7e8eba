"""Processes that are known for certain."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest

from fabric.app.family import Family, Identity

PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], process_group=0)
print(child.pid, flush=True)
child.wait()
"""


@pytest.fixture
def parent():
    """A session of two processes in two process groups."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        process.child = int(process.stdout.readline())
        process.identity = Identity.of(process.pid)
        yield process
        process.kill()
        Family((process.identity,)).kill()


def test_a_process_is_more_than_its_number(parent):
    """The same number with another start is another process, and a zombie is none."""
    assert parent.identity.is_alive
    assert not Identity(parent.pid, parent.identity.started - 1).is_alive
    parent.kill()
    os.waitid(os.P_PID, parent.pid, os.WEXITED | os.WNOWAIT)
    assert Identity.of(parent.pid) is None


def test_a_session_outlives_its_leader(parent):
    """What the leader started is found and ended after the leader was killed."""
    family = Family((parent.identity,))
    assert family.alive() == {parent.pid, parent.child}
    parent.kill()
    parent.wait()
    assert family.alive() == {parent.child}
    family.kill()
    assert not family.alive()
    assert Identity.of(parent.child) is None


def test_a_number_that_was_given_away_has_no_session(parent):
    """Processes of a later session under the same number are not touched."""
    earlier = Identity(parent.pid, parent.identity.started - 1)
    assert earlier.session() == []


async def test_who_holds_the_lifeline_is_family_in_any_session():
    """A process that left the session is found by the pipe, and the waiting one is not counted."""
    lifeline, held = os.pipe()
    inode = os.fstat(lifeline).st_ino
    code = f"import os; os.read({lifeline}, 1)"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, pass_fds=(lifeline,), start_new_session=True
    )
    os.close(lifeline)
    family = Family(lifeline=inode)
    assert family.alive() == {process.pid}
    assert not await family.gone(0.01)
    os.close(held)
    assert await family.gone(10)
    await process.wait()

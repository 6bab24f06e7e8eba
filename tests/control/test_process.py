import asyncio
import os
import signal
import sys

from fabric.control.hosts.process import Process
from fabric.testing import specialist

PARENT = """
import subprocess, sys, time
child = subprocess.Popen(["sleep", "60"])
print("started", child.pid, flush=True)
time.sleep(60)
"""


async def test_what_a_killed_replica_started_ends_with_it() -> None:
    """A killed replica is gone at once, with the process that shares its output."""
    process = await Process.start([sys.executable, "-c", PARENT], specialist("a"), {}, 0.0)
    while "\n" not in process.last_words:
        await asyncio.sleep(0.01)
    helper = os.pidfd_open(int(process.last_words.split()[1]))
    try:
        process.signal(signal.SIGKILL)
        async with asyncio.timeout(5):
            assert await process.gone() == -signal.SIGKILL
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(helper, ended.set)
        async with asyncio.timeout(5):
            await ended.wait()
        asyncio.get_running_loop().remove_reader(helper)
    finally:
        os.close(helper)

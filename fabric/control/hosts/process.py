"""One process of a replica, started here or by a control plane before this one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf.json_format import Parse, ParseError

from fabric.api.catalog.v1 import card_pb2
from fabric.core.cards import Specialist
from fabric.processes import LIFELINE, MODELS, PYTHON_PATH, inherited
from fabric.wire.cards import as_dict, from_message, to_message

if TYPE_CHECKING:
    from collections.abc import Sequence

TAIL = 16 << 10
"""Bytes kept of what a process wrote last."""
LAST_WORDS = 1.0
"""Seconds for the end of its output, which a process that left its session may keep open."""
PASSED_ON = (LIFELINE, MODELS, PYTHON_PATH, "FABRIC_LOG_LEVEL")


class Process:
    """A replica's process, awaited by its pidfd, so that it need not be a child of ours."""

    def __init__(self, pid: int, specialist: Specialist, since: float) -> None:
        """Raises ProcessLookupError if there is no such process."""
        self.pid = pid
        self.specialist = specialist
        """As it was declared when the process was started."""
        self.since = since
        self.is_leaving = False
        self.was_ready = False
        self.ended = asyncio.Event()
        self._descriptor = os.pidfd_open(pid)
        self._child: subprocess.Popen[bytes] | None = None
        self._tail = _Tail()

    @classmethod
    async def start(
        cls, command: Sequence[str], specialist: Specialist, environ: dict[str, str], since: float
    ) -> Process:
        """A new process, in a session of its own, whose output goes to our standard error."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("FABRIC_") or name in PASSED_ON
        }
        declared = json.dumps(as_dict(to_message(specialist, card_pb2.Specialist)))
        child = subprocess.Popen(  # noqa: ASYNC220 - a fork and exec, whose end nobody waits for
            command,
            env={**kept, "FABRIC_SPECIALIST": declared, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=inherited(),
            start_new_session=True,
        )
        process = cls(child.pid, specialist, since)
        process._child = child
        await asyncio.get_running_loop().connect_read_pipe(lambda: process._tail, child.stdout)
        return process

    @classmethod
    def adopted(cls, pid: int, key: str, control: str, since: float) -> Process | None:
        """The process *pid* if it is a replica of *key* that belongs to the control plane there."""
        try:
            text = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
            environ = dict(entry.split("=", 1) for entry in text.split("\0") if "=" in entry)
            if environ.get("FABRIC_CONTROL") != control:
                return None
            message = Parse(environ.get("FABRIC_SPECIALIST", ""), card_pb2.Specialist())
            specialist = from_message(message, Specialist)
            return cls(pid, specialist, since) if specialist.key == key else None
        except (OSError, ParseError, ValueError, TypeError):
            return None

    @property
    def last_words(self) -> str:
        return self._tail.text()

    def signal(self, number: int) -> None:
        """Sends a signal to this very process, and to none that has taken its id since."""
        if not self.ended.is_set():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, number)

    async def gone(self) -> int | None:
        """Waits for the end of the process; its exit status, if it was a child of ours.

        What it started has ended too. To be called once.
        """
        loop = asyncio.get_running_loop()
        loop.add_reader(self._descriptor, self.ended.set)
        try:
            await self.ended.wait()
        finally:
            loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # what it started: it led a session of its own
        if self._child is None:
            return None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS):
                await self._tail.closed.wait()
        return self._child.wait()


class _Tail(asyncio.Protocol):
    """Passes what a process writes on to our standard error, and keeps the end of it."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()
        self._kept = bytearray()

    def data_received(self, data: bytes) -> None:
        sys.stderr.write(data.decode(errors="replace"))
        self._kept += data
        del self._kept[:-TAIL]

    def connection_lost(self, _error: Exception | None) -> None:
        self.closed.set()

    def text(self) -> str:
        return self._kept.decode(errors="replace")


def replica_command() -> list[str]:
    return [sys.executable, "-m", "fabric.runtime"]


def describe(status: int | None) -> str:
    """How a process ended, for people."""
    if status is None:
        return "the process ended"
    if status < 0:
        return f"the process was ended by {signal.Signals(-status).name}"
    return f"the process ended with status {status}"

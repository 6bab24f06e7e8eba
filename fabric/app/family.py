"""All processes that a fabric has started, whoever started them, known for certain.

Every child leads a session of its own, which its descendants stay in whatever they do with their
process groups; Ray's do. Others watch the lifeline, and so hold a descriptor of its pipe, whatever
they do with their sessions; local replicas do. Process numbers are reused and say nothing alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LEAVING = 10.0
"""Seconds that what is left of a fabric has for ending by itself."""
_PROC = Path("/proc")
_POLL = 0.02


def boot() -> str:
    """The id of this boot: after another one, numbers and times mean nothing."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


@dataclass(frozen=True)
class Identity:
    """A process, for as long as the machine runs."""

    pid: int
    started: int
    """In ticks since boot."""

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """The live process *pid*; None where there is none, or a zombie."""
        status = _status(pid)
        return cls(pid, status.started) if status else None

    @property
    def is_alive(self) -> bool:
        return Identity.of(self.pid) == self

    def session(self) -> list[int]:
        """The live processes of the session that this process led, or leads."""
        leader = _status(self.pid)
        if leader is not None and leader.started != self.started:
            return []  # the number went to another process, so nothing of the session was left
        return [
            pid
            for pid in _pids()
            if (status := _status(pid))
            and status.session == self.pid
            and status.started >= self.started
        ]


@dataclass(frozen=True)
class Family:
    """What there is to end when a fabric ends."""

    leaders: tuple[Identity, ...] = ()
    """Of the sessions of its children, those of children that were killed included."""
    lifeline: int = 0
    """The inode of its pipe."""

    def alive(self) -> set[int]:
        """The processes that are left, this one aside."""
        left = {pid for leader in self.leaders for pid in leader.session()}
        return (left | set(_holders(self.lifeline))) - {os.getpid()}

    async def gone(self, patience: float, seen: Iterable[int] = ()) -> bool:
        """Whether all of it ended by itself within *patience* seconds, and so did those who were
        *seen*: processes that end let go of the lifeline before they are gone."""
        until = time.monotonic() + patience
        seen = set(seen)
        while left := {pid for pid in seen | self.alive() if _status(pid)}:
            if time.monotonic() > until:
                return False
            seen |= left
            await asyncio.sleep(_POLL)
        return True

    def kill(self) -> None:
        """Ends what is left at once; returns when it is gone."""
        while left := self.alive():
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(_POLL / 10)


def children(pid: int) -> set[int]:
    """The live processes whose parent is *pid*."""
    return {each for each in _pids() if (status := _status(each)) and status.parent == pid}


@dataclass(frozen=True)
class _Status:
    parent: int
    session: int
    started: int


def _status(pid: int) -> _Status | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()  # proc(5): state is field 3, here the first
    if fields[0] in "ZX":
        return None
    return _Status(parent=int(fields[1]), session=int(fields[3]), started=int(fields[19]))


def _pids() -> list[int]:
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdecimal()]


def _holders(inode: int) -> Iterator[int]:
    pipe = Path(f"pipe:[{inode}]")
    for pid in _pids():
        with contextlib.suppress(OSError):  # gone, or somebody else's
            folder = _PROC / str(pid) / "fd"
            if any(descriptor.readlink() == pipe for descriptor in folder.iterdir()):
                yield pid

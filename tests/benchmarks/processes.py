"""Processes that the benchmarks start, and what they use; none of them outlives its block."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

_MARK = "FABRIC_BENCHMARK"
"""Of the environment: whatever a process starts has it too, in whatever session or group."""
_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_POLL = 0.2


class Failed(Exception):
    """A server or a tool that does not do what it should, and what it said last."""


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@dataclass(frozen=True)
class Started:
    """A process, and all that it has started."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    mark: str

    def pids(self, module: str = "") -> list[int]:
        """All that run; of a *module*, those in the sessions of whoever runs it by `-m`."""
        marked = [pid for pid in _pids() if self.mark.encode() in _read(pid, "environ")]
        if not module:
            return marked
        words = f"\0-m\0{module}\0".encode()
        sessions = {_session(pid) for pid in marked if words in _read(pid, "cmdline")}
        return [pid for pid in marked if _session(pid) in sessions]

    def failed(self, why: str) -> Failed:
        """What to raise, with the last lines of the log."""
        last = self.log.read_text(errors="replace").splitlines()[-8:]
        return Failed("\n".join((f"{self.name}: {why}; its log ends:", *last)))

    def until(self, is_right: Callable[[], bool], patience: float = 180.0) -> None:
        """Returns when *is_right* holds.

        Raises:
            Failed: the process ended before, or it takes too long.
        """
        end = time.monotonic() + patience
        while not is_right():
            if self.process.poll() is not None:
                raise self.failed(f"ended with status {self.process.returncode}")
            if time.monotonic() > end:
                raise self.failed(f"gave no right answer within {patience:g} s")
            time.sleep(_POLL)


@contextlib.contextmanager
def started(
    name: str,
    argv: Sequence[str],
    folder: Path,
    environ: Mapping[str, str] | None = None,
    patience: float = 60.0,
) -> Iterator[Started]:
    """A process in *folder*, which has *patience* seconds for ending when it is told to."""
    mark, log = uuid.uuid4().hex, folder / f"{name}.log"
    folder.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(argv),
            env={**os.environ, **(environ or {}), _MARK: mark},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is ours, and ends it by the end of the block
        )
    running = Started(name, process, log, mark)
    try:
        yield running
    finally:
        process.terminate()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
        finally:
            _kill(running)
            process.wait()


def _kill(running: Started) -> None:
    while left := running.pids():
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        running.process.poll()  # a zombie has an empty environment, and is waited for all the same
        time.sleep(0.02)


# ------------------------------------------------------------------ what they use
def resident(pids: Iterable[int]) -> int:
    """Bytes of memory, of all together."""
    pages = (_read(pid, "statm").split() for pid in pids)
    return sum(int(fields[1]) for fields in pages if fields) * os.sysconf("SC_PAGE_SIZE")


def seconds_used(pids: Iterable[int]) -> float:
    """Of processors, by all together since they began."""
    stats = (_read(pid, "stat").rpartition(b")")[2].split() for pid in pids)
    return sum(int(fields[11]) + int(fields[12]) for fields in stats if fields) / _TICKS


def pin(pids: Iterable[int], cores: Iterable[int]) -> None:
    """All threads of *pids* run on *cores* alone."""
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            for thread in (_PROC / str(pid) / "task").iterdir():
                os.sched_setaffinity(int(thread.name), cores)


def _session(pid: int) -> int:
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    return int(fields[3]) if fields else 0


def _pids() -> list[int]:
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdecimal()]


def _read(pid: int, what: str) -> bytes:
    try:
        return (_PROC / str(pid) / what).read_bytes()
    except OSError:  # gone, or somebody else's
        return b""

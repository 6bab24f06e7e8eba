"""`python -m fabric.app.head COMMAND…`: Ray's processes, as `ray start --head` leaves them behind.

`ray start --block` ends all of them when one dies, and with them every replica. Here only the end
of the raylet, which takes its workers along, is the end of all: the store of Ray's state, which it
keeps on disk, and the dashboard are started again as they were, and nobody who answers notices.
"""

from __future__ import annotations

import ctypes
import logging
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from fabric import telemetry
from fabric.app.family import children
from fabric.app.programs import RAY_STATE

log = logging.getLogger(__name__)

PATIENCE = 10.0
"""Seconds that processes have for their end."""
STEADY = 2.0
"""Seconds within which what was started again must not end."""
_SUBREAPER = 36  # of prctl(2): orphans of our descendants are our children
_POLL = 0.02
_RAYLET = "raylet"


@dataclass(frozen=True)
class Recipe:
    """How a process that runs was started."""

    name: str
    arguments: tuple[str, ...]
    environ: dict[str, str]
    outputs: tuple[str, str]

    @classmethod
    def of(cls, pid: int) -> Recipe:
        folder = Path("/proc") / str(pid)
        arguments = _texts(folder / "cmdline")
        scripts = (Path(each).stem for each in arguments if each.endswith(".py"))
        variables = (each.partition("=") for each in _texts(folder / "environ"))
        return cls(
            next(scripts, Path(arguments[0]).name),
            tuple(arguments),
            {name: value for name, _, value in variables},
            (_output(folder / "fd/1"), _output(folder / "fd/2")),
        )

    def start(self) -> int:
        """The process id of another one."""
        opened = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            *(
                (os.POSIX_SPAWN_OPEN, number, path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
                for number, path in enumerate(self.outputs, 1)
            ),
        ]
        return os.posix_spawn(self.arguments[0], self.arguments, self.environ, file_actions=opened)


def run(command: list[str]) -> int:
    """Keeps what *command* leaves behind until told to stop; not 0 if it has to start all anew."""
    ctypes.CDLL(None, use_errno=True).prctl(_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, _told)
    signal.signal(signal.SIGINT, _told)
    kept: dict[int, Recipe] = {}
    try:
        shutil.rmtree(os.environ[RAY_STATE], ignore_errors=True)
        if status := subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode:
            return status
        kept |= {pid: Recipe.of(pid) for pid in sorted(children(os.getpid()))}
        log.info("keeps %s", ", ".join(recipe.name for recipe in kept.values()))
        return _keep(kept)
    except _Told:
        return 0
    finally:
        _end(kept)


def _keep(kept: dict[int, Recipe]) -> int:
    """Returns when it is in vain to start something again."""
    begun: dict[int, float] = {}
    while True:
        pid, status = os.wait()
        recipe = kept.pop(pid, None)
        if recipe is None:
            continue  # an orphan of theirs
        log.error("%s ended with status %s", recipe.name, os.waitstatus_to_exitcode(status))
        lived = time.monotonic() - begun.pop(pid, -math.inf)
        if recipe.name == _RAYLET or lived < STEADY:
            return 1
        new = recipe.start()
        kept[new], begun[new] = recipe, time.monotonic()


def _end(kept: dict[int, Recipe]) -> None:
    """Ends the raylet first, which ends its workers, for which it needs the others."""
    for is_raylet in (True, False):
        pids = {pid for pid, recipe in kept.items() if (recipe.name == _RAYLET) is is_raylet}
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        until = time.monotonic() + PATIENCE
        while pids & children(os.getpid()) and time.monotonic() < until:
            time.sleep(_POLL)


def _output(descriptor: Path) -> str:
    """The file that it writes to; a pipe's other end ended with the command."""
    path = str(descriptor.readlink())
    return path if path.startswith("/") else os.devnull


def _texts(file: Path) -> list[str]:
    return file.read_bytes().decode(errors="surrogateescape").rstrip("\0").split("\0")


class _Told(BaseException):
    """To stop."""


def _told(*_: object) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise _Told


if __name__ == "__main__":
    telemetry.configure("fabric-ray")
    sys.exit(run(sys.argv[1:]))

"""The state directory of a fabric: who runs on it, and what a killed supervisor left behind."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fabric.app.family import Family, Identity, boot
from fabric.core.errors import Conflict, Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

STORE = "fabric.db"
LOGS = "logs"
_TRIES, _PAUSE = 20, 0.01
"""Seconds between tries to hold a directory."""
_RECORD = "fabric.json"

log = logging.getLogger(__name__)


def default_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Where a fabric keeps its state unless it is told, by the XDG base directories."""
    home = environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "fabric" / "default"


@dataclass(frozen=True, kw_only=True)
class Record:
    """What `fabric.json` says while a fabric runs, and after its supervisor was killed."""

    pid: int
    started: int
    boot: str
    server: str
    ready: bool
    """Whether every specialist answers, or has failed."""
    failed: tuple[str, ...]
    """The keys of those that have failed by then."""
    scratch: str
    """The folder for what lives no longer than the fabric."""
    family: Family

    @property
    def supervisor(self) -> Identity:
        return Identity(self.pid, self.started)


def read(directory: Path) -> Record | None:
    """The record in *directory*; None where there is none."""
    try:
        said = json.loads((directory / _RECORD).read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    family, failed = said.pop("family"), tuple(said.pop("failed", ()))
    leaders = tuple(Identity(**leader) for leader in family["leaders"])
    return Record(**said, failed=failed, family=Family(leaders, family["lifeline"]))


def is_held(directory: Path) -> bool:
    """Whether a supervisor, ready or not, has the directory."""
    if not directory.is_dir():
        return False
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return not _lock(descriptor)
    finally:
        os.close(descriptor)


class State:
    """The directory, held by one supervisor at a time; the kernel frees it with the process.

    What a killed supervisor left running or lying about is gone once this one holds it.

    Raises:
        Conflict: another supervisor holds it.
        Unavailable: it cannot be written.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.logs = self.directory / LOGS
        self._descriptor = _hold(self.directory)
        _recover(self.directory)
        self.logs.mkdir(exist_ok=True)
        # Sockets live in it, and their paths are 107 bytes at most.
        self.scratch = Path(tempfile.mkdtemp(prefix="fabric-", dir="/tmp"))

    def record(
        self, server: str, family: Family, *, ready: bool, failed: tuple[str, ...] = ()
    ) -> None:
        """Writes down what there is to end if this process is killed, whole or not at all.

        Raises:
            Unavailable: there is no room for it, or no process.
        """
        own = Identity.of(os.getpid())
        if own is None:
            raise Unavailable("the supervisor finds no trace of itself under /proc")
        said = Record(
            pid=own.pid,
            started=own.started,
            boot=boot(),
            server=server,
            ready=ready,
            failed=failed,
            scratch=str(self.scratch),
            family=family,
        )
        draft = self.directory / f"{_RECORD}.new"
        try:
            draft.write_text(json.dumps(asdict(said), indent=2) + "\n")
            draft.replace(self.directory / _RECORD)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise Unavailable(f"{draft} cannot be written: {error.strerror}") from error

    def release(self, *, keep_logs: bool) -> None:
        """Leaves the store, and the logs if they are to be read; another supervisor may come."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        if not keep_logs:
            shutil.rmtree(self.logs, ignore_errors=True)
        (self.directory / _RECORD).unlink(missing_ok=True)
        os.close(self._descriptor)


def _hold(directory: Path) -> int:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise Unavailable(f"state directory {directory}: {error.strerror}") from error
    for _ in range(_TRIES):
        if _lock(descriptor):
            return descriptor
        time.sleep(_PAUSE)  # `is_held` holds it, too, for as long as it takes to see that it can
    os.close(descriptor)
    raise Conflict(in_use(directory))


def in_use(directory: Path) -> str:
    """What to say of a directory that is held."""
    record = read(directory)
    who = f" as process {record.pid}, at {record.server}" if record else ""
    return (
        f"a fabric runs on {directory} already{who}: end it with `fabric down`, "
        "or give this one another directory with `--state`"
    )


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _recover(directory: Path) -> None:
    """Ends what a killed supervisor's children left, which no lifeline reached."""
    record = read(directory)
    if record is None:
        return
    log.warning("the last supervisor, process %d, was killed: ending what it left", record.pid)
    if record.boot == boot():
        record.family.kill()
    shutil.rmtree(record.scratch, ignore_errors=True)
    (directory / _RECORD).unlink()

"""`fabric up` and `fabric down`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from fabric.app import Fabric, FabricSettings
from fabric.app.state import LOGS, State, default_directory, in_use, is_held, read
from fabric.cli import output as out
from fabric.config import load
from fabric.core.errors import Conflict, DeadlineExceeded, NotFound, Unavailable
from fabric.processes import until_told_to_stop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE = 120.0
"""Seconds that a fabric has for draining."""
_POLL = 0.05


def settings(
    file: Path | None, host: str, port: int, gateways: int, state: Path | None
) -> FabricSettings:
    """Those of a fabric with the portfolio *file*."""
    return FabricSettings(
        state=state or default_directory(),
        host=host,
        listen=f"127.0.0.1:{port}",
        gateways=gateways,
        python_path=(file.absolute().parent,) if file else (),
    )


def foreground(file: Path | None, settings: FabricSettings) -> int:
    """Runs a fabric until it is told to stop; the status is 0 unless it cannot run."""
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)
    portfolio = load(file) if file else None
    with _progress() as show:
        asyncio.run(_until_stopped(Fabric(settings, portfolio, show)))
    return 0


async def _until_stopped(fabric: Fabric) -> None:
    """Drains on SIGTERM and SIGINT, at whatever point they come."""
    running = asyncio.create_task(_run(fabric))
    told = asyncio.create_task(until_told_to_stop())
    await asyncio.wait((running, told), return_when=asyncio.FIRST_COMPLETED)
    for task in (running, told):
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await told
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def _run(fabric: Fabric) -> None:
    began = time.monotonic()
    async with fabric:
        failed = await fabric.ready()
        seconds = time.monotonic() - began
        console = out.console(sys.stderr)
        for key, reason in failed.items():
            out.fail(f"{key}: {reason}")
        console.print(f"fabric answers at [bold]{fabric.server}[/bold] after {seconds:.1f} s")
        await asyncio.Event().wait()


@contextlib.contextmanager
def _progress() -> Iterator[_Progress]:
    progress = _Progress()
    try:
        yield progress
    finally:
        progress.close()


class _Progress:
    """Each step as a line; on a terminal, what is under way turns below them."""

    def __init__(self) -> None:
        self._console = out.console(sys.stderr)
        self._began = time.monotonic()
        self._under_way: dict[str, str] = {}
        self._status = self._console.status("") if self._console.is_terminal else None

    def __call__(self, part: str, step: str) -> None:
        if step in ("starting", "applying", "stopping"):
            self._under_way[part] = step
        else:
            self._under_way.pop(part, None)
            self._console.print(f"{time.monotonic() - self._began:6.1f} s  {part}: {step}")
        if self._status is None:
            return
        if self._under_way:
            self._status.update(", ".join(f"{p}: {s}" for p, s in self._under_way.items()))
            self._status.start()
        else:
            self._status.stop()

    def close(self) -> None:
        if self._status is not None:
            self._status.stop()


# ------------------------------------------------------------------ detached
def detached(file: Path | None, settings: FabricSettings) -> int:
    """Starts a fabric that outlives this command, and returns once it is ready.

    The status is 1 if it runs and a specialist has failed.

    Raises:
        Conflict: a fabric runs on the directory.
        Unavailable: it ended before, or the directory cannot be written.
    """
    directory = settings.state
    arguments = [
        *("--host", settings.host),
        *("--port", settings.listen.rpartition(":")[2]),
        *("--gateways", str(settings.gateways)),
        *("--state", str(directory)),
    ]
    if file is not None:
        load(file)
        arguments += ["--file", str(file)]
    if is_held(directory):
        raise Conflict(in_use(directory))
    log = _log(directory)
    with log.open("ab") as written, log.open(errors="replace") as shown:
        shown.seek(0, os.SEEK_END)
        process = subprocess.Popen(
            [sys.executable, "-m", "fabric.cli", "up", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=written,
            start_new_session=True,
        )
        try:
            while not _is_ready(directory, process.pid):
                status = process.poll()
                sys.stderr.write(shown.read())
                if status is not None:
                    raise Unavailable("the fabric ended before it was ready")
                time.sleep(_POLL)
        except BaseException:
            process.terminate()
            process.wait()
            raise
        sys.stderr.write(shown.read())
    record = read(directory)
    if record is None or not record.failed:
        return 0
    out.fail(f"fabric runs at {record.server} without {', '.join(record.failed)}, which failed")
    return 1


def _log(directory: Path) -> Path:
    """The log of the supervisor itself, which is there."""
    file = directory / LOGS / "fabric.log"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    except OSError as error:
        raise Unavailable(f"state directory {directory}: {error.strerror}") from error
    return file


def _is_ready(directory: Path, pid: int) -> bool:
    record = read(directory)
    return record is not None and record.pid == pid and record.ready


def end(state: Path | None) -> None:
    """Returns when the fabric on the state directory has drained and nothing of it is left.

    Raises:
        NotFound: none runs there.
        DeadlineExceeded: it takes too long.
    """
    directory = state or default_directory()
    record = read(directory)
    if record is None:
        raise NotFound(f"no fabric runs on {directory}")
    if not is_held(directory):
        State(directory).release(keep_logs=False)
        out.console(sys.stderr).print(f"ended what process {record.pid} left when it was killed")
        return
    if record.supervisor.is_alive:
        os.kill(record.pid, signal.SIGTERM)
    until = time.monotonic() + PATIENCE
    while is_held(directory):
        if time.monotonic() > until:
            raise DeadlineExceeded(
                f"process {record.pid} still drains after {PATIENCE:g} s; its logs are in "
                f"{directory / LOGS}"
            )
        time.sleep(_POLL)

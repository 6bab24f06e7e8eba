"""One child of the supervisor: started, kept running, and ended with all that it started."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fabric.app.family import Family, Identity
from fabric.app.pulse import LOOK, Pulse
from fabric.core.errors import FabricError, Unavailable
from fabric.processes import LIFELINE, PULSE, stop

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
"""Seconds before a restart; the pause doubles while the child dies within as much time."""
_POLL = 0.05
_TAIL = 12


@dataclass(frozen=True, kw_only=True)
class Program:
    """What a child runs, and how it is dealt with."""

    name: str
    arguments: tuple[str, ...]
    environ: Mapping[str, str]
    is_ready: Callable[[], Awaitable[bool]]
    before_stop: Callable[[], Awaitable[None]] | None = None
    """What is asked of it before it is told to stop."""
    startup: float = 60.0
    """Seconds until it is ready for the first time."""
    drain: float = 30.0
    """Seconds for finishing after SIGTERM."""
    lifeline: bool = True
    """Whether it, and what it starts, watches the lifeline."""
    beats: bool = False
    """Whether it shows that its event loop turns, and is replaced when that does not."""
    keeps_family: bool = False
    """Whether what it started lives on when it is killed."""


class Child:
    """A process that is there again soon, whatever ends it, until it is stopped."""

    def __init__(
        self,
        program: Program,
        logs: Path,
        lifeline: int,
        on_start: Callable[[], None] = lambda: None,
    ) -> None:
        self.program = program
        self.log = logs / f"{program.name}.log"
        self.restarts = 0
        self.process: asyncio.subprocess.Process | None = None
        self._lifeline = lifeline if program.lifeline else None
        self._on_start = on_start
        self._pulse = Pulse() if program.beats else None
        self.led: list[Identity] = []
        """The leaders of all its sessions that there may be something left of."""
        self._keeping: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """Of the process that runs now, or ran last; 0 before the first."""
        return self.process.pid if self.process else 0

    async def start(self) -> None:
        """Returns when it is ready, and is restarted from then on whenever it ends.

        Raises:
            Unavailable: it ended before, or took too long; with the end of its log.
        """
        self.log.unlink(missing_ok=True)
        process = await self._spawn()
        self._on_start()
        ended = asyncio.create_task(process.wait())
        try:
            async with asyncio.timeout(self.program.startup):
                while not ended.done() and not await self.program.is_ready():
                    await asyncio.wait((ended,), timeout=_POLL)
        except TimeoutError:
            what = f"is not ready after {self.program.startup:g} s"
            raise Unavailable(f"{self.program.name} {what}{self._last_words()}") from None
        finally:
            if died := ended.done():
                ended.result()
            ended.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await ended
        if died:
            what = f"ended with status {process.returncode} before it was ready"
            raise Unavailable(f"{self.program.name} {what}{self._last_words()}")
        self._keeping = asyncio.create_task(self._keep(process), name=self.program.name)

    async def stop(self) -> None:
        """Returns when the process has ended, and is not started again. Does nothing twice."""
        if self._keeping is not None:
            self._keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeping
            self._keeping = None
        if self._pulse is not None:
            self._pulse.close()
            self._pulse = None
        if self.process is None or self.process.returncode is not None:
            return
        if self.program.before_stop is not None:
            await self.program.before_stop()
        await stop(self.process, self.program.drain)

    def kill(self) -> None:
        """Ends it and all that it started, at once."""
        Family(tuple(self.led)).kill()

    async def _keep(self, process: asyncio.subprocess.Process) -> None:
        pause = FIRST_PAUSE
        while True:
            began = time.monotonic()
            status = await self._end(process)
            pause = FIRST_PAUSE if time.monotonic() - began > pause * 2 else pause
            name = self.program.name
            log.error("%s ended with status %s; again in %.1f s", name, status, pause)
            if not self.program.keeps_family:
                self.kill()
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
            self.restarts += 1
            try:
                process = await self._spawn()
            except OSError as error:
                log.error("%s cannot be started: %s", name, error)
                continue
            try:
                self._on_start()
            except FabricError as error:
                log.error("%s runs again, which is written down nowhere: %s", name, error.message)

    async def _end(self, process: asyncio.subprocess.Process) -> int:
        """Its status, once it has ended; one that hangs is ended."""
        pulse = self._pulse
        if pulse is None:
            return await process.wait()
        ended = asyncio.ensure_future(process.wait())
        try:
            while not (await asyncio.wait((ended,), timeout=LOOK))[0]:
                if pulse.is_lost():
                    log.error("%s hangs, and is killed", self.program.name)
                    process.kill()
                    break
            return await ended
        finally:
            ended.cancel()

    async def _spawn(self) -> asyncio.subprocess.Process:
        environ = dict(self.program.environ)
        if self._lifeline is not None:
            environ[LIFELINE] = str(self._lifeline)
        descriptors = [] if self._lifeline is None else [self._lifeline]
        if self._pulse is not None:
            environ[PULSE] = str(self._pulse.writing)
            descriptors.append(self._pulse.writing)
            self._pulse.begin(self.program.startup)
        with self.log.open("ab") as output:
            self.process = await asyncio.create_subprocess_exec(
                *self.program.arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environ,
                pass_fds=descriptors,
                start_new_session=True,
            )
        if (leader := Identity.of(self.process.pid)) is not None:
            self.led = [*(led for led in self.led if led.session()), leader]
        return self.process

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-_TAIL:]
        return f"; the end of {self.log}:\n" + "\n".join(lines) if lines else ""

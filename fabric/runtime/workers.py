"""Processes of `fabric.runtime.measuring`, seen from the one that asks them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from typing import IO, TYPE_CHECKING, Any

from fabric.core.errors import Code, SpecialistFailed, error_of
from fabric.processes import to_environ
from fabric.runtime.settings import MeasuringSettings, Opened

if TYPE_CHECKING:
    from asyncio.subprocess import Process

_LONGEST_LINE = 1 << 22
_TAIL = 4 << 10


class Worker:
    """A process that has a model open. Asked for one thing at a time; `close` ends it at once."""

    def __init__(self, process: Process, errors: IO[bytes]) -> None:
        self.opened: Opened
        self._process = process
        self._errors = errors

    @classmethod
    async def start(cls, settings: MeasuringSettings) -> Worker:
        """The process, when the model is open there.

        Raises:
            FabricError: it cannot be opened, or does not run; the process has ended.
        """
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - `close` does
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "fabric.runtime.measuring"),
            env={**os.environ, **to_environ(settings)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            limit=_LONGEST_LINE,
        )
        worker = cls(process, errors)
        try:
            said = await worker._answer()
            worker.opened = Opened(**{**said, "here": tuple(said["here"])})
        except BaseException:
            await worker.close()
            raise
        return worker

    async def measure(self, rows: int, seconds: float) -> list[float]:
        """The seconds that each run of *rows* rows took.

        Raises:
            FabricError: such a run fails, or the process has ended.
        """
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        asked = json.dumps({"rows": rows, "seconds": seconds})
        with contextlib.suppress(ConnectionError):  # `_answer` says how it ended
            self._process.stdin.write(f"{asked}\n".encode())
            await self._process.stdin.drain()
        times: list[float] = (await self._answer())["times"]
        return times

    async def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.communicate()
        self._errors.close()

    async def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        line = await self._process.stdout.readline()
        if not line:
            raise SpecialistFailed(await self._last_words())
        said: dict[str, Any] = json.loads(line)
        if "message" in said:
            code, reason = said.get("code", Code.INTERNAL), said.get("reason", "")
            raise error_of(code, reason, said["message"])
        return said

    async def _last_words(self) -> str:
        status = await self._process.wait()
        how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - _TAIL))
        lines = self._errors.read().decode(errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "")
        return f"the process that measures it ended ({how}){last and ': '}{last}"

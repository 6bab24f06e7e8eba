"""The host without Ray: child processes on this machine, for tests and quick looks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fabric.catalog.declaring import REPLACING, differences
from fabric.catalog.health import Report
from fabric.control.hosts.process import Process, describe, replica_command
from fabric.control.hosts.reasons import reason_of
from fabric.control.hosts.steps import Running, next_steps, pause
from fabric.core.cards import Specialist
from fabric.core.errors import FabricError
from fabric.processes import inherited

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fabric.control.hosts import Desk

log = logging.getLogger(__name__)

STEADY = 10.0
"""Seconds after which a process that was ready no longer counts as one that failed to start."""
LOOK = 1.0
"""Seconds between looks at what runs when nothing happens."""
RESTARTING = (*REPLACING, "hosting.batching", "hosting.timeouts")
"""Nothing tells a running process of new options, so here they mean a new one."""


@dataclass(frozen=True)
class _Failures:
    count: int = 0
    at: float = 0.0
    reason: str = ""
    of: Specialist | None = None


class LocalHost:
    """Keeps the least number of replicas of every specialist alive, each in its own process.

    Replicas outlive a control plane that is killed, and the next one adopts them. One that is told
    to stop stops them; where there is a lifeline it leaves them too, and they end with that.
    """

    def __init__(
        self, control: str, command: Sequence[str] = (), node: str = "", grace: float = 2.0
    ) -> None:
        self._control = control
        self._command = command or replica_command()
        self._node = node or socket.gethostname()
        self._grace = grace
        self._processes: dict[int, Process] = {}
        self._failures: dict[str, _Failures] = {}
        self._woken = asyncio.Event()

    async def run(self, desk: Desk) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch(desk))
            try:
                while True:
                    self._woken.clear()
                    await self._turn(desk, tasks)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(self._rest()):
                            await self._woken.wait()
            finally:
                if not inherited():
                    await asyncio.gather(*map(self._end, self._processes.values()))

    async def _watch(self, desk: Desk) -> None:
        async for _ in desk.feed.watch(desk.catalog.revision):
            self._woken.set()

    async def _turn(self, desk: Desk, tasks: asyncio.TaskGroup) -> None:
        revision, wanted = desk.catalog.revision, desk.wanted
        ready = {r.pid: r for r in desk.catalog.replicas.values() if r.node == self._node}
        for pid, replica in ready.items():
            if pid not in self._processes:
                self._adopt(pid, replica.specialist_key, desk, tasks)
        for process in self._processes.values():
            process.was_ready |= process.pid in ready
        leaving = {pid for pid, replica in ready.items() if replica.draining}
        staying = [
            process
            for process in self._processes.values()
            if not process.is_leaving and process.pid not in leaving
        ]
        running = [self._running(process, wanted) for process in staying]
        counts = {key: specialist.hosting.replicas.min for key, specialist in wanted.items()}
        steps = next_steps(counts, running, self._held(wanted))
        for pid in (*steps.stops, *self._stuck()):
            self._stop(self._processes[pid], tasks)
        for key in steps.starts:
            await self._start(wanted[key], desk, tasks)
        try:
            await desk.report(revision, self._reports(wanted, running))
        except FabricError as error:
            log.warning("the catalog did not take how specialists fare: %s", error.message)

    def _running(self, process: Process, wanted: Mapping[str, Specialist]) -> Running:
        key = process.specialist.key
        is_current = key in wanted and not _restarts(process.specialist, wanted[key])
        return Running(process.pid, key, is_current, process.was_ready)

    def _held(self, wanted: Mapping[str, Specialist]) -> set[str]:
        """Specialists that failed to start too often to be tried again just now."""
        for key, failures in list(self._failures.items()):
            specialist = wanted.get(key)
            if specialist is None or (failures.of and _restarts(failures.of, specialist)):
                del self._failures[key]
        now = time.monotonic()
        return {k for k, each in self._failures.items() if now < each.at + pause(each.count)}

    def _rest(self) -> float:
        """Seconds until something may be due without anything having happened."""
        now = time.monotonic()
        due = (each.at + pause(each.count) - now for each in self._failures.values())
        return min((LOOK, *(seconds for seconds in due if seconds > 0)))

    def _reports(
        self, wanted: Mapping[str, Specialist], running: Sequence[Running]
    ) -> dict[str, Report]:
        outdated = {process.key for process in running if not process.is_current}
        return {
            key: Report(
                wanted=specialist.hosting.replicas.min,
                updating=key in outdated,
                failure=self._failures.get(key, _Failures()).reason,
            )
            for key, specialist in wanted.items()
        }

    # ---------------------------------------------------------------------------- processes
    async def _start(self, specialist: Specialist, desk: Desk, tasks: asyncio.TaskGroup) -> None:
        declared = specialist.hosting.runtime_env
        if declared.pip or declared.working_dir:
            what = "pip" if declared.pip else "working_dir"
            reason = f"runtime_env.{what} needs the host ray: the local one installs nothing"
            self._failed(specialist, reason)
            return
        own = {"FABRIC_CONTROL": self._control, "FABRIC_NODE": self._node}
        environ = {**declared.env_vars, **own}
        now = time.monotonic()
        try:
            process = await Process.start(self._command, specialist, environ, now)
        except OSError as error:
            self._failed(specialist, f"cannot start {self._command[0]}: {error}")
            return
        log.info("started process %d for %s", process.pid, specialist.key)
        self._keep(process, desk, tasks)

    def _adopt(self, pid: int, key: str, desk: Desk, tasks: asyncio.TaskGroup) -> None:
        process = Process.adopted(pid, key, self._control, time.monotonic())
        if process is not None:
            log.info("process %d for %s is still there", pid, key)
            self._keep(process, desk, tasks)

    def _keep(self, process: Process, desk: Desk, tasks: asyncio.TaskGroup) -> None:
        self._processes[process.pid] = process
        tasks.create_task(self._await(process, desk))

    async def _await(self, process: Process, desk: Desk) -> None:
        status = await process.gone()
        del self._processes[process.pid]
        for replica in desk.catalog.replicas_of(process.specialist.key):
            if (replica.pid, replica.node) == (process.pid, self._node):
                with contextlib.suppress(FabricError):  # its lease ends by itself
                    await desk.withdraw(replica.id)
        if not process.is_leaving:
            said = reason_of(process.last_words)
            ended = describe(status)
            log.warning("%s: %s", process.specialist.key, ended)
            if process.was_ready and time.monotonic() > process.since + STEADY:
                self._failures.pop(process.specialist.key, None)
            self._failed(process.specialist, f"{ended}: {said}" if said else ended)
        self._woken.set()

    def _failed(self, specialist: Specialist, reason: str) -> None:
        count = self._failures.get(specialist.key, _Failures()).count + 1
        self._failures[specialist.key] = _Failures(count, time.monotonic(), reason, specialist)

    def _stuck(self) -> list[int]:
        """Processes that took longer to become ready than they may; each counts as a failure."""
        now = time.monotonic()
        late = []
        for process in self._processes.values():
            limit = process.specialist.hosting.timeouts.startup
            if not process.was_ready and not process.is_leaving and now > process.since + limit:
                self._failed(process.specialist, f"no replica was ready after {limit:g} s")
                late.append(process.pid)
        return late

    def _stop(self, process: Process, tasks: asyncio.TaskGroup) -> None:
        if not process.is_leaving:
            process.is_leaving = True
            tasks.create_task(self._end(process))

    async def _end(self, process: Process) -> None:
        """The process is gone: SIGTERM, and SIGKILL when the time to finish what runs is up."""
        process.is_leaving = True
        process.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(process.specialist.hosting.timeouts.drain + self._grace):
                await process.ended.wait()
        except TimeoutError:
            process.signal(signal.SIGKILL)
            await process.ended.wait()


def _restarts(old: Specialist, new: Specialist) -> bool:
    changed = differences(old, new)
    return any(path == r or path.startswith(f"{r}.") for path in changed for r in RESTARTING)

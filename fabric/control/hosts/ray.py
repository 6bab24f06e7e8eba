"""The host of choice: Ray Serve, by its public REST API and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import httpx

from fabric.catalog.health import Report
from fabric.control.hosts.serve import (
    application,
    application_name,
    args_of,
    attempt_of,
    configuration,
    has_failed,
    is_ours,
    is_settled,
    report_of,
)
from fabric.core.errors import FabricError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fabric.control.hosts import Desk
    from fabric.core.cards import Specialist

log = logging.getLogger(__name__)

ANSWER = 120.0
"""Seconds for an answer: the first PUT starts Ray Serve, which takes ten on a quiet machine."""


@dataclass(frozen=True, kw_only=True)
class Paces:
    """Seconds."""

    settling: float = 0.5
    """Between looks at Ray Serve while something is under way."""
    settled: float = 2.0
    """Between looks while nothing is."""
    retry: float = 10.0
    """To the next attempt at an application that failed, doubled with each."""
    retry_most: float = 300.0
    away: float = 1.0
    """At most between looks while Ray Serve does not answer."""


@dataclass(frozen=True)
class _Failed:
    """An application that Ray Serve has given up, and when it is tried again."""

    attempt: int
    count: int
    due: float


class _Refused(ValueError):
    """Ray Serve does not take a configuration, or must not be given one."""


class RayHost:
    """Keeps one Ray Serve application for every specialist."""

    def __init__(self, url: str, control: str, paces: Paces = Paces()) -> None:
        self._url = f"{url.rstrip('/')}/api/serve/applications/"
        self._control = control
        self._paces = paces
        self._wanted: Mapping[str, Specialist] = {}
        self._seen = 0
        """The revision that Ray Serve was last brought to."""
        self._taken: dict[str, dict[str, Any]] | None = None
        """The applications of the last PUT, by name."""
        self._replacing: set[str] = set()
        """Names of applications whose replicas are being replaced."""
        self._failed: dict[str, _Failed] = {}
        self._reports: dict[str, Report] = {}
        self._problem = ""
        """What was complained of last."""
        self._woken = asyncio.Event()

    async def run(self, desk: Desk) -> None:
        """Runs on when Ray Serve is away; the applications outlive this."""
        client = httpx.AsyncClient(timeout=ANSWER, trust_env=False)
        async with asyncio.TaskGroup() as tasks, client:
            tasks.create_task(self._watch(desk))
            while True:
                self._woken.clear()
                try:
                    rest = await self._turn(desk, client)
                    self._problem = ""
                except (httpx.HTTPError, FabricError, ValueError) as error:
                    rest = self._paces.away
                    await self._complain(desk, error)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(rest):
                        await self._woken.wait()

    async def _watch(self, desk: Desk) -> None:
        async for _ in desk.feed.watch(desk.catalog.revision):
            if desk.wanted != self._wanted:
                self._woken.set()

    async def _turn(self, desk: Desk, client: httpx.AsyncClient) -> float:
        """Looks, tells what it found, and changes what differs; returns seconds to the next."""
        details = await self._get(client)
        if others := sorted(name for name, each in details.items() if not is_ours(each)):
            raise _Refused(
                f"it runs {', '.join(others)}, which fabric would delete: "
                "give fabric a Ray cluster whose Ray Serve nobody else uses"
            )
        self._replacing -= {name for name, each in details.items() if is_settled(each)}
        self._reports = {
            key: self._report(specialist, details) for key, specialist in desk.wanted.items()
        }
        await desk.report(self._seen, self._reports)
        revision, self._wanted = desk.catalog.revision, desk.wanted
        self._count_failures(details)
        applications = {
            application_name(s): application(s, self._control, self._attempt(s, details))
            for s in self._wanted.values()
        }
        missing = applications.keys() - details.keys()
        if applications != self._taken or missing:
            await self._put(client, applications)
            self._replacing |= {
                name
                for name, each in applications.items()
                if name in details and args_of(details[name]) != each["args"]
            }
        self._seen = revision
        settled = not missing and all(is_settled(details[name]) for name in applications)
        return self._paces.settled if settled else self._paces.settling

    def _report(self, specialist: Specialist, details: Mapping[str, dict[str, Any]]) -> Report:
        name = application_name(specialist)
        return report_of(specialist, details.get(name, {}), name in self._replacing)

    def _count_failures(self, details: Mapping[str, dict[str, Any]]) -> None:
        for name, each in details.items():
            known, attempt = self._failed.get(name), attempt_of(each)
            if is_settled(each):
                self._failed.pop(name, None)
            elif has_failed(each) and (known is None or known.attempt != attempt):
                count = known.count + 1 if known else 0
                wait = min(self._paces.retry * 2.0 ** min(count, 16), self._paces.retry_most)
                self._failed[name] = _Failed(attempt, count, time.monotonic() + wait)
        for name in self._failed.keys() - details.keys():
            del self._failed[name]

    def _attempt(self, specialist: Specialist, details: Mapping[str, dict[str, Any]]) -> int:
        name = application_name(specialist)
        failed = self._failed.get(name)
        if failed and time.monotonic() >= failed.due:
            return failed.attempt + 1
        return attempt_of(details.get(name, {}))

    async def _get(self, client: httpx.AsyncClient) -> dict[str, dict[str, Any]]:
        response = await client.get(self._url)
        response.raise_for_status()
        found = response.json().get("applications", {})
        return {name: each for name, each in found.items() if each.get("status") != "DELETING"}

    async def _put(
        self, client: httpx.AsyncClient, applications: dict[str, dict[str, Any]]
    ) -> None:
        body = configuration(list(applications.values()))
        response = await client.put(self._url, json=body)
        if response.status_code == httpx.codes.BAD_REQUEST:
            raise _Refused(response.text[:500])
        response.raise_for_status()
        self._taken = applications
        log.info("Ray Serve took %d applications", len(applications))

    async def _complain(self, desk: Desk, error: Exception) -> None:
        """Specialists that need Ray Serve now have its absence for a reason."""
        problem = f"Ray Serve at {self._url}: {str(error) or repr(error)}"
        if problem != self._problem:
            log.warning("%s", problem)
        self._problem = problem
        refused = isinstance(error, _Refused)
        reports = {}
        for key, specialist in desk.wanted.items():
            known = self._reports.get(key, Report(wanted=specialist.hosting.replicas.min))
            failure = problem if refused else known.failure
            reports[key] = replace(known, failure=failure, waiting=problem)
        with contextlib.suppress(FabricError):
            await desk.report(desk.catalog.revision, reports)

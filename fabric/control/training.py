"""When routes learn, and what becomes of it: never at the cost of the control plane's loop.

What is learned is found by a process of its own (`fabric.control.study`), one at a time.
"""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import IO, TYPE_CHECKING

from fabric.core.errors import Conflict, FabricError, Unimplemented
from fabric.core.policies import Policy
from fabric.learning.studying import Studied, seconds_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fabric.control.controller import Controller
    from fabric.control.records import Records
    from fabric.core.changes import Resource
    from fabric.core.routes import Learning, Route

log = logging.getLogger(__name__)

NOT_INSTALLED = "learning needs the extra: fabric-specialists[learn]"
_SHARE, _ENOUGH = 0.2, 200
_LAST_WORDS = 500
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class Studies:
    """How studies are made."""

    command: tuple[str, ...] = (sys.executable, "-m", "fabric.control.study")
    """Behind it goes the name of the route."""
    pause: float = 30.0
    """Seconds between looking for what there is to learn, at least."""
    limit: float = 600.0
    """Seconds that one may take."""


@dataclass(frozen=True)
class Trained:
    """What a client is told."""

    version: int
    """0 where no policy was made."""
    report: str


class Training:
    """Learns for every route whose learning is on, when enough was said since the last time."""

    def __init__(
        self,
        controller: Controller,
        records: Records,
        store: str,
        studies: Studies = Studies(),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._controller = controller
        self._records = records
        self._store = store
        self._studies = studies
        self._clock = clock
        self._alone = asyncio.Lock()
        self._news = asyncio.Event()
        self._news.set()
        self._tried: dict[str, tuple[float, int]] = {}
        """By route: when it was tried last, and with how many labels."""
        self._notes: dict[str, str] = {}
        """By route: why the last training gave no policy."""
        self._missing = "" if find_spec("sklearn") else NOT_INSTALLED

    def look(self) -> None:
        """Something was said that may be learned from."""
        self._news.set()

    async def run(self) -> None:
        """Trains what is due, until cancelled."""
        if self._missing:
            log.warning("no route learns: %s", self._missing)
            return
        while True:
            await self._news.wait()
            self._news.clear()
            for route in list(self._controller.catalog.routes.values()):
                try:
                    if await self._is_due(route):
                        await self.train(route.name)
                except FabricError as error:
                    self._note(route.name, error.message)
                    self._news.set()  # the store may be back next time
                except Exception as error:  # which must not end the control plane
                    log.exception("training route %s", route.name)
                    self._note(route.name, f"the training failed: {type(error).__name__}")
            await asyncio.sleep(self._studies.pause)

    async def train(self, name: str) -> Trained:
        """Learns from what is known of the route *name* now, after what is under way.

        Raises:
            NotFound: there is no such route, or no longer.
            Conflict: its learning is off.
            Unimplemented: scikit-learn is not installed.
        """
        if self._missing:
            raise Unimplemented(self._missing)
        async with self._alone:
            route = self._controller.catalog.routes.get(name)
            if route is not None and not route.learns:
                raise Conflict(f"route {name!r} does not learn: give it learning, and no bypass")
            labels, _ = await self._records.labels(name, 0.0)
            self._tried[name] = self._clock(), labels
            studied = await self._studied(name)
            return await self._take(name, studied)

    def noted(self, resource: Resource) -> Resource:
        """*resource* with a note where a training after it has failed."""
        if isinstance(resource, Policy) and (note := self.note(resource.route)):
            return replace(resource, note=note)
        return resource

    def note(self, route: str) -> str:
        """Why there is no, or no newer, policy of *route*; empty where nothing went wrong."""
        return self._missing or self._notes.get(route, "")

    async def _is_due(self, route: Route) -> bool:
        if route.learning is None or not route.learns:
            return False
        policies = self._controller.catalog.policies.get(route.name, ())
        after, before = self._tried.get(route.name, (0.0, 0))
        if policies and (trained := seconds_of(policies[0].trained)) > after:
            after, before = trained, policies[0].labels
        labels, new = await self._records.labels(route.name, after)
        return is_due(route.learning, labels, new, before)

    async def _take(self, name: str, studied: Studied) -> Trained:
        for policy in self._controller.catalog.policies.get(name, ()):
            if (reason := studied.lost.get(str(policy.version))) and not policy.lost:
                log.warning("policy %s has lost: %s", policy.key, reason)
                await self._controller.lose(policy, reason)
        if studied.policy is None:
            self._note(name, studied.why)
            return Trained(0, studied.why)
        policy = await self._controller.learn(studied.policy)
        self._notes.pop(name, None)
        log.info("learned policy %s from %d labels", policy.key, policy.labels)
        return Trained(policy.version, policy.report)

    def _note(self, name: str, why: str) -> None:
        log.warning("route %s has learned nothing: %s", name, why)
        self._notes = {
            route: note
            for route, note in {**self._notes, name: why}.items()
            if route in self._controller.catalog.routes
        }

    async def _studied(self, name: str) -> Studied:
        """What a process of its own has found; why it found nothing, whatever went wrong."""
        environ = {**os.environ, **dict.fromkeys(_THREADS, "1"), "FABRIC_STORE": self._store}
        command, limit = (*self._studies.command, name), self._studies.limit
        with tempfile.TemporaryFile() as written, tempfile.TemporaryFile() as said:
            try:
                async with asyncio.timeout(limit):
                    status = await _run(command, environ, written, said)
            except TimeoutError:
                return Studied(why=f"the training took more than {limit:g} s")
            except OSError as error:
                return Studied(why=f"the training cannot be started: {error}")
            if status:
                words = _content(said).decode(errors="replace").strip()[-_LAST_WORDS:]
                words = words or f"its process ended with status {status}"
                return Studied(why=f"the training has failed: {words}")
            try:
                return Studied.read(name, _content(written))
            except (ValueError, KeyError, TypeError) as error:
                return Studied(why=f"the training gave what cannot be read: {error}")


async def _run(
    command: Sequence[str], environ: Mapping[str, str], written: IO[bytes], said: IO[bytes]
) -> int:
    """The status with which a process has ended; it does not outlive the caller."""
    # Not asyncio's: uvloop forks with the handlers of gRPC, in which some processes crash.
    child = subprocess.Popen(  # noqa: ASYNC220 - a fork and exec, whose end nobody waits for
        command,
        env=environ,
        stdin=subprocess.PIPE,  # which it sees close when we are gone
        stdout=written,
        stderr=said,
    )
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    with ExitStack() as stack:
        stack.enter_context(child)  # which waits for it
        stack.callback(child.kill)
        descriptor = os.pidfd_open(child.pid)
        stack.callback(os.close, descriptor)
        loop.add_reader(descriptor, ended.set)
        stack.callback(loop.remove_reader, descriptor)
        await ended.wait()
    return child.returncode


def _content(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


def is_due(learning: Learning, labels: int, new: int, before: int) -> bool:
    """Whether to train with *labels*, of which *new* came since the last time with *before*."""
    if labels < learning.min_labels:
        return False
    return new > 0 and new >= min(_SHARE * before, _ENOUGH)

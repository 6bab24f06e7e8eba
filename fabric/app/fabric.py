"""A whole fabric as children of one supervisor: started together, drained in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import grpc

from fabric.api.catalog.v1.catalog_service_pb2 import Kind, ListRequest, WithdrawRequest
from fabric.api.catalog.v1.catalog_service_pb2_grpc import CatalogServiceStub
from fabric.app import programs
from fabric.app.child import Child, Program
from fabric.app.family import LEAVING, Family
from fabric.app.state import STORE, State, default_directory
from fabric.client import AsyncClient
from fabric.control.settings import ControlSettings
from fabric.core.errors import Conflict, InvalidRequest, NotFound, Unavailable
from fabric.core.replicas import State as Condition
from fabric.gateway.settings import GatewaySettings
from fabric.processes import PYTHON_PATH, from_environ

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fabric.config import Portfolio
    from fabric.core.changes import Hosted

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
_POLL = 0.05
_MALLOC = {  # glibc gives memory back otherwise, and large tensors fault it in page by page
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
}
LINKING = 10.0
"""Seconds that the gateway has for a link to a replica that is in the catalog."""


@dataclass(frozen=True, kw_only=True)
class FabricSettings:
    state: Path = field(default_factory=default_directory)
    """The directory for what outlives the fabric, which is the store."""
    host: str = "ray"
    """Where replicas run: `ray` or `local`."""
    listen: str = f"{LOOPBACK}:8080"
    """`host:port` of the gateway; port 0 takes a free one."""
    gateways: int = 1
    """Processes that answer there; each takes some of the connections."""
    store: str = ""
    """A database URL of SQLAlchemy; empty for SQLite in the state directory."""
    python_path: tuple[Path, ...] = ()
    """Where the modules of Python specialists are, besides what is installed."""

    def __post_init__(self) -> None:
        if self.host not in ("ray", "local"):
            raise InvalidRequest(f"host is {self.host!r}; use ray or local")


class Fabric:
    """A running fabric, for as long as the `async with` lasts.

    Children that end are started again. On the way out the gateway drains first, then the control
    plane, then the replicas; afterwards nothing is left running, and nothing on disk but the store.
    The logs of the children stay only where the fabric could not start, or an error ended it.

    Args:
        progress: Told what is being done to which part, such as ("gateway", "ready").
    """

    def __init__(
        self,
        settings: FabricSettings,
        portfolio: Portfolio | None = None,
        progress: Callable[[str, str], None] = lambda part, step: None,
    ) -> None:
        self._settings = settings
        self._portfolio = portfolio
        self._progress = progress
        self._stack = AsyncExitStack()
        self._failed = False
        self._is_ready = False
        self._without: tuple[str, ...] = ()
        """The specialists that had failed when it was ready."""
        self.children: dict[str, Child] = {}
        host, _, port = settings.listen.rpartition(":")
        self.server = f"{host}:{int(port) or programs.free_port(host)}"
        """Where the gateway answers."""

    @property
    def processes(self) -> dict[str, int]:
        """The process ids of the children, by name."""
        return {name: child.pid for name, child in self.children.items()}

    @property
    def logs(self) -> Path:
        return self._settings.state / "logs"

    async def __aenter__(self) -> Self:
        """Returns when everything answers and the portfolio is declared.

        Raises:
            Conflict: another fabric runs on the state directory, or the port is taken.
            Unavailable: a child does not start.
            InvalidRequest: the portfolio does not hold together.
        """
        host, _, port = self.server.rpartition(":")
        if not programs.is_free(host, int(port)):
            raise Conflict(f"{self.server} is taken: give the fabric another port with `--port`")
        self._state = State(self._settings.state)
        self._stack.callback(self._release)
        try:
            self._prepare()
            async with asyncio.TaskGroup() as tasks:
                control = self.children["control"]
                gateways = [self.children[name] for name in self._gateways]
                for child in self.children.values():
                    if child is not control and child not in gateways:
                        tasks.create_task(self._start(child))
                await self._start(control)
                await self._forget()
                await self._declare()  # replicas start while other children still do
                for child in gateways:  # what is declared first is what they wait for
                    tasks.create_task(self._start(child))
            self.client = await self._stack.enter_async_context(AsyncClient(self.server))
        except BaseException as error:
            self._failed = not isinstance(error, asyncio.CancelledError)
            await self._stack.aclose()
            if isinstance(error, BaseExceptionGroup):
                raise error.exceptions[0] from None
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._failed = kind is not None and issubclass(kind, Exception)
        await self._stack.aclose()

    async def ready(self) -> dict[str, str]:
        """Returns when every specialist answers or has failed: those that did, and why."""
        while True:
            with contextlib.suppress(Unavailable):  # a child that is started again
                failed = await self._all_settled()
                break
            await asyncio.sleep(_POLL)
        self._is_ready, self._without = True, tuple(failed)
        self._record()
        return failed

    async def _all_settled(self) -> dict[str, str]:
        states: dict[str, Hosted] = {}
        waiting: set[str] = set()
        async with contextlib.aclosing(self.client.watch()) as stream:
            async for changes in stream:
                new = {hosted.specialist.key: hosted for hosted in changes.specialists}
                waiting |= new.keys() if changes.snapshot else set()
                waiting -= {key.name for key in changes.removed}
                for key in [key for key in waiting if key in new and self._settled(new[key])]:
                    waiting.remove(key)
                    states[key] = new[key]
                if not waiting:
                    break
        failed = {
            key: hosted.status.reason
            for key, hosted in states.items()
            if hosted.status.state is Condition.FAILED
        }
        for key, hosted in states.items():
            if hosted.status.ready:
                await self._linked(key)
        return failed

    async def _linked(self, key: str) -> None:
        """Returns when the gateway has a link to a specialist that is ready: in a moment.

        Raises:
            Unavailable: it still has none, so that another look at the catalog is due.
        """
        name, _, version = key.partition(":")
        until = time.monotonic() + LINKING
        while time.monotonic() < until:
            with contextlib.suppress(NotFound, Unavailable):  # it has not heard of it yet
                if await self.client.ready(name, version=version):
                    return
            await asyncio.sleep(_POLL)
        raise Unavailable(f"the gateway has no link to {key} after {LINKING:g} s")

    def _settled(self, hosted: Hosted) -> bool:
        status = hosted.status
        if status.state is Condition.PENDING:
            return False
        reason = f": {status.reason}" if status.reason else ""
        self._progress(hosted.specialist.key, f"{status.state}{reason}")
        return True

    # ------------------------------------------------------------------ the way in
    def _prepare(self) -> None:
        """Makes the children, to be started together and stopped in the order of this list."""
        lifeline, held = os.pipe()
        self._lifeline = os.fstat(lifeline).st_ino
        environ = self._environ()
        store = self._settings.store or f"sqlite+aiosqlite:///{self._state.directory / STORE}"
        settings = ControlSettings(
            listen=f"{LOOPBACK}:{programs.free_port(LOOPBACK)}",
            store=store,
            host=self._settings.host,
            uploads=str(self._state.directory / "uploads"),
        )
        made: list[Program] = []
        if self._settings.host == "ray":
            ray, url = programs.ray(self._state.scratch, environ)
            settings = ControlSettings(**{**vars(settings), "ray": url})
            made = [ray]
        self._control = settings.listen
        given = from_environ(GatewaySettings)
        count = self._settings.gateways
        public = replace(given, listen=self.server, control=settings.listen, shares_port=count > 1)
        gateways = [programs.gateway(number, public, environ) for number in range(1, count + 1)]
        self._gateways = [program.name for program in gateways]
        made = [
            *gateways,
            programs.control(settings, environ),
            *made,
            programs.reaper(self._state.directory, environ),
        ]
        self.children = {
            program.name: Child(program, self._state.logs, lifeline, self._record)
            for program in made
        }
        self._stack.push_async_callback(self._stop, lifeline, held)

    def _environ(self) -> Mapping[str, str]:
        paths = (str(path.absolute()) for path in self._settings.python_path)
        return {
            **_MALLOC,
            **os.environ,
            "TMPDIR": str(self._state.scratch),
            PYTHON_PATH: os.pathsep.join(paths),
        }

    async def _start(self, child: Child) -> None:
        self._progress(child.program.name, "starting")
        await child.start()
        self._progress(child.program.name, "ready")

    async def _forget(self) -> None:
        """Replicas in the store are of an earlier fabric, of which nothing is left.

        Kept, they would count as ready until their leases end.
        """
        async with grpc.aio.insecure_channel(self._control) as channel:
            stub = CatalogServiceStub(channel)
            with contextlib.suppress(grpc.aio.AioRpcError):
                known = await stub.List(ListRequest(kind=Kind.KIND_REPLICA))
                for resource in known.resources:
                    await stub.Withdraw(WithdrawRequest(replica_id=resource.replica.id))

    async def _declare(self) -> None:
        if self._portfolio is None:
            return
        self._progress("portfolio", "applying")
        said = self._portfolio
        async with AsyncClient(self._control) as control:
            with said.located():
                await control.apply(said.specialists, said.routes, said.pipelines, prune=True)
        self._progress("portfolio", "applied")

    @property
    def _family(self) -> Family:
        leaders = (leader for child in self.children.values() for leader in child.led)
        return Family(tuple(leaders), self._lifeline)

    def _record(self) -> None:
        self._state.record(self.server, self._family, ready=self._is_ready, failed=self._without)

    # ------------------------------------------------------------------ the way out
    async def _stop(self, *lifeline: int) -> None:
        """Ends the children in order; at once if the wait for them is cancelled."""
        try:
            for child in self.children.values():
                self._progress(child.program.name, "stopping")
                await child.stop()
                self._progress(child.program.name, "stopped")
        finally:
            family = self._family
            seen = family.alive()
            for descriptor in lifeline:
                os.close(descriptor)
            try:
                if not await family.gone(LEAVING, seen):
                    log.warning("processes %s did not end by themselves", sorted(family.alive()))
            finally:
                family.kill()

    def _release(self) -> None:
        self._state.release(keep_logs=self._failed)

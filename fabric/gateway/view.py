"""What a gateway knows: the catalog's mirror, its links, and the plans made from both."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from fabric.catalog.catalog import Catalog, suggestion
from fabric.core.errors import FabricError, NotFound, Unavailable
from fabric.dispatch import Dispatcher
from fabric.gateway.cache import Cache
from fabric.gateway.decisions import Decisions
from fabric.gateway.giving import Giving
from fabric.gateway.pipelines import Pipelines
from fabric.gateway.prepared import Preparing
from fabric.gateway.records import Records
from fabric.gateway.sequences import Sequences
from fabric.gateway.starting import Starting
from fabric.pipelines.checking import Callee
from fabric.pipelines.readiness import lacking
from fabric.routing.candidates import Known
from fabric.routing.deciding import is_decided
from fabric.routing.live import Live, settled
from fabric.routing.planner import Planner, unknown
from fabric.wire import outputs

if TYPE_CHECKING:
    from collections.abc import Container

    from fabric.core.cards import Card, Specialist
    from fabric.core.deadlines import Deadline
    from fabric.core.health import SpecialistHealth
    from fabric.core.requests import Answer, InferRequest
    from fabric.core.routes import Route
    from fabric.gateway.replicas import ReplicaPool


_REFRESHED = 1.0
"""Seconds from one look at how candidates fare to the next, at least,"""
_SPARED = 20
"""and so many times what it takes to make all plans anew that follow it."""
_AT_ONCE = 32
"""Specialists that are looked at in one turn of the event loop."""


class View:
    """One catalog with everything that follows from it. Call `changed` after changing it.

    Of answers that may be kept there are *cache* bytes at most, of what pipelines hold *held*.
    Close it in the end.
    """

    def __init__(
        self, pool: ReplicaPool, region: str = "", cache: int = 0, held: int = 1 << 30
    ) -> None:
        self.catalog = Catalog()
        self.deciding: dict[str, Route] = {}
        """The routes whose requests are ranked one by one."""
        self.apart: Container[str] = ()
        """The names of those, and of the pipelines: others are for the dispatcher alone."""
        self._known = Known(
            self.catalog.routes,
            self._find,
            self.catalog.names,
            lambda: [each.card for each in self.catalog.specialists.values()],
            lambda key: pool.count(key) > 0,
            region=region,
        )
        self.pool = pool
        self.planner = Planner(self._seen)
        pool.on_change = self._changed
        self.records = Records()
        self.decisions = Decisions(self)
        self.cache = Cache(pool, cache)
        dispatcher = Dispatcher(
            self.planner,
            self.cache,
            observe=self.records,
            outputs=outputs,
            gives=Giving(self.cache),
        )
        self.tallies = dispatcher.tallies
        self.budgets = dispatcher.budgets
        self._starting: Starting | None = None
        """From the first catalog on."""
        self.dispatcher = Sequences(dispatcher, self.planner, pool, self.catalog.find)
        self.pipelines = Pipelines(self, held)
        self._preparing = Preparing(self.catalog.pipelines, self._callee)
        self.prepared = self._preparing.of
        self.news = asyncio.Event()
        """Set when the catalog or the links change; then there is another one."""

    def changed(self) -> None:
        routes = self.catalog.routes.values()
        self.deciding = {route.name: route for route in routes if is_decided(route)}
        self.apart = {*self.deciding, *self.catalog.pipelines}
        self.pool.sync(self.catalog.replicas)
        self.pool.limit(self.catalog.specialists)
        self.cache.retain(self.catalog.specialists)
        if self._starting is None:
            self._starting = Starting(self.catalog)
        self._changed()

    async def close(self) -> None:
        """Ends what is asked of replicas and no request waits for by itself."""
        await self.dispatcher.close()
        await self.cache.close()

    async def answer(self, request: InferRequest, deadline: Deadline) -> Answer:
        """The answer of the specialist, or by the route, that *request* names.

        Raises:
            FabricError: as `Dispatcher.infer` says.
        """
        self.dispatcher.admit(request, deadline)
        if request.model in self.deciding:
            return await self.decisions.infer(request, deadline)
        return await self.dispatcher.infer(request, deadline)

    def rows(self, name: str) -> int:
        """Rows that one request to *name* may have at most; 0 for any number."""
        return min((size for _, size in self._called(name) if size > 1), default=0)

    def answerers(self, name: str) -> list[str]:
        """`name:version` of those who may answer *name*; none for a pipeline."""
        return [card.key for card, _ in self._called(name)]

    def _changed(self) -> None:
        if self._starting is not None:
            self._starting.look(self.pool.count)
        self.planner.forget()
        self._preparing.changed()
        self._tell()

    def _tell(self) -> None:
        self.news.set()
        self.news = asyncio.Event()

    async def linked(self, seconds: float) -> None:
        """Returns when it is ready and there are links to all replicas in its catalog, or after so
        many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not (self.is_ready and all(map(self.pool.holds, self.catalog.replicas))):
                    await self.news.wait()

    async def follow_live(self) -> None:
        """Ejects replicas that are too slow, and makes plans follow how candidates fare, where they
        do, until cancelled."""
        while True:
            await asyncio.sleep(_REFRESHED + self.planner.live_seconds * _SPARED)
            self.pool.judge()
            if self._starting is not None and self._starting.look(self.pool.count):
                self._tell()  # time was up for who was waited for
            if self.planner.live_seconds:
                await self.look()

    async def look(self) -> None:
        """Looks at how candidates fare; plans that follow it are made anew if that is much."""
        latencies, loads = {}, {}
        for place, (key, seconds, in_flight) in enumerate(self.pool.fare(), 1):
            if place % _AT_ONCE == 0:
                await asyncio.sleep(0)  # requests go first
            if (specialist := self.catalog.specialists.get(key)) is not None:
                loads[key] = in_flight / specialist.hosting.replicas.target_load
            if seconds is not None:
                latencies[key] = seconds
        live = settled(self._known.live, Live(latencies, loads))
        if live is not self._known.live:
            self._known = replace(self._known, live=live)
            self.planner.forget_live()

    @property
    def is_known(self) -> bool:
        """Whether a catalog has arrived."""
        return self.catalog.revision > 0

    @property
    def is_ready(self) -> bool:
        """Whether a catalog has arrived, and who was to be loaded by it could be asked since, or is
        not waited for."""
        return self._starting is not None and self._starting.is_over

    @property
    def can_serve_all(self) -> bool:
        """Whether every specialist that is to be loaded has a replica, and every pipeline that is
        can be run."""
        loaded = (s for s in self.catalog.specialists.values() if s.hosting.loaded)
        pipelines = (p.name for p in self.catalog.pipelines.values() if p.loaded)
        return all(self.pool.count(specialist.key) for specialist in loaded) and not any(
            map(self.why_not, pipelines)
        )

    def is_ready_for(self, strict: bool) -> bool:
        """Whether the gateway is ready, and if *strict* every model can be served now."""
        return self.is_known and self.can_serve_all if strict else self.is_ready

    def check_ready(self) -> None:
        """Raises Unavailable while nobody knows what is unknown: a caller may come again."""
        if not self.is_known:
            raise Unavailable("the gateway waits for its first catalog from the control plane")

    def can_serve(self, model: str, version: str) -> bool:
        """Whether a request for *model* would find a replica. Raises NotFound if it is unknown."""
        self.check_ready()
        if model in self.catalog.pipelines:
            self.check_unversioned(model, version)
            return not self.why_not(model)
        try:
            plan = self.planner.plan(model, version, None)
        except Unavailable:
            return False  # it is unloaded
        if any(entry.static for entry in plan.given):
            return True
        return any(self.pool.count(candidate.card.key) for candidate in plan.candidates)

    def check_unversioned(self, pipeline: str, version: str) -> None:
        """Raises NotFound where a *version* is asked for."""
        if version:
            raise NotFound(
                f"{unknown(pipeline, version)}; it is a pipeline, and pipelines have no versions"
            )

    def why_not(self, pipeline: str) -> str:
        """Why *pipeline* cannot be run; empty where it can."""
        return self._why_not(pipeline, {})

    def _why_not(self, pipeline: str, served: dict[str, bool]) -> str:
        """What `why_not` says; *served* are those that were looked at on the way."""
        try:
            steps = self.prepared(pipeline).pipeline.steps
        except FabricError as error:
            return error.message
        absent = lacking(steps, lambda named: self._is_served(named, served))
        return f"pipeline '{pipeline}' is not ready: '{absent}' is not" if absent else ""

    def _is_served(self, named: str, served: dict[str, bool]) -> bool:
        if named not in served:
            name, _, version = named.partition(":")
            if named in self.catalog.pipelines:
                served[named] = not self._why_not(named, served)
            else:
                try:
                    served[named] = self.can_serve(name, version)
                except NotFound:
                    served[named] = False
        return served[named]

    def health(self, name: str) -> list[SpecialistHealth]:
        """How the versions of the specialist *name* fare, or all specialists if it is empty.

        Raises:
            NotFound: there is no such specialist.
        """
        self.check_ready()
        versions = self.catalog.versions(name) if name else self.catalog.specialists.values()
        if name and not versions:
            known = list(self.catalog.names())
            raise NotFound(f"no specialist '{name}'{suggestion(name, known)}")
        replicas = self.catalog.replicas.values()
        queued = {replica.id: replica.load.queued for replica in replicas}
        keys = sorted(specialist.key for specialist in versions)
        return [self.pool.health(key, self.budgets.left(key), queued) for key in keys]

    def _seen(self) -> Known:
        self.check_ready()
        return self._known

    def _called(self, name: str) -> list[tuple[Card, int]]:
        """Who may answer *name*, which may be `name:version`, and the rows that each takes."""
        name, _, version = name.partition(":")
        try:
            candidates = self.planner.plan(name, version, None).candidates
        except (NotFound, Unavailable):
            return []
        cards = [candidate.card for candidate in candidates]
        found = [self.catalog.specialists.get(card.key) for card in cards]
        return [
            (card, specialist.hosting.batching.max_size)
            for card, specialist in zip(cards, found, strict=True)
            if specialist is not None
        ]

    def _callee(self, name: str) -> Callee | None:
        """What is known of *name*, as a pipeline calls it; None where there is none such."""
        if name in self.catalog.pipelines:
            try:
                return Callee(self.prepared(name).signature, batched=False)
            except FabricError:
                return Callee(None, batched=False)  # whoever calls it is told why, then
        if called := self._called(name):
            # Of several the first by its name: their order may be drawn anew for each plan.
            card, size = min(called, key=lambda each: each[0].key)
            return Callee(card.signature, batched=size > 1)
        return None

    def _find(self, name: str, version: str) -> Specialist | None:
        """One version, or the latest that can be sent requests, or is to be loaded, or at all."""
        if version:
            return self.catalog.find(name, version)
        versions = self.catalog.versions(name)
        loaded = [s for s in versions if s.hosting.loaded] or versions
        ready = (s for s in loaded if self.pool.count(s.key))
        return next(ready, loaded[0] if loaded else None)

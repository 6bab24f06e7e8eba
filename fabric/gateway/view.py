"""What a gateway knows: the catalog's mirror, its links, and the plans made from both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fabric.catalog.catalog import Catalog
from fabric.core.errors import Unavailable
from fabric.dispatch import Dispatcher
from fabric.routing.planner import Known, Planner

if TYPE_CHECKING:
    from fabric.core.cards import Specialist
    from fabric.gateway.replicas import ReplicaPool


class View:
    """One catalog with everything that follows from it. Call `changed` after changing it."""

    def __init__(self, pool: ReplicaPool) -> None:
        self.catalog = Catalog()
        self.pool = pool
        self.planner = Planner(self._known)
        pool.on_change = self.planner.forget
        self.dispatcher = Dispatcher(self.planner, pool)

    def changed(self) -> None:
        self.planner.forget()
        self.pool.sync(self.catalog.replicas)

    @property
    def is_ready(self) -> bool:
        """Whether a catalog has arrived."""
        return self.catalog.revision > 0

    def can_serve(self, model: str, version: str) -> bool:
        """Whether a request for *model* would find a replica. Raises NotFound if it is unknown."""
        plan = self.planner.plan(model, version, None)
        return any(self.pool.count(candidate.card.key) for candidate in plan.candidates)

    def _known(self) -> Known:
        """Raises Unavailable while nobody knows what is unknown: a caller may come again."""
        if not self.is_ready:
            raise Unavailable("the gateway waits for its first catalog from the control plane")
        return Known(self.catalog.routes, self._find)

    def _find(self, name: str, version: str) -> Specialist | None:
        """One version, or the latest that can be sent requests, or the latest."""
        if version:
            return self.catalog.find(name, version)
        versions = self.catalog.versions(name)
        ready = (s for s in versions if self.pool.count(s.key))
        return next(ready, versions[0] if versions else None)

"""The one writer of a fabric's catalog: the store first, then the catalog, then its watchers."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from fabric.catalog.declaring import Action, Change, decide, without
from fabric.catalog.feed import Feed
from fabric.catalog.leases import Leases
from fabric.control.fitting import check_pipelines
from fabric.control.ledger import Ledger
from fabric.core.changes import Kind
from fabric.core.errors import FabricError
from fabric.core.replicas import Replica

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from fabric.catalog.catalog import Catalog
    from fabric.catalog.declared import Declared
    from fabric.catalog.health import Report
    from fabric.catalog.loading import Selection
    from fabric.control.ledger import Step
    from fabric.control.store import Store
    from fabric.core.cards import Specialist
    from fabric.core.changes import Key, Resource
    from fabric.core.deadlines import Clock
    from fabric.core.pipelines import Pipeline
    from fabric.core.policies import Policy
    from fabric.core.replicas import Load
    from fabric.core.routes import Route
    from fabric.core.tensors import Signature

T = TypeVar("T")

log = logging.getLogger(__name__)


def _does_anything(step: Step) -> bool:
    return bool(step.is_visible or step.writes or step.reports)


@dataclass(frozen=True)
class Applied:
    """What a declaration changed, or would change, and the revision it left."""

    changes: tuple[Change, ...]
    revision: int


class Controller:
    """The catalog as truth, its watchers, and the leases.

    Changes are made one at a time, each to its end even if the caller leaves, so that the catalog
    never says anything else than the store. Reading needs no lock.
    """

    def __init__(
        self, store: Store, clock: Clock = time.monotonic, lease: float = 10.0, kept: int = 4096
    ) -> None:
        self.leases = Leases(clock, lease)
        self._ledger = Ledger()
        self.feed = Feed(self.catalog, kept)
        self._store = store
        self._clock = clock
        self._writing = asyncio.Lock()
        self._running: set[asyncio.Task[object]] = set()
        self._lease_cut = asyncio.Event()

    @property
    def catalog(self) -> Catalog:
        return self._ledger.catalog

    @property
    def wanted(self) -> Mapping[str, Specialist]:
        """What is to run, by key, as it was declared."""
        entries = self._ledger.entries.items()
        return {key: e.specialist for key, e in entries if e.specialist.hosting.loaded}

    @property
    def hosted(self) -> Sequence[Specialist]:
        """All specialists that run or may run again."""
        return [entry.specialist for entry in self._ledger.entries.values()]

    async def start(self) -> None:
        """The catalog is what was stored, and every replica in it has a whole fresh lease."""
        self._ledger.restore(await self._store.load())
        for replica_id in self.catalog.replicas:
            self.leases.grant(replica_id)

    async def close(self) -> None:
        """Ends every watch, and returns when no change is under way."""
        self.feed.close()
        if self._running:
            await asyncio.wait(self._running)

    def get(self, key: Key) -> Resource:
        """What `Catalog.get` has, replicas with their load."""
        return self._loaded(self.catalog.get(key))

    def all(self, kind: Kind) -> Sequence[Resource]:
        """What `Catalog.all` has, replicas with their load."""
        return [self._loaded(resource) for resource in self.catalog.all(kind)]

    def _loaded(self, resource: Resource) -> Resource:
        if not isinstance(resource, Replica):
            return resource
        return replace(resource, load=self.leases.load(resource.id))

    async def apply(
        self,
        specialists: Sequence[Specialist],
        routes: Sequence[Route],
        pipelines: Sequence[Pipeline] = (),
        *,
        prune: bool = False,
        dry_run: bool = False,
    ) -> Applied:
        """Declares *specialists*, *routes* and *pipelines*, all or nothing; raises what `decide`
        raises, `Ledger.check_pinned` and `check_pipelines`."""

        async def work() -> Applied:
            declared = self._ledger.declared
            decision = decide(declared, specialists, routes, pipelines, prune=prune)
            self._ledger.check_pinned(decision)
            await asyncio.to_thread(check_pipelines, declared, decision, self._ledger.entries)
            if not dry_run:
                await self._make(self._ledger.declaring(decision))
            return Applied(decision.changes, self.catalog.revision)

        return await self._alone(work())

    async def change(self, select: Callable[[Declared], Selection]) -> Applied:
        """Declares what *select* makes of what is declared; raises what it and `decide` raise."""

        async def work() -> Applied:
            declared = self._ledger.declared
            selection = select(declared)
            decision = decide(
                declared, selection.specialists, selection.routes, selection.pipelines
            )
            await self._make(self._ledger.declaring(decision))
            return Applied(decision.changes, self.catalog.revision)

        return await self._alone(work())

    async def delete(self, key: Key) -> Applied:
        """Takes *key* out; raises what `without` raises.

        A version that is no longer declared, and serves until another is ready, goes at once.
        """

        async def work() -> Applied:
            entry = self._ledger.entries.get(key.name) if key.kind is Kind.SPECIALIST else None
            if entry is not None and not entry.declared:
                await self._make(self._ledger.dismissing(key.name))
                return Applied((Change(key, Action.DELETE),), self.catalog.revision)
            decision = without(self._ledger.declared, key)
            await self._make(self._ledger.declaring(decision))
            return Applied(decision.changes, self.catalog.revision)

        return await self._alone(work())

    async def learn(self, policy: Policy) -> Policy:
        """*policy* under the next version of its route; raises what `Ledger.learning` raises."""

        async def work() -> Policy:
            await self._make(self._ledger.learning(policy))
            return self.catalog.policies[policy.route][0]

        return await self._alone(work())

    async def lose(self, policy: Policy, reason: str) -> None:
        """Gateways use *policy* no more."""

        async def work() -> None:
            await self._make(self._ledger.losing(policy, reason))

        await self._alone(work())

    async def register(self, replica: Replica, signature: Signature | None) -> float:
        """The replica is in the catalog, under a lease of the seconds returned.

        Raises what `Ledger.registering` raises.
        """

        async def work() -> float:
            await self._make(self._ledger.registering(replica, signature))
            self.leases.grant(replica.id, replica.load)
            return self.leases.length

        return await self._alone(work())

    def renew(self, replica_id: str, load: Load, stream: object) -> float:
        """The replica has a whole lease again; raises NotFound if it must register anew."""
        self.leases.renew(replica_id, load, stream)
        return self.leases.length

    def lost(self, replica_id: str, stream: object) -> None:
        """The stream of renewals has ended, most likely with its process."""
        self.leases.lost(replica_id, stream)
        self._lease_cut.set()

    async def withdraw(self, replica_id: str, draining: bool = False, why: str = "") -> None:
        """The replica is out of the catalog; *draining*, it stays in it until its lease ends."""

        async def work() -> None:
            await self._make(self._ledger.withdrawing((replica_id,), draining, why))
            if not draining:
                self.leases.end(replica_id)

        await self._alone(work())

    async def expire(self) -> None:
        """Replicas whose lease has ended are out of the catalog."""

        async def work() -> None:
            gone = self.leases.expire()
            try:
                await self._make(self._ledger.withdrawing(gone))
            except FabricError:
                for replica_id in gone:
                    self.leases.grant(replica_id)  # it ends again, when the store may be back
                raise
            for replica_id in gone:
                log.info("the lease of replica %s has ended", replica_id)

        await self._alone(work())

    async def keep_leases(self) -> None:
        """Lets leases end when they do, until cancelled.

        The time for which this process was stopped counts for nobody: a replica renews three times
        in a lease, and what came meanwhile is read after it.
        """
        often = self.leases.length / 4
        while True:
            self._lease_cut.clear()
            now = self._clock()
            due = max(now, min(self.leases.next_end, now + often))
            try:
                async with asyncio.timeout(due - now):
                    await self._lease_cut.wait()
            except TimeoutError:
                pass
            if (late := self._clock() - due) > often:
                log.warning("nobody was heard for %.1f s, all that time: leases start anew", late)
                self.leases.forgive()
            try:
                if self.leases.next_end <= self._clock():
                    await self.expire()
            except FabricError as error:
                log.warning("leases cannot end now: %s", error.message)

    async def report(self, revision: int, reports: Mapping[str, Report]) -> None:
        """Takes what the host found of specialists, by key, having seen *revision* to it."""

        async def work() -> None:
            await self._make(self._ledger.hearing(revision, reports))

        await self._alone(work())

    async def _make(self, step: Step) -> None:
        """Takes *step*, and then what it lets retire, which never fails the step."""
        await self._take(step)
        try:
            while _does_anything(step := self._ledger.retiring()):
                await self._take(step)
        except FabricError as error:
            log.warning("what is to retire stays until the next change: %s", error.message)

    async def _take(self, step: Step) -> None:
        if step.writes:
            await self._store.write(step.writes)
        self._ledger.take(step)
        if step.is_visible:
            self.feed.publish(step.changes)

    async def _alone(self, work: Coroutine[object, object, T]) -> T:
        """What *work* returns, run with no other change beside it and to its end."""

        async def locked() -> T:
            async with self._writing:
                return await work

        task = asyncio.ensure_future(locked())
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

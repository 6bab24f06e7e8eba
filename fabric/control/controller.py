"""The one writer of a fabric's catalog: the store first, then the catalog, then its watchers."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from fabric.catalog.catalog import Catalog, Changes, Hosted, Key, Kind
from fabric.catalog.declaring import Action, Change, Decision, Declared, decide, suggestion, without
from fabric.catalog.feed import Feed, first_revision
from fabric.catalog.health import Report, outlived, status
from fabric.catalog.leases import Leases
from fabric.control.store import Entry, Store, Superseded, Writes
from fabric.core.errors import FabricError, InvalidRequest, NotFound
from fabric.core.plans import Route
from fabric.core.replicas import Replica, Status

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

    from fabric.core.cards import Specialist
    from fabric.core.deadlines import Clock
    from fabric.core.replicas import Load
    from fabric.core.tensors import Signature

T = TypeVar("T")
Resource = Hosted | Route | Replica if TYPE_CHECKING else object

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What a declaration changed, or would change, and the revision it left."""

    changes: tuple[Change, ...]
    revision: int


class Controller:
    """The catalog as truth, what is declared, and the leases.

    Changes are made one at a time, each to its end even if the caller leaves, so that the catalog
    never says anything else than the store. Reading needs no lock.
    """

    def __init__(
        self, store: Store, clock: Clock = time.monotonic, lease: float = 10.0, kept: int = 4096
    ) -> None:
        self.catalog = Catalog()
        self.feed = Feed(self.catalog, kept)
        self.leases = Leases(clock, lease)
        self.superseded = asyncio.Event()
        """Set once another control plane has taken over the store: this one must end."""
        self._store = store
        self._clock = clock
        self._declared = Declared()
        self._signatures: dict[str, Signature] = {}
        self._reports: dict[str, Report] = {}
        self._changed_at: dict[str, int] = {}
        self._writing = asyncio.Lock()
        self._running: set[asyncio.Task[object]] = set()
        self._lease_cut = asyncio.Event()

    async def start(self) -> None:
        """The catalog is what was stored, and every replica in it has a whole fresh lease."""
        stored = await self._store.load()
        entries = {entry.specialist.key: entry for entry in stored.specialists}
        self._declared = Declared(
            {key: entry.specialist for key, entry in entries.items() if entry.declared},
            {route.name: route for route in stored.routes},
        )
        self._signatures = {k: e.signature for k, e in entries.items() if e.signature is not None}
        replicas = tuple(r for r in stored.replicas if r.specialist_key in entries)
        for replica in replicas:
            self.leases.grant(replica.id)
        hosted = (
            Hosted(self._signed(e.specialist), Status(wanted=e.specialist.hosting.replicas.min))
            for e in entries.values()
        )
        revision = first_revision(stored.epoch)
        self.catalog.update(
            Changes(
                revision=revision,
                snapshot=True,
                specialists=tuple(hosted),
                routes=stored.routes,
                replicas=replicas,
            )
        )

    async def close(self) -> None:
        """Ends every watch, and returns when no change is under way."""
        self.feed.close()
        if self._running:
            await asyncio.wait(self._running)

    # -------------------------------------------------------------------------------- reading
    def get(self, key: Key) -> Resource:
        """One resource; a specialist's name without a version means its latest.

        Raises:
            NotFound: there is none of that name.
        """
        catalog = self.catalog
        if key.kind is Kind.ROUTE and (route := catalog.routes.get(key.name)):
            return route
        if key.kind is Kind.REPLICA and (replica := catalog.replicas.get(key.name)):
            return self._loaded(replica)
        if key.kind is Kind.SPECIALIST:
            found = catalog.specialists.get(key.name) or catalog.find(key.name)
            if found:
                return Hosted(found, catalog.statuses[found.key])
        known = {
            Kind.ROUTE: list(catalog.routes),
            Kind.REPLICA: list(catalog.replicas),
            Kind.SPECIALIST: [
                *catalog.specialists,
                *{s.card.name for s in catalog.specialists.values()},
            ],
        }
        raise NotFound(f"no {key}{suggestion(key.name, known[key.kind])}")

    def list(self, kind: Kind) -> Sequence[Resource]:
        """All resources of a kind, by name and then latest version first."""
        catalog = self.catalog
        if kind is Kind.ROUTE:
            return [catalog.routes[name] for name in sorted(catalog.routes)]
        if kind is Kind.REPLICA:
            order = sorted(catalog.replicas.values(), key=lambda r: (r.specialist_key, r.id))
            return [self._loaded(replica) for replica in order]
        names = sorted({s.card.name for s in catalog.specialists.values()})
        return [Hosted(s, catalog.statuses[s.key]) for n in names for s in catalog.versions(n)]

    # -------------------------------------------------------------------------------- declaring
    async def apply(
        self,
        specialists: Sequence[Specialist],
        routes: Sequence[Route],
        prune: bool = False,
        dry_run: bool = False,
    ) -> Outcome:
        """Declares *specialists* and *routes*, all or nothing; raises what `decide` raises."""

        async def work() -> Outcome:
            decision = decide(self._declared, specialists, routes, prune)
            if not dry_run:
                await self._take(decision)
            return Outcome(decision.changes, self.catalog.revision)

        return await self._alone(work())

    async def delete(self, key: Key) -> Outcome:
        """Takes *key* out; raises what `without` raises."""

        async def work() -> Outcome:
            decision = without(self._declared, key)
            await self._take(decision)
            return Outcome(decision.changes, self.catalog.revision)

        return await self._alone(work())

    async def _take(self, decision: Decision) -> None:
        after = decision.declared
        made = [change for change in decision.changes if change.action is not Action.NONE]
        deleted = {c.key for c in made if c.action is Action.DELETE}
        changed = [c for c in made if c.action is not Action.DELETE]
        specialists = [c for c in changed if c.key.kind is Kind.SPECIALIST]
        routes = [after.routes[c.key.name] for c in changed if c.key.kind is Kind.ROUTE]
        leaving = {key.name for key in deleted if key.kind is Kind.SPECIALIST}
        gone = outlived(self.catalog, after, leaving)
        if not made and not gone:
            return
        entries: dict[str, Entry | None] = dict.fromkeys(gone)
        for key in leaving - gone:
            entries[key] = self._entry(self._declared.specialists[key], declared=False)
        for change in specialists:
            entries[change.key.name] = self._entry(after.specialists[change.key.name])
        removed_routes = {key.name for key in deleted if key.kind is Kind.ROUTE}
        await self._commit(
            Writes(
                specialists=entries,
                routes={**{r.name: r for r in routes}, **dict.fromkeys(removed_routes)},
            )
        )
        self._declared = after
        for change in specialists:
            self._expect(change)
        for key in gone:
            self._forget(key)
        self.feed.publish(
            Changes(
                revision=0,
                specialists=tuple(
                    self._hosted(self._signed(entry.specialist))
                    for entry in entries.values()
                    if entry is not None
                ),
                routes=tuple(routes),
                removed=(
                    *(Key(Kind.SPECIALIST, key) for key in sorted(gone)),
                    *(Key(Kind.ROUTE, name) for name in sorted(removed_routes)),
                ),
            )
        )

    def _expect(self, change: Change) -> None:
        """What the host said of the specialist before is no longer so."""
        key = change.key.name
        self._changed_at[key] = self.catalog.revision + 1
        wanted = self._declared.specialists[key].hosting.replicas.min
        known = self._reports.get(key, Report(wanted=wanted))
        if change.action is Action.REPLACE:
            known = replace(known, updating=True, failure="")
        self._reports[key] = replace(known, wanted=max(wanted, known.wanted))

    def _forget(self, key: str) -> None:
        for held in (self._reports, self._changed_at, self._signatures):
            held.pop(key, None)

    # -------------------------------------------------------------------------------- replicas
    async def register(self, replica: Replica, signature: Signature | None) -> float:
        """The replica is in the catalog, under a lease of the seconds returned.

        Raises:
            NotFound: its specialist is not, or no longer, in the catalog.
            InvalidRequest: it does not say who or where it is.
        """
        if not replica.id or not replica.address:
            raise InvalidRequest("a replica registers with an id and an address")

        async def work() -> float:
            key = replica.specialist_key
            specialist = self.catalog.specialists.get(key)
            if specialist is None:
                raise NotFound(f"no specialist {key}{suggestion(key, self.catalog.specialists)}")
            known = self.catalog.replicas.get(replica.id)
            learned = signature is not None and self._signatures.get(key) != signature
            if known != replica or learned:
                await self._add(replica, signature if learned else None)
            self.leases.grant(replica.id)
            return self.leases.length

        return await self._alone(work())

    async def _add(self, replica: Replica, learned: Signature | None) -> None:
        key = replica.specialist_key
        entries: dict[str, Entry | None] = {}
        if learned is not None:
            declared = self._declared.specialists.get(key)
            entry = self._entry(declared or self.catalog.specialists[key], declared is not None)
            entries[key] = replace(entry, signature=learned)
        await self._commit(Writes(specialists=entries, replicas={replica.id: replica}))
        if learned is not None:
            self._signatures[key] = learned
        self._publish_replicas(key, added=replica)

    def renew(self, replica_id: str, load: Load, stream: object) -> float:
        """The replica has a whole lease again; raises NotFound if it must register anew."""
        self.leases.renew(replica_id, load, stream)
        return self.leases.length

    def lost(self, replica_id: str, stream: object) -> None:
        """The stream of renewals has ended, most likely with its process."""
        self.leases.lost(replica_id, stream)
        self._lease_cut.set()

    async def withdraw(self, replica_id: str, draining: bool) -> None:
        """The replica is out of the catalog; *draining*, it stays in it until its lease ends."""

        async def work() -> None:
            replica = self.catalog.replicas.get(replica_id)
            if replica is None or (draining and replica.draining):
                return
            if draining:
                left = replace(replica, draining=True)
                await self._commit(Writes(replicas={replica_id: left}))
                self._publish_replicas(replica.specialist_key, added=left)
            else:
                await self._drop([replica_id])

        await self._alone(work())

    async def expire(self) -> None:
        """Replicas whose lease has ended are out of the catalog."""

        async def work() -> None:
            gone = self.leases.expire()
            try:
                await self._drop([each for each in gone if each in self.catalog.replicas])
            except FabricError:
                for replica_id in gone:
                    self.leases.grant(replica_id)  # so that it ends again, with the store back
                raise

        await self._alone(work())

    async def keep_leases(self) -> None:
        """Lets leases end when they do, until cancelled."""
        while True:
            self._lease_cut.clear()
            left = self.leases.next_end - self._clock()
            try:
                async with asyncio.timeout(min(max(left, 0.0), self.leases.length)):
                    await self._lease_cut.wait()
            except TimeoutError:
                pass
            if self.leases.next_end > self._clock():
                continue
            try:
                await self.expire()
            except FabricError as error:
                log.warning("leases cannot end now: %s", error.message)

    async def _drop(self, replica_ids: Sequence[str]) -> None:
        if not replica_ids:
            return
        await self._commit(Writes(replicas=dict.fromkeys(replica_ids)))
        for replica_id in replica_ids:
            replica = self.catalog.replicas[replica_id]
            self.leases.end(replica_id)
            log.info("replica %s of %s is gone", replica_id, replica.specialist_key)
            self._publish_replicas(replica.specialist_key, removed=replica_id)

    # -------------------------------------------------------------------------------- health
    async def report(self, revision: int, reports: Mapping[str, Report]) -> None:
        """Takes what the host found of the specialists, as the catalog's *revision* wants them."""

        async def work() -> None:
            for key, found in reports.items():
                current = self._changed_at.get(key, 0) <= revision
                if current and key in self.catalog.specialists:
                    self._reports[key] = found
                    self._publish_statuses((key,))
            await self._retire()

        await self._alone(work())

    def _publish_replicas(
        self, key: str, added: Replica | None = None, removed: str | None = None
    ) -> None:
        specialist = self.catalog.specialists.get(key)
        replicas = {replica.id: replica for replica in self.catalog.replicas_of(key)}
        if added:
            replicas[added.id] = added
        if removed:
            replicas.pop(removed, None)
        ready = sum(not replica.draining for replica in replicas.values())
        hosted = specialist and self._hosted(self._signed(specialist), ready)
        known = specialist and Hosted(specialist, self.catalog.statuses[key])
        self.feed.publish(
            Changes(
                revision=0,
                specialists=(hosted,) if hosted and hosted != known else (),
                replicas=(added,) if added else (),
                removed=(Key(Kind.REPLICA, removed),) if removed else (),
            )
        )

    def _publish_statuses(self, keys: Sequence[str]) -> None:
        """Watchers see how specialists fare where that has changed."""
        hosted = (self._hosted(self.catalog.specialists[key]) for key in keys)
        changed = tuple(h for h in hosted if h.status != self.catalog.statuses[h.specialist.key])
        if changed:
            self.feed.publish(Changes(revision=0, specialists=changed))

    async def _retire(self) -> None:
        gone = outlived(self.catalog, self._declared)
        if not gone:
            return
        await self._commit(Writes(specialists=dict.fromkeys(gone)))
        for key in gone:
            self._forget(key)
        removed = tuple(Key(Kind.SPECIALIST, key) for key in sorted(gone))
        self.feed.publish(Changes(revision=0, removed=removed))

    # -------------------------------------------------------------------------------- parts
    def _hosted(self, specialist: Specialist, ready: int | None = None) -> Hosted:
        key = specialist.key
        if ready is None:
            ready = sum(not replica.draining for replica in self.catalog.replicas_of(key))
        report = self._reports.get(key) or Report(wanted=specialist.hosting.replicas.min)
        return Hosted(specialist, status(ready, report, key in self._declared.specialists))

    def _signed(self, specialist: Specialist) -> Specialist:
        """*specialist* with the signature that its replicas read from the model."""
        signature = self._signatures.get(specialist.key)
        if signature is None:
            return specialist
        return replace(specialist, card=replace(specialist.card, signature=signature))

    def _entry(self, specialist: Specialist, declared: bool = True) -> Entry:
        return Entry(specialist, declared, self._signatures.get(specialist.key))

    def _loaded(self, replica: Replica) -> Replica:
        return replace(replica, load=self.leases.load(replica.id))

    async def _commit(self, writes: Writes) -> None:
        try:
            await self._store.write(writes)
        except Superseded:
            self.superseded.set()
            raise

    async def _alone(self, work: Coroutine[object, object, T]) -> T:
        """What *work* returns, run with no other change beside it and to its end."""

        async def locked() -> T:
            async with self._writing:
                return await work

        task = asyncio.ensure_future(locked())
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

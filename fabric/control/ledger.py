"""What each event makes of the catalog: decided here, done by the controller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from fabric.catalog.catalog import Catalog, suggestion
from fabric.catalog.declared import Declared
from fabric.catalog.declaring import Action
from fabric.catalog.feed import first_revision
from fabric.catalog.health import Report, outlived, status
from fabric.control.store import Entry, Writes
from fabric.core.changes import Changes, Hosted, Key, Kind
from fabric.core.errors import InvalidRequest, NotFound
from fabric.core.replicas import Load

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fabric.catalog.declaring import Change, Decision
    from fabric.control.store import Stored
    from fabric.core.cards import Specialist
    from fabric.core.pipelines import Pipeline
    from fabric.core.policies import Policy
    from fabric.core.replicas import Replica
    from fabric.core.routes import Route
    from fabric.core.tensors import Signature


KEPT_POLICIES = 5
"""Of a route."""
_MIB = 1 << 20
LARGEST_POLICY = 8 * _MIB
"""Bytes of one policy; every gateway holds all that are kept."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One change: what the store takes, then the ledger, then the watchers."""

    writes: Writes = field(default_factory=Writes)
    reports: Mapping[str, Report] = field(default_factory=dict)
    restarted: frozenset[str] = frozenset()
    """Specialists of which earlier reports no longer hold."""
    changes: Changes = field(default_factory=lambda: Changes(revision=0))
    """Not yet numbered."""

    @property
    def is_visible(self) -> bool:
        """Whether a watcher sees anything of it."""
        return self.changes != Changes(revision=0)


class Ledger:
    """The catalog, and what only the control plane knows of it.

    Every method but `restore` and `take` decides and changes nothing.
    """

    def __init__(self) -> None:
        self.catalog = Catalog()
        self.entries: dict[str, Entry] = {}
        """The specialists of the catalog as they were declared, by key."""
        self._reports: dict[str, Report] = {}
        self._declared_at: dict[str, int] = {}

    def restore(self, stored: Stored) -> None:
        """The catalog is what was stored, under the first revision of its epoch."""
        self.entries = {entry.specialist.key: entry for entry in stored.specialists}
        restored = Changes(
            revision=first_revision(stored.epoch),
            snapshot=True,
            routes=stored.routes,
            replicas=stored.replicas,
            policies=stored.policies,
            pipelines=stored.pipelines,
        )
        self.catalog.update(restored)
        hosted = tuple(self._hosted(key, entry, {}, {}) for key, entry in self.entries.items())
        self.catalog.update(replace(restored, specialists=hosted))

    @property
    def declared(self) -> Declared:
        kept = {key: entry.specialist for key, entry in self.entries.items() if entry.declared}
        return Declared(kept, dict(self.catalog.routes), dict(self.catalog.pipelines))

    def take(self, step: Step) -> None:
        """Makes *step* so, but for the catalog, which is the feed's to change."""
        self._reports.update(step.reports)
        for key in step.restarted:
            self._declared_at[key] = self.catalog.revision + 1
        for key, entry in step.writes.specialists.items():
            if entry is not None:
                self.entries[key] = entry
                continue
            del self.entries[key]
            self._reports.pop(key, None)
            self._declared_at.pop(key, None)

    def check_pinned(self, decision: Decision) -> None:
        """Raises InvalidRequest where a route is to go over to a policy that it does not have.

        A route that is new may name one, since its file may come from a fabric where it has some,
        and so may one that did before: gateways say that it is not there.
        """
        for name, after in decision.declared.routes.items():
            before = self.catalog.routes.get(name)
            if before is None or _pinned(after) in (0, _pinned(before)):
                continue
            versions = [str(p.version) for p in reversed(self.catalog.policies.get(name, ()))]
            if str(_pinned(after)) not in versions:
                raise InvalidRequest(
                    f"route {name!r} names policy {_pinned(after)}, and has "
                    + (f"only {', '.join(versions)}" if versions else "none yet")
                    + ": leave `learning.policy` out for the latest"
                )

    def declaring(self, decision: Decision) -> Step:
        """What is declared becomes what *decision* says."""
        entries: dict[str, Entry | None] = {}
        routes: dict[str, Route | None] = {}
        pipelines: dict[str, Pipeline | None] = {}
        reports: dict[str, Report] = {}
        after, leaving = decision.declared, set()
        for change in decision.changes:
            name, deleted = change.key.name, change.action is Action.DELETE
            if change.action is Action.NONE:
                continue
            if change.key.kind is Kind.ROUTE:
                routes[name] = None if deleted else after.routes[name]
            elif change.key.kind is Kind.PIPELINE:
                pipelines[name] = None if deleted else after.pipelines[name]
            elif deleted:
                leaving.add(name)
                entries[name] = replace(self.entries[name], declared=False)
            else:
                entries[name] = self._entry(after.specialists[name])
                reports[name] = self._expected(change, after.specialists[name])
        entries.update(dict.fromkeys(outlived(self.catalog, after, leaving)))
        forgotten = {
            policy.key: None
            for name, route in routes.items()
            if route is None
            for policy in self.catalog.policies.get(name, ())
        }
        return self._step(entries, routes, {}, reports, frozenset(reports), forgotten, pipelines)

    def dismissing(self, key: str) -> Step:
        """A specialist that is no longer declared is gone, whoever needs it."""
        return self._step({key: None}, {}, {})

    def registering(self, replica: Replica, signature: Signature | None) -> Step:
        """*replica* is in the catalog, and its specialist has the *signature* it read.

        Raises:
            NotFound: its specialist is not, or no longer, in the catalog.
            InvalidRequest: it does not say who or where it is.
        """
        if not replica.id or not replica.address:
            raise InvalidRequest("a replica registers with an id and an address")
        replica = replace(replica, load=Load())  # which is the lease's to know
        key = replica.specialist_key
        entry = self.entries.get(key)
        if entry is None:
            raise NotFound(f"no specialist {key}{suggestion(key, self.entries)}")
        learned = signature is not None and signature != entry.signature
        known = self.catalog.replicas.get(replica.id) == replica
        return self._step(
            {key: replace(entry, signature=signature)} if learned else {},
            {},
            {} if known else {replica.id: replica},
        )

    def withdrawing(
        self, replica_ids: Iterable[str], draining: bool = False, why: str = ""
    ) -> Step:
        """The replicas are out of the catalog; *draining*, they are still in it as such."""
        replicas: dict[str, Replica | None] = {}
        for replica_id in replica_ids:
            replica = self.catalog.replicas.get(replica_id)
            if replica is not None and not (draining and replica.draining):
                left = replace(replica, draining=True, why=why) if draining else None
                replicas[replica_id] = left
        return self._step({}, {}, replicas)

    def hearing(self, revision: int, reports: Mapping[str, Report]) -> Step:
        """Specialists fare as their host says, if it has seen their last declaration."""
        current = {
            key: report
            for key, report in reports.items()
            if key in self.entries and self._declared_at.get(key, 0) <= revision
        }
        return self._step({}, {}, {}, current)

    def learning(self, policy: Policy) -> Step:
        """*policy* is the latest of its route, under the next version; the oldest are gone.

        Raises:
            NotFound: the route is not, or no longer, declared.
            InvalidRequest: it is larger than what is handed out.
        """
        route = self.catalog.routes.get(policy.route)
        if route is None:
            near = suggestion(policy.route, self.catalog.routes)
            raise NotFound(f"no route {policy.route}{near}")
        size = len(policy.data) + len(policy.explored) + len(policy.report)
        if size > LARGEST_POLICY:
            raise InvalidRequest(
                f"the policy of route {policy.route!r} has {size / _MIB:.1f} MiB, more "
                f"than the {LARGEST_POLICY // _MIB} MiB that are handed out"
            )
        before = self.catalog.policies.get(policy.route, ())
        version = before[0].version + 1 if before else 1
        made = replace(policy, version=version)
        kept = kept_versions((made, *before), _pinned(route))
        gone = {each.key: None for each in before if each.version not in kept}
        return self._step({}, {}, {}, policies={made.key: made, **gone})

    def losing(self, policy: Policy, reason: str) -> Step:
        """*policy* is used no more because of *reason*, where the catalog still has it."""
        if policy not in self.catalog.policies.get(policy.route, ()):
            return Step()
        return self._step({}, {}, {}, policies={policy.key: replace(policy, lost=reason)})

    def retiring(self) -> Step:
        """Specialists that are no longer declared are gone when nobody needs them any more."""
        return self._step(dict.fromkeys(outlived(self.catalog, self.declared)), {}, {})

    def _step(
        self,
        entries: Mapping[str, Entry | None],
        routes: Mapping[str, Route | None],
        replicas: Mapping[str, Replica | None],
        reports: Mapping[str, Report] | None = None,
        restarted: frozenset[str] = frozenset(),
        policies: Mapping[str, Policy | None] | None = None,
        pipelines: Mapping[str, Pipeline | None] | None = None,
    ) -> Step:
        reports, policies, pipelines = reports or {}, policies or {}, pipelines or {}
        moved = (replica or self.catalog.replicas[id_] for id_, replica in replicas.items())
        touched = {*entries, *reports, *(replica.specialist_key for replica in moved)}
        hosted = tuple(
            self._hosted(key, entry, replicas, reports)
            for key in sorted(touched)
            if (entry := entries.get(key) or (key not in entries and self.entries.get(key)))
        )
        changes = Changes(
            revision=0,
            specialists=tuple(each for each in hosted if each != self._known(each.specialist.key)),
            routes=tuple(route for route in routes.values() if route is not None),
            replicas=tuple(replica for replica in replicas.values() if replica is not None),
            policies=tuple(policy for policy in policies.values() if policy is not None),
            pipelines=tuple(each for each in pipelines.values() if each is not None),
            removed=(
                *_removed(Kind.SPECIALIST, entries),
                *_removed(Kind.ROUTE, routes),
                *_removed(Kind.REPLICA, replicas),
                *_removed(Kind.POLICY, policies),
                *_removed(Kind.PIPELINE, pipelines),
            ),
        )
        writes = Writes(
            specialists=entries,
            routes=routes,
            replicas=replicas,
            policies=policies,
            pipelines=pipelines,
        )
        return Step(writes=writes, reports=reports, restarted=restarted, changes=changes)

    def _hosted(
        self,
        key: str,
        entry: Entry,
        replicas: Mapping[str, Replica | None],
        reports: Mapping[str, Report],
    ) -> Hosted:
        """The specialist, and how it fares once *replicas* and *reports* are taken in."""
        held: dict[str, Replica | None] = {r.id: r for r in self.catalog.replicas_of(key)}
        held |= {id_: r for id_, r in replicas.items() if r is None or r.specialist_key == key}
        there = [replica for replica in held.values() if replica is not None]
        ready = sum(not replica.draining for replica in there)
        leaving = next((replica.why for replica in there if replica.why), "")
        minimum = Report(wanted=entry.specialist.hosting.replicas.min)
        report = reports.get(key) or self._reports.get(key) or minimum
        loaded = entry.specialist.hosting.loaded
        return Hosted(entry.signed, status(ready, report, entry.declared, loaded, leaving))

    def _known(self, key: str) -> Hosted | None:
        specialist = self.catalog.specialists.get(key)
        return Hosted(specialist, self.catalog.statuses[key]) if specialist else None

    def _entry(self, specialist: Specialist) -> Entry:
        known = self.entries.get(specialist.key)
        return Entry(specialist, signature=known.signature if known else None)

    def _expected(self, change: Change, specialist: Specialist) -> Report:
        """What holds until the host has seen the change."""
        replicas = specialist.hosting.replicas
        known = self._reports.get(specialist.key, Report(wanted=replicas.min))
        wanted = min(max(known.wanted, replicas.min), replicas.max)
        if change.action is Action.UPDATE and "hosting.loaded" not in change.fields:
            return replace(known, wanted=wanted)
        return Report(wanted=wanted, updating=specialist.key in self.entries)


def _pinned(route: Route) -> int:
    return route.learning.policy if route.learning is not None else 0


def kept_versions(policies: Iterable[Policy], pinned: int) -> frozenset[int]:
    """Which of a route's policies, the latest first, are kept: the latest few, the one that is
    *pinned*, and the latest that has not lost."""
    ordered = tuple(policies)
    latest = [policy.version for policy in ordered[:KEPT_POLICIES]]
    winning = next(([policy.version] for policy in ordered if not policy.lost), [])
    return frozenset((*latest, *winning, pinned))


def _removed(kind: Kind, values: Mapping[str, object | None]) -> Iterable[Key]:
    return (Key(kind, name) for name, value in sorted(values.items()) if value is None)

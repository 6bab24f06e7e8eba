"""The catalog: specialists, routes, pipelines, replicas and policies under one growing revision.

The control plane holds the truth and every gateway a mirror of it, both in this class: what happens
to the one is a `Changes`, and `Catalog.update` makes the other the same.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING

from fabric.core.changes import Changes, Hosted, Key, Kind, Resource
from fabric.core.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fabric.core.cards import Specialist
    from fabric.core.pipelines import Pipeline
    from fabric.core.policies import Policy
    from fabric.core.replicas import Replica, Status
    from fabric.core.routes import Route


class Catalog:
    """What a fabric consists of at one revision. Every look-up is by index.

    The dictionaries are for reading; `update` is the one way to change them. A specialist that is
    no longer declared stays in it for as long as its replicas are wanted.
    """

    def __init__(self) -> None:
        self.revision = 0
        self.specialists: dict[str, Specialist] = {}
        """By `name:version`."""
        self.statuses: dict[str, Status] = {}
        """By `name:version`."""
        self.routes: dict[str, Route] = {}
        self.pipelines: dict[str, Pipeline] = {}
        self.replicas: dict[str, Replica] = {}
        """By id."""
        self.policies: dict[str, tuple[Policy, ...]] = {}
        """By route, the latest first."""
        self._versions: dict[str, tuple[Specialist, ...]] = {}
        self._replicas: dict[str, dict[str, Replica]] = {}

    def names(self) -> Iterable[str]:
        """Of all specialists."""
        return self._versions

    def versions(self, name: str) -> tuple[Specialist, ...]:
        """All versions of a specialist, latest first: integers numerically, above any text."""
        return self._versions.get(name, ())

    def find(self, name: str, version: str = "") -> Specialist | None:
        """One version of a specialist, or its latest, whether it is ready or not."""
        if version:
            return self.specialists.get(f"{name}:{version}")
        return next(iter(self.versions(name)), None)

    def replicas_of(self, key: str) -> tuple[Replica, ...]:
        """The replicas under a lease of the specialist `name:version`, those draining included."""
        return tuple(self._replicas.get(key, {}).values())

    def get(self, key: Key) -> Resource:
        """One resource; without a version the latest of a specialist, or of a route's policies.

        Raises:
            NotFound: there is none of that name.
        """
        found: Resource | None = None
        known: Iterable[str] = ()
        if key.kind is Kind.ROUTE:
            found, known = self.routes.get(key.name), self.routes
        elif key.kind is Kind.PIPELINE:
            found, known = self.pipelines.get(key.name), self.pipelines
        elif key.kind is Kind.REPLICA:
            found, known = self.replicas.get(key.name), self.replicas
        elif key.kind is Kind.POLICY:
            found = next((p for p in self._all_policies() if key.name in (p.key, p.route)), None)
            known = (*self.policies, *(policy.key for policy in self._all_policies()))
        else:
            specialist = self.specialists.get(key.name) or self.find(key.name)
            found = Hosted(specialist, self.statuses[specialist.key]) if specialist else None
            known = (*self._versions, *self.specialists)
        if found is None:
            raise NotFound(f"no {key}{suggestion(key.name, known)}")
        return found

    def all(self, kind: Kind) -> Sequence[Resource]:
        """All resources of a kind, by name, and of one specialist or route the latest first."""
        if kind is Kind.ROUTE:
            return [self.routes[name] for name in sorted(self.routes)]
        if kind is Kind.PIPELINE:
            return [self.pipelines[name] for name in sorted(self.pipelines)]
        if kind is Kind.REPLICA:
            return sorted(self.replicas.values(), key=lambda r: (r.specialist_key, r.id))
        if kind is Kind.POLICY:
            return self._all_policies()
        ordered = (s for name in sorted(self._versions) for s in self._versions[name])
        return [Hosted(specialist, self.statuses[specialist.key]) for specialist in ordered]

    def snapshot(self) -> Changes:
        return Changes(
            revision=self.revision,
            snapshot=True,
            specialists=tuple(
                Hosted(specialist, self.statuses[key])
                for key, specialist in self.specialists.items()
            ),
            routes=tuple(self.routes.values()),
            replicas=tuple(self.replicas.values()),
            policies=tuple(self._all_policies()),
            pipelines=tuple(self.pipelines.values()),
        )

    def update(self, changes: Changes) -> None:
        """Takes *changes* in; afterwards the catalog is the one they were made from."""
        if changes.snapshot:
            for held in (self.specialists, self.statuses, self.routes, self.pipelines):
                held.clear()
            for index in (self.replicas, self.policies, self._versions, self._replicas):
                index.clear()
        for hosted in changes.specialists:
            self._put(hosted)
        for route in changes.routes:
            self.routes[route.name] = route
        for pipeline in changes.pipelines:
            self.pipelines[pipeline.name] = pipeline
        for replica in changes.replicas:
            self._drop_replica(replica.id)
            self.replicas[replica.id] = replica
            self._replicas.setdefault(replica.specialist_key, {})[replica.id] = replica
        for policy in changes.policies:
            self._drop_policy(policy.key)
            others = self.policies.get(policy.route, ())
            by_version = sorted((policy, *others), key=lambda p: p.version, reverse=True)
            self.policies[policy.route] = tuple(by_version)
        for key in changes.removed:
            self._remove(key)
        self.revision = changes.revision

    def _put(self, hosted: Hosted) -> None:
        specialist = hosted.specialist
        self.specialists[specialist.key] = specialist
        self.statuses[specialist.key] = hosted.status
        name = specialist.card.name
        others = (other for other in self.versions(name) if other.key != specialist.key)
        self._versions[name] = latest_first((*others, specialist))

    def _remove(self, key: Key) -> None:
        if key.kind is Kind.ROUTE:
            self.routes.pop(key.name, None)
        elif key.kind is Kind.PIPELINE:
            self.pipelines.pop(key.name, None)
        elif key.kind is Kind.REPLICA:
            self._drop_replica(key.name)
        elif key.kind is Kind.POLICY:
            self._drop_policy(key.name)
        elif (gone := self.specialists.pop(key.name, None)) is not None:
            del self.statuses[key.name]
            name = gone.card.name
            self._versions[name] = tuple(s for s in self._versions[name] if s.key != key.name)
            if not self._versions[name]:
                del self._versions[name]

    def _all_policies(self) -> list[Policy]:
        return [policy for route in sorted(self.policies) for policy in self.policies[route]]

    def _drop_policy(self, key: str) -> None:
        route = key.rpartition(":")[0]
        if left := tuple(p for p in self.policies.get(route, ()) if p.key != key):
            self.policies[route] = left
        else:
            self.policies.pop(route, None)

    def _drop_replica(self, replica_id: str) -> None:
        replica = self.replicas.pop(replica_id, None)
        if replica is None:
            return
        siblings = self._replicas[replica.specialist_key]
        del siblings[replica_id]
        if not siblings:
            del self._replicas[replica.specialist_key]


def latest_first(specialists: Iterable[Specialist]) -> tuple[Specialist, ...]:
    return tuple(sorted(specialists, key=lambda s: rank(s.card.version), reverse=True))


def rank(version: str) -> tuple[bool, tuple[str | int, ...], str]:
    """What versions are ordered by: integers above all else, and numbers within text as numbers."""
    parts = re.split(r"(\d+)", version)  # text and number in turn, so that like meets like
    numbered = tuple(int(part) if part.isdecimal() else part for part in parts)
    return version.isdecimal(), numbered, version


def suggestion(name: str, known: Iterable[str]) -> str:
    """The way out for a name that is not *known*, to go behind a message."""
    near = get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""

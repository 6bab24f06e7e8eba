"""What changes when specialists and routes are declared: decided and checked as a whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import StrEnum
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from fabric.catalog.catalog import suggestion
from fabric.core.cards import Specialist
from fabric.core.changes import Key, Kind
from fabric.core.errors import Conflict, InvalidRequest, NotFound
from fabric.core.routes import ChainEntry, Route

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

REPLACING = (
    "card.signature",
    "card.checks",
    "hosting.model",
    "hosting.python",
    "hosting.arguments",
    "hosting.onnxruntime",
    "hosting.resources",
    "hosting.sequences",
    "hosting.classes",
    "hosting.canary",
    "hosting.timeouts.startup",
)
"""Fields that a replica reads once, when it starts; all others change in place."""


class Action(StrEnum):
    NONE = "none"
    CREATE = "create"
    UPDATE = "update"
    """It changes without a restart of replicas."""
    REPLACE = "replace"
    """It changes, and its replicas are replaced one by one."""
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to one resource."""

    key: Key
    action: Action
    fields: tuple[str, ...] = ()
    """What changes, as paths such as `hosting.batching.max_size`."""


@dataclass(frozen=True)
class Declared:
    """All that is declared, as it was said."""

    specialists: Mapping[str, Specialist] = field(default_factory=dict)
    """By `name:version`."""
    routes: Mapping[str, Route] = field(default_factory=dict)

    @cached_property
    def names(self) -> set[str]:
        """Everything that a chain may name."""
        return {s.card.name for s in self.specialists.values()} | self.routes.keys()


@dataclass(frozen=True)
class Decision:
    """What is declared afterwards, and how that differs from before."""

    declared: Declared
    changes: tuple[Change, ...]


def decide(
    before: Declared, specialists: Sequence[Specialist], routes: Sequence[Route], prune: bool
) -> Decision:
    """What declaring *specialists* and *routes* changes; *prune* takes out all that is not said.

    Raises:
        InvalidRequest: a duplicate, a name used twice, a chain that names nothing, or a cycle.
        Conflict: a route that stays names what would go.
    """
    _check_duplicates([f"specialist {s.key}" for s in specialists])
    _check_duplicates([f"route {route.name}" for route in routes])
    kept = Declared() if prune else before
    after = Declared(
        {**kept.specialists, **{s.key: s for s in specialists}},
        {**kept.routes, **{route.name: route for route in routes}},
    )
    check(after, before)
    changes = (
        *(_change(Kind.SPECIALIST, s.key, before.specialists.get(s.key), s) for s in specialists),
        *(_change(Kind.ROUTE, r.name, before.routes.get(r.name), r) for r in routes),
        *_deletions(before, after),
    )
    return Decision(after, changes)


def without(before: Declared, key: Key) -> Decision:
    """What taking out *key* changes; a specialist's name without a version means all of them.

    Raises:
        NotFound: nothing is declared under that name.
        Conflict: a route that stays names it.
        InvalidRequest: it is neither a specialist nor a route.
    """
    if key.kind is Kind.REPLICA:
        raise InvalidRequest("replicas are not declared: change `replicas` of their specialist")
    if key.kind is Kind.POLICY:
        raise InvalidRequest("policies are not declared: say which by `learning.policy` of a route")
    specialists, routes = dict(before.specialists), dict(before.routes)
    if key.kind is Kind.ROUTE:
        routes.pop(key.name, None)
    else:
        gone = [k for k, s in specialists.items() if key.name in (k, s.card.name)]
        for each in gone:
            del specialists[each]
    after = Declared(specialists, routes)
    changes = tuple(_deletions(before, after))
    if not changes:
        known = before.routes if key.kind is Kind.ROUTE else before.specialists
        raise NotFound(f"no {key}{suggestion(key.name, known)}")
    check(after, before)
    return Decision(after, changes)


def check(after: Declared, before: Declared | None = None) -> None:
    """Raises InvalidRequest or Conflict, as `decide` does, unless *after* holds together."""
    specialists = {s.card.name for s in after.specialists.values()}
    if shared := sorted(specialists & after.routes.keys()):
        raise InvalidRequest(
            f"{shared[0]!r} is the name of a specialist and of a route: rename one of them"
        )
    for route in after.routes.values():
        for entry in leading(route):
            _check_entry(route, entry, after, before or Declared())
    _check_cycles(after.routes)


def leading(route: Route) -> tuple[ChainEntry, ...]:
    """What *route* leads to: its chain, and who reads its requests for it."""
    named = tuple(entry for entry in route.chain if entry.name)
    if route.content is None or not route.content.encoder:
        return named
    return (*named, ChainEntry(name=route.content.encoder))


def differences(old: object, new: object, path: str = "") -> tuple[str, ...]:
    """Paths of the fields in which two values of one dataclass differ."""
    if is_dataclass(old) and not isinstance(old, type) and type(old) is type(new):
        parts = ((f.name, getattr(old, f.name), getattr(new, f.name)) for f in fields(old))
        prefix = f"{path}." if path else ""
        return tuple(d for name, a, b in parts for d in differences(a, b, f"{prefix}{name}"))
    return () if old == new else (path,)


def _change(
    kind: Kind, name: str, old: Specialist | Route | None, new: Specialist | Route
) -> Change:
    key = Key(kind, name)
    if old is None:
        return Change(key, Action.CREATE)
    if not (changed := differences(old, new)):
        return Change(key, Action.NONE)
    replaces = any(path == r or path.startswith(f"{r}.") for path in changed for r in REPLACING)
    return Change(key, Action.REPLACE if replaces else Action.UPDATE, changed)


def _deletions(before: Declared, after: Declared) -> Iterable[Change]:
    for key in before.specialists.keys() - after.specialists.keys():
        yield Change(Key(Kind.SPECIALIST, key), Action.DELETE)
    for name in before.routes.keys() - after.routes.keys():
        yield Change(Key(Kind.ROUTE, name), Action.DELETE)


def _check_duplicates(names: Iterable[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InvalidRequest(f"{twice[0]} is declared more than once")


def _check_entry(route: Route, entry: ChainEntry, after: Declared, before: Declared) -> None:
    if entry.name in after.routes:
        if entry.version:
            raise InvalidRequest(
                f"route {route.name!r} names version {entry.version!r} of {entry.name!r}, "
                "which is a route and has no versions"
            )
        return
    if not entry.version:
        if entry.name in after.names:
            return
        if entry.name in before.names:
            raise Conflict(f"route {route.name!r} names {entry.name!r}: change the route first")
        raise InvalidRequest(
            f"route {route.name!r} names {entry.name!r}, which is neither a specialist nor a route"
            + suggestion(entry.name, after.names - {route.name})
        )
    key = f"{entry.name}:{entry.version}"
    if key in after.specialists:
        return
    if key in before.specialists:
        raise Conflict(f"route {route.name!r} names {key!r}: change the route first")
    raise InvalidRequest(
        f"route {route.name!r} names {key!r}, which is no specialist"
        + suggestion(key, after.specialists)
    )


def _check_cycles(routes: Mapping[str, Route]) -> None:
    named = {name: [entry.name for entry in leading(route)] for name, route in routes.items()}
    try:
        TopologicalSorter(named).prepare()
    except CycleError as error:
        cycle = " -> ".join(reversed(error.args[1]))
        raise InvalidRequest(f"routes name each other in a cycle: {cycle}") from None

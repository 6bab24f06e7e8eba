"""What changes when specialists, routes and pipelines are declared: decided and checked whole."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from fabric.catalog.catalog import suggestion
from fabric.catalog.declared import Declared, check
from fabric.core.changes import Key, Kind
from fabric.core.errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fabric.core.cards import Specialist
    from fabric.core.pipelines import Pipeline
    from fabric.core.routes import Route

REPLACING = (
    "card.signature",
    "card.checks",
    "hosting.model",
    "hosting.python",
    "hosting.arguments",
    "hosting.runtime_env",
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
class Decision:
    """What is declared afterwards, and how that differs from before."""

    declared: Declared
    changes: tuple[Change, ...]


def decide(
    before: Declared,
    specialists: Sequence[Specialist],
    routes: Sequence[Route],
    pipelines: Sequence[Pipeline] = (),
    *,
    prune: bool = False,
) -> Decision:
    """What declaring all these changes; *prune* takes out what is not among them.

    Raises:
        InvalidRequest: a duplicate.
        FabricError: what `check` raises.
    """
    _check_duplicates([f"specialist {s.key}" for s in specialists])
    _check_duplicates([f"route {route.name}" for route in routes])
    _check_duplicates([f"pipeline {pipeline.name}" for pipeline in pipelines])
    kept = Declared() if prune else before
    after = Declared(
        {**kept.specialists, **{s.key: s for s in specialists}},
        {**kept.routes, **{route.name: route for route in routes}},
        {**kept.pipelines, **{pipeline.name: pipeline for pipeline in pipelines}},
    )
    check(after, before)
    changes = (
        *(_change(Kind.SPECIALIST, s.key, before.specialists.get(s.key), s) for s in specialists),
        *(_change(Kind.ROUTE, r.name, before.routes.get(r.name), r) for r in routes),
        *(_change(Kind.PIPELINE, p.name, before.pipelines.get(p.name), p) for p in pipelines),
        *_deletions(before, after),
    )
    return Decision(after, changes)


def without(before: Declared, key: Key) -> Decision:
    """What taking out *key* changes; a specialist's name without a version means all of them.

    Raises:
        NotFound: nothing is declared under that name.
        InvalidRequest: it is of a kind that is not declared.
        Conflict: a route or a pipeline that stays names it.
    """
    if key.kind is Kind.REPLICA:
        raise InvalidRequest("replicas are not declared: change `replicas` of their specialist")
    if key.kind is Kind.POLICY:
        raise InvalidRequest("policies are not declared: say which by `learning.policy` of a route")
    specialists, routes = dict(before.specialists), dict(before.routes)
    pipelines = dict(before.pipelines)
    known: Iterable[str] = before.specialists
    if key.kind is Kind.ROUTE:
        known = before.routes
        routes.pop(key.name, None)
    elif key.kind is Kind.PIPELINE:
        known = before.pipelines
        pipelines.pop(key.name, None)
    else:
        gone = [k for k, s in specialists.items() if key.name in (k, s.card.name)]
        for each in gone:
            del specialists[each]
    after = Declared(specialists, routes, pipelines)
    changes = tuple(_deletions(before, after))
    if not changes:
        raise NotFound(f"no {key}{suggestion(key.name, known)}")
    check(after, before)
    return Decision(after, changes)


def differences(old: object, new: object, path: str = "") -> tuple[str, ...]:
    """Paths of the fields in which two values of one dataclass differ."""
    if is_dataclass(old) and not isinstance(old, type) and type(old) is type(new):
        parts = ((f.name, getattr(old, f.name), getattr(new, f.name)) for f in fields(old))
        prefix = f"{path}." if path else ""
        return tuple(d for name, a, b in parts for d in differences(a, b, f"{prefix}{name}"))
    return () if old == new else (path,)


def _change(
    kind: Kind,
    name: str,
    old: Specialist | Route | Pipeline | None,
    new: Specialist | Route | Pipeline,
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
    for name in before.pipelines.keys() - after.pipelines.keys():
        yield Change(Key(Kind.PIPELINE, name), Action.DELETE)


def _check_duplicates(names: Iterable[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InvalidRequest(f"{twice[0]} is declared more than once")

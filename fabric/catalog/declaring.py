"""What changes when specialists, routes and pipelines are declared: decided and checked whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import StrEnum
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from itertools import combinations
from typing import TYPE_CHECKING

from fabric.catalog.catalog import suggestion
from fabric.core.cards import Specialist
from fabric.core.changes import Key, Kind
from fabric.core.errors import Conflict, InvalidRequest, NotFound
from fabric.core.pipelines import Pipeline
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
    pipelines: Mapping[str, Pipeline] = field(default_factory=dict)

    @cached_property
    def names(self) -> set[str]:
        """Everything that a pipeline may call; a chain may name what is no pipeline."""
        specialists = {s.card.name for s in self.specialists.values()}
        return specialists | self.routes.keys() | self.pipelines.keys()

    def has(self, named: str) -> bool:
        """Whether a name or `name:version` is that of something."""
        return named in (self.specialists if ":" in named else self.names)


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
        InvalidRequest: a duplicate, a name used twice, a chain or a call that leads nowhere, or a
            cycle.
        Conflict: a route or a pipeline that stays names what would go.
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
        Conflict: a route or a pipeline that stays names it.
        InvalidRequest: it is of a kind that is not declared.
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


def check(after: Declared, before: Declared | None = None) -> None:
    """Raises InvalidRequest or Conflict, as `decide` does, unless *after* holds together."""
    before = before or Declared()
    _check_shared(after)
    for route in after.routes.values():
        for entry in leading(route):
            _check_entry(route, entry, after, before)
    if wrong := [each for p in after.pipelines.values() for each in _calls(p, after, before)]:
        raise InvalidRequest("\n".join(wrong))
    _check_cycles(after)


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


def _check_shared(after: Declared) -> None:
    by_kind = {
        "specialist": {s.card.name for s in after.specialists.values()},
        "route": after.routes.keys(),
        "pipeline": after.pipelines.keys(),
    }
    for (kind, names), (other, others) in combinations(by_kind.items(), 2):
        if shared := sorted(names & others):
            raise InvalidRequest(
                f"{shared[0]!r} is the name of a {kind} and of a {other}: rename one of them"
            )


def _check_entry(route: Route, entry: ChainEntry, after: Declared, before: Declared) -> None:
    if entry.name in after.pipelines:
        raise InvalidRequest(
            f"route {route.name!r} names {entry.name!r}, which is a pipeline: routes lead to "
            "specialists and to other routes"
        )
    named = f"{entry.name}:{entry.version}" if entry.version else entry.name
    if after.has(named):
        return
    if before.has(named):
        raise Conflict(f"route {route.name!r} names {named!r}: change the route first")
    others = after.names - after.pipelines.keys() - {route.name}
    why_not = _why_not(named, after, others, "neither a specialist nor a route")
    raise InvalidRequest(f"route {route.name!r} names {why_not}")


def _calls(pipeline: Pipeline, after: Declared, before: Declared) -> Iterable[str]:
    """What is wrong with whom *pipeline* calls; who is optional need not be there.

    Raises:
        Conflict: somebody would go whom it calls.
    """
    for step in pipeline.all_steps:
        for called in step.calls:
            name = called.partition(":")[0]
            if after.has(called):
                continue
            if step.optional and name not in after.routes and name not in after.pipelines:
                continue
            if before.has(called):
                raise Conflict(
                    f"pipeline {pipeline.name!r} calls {called!r}: change the pipeline first"
                )
            others, kinds = after.names - {pipeline.name}, "no specialist, route or pipeline"
            why_not = _why_not(called, after, others, kinds)
            yield f"pipeline {pipeline.name!r}: step {step.name!r} calls {why_not}"


def _why_not(named: str, declared: Declared, others: set[str], kinds: str) -> str:
    """Why nobody is *named* so; it may have been meant to be one of *others*."""
    name, _, version = named.partition(":")
    for kind, unversioned in (("route", declared.routes), ("pipeline", declared.pipelines)):
        if name in unversioned:
            return f"version {version!r} of {name!r}, which is a {kind} and has no versions"
    if version:
        return f"{named!r}, which is no specialist{suggestion(named, declared.specialists)}"
    return f"{named!r}, which is {kinds}{suggestion(named, others)}"


def _check_cycles(after: Declared) -> None:
    named = {name: [entry.name for entry in leading(r)] for name, r in after.routes.items()}
    called = {
        name: [called.partition(":")[0] for called in pipeline.calls]
        for name, pipeline in after.pipelines.items()
    }
    try:
        TopologicalSorter({**named, **called}).prepare()
    except CycleError as error:
        cycle = list(reversed(error.args[1]))
        each_other = "pipelines call" if cycle[0] in called else "routes name"
        raise InvalidRequest(f"{each_other} each other in a cycle: {' -> '.join(cycle)}") from None

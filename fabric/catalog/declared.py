"""All that is declared: what it leads to, and whether it holds together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from itertools import combinations
from typing import TYPE_CHECKING

from fabric.catalog.catalog import suggestion
from fabric.core.cards import Specialist
from fabric.core.errors import Conflict, InvalidRequest
from fabric.core.pipelines import DEEPEST, Pipeline
from fabric.core.routes import ChainEntry, Route

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable


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


def check(after: Declared, before: Declared | None = None) -> None:
    """Raises unless what is declared *after* a change of *before* holds together.

    Raises:
        InvalidRequest: a name used twice, a chain or a call that leads nowhere, or a cycle.
        Conflict: a route or a pipeline that stays names what would go.
    """
    before = before or Declared()
    _check_shared(after)
    for route in after.routes.values():
        for entry in leading(route):
            _check_entry(route, entry, after, before)
    if wrong := [each for p in after.pipelines.values() for each in _calls(p, after, before)]:
        raise InvalidRequest("\n".join(wrong))
    _check_depth(after)


def reaching(declared: Declared, changed: Collection[str]) -> set[str]:
    """The pipelines that are among *changed* names, or lead to one of them."""
    leads, reached = _leads(declared), set(changed)
    for name in TopologicalSorter(leads).static_order():
        if not reached.isdisjoint(leads.get(name, ())):
            reached.add(name)
    return reached & declared.pipelines.keys()


def leading(route: Route) -> tuple[ChainEntry, ...]:
    """What *route* leads to: its chain, and who reads its requests for it."""
    named = tuple(entry for entry in route.chain if entry.name)
    if route.content is None or not route.content.encoder:
        return named
    return (*named, ChainEntry(name=route.content.encoder))


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


def _leads(declared: Declared) -> dict[str, list[str]]:
    """The names of all that routes and pipelines lead to, by their own names."""
    named = {name: [entry.name for entry in leading(r)] for name, r in declared.routes.items()}
    called = {
        name: [called.partition(":")[0] for called in pipeline.calls]
        for name, pipeline in declared.pipelines.items()
    }
    return {**named, **called}


def _check_depth(after: Declared) -> None:
    leads = _leads(after)
    try:
        order = tuple(TopologicalSorter(leads).static_order())
    except CycleError as error:
        cycle = list(reversed(error.args[1]))
        each_other = "pipelines call" if cycle[0] in after.pipelines else "routes name"
        raise InvalidRequest(f"{each_other} each other in a cycle: {' -> '.join(cycle)}") from None
    depths: dict[str, int] = {}
    for name in order:
        if name in after.pipelines:
            depths[name] = 1 + max((depths.get(each, 0) for each in leads[name]), default=0)
            if depths[name] > DEEPEST:
                raise InvalidRequest(
                    f"pipeline {name!r} leads through {depths[name]} pipelines, more than the "
                    f"{DEEPEST} that may call each other in turn"
                )

"""What loading and unloading make of what is declared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fabric.catalog.catalog import latest_first
from fabric.catalog.declared import leading
from fabric.core.cards import Model, Specialist
from fabric.core.errors import InvalidRequest, NotFound
from fabric.core.pipelines import Pipeline
from fabric.core.routes import Route

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fabric.catalog.declared import Declared

Override = Callable[[Specialist | None, Model | None], Specialist]
"""From a specialist, None for a new one, and the model to run instead of its own, None for that
one, to the specialist with another configuration."""


@dataclass(frozen=True)
class Selection:
    """What is to be declared; all else stays as it is."""

    specialists: tuple[Specialist, ...] = ()
    routes: tuple[Route, ...] = ()
    pipelines: tuple[Pipeline, ...] = ()


def loaded(
    declared: Declared,
    name: str,
    override: Override | None = None,
    models: Mapping[str, Model] | None = None,
) -> Selection:
    """*name* with all its versions, or a route or a pipeline with all that it leads to, is to be
    loaded.

    With *models*, by version, those are the versions that are loaded, and the others are not.

    Raises:
        NotFound: nothing of that name is declared, and there are no *models*.
        InvalidRequest: a route or a pipeline is given a configuration or models, or the
            configuration leaves out all versions.
    """
    for kind, virtual in (("route", declared.routes), ("pipeline", declared.pipelines)):
        if name not in virtual:
            continue
        if override or models:
            raise InvalidRequest(
                f"failed to load '{name}': it is a {kind}, which has no configuration and no files"
            )
        return _virtual(declared, name, True, True)
    versions = _versions(declared, name)
    if models:
        return Selection(_replaced(versions, override or _with_model, models))
    if not versions:
        raise NotFound(f"failed to load '{name}', failed to poll from model repository")
    if override is None:
        return Selection(tuple(_marked(version, True) for version in versions))
    changed = tuple(override(version, None) for version in versions)
    if not any(version.hosting.loaded for version in changed):
        there = ", ".join(version.card.version for version in versions)
        raise InvalidRequest(f"failed to load '{name}': none of its versions is served: {there}")
    return Selection(changed)


def unloaded(declared: Declared, name: str, dependents: bool) -> Selection:
    """*name* with all its versions is to be unloaded; with *dependents* also all that a route or a
    pipeline leads to.

    Raises:
        NotFound: nothing of that name is declared.
    """
    if name in declared.routes or name in declared.pipelines:
        return _virtual(declared, name, False, dependents)
    versions = _versions(declared, name)
    if not versions:
        raise NotFound(f"failed to unload '{name}': there is no such model")
    return Selection(tuple(_marked(version, False) for version in versions))


def _versions(declared: Declared, name: str) -> tuple[Specialist, ...]:
    return latest_first(s for s in declared.specialists.values() if s.card.name == name)


def _virtual(declared: Declared, name: str, loaded: bool, dependents: bool) -> Selection:
    """The route or pipeline *name*; with *dependents* also all that it leads to."""
    routes: dict[str, Route] = {}
    pipelines: dict[str, Pipeline] = {}
    specialists: dict[str, Specialist] = {}
    waiting = [name]
    while waiting:
        name, _, version = waiting.pop().partition(":")
        if name in routes or name in pipelines:
            continue
        if (route := declared.routes.get(name)) is not None:
            routes[name] = replace(route, loaded=loaded)
            waiting += [str(entry) for entry in leading(route)] if dependents else []
        elif (pipeline := declared.pipelines.get(name)) is not None:
            pipelines[name] = replace(pipeline, loaded=loaded)
            waiting += pipeline.calls if dependents else []
        else:
            for each in _versions(declared, name):
                if version in ("", each.card.version):
                    specialists[each.key] = _marked(each, loaded)
    return Selection(tuple(specialists.values()), tuple(routes.values()), tuple(pipelines.values()))


def _replaced(
    versions: tuple[Specialist, ...], override: Override, models: Mapping[str, Model]
) -> tuple[Specialist, ...]:
    by_version = {each.card.version: each for each in versions}
    template = versions[0] if versions else None
    made = []
    for version, model in models.items():
        specialist = override(by_version.get(version, template), model)
        card = replace(specialist.card, version=version)
        made.append(_marked(replace(specialist, card=card), True))
    others = (_marked(each, False) for each in versions if each.card.version not in models)
    return (*made, *others)


def _with_model(specialist: Specialist | None, model: Model | None) -> Specialist:
    if specialist is None:
        raise InvalidRequest("files of a new model need a 'config' that says how to run it")
    return replace(specialist, hosting=replace(specialist.hosting, model=model, python=""))


def _marked(specialist: Specialist, loaded: bool) -> Specialist:
    return replace(specialist, hosting=replace(specialist.hosting, loaded=loaded))

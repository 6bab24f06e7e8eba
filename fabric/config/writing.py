"""A portfolio as the file that says it: shortest forms, and no defaults."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabric.pipelines.tracing.symbols import ONLY

if TYPE_CHECKING:
    from fabric.config.portfolio import Portfolio
    from fabric.core.cards import Hosting, Specialist
    from fabric.core.pipelines import Body, Pipeline, PipelineInput, Step
    from fabric.core.routes import ChainEntry, Route


def written(portfolio: Portfolio, folder: Path | None = None) -> dict[str, Any]:
    """What a file in *folder* holds for `load` to give *portfolio*; local paths start there.

    Without a folder paths stay as they are.
    """
    specialists = [_specialist(each, folder) for each in portfolio.specialists]
    routes = [_route(each) for each in portfolio.routes]
    pipelines = [pipeline(each) for each in portfolio.pipelines]
    named = {"specialists": specialists, "routes": routes, "pipelines": pipelines}
    return {kind: entries for kind, entries in named.items() if entries}


def _specialist(specialist: Specialist, folder: Path | None) -> dict[str, Any]:
    hosting = specialist.hosting if folder is None else _relative(specialist.hosting, folder)
    said = {**_said(specialist.card), **_said(hosting)}
    if hosting.model is not None and not hosting.model.sha256:
        said["model"] = hosting.model.uri
    return said


def _relative(hosting: Hosting, folder: Path) -> Hosting:
    def near(uri: str) -> str:
        return os.path.relpath(Path(uri).resolve(), folder.resolve()) if "://" not in uri else uri

    classes = {output: near(uri) for output, uri in hosting.classes.items()}
    model = hosting.model and replace(hosting.model, uri=near(hosting.model.uri))
    return replace(hosting, model=model, classes=classes)


def _route(route: Route) -> dict[str, Any]:
    said = _said(route)
    return {**said, "chain": [_chain_entry(each) for each in route.chain]} if route.chain else said


def _chain_entry(entry: ChainEntry) -> Any:
    said = _said(entry)
    if said.keys() <= {"name", "version"}:
        return ":".join(said.values())
    return said


# ------------------------------------------------------------------ pipelines
def pipeline(given: Pipeline) -> dict[str, Any]:
    """What a portfolio file says of a pipeline."""
    said: dict[str, Any] = _said(given)
    if given.inputs:
        said["inputs"] = [_input(each) for each in given.inputs]
    if given.steps:
        said["steps"] = [_step(each) for each in given.steps]
    if len({each.name for each in given.outputs if not each.optional}) == len(given.outputs):
        said["outputs"] = {each.name: each.source for each in given.outputs}
    return said


def _input(given: PipelineInput) -> Any:
    said = _said(given)
    if said.keys() == {"name"}:
        return given.name
    if given.shape:
        said["shape"] = [int(s) if s == str(_whole(s)) else s for s in given.shape]
    return said


def _whole(size: str) -> int | None:
    return int(size) if size.lstrip("-").isdigit() else None


def _step(step: Step) -> dict[str, Any]:
    said: dict[str, Any] = _said(step)
    if step.inputs:
        said["inputs"] = {
            name: list(source.values) if source.is_list else source.values[0]
            for name, source in step.inputs.items()
        }
    if step.constant is not None and step.constant.name == ONLY:
        del said["constant"]["name"]
    if step.branch is not None:
        said["branch"]["cases"] = {case: _body(b) for case, b in step.branch.cases.items()}
        if step.branch.otherwise is not None:
            said["branch"]["otherwise"] = _body(step.branch.otherwise)
    if step.first is not None:
        said["first"]["bodies"] = [_body(body) for body in step.first.bodies]
    if inner := step.each or step.loop:
        said[step.kind]["body"] = _body(inner.body)
    return said


def _body(body: Body) -> Any:
    only = body.outputs.get(ONLY) if len(body.outputs) == 1 else None
    if only is not None and not body.steps:
        return only
    outputs = only if only is not None else dict(body.outputs)
    steps = {"steps": [_step(step) for step in body.steps]} if body.steps else {}
    return {**steps, "outputs": outputs}


def _said(value: Any) -> Any:
    """*value* in lists, mappings and scalars; of dataclasses what differs from the default."""
    if is_dataclass(value) and not isinstance(value, type):
        pairs = ((field, getattr(value, field.name)) for field in fields(value))
        return {field.name: _said(item) for field, item in pairs if item != _default(field)}
    if isinstance(value, Mapping):
        return {key: _said(item) for key, item in value.items()}
    return [_said(item) for item in value] if isinstance(value, tuple) else value


def _default(field: Any) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()

"""A portfolio as the file that says it: shortest forms, and no defaults."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fabric.config.portfolio import Portfolio
    from fabric.core.cards import Hosting, Specialist
    from fabric.core.routes import ChainEntry, Route


def written(portfolio: Portfolio, folder: Path | None = None) -> dict[str, Any]:
    """What a file in *folder* holds for `load` to give *portfolio*; local paths start there.

    Without a folder paths stay as they are.
    """
    specialists = [_specialist(each, folder) for each in portfolio.specialists]
    routes = [_route(each) for each in portfolio.routes]
    named = {"specialists": specialists, "routes": routes}
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

"""What entries of a portfolio file name: files, each other, and what cards have."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from fabric.core.cards import Card
from fabric.core.errors import InvalidRequest
from fabric.routing.expressions import compiled

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from fabric.config.document import Document, Location


def locate_files(document: Document) -> None:
    """Makes local paths of models and classes absolute, and refuses those where no file is."""
    for at, entry in document.entries("specialists"):
        model, classes = entry.get("model"), entry.get("classes")
        if isinstance(model, dict):
            _locate(document, model, "uri", (*at, "model"))
        else:
            _locate(document, entry, "model", at)
        if isinstance(classes, dict):
            for output in classes:
                _locate(document, classes, output, (*at, "classes"))


def _locate(document: Document, holder: dict[str, Any], key: str, place: Location) -> None:
    uri = holder.get(key)
    if not isinstance(uri, str) or ("://" in uri and not uri.startswith("file://")):
        return
    path = Path(unquote(urlsplit(uri).path) if "://" in uri else uri).expanduser()
    path = (document.file.parent / path).resolve()
    holder[key] = str(path)
    if not path.is_file():
        files = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, files, 1)
        document.refuse((*place, key), f"no file {path}" + did_you_mean(near))


def check_names(document: Document, known: Collection[str]) -> None:
    """Refuses names given twice, chains to nowhere, and routes that lead back to themselves."""
    keys: set[str] = set()
    chains: dict[str, list[str]] = {}
    for at, entry in document.entries("specialists"):
        key = f"{entry.get('name', '')}:{entry.get('version', Card.version)}"
        if key in keys:
            document.refuse((*at, "name"), f"'{key}' is declared twice")
        keys.add(key)
    specialists = {key.partition(":")[0] for key in keys}
    for at, entry in document.entries("routes"):
        name = str(entry.get("name", ""))
        if name in specialists:
            document.refuse((*at, "name"), f"'{name}' is a specialist already")
        elif name in chains:
            document.refuse((*at, "name"), f"'{name}' is declared twice")
        chains[name] = [target for _, target in _targets(at, entry)]
    pipelines = {str(entry.get("name")) for _, entry in document.entries("pipelines")} - specialists
    names = {*specialists, *chains, *(key.partition(":")[0] for key in known), *keys, *known}
    for at, entry in document.entries("routes"):
        for place, target in (*_targets(at, entry), *_named(at, entry)):
            if target in pipelines:
                text = f"'{target}' is a pipeline: routes lead to specialists and to other routes"
                document.refuse(place, text)
            elif target not in names:
                near = difflib.get_close_matches(target, names, 1, cutoff=0.5)
                document.refuse(place, f"nothing is named '{target}'" + did_you_mean(near))
        if way := circle(str(entry.get("name", "")), chains):
            document.refuse((*at, "chain"), f"goes in a circle: {' -> '.join(way)}")


def _targets(at: Location, route: dict[str, Any]) -> Iterator[tuple[Location, str]]:
    """What a route's chain and its content lead to, as `name` or `name:version`, and where."""
    for index, entry in enumerate(_list(route.get("chain"))):
        link = chain_entry(entry)
        if isinstance(link, dict) and "name" in link:
            version = link.get("version")
            target = f"{link['name']}:{version}" if version else str(link["name"])
            yield (*at, "chain", index), target
    encoder = _mapping(route.get("content")).get("encoder")
    if encoder and isinstance(encoder, str):
        yield (*at, "content", "encoder"), encoder


def _named(at: Location, route: dict[str, Any]) -> Iterator[tuple[Location, str]]:
    """The specialists that a route says something of, and where."""
    cascade = _mapping(route.get("cascade"))
    for index, entry in enumerate(_list(cascade.get("calibrations"))):
        if "specialist" in (said := _mapping(entry)):
            place = (*at, "cascade", "calibrations", index, "specialist")
            yield place, str(said["specialist"])


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def check_expressions(document: Document) -> None:
    """Refuses what is no expression, with its position in the text."""
    for at, entry in document.entries("routes"):
        wanted: list[tuple[Location, Any]] = [((*at, "requirements"), entry.get("requirements"))]
        for index, link in enumerate(_list(entry.get("chain"))):
            wanted.append(((*at, "chain", index, "select"), _mapping(link).get("select")))
        for place, requirements in wanted:
            expression = _mapping(requirements).get("expression")
            if expression and isinstance(expression, str):
                try:
                    compiled(expression)
                except InvalidRequest as error:
                    document.refuse((*place, "expression"), error.message)


def circle(start: str, chains: dict[str, list[str]]) -> list[str]:
    """The shortest way from *start* back to itself; empty if there is none."""
    ways = [[start]]
    seen = {start}
    for way in ways:
        for target in chains.get(way[-1], ()):
            if target == start:
                return [*way, start]
            if target not in seen:
                seen.add(target)
                ways.append([*way, target])
    return []


def chain_entry(value: object) -> object:
    """An entry of a chain, of which `name` and `name:version` are short forms."""
    if not isinstance(value, str):
        return value
    name, colon, version = value.partition(":")
    return {"name": name, "version": version} if colon else {"name": name}


def did_you_mean(near: Collection[str]) -> str:
    """What may have been meant, as the end of a sentence."""
    return "".join(f"; did you mean '{name}'?" for name in near)

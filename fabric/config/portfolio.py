"""The portfolio file: YAML in, the dataclasses of core out, and every mistake with its cure.

The dataclasses of `fabric.core` are the only definition of what may be said: pydantic reads their
types, and each of their `mistakes` is one of that place in the file.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import unquote, urlsplit

from pydantic import BeforeValidator, ConfigDict, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from fabric.config.document import Document, Location, Mistake, PortfolioError
from fabric.config.validating import did_you_mean, validated
from fabric.core.cards import Card, Hosting, Model, Specialist
from fabric.core.errors import InvalidRequest
from fabric.core.routes import ChainEntry, Route
from fabric.routing.expressions import compiled

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


@dataclass(frozen=True)
class Portfolio:
    specialists: tuple[Specialist, ...] = ()
    routes: tuple[Route, ...] = ()


# ------------------------------------------------------------------ what may be written
def _model(value: object) -> object:
    return {"uri": value} if isinstance(value, str) else value


def _chain_entry(value: object) -> object:
    if not isinstance(value, str):
        return value
    name, colon, version = value.partition(":")
    return {"name": name, "version": version} if colon else {"name": name}


@dataclass(frozen=True, kw_only=True)
class SpecialistEntry(Hosting, Card):
    """A specialist: what it is good at and how it runs, side by side."""

    __pydantic_config__ = _STRICT
    model: Annotated[Model | None, BeforeValidator(_model, json_schema_input_type=str | Model)] = (
        None
    )
    """The model file: its URI, or `uri` and `sha256`. A relative path starts at this file."""

    def mistakes(self) -> Iterator[str]:
        yield from Card.mistakes(self)
        yield from Hosting.mistakes(self)

    def specialist(self) -> Specialist:
        def part(cls: type[Any]) -> Any:
            return cls(**{field.name: getattr(self, field.name) for field in fields(cls)})

        return Specialist(card=part(Card), hosting=part(Hosting))


_ChainEntry = Annotated[
    ChainEntry, BeforeValidator(_chain_entry, json_schema_input_type=str | ChainEntry)
]


@dataclass(frozen=True, kw_only=True)
class RouteEntry(Route):
    """A virtual model: requirements, a fallback chain and a policy, called like any model."""

    __pydantic_config__ = _STRICT
    chain: tuple[_ChainEntry, ...] = ()
    """What is tried, in order: `name`, `name:version`, or an entry with a weight; none under
    `order: scored` for every specialist that meets the requirements."""

    def route(self) -> Route:
        return Route(**{field.name: getattr(self, field.name) for field in fields(Route)})


@dataclass(frozen=True, kw_only=True)
class PortfolioFile:
    """The specialists and routes of a fabric."""

    __pydantic_config__ = _STRICT
    specialists: tuple[SpecialistEntry, ...] = ()
    routes: tuple[RouteEntry, ...] = ()


@cache
def _adapter() -> TypeAdapter[PortfolioFile]:
    return TypeAdapter(PortfolioFile)


class _Schema(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """The classes that entries inherit from: pydantic reads only a class's own docstrings."""

    __pydantic_config__ = _STRICT
    card: Card
    hosting: Hosting
    route: Route


def schema() -> dict[str, Any]:
    """The JSON Schema of the portfolio file, with which editors complete and check it."""
    made = _adapter().json_schema(schema_generator=_Schema)
    parts = TypeAdapter(_Parts).json_schema(schema_generator=_Schema)["$defs"]
    for entry, bases in (("SpecialistEntry", ("Card", "Hosting")), ("RouteEntry", ("Route",))):
        properties = made["$defs"][entry]["properties"]
        for name, said in ((n, p) for base in bases for n, p in parts[base]["properties"].items()):
            if "description" in said:
                properties[name].setdefault("description", said["description"])
    return {"$schema": _Schema.schema_dialect, **made, "title": "fabric portfolio"}


# ------------------------------------------------------------------ reading
def load(file: str | Path, known: Collection[str] = ()) -> Portfolio:
    """The portfolio that *file* declares, with local model paths made absolute.

    Chains may also name what *known* names: `name:version` of specialists, names of routes.

    Raises:
        PortfolioError: with all mistakes of the file.
    """
    file = Path(file)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        what = getattr(error, "strerror", None) or str(error)
        raise PortfolioError(file, [Mistake(0, "", f"cannot be read: {what}")]) from error
    document = Document(file, text)
    _locate_files(document)
    declared = validated(document, _adapter(), PortfolioFile)
    _check_names(document, known)
    _check_expressions(document)
    if document.mistakes or declared is None:
        raise PortfolioError(file, document.mistakes)
    return Portfolio(
        specialists=tuple(entry.specialist() for entry in declared.specialists),
        routes=tuple(entry.route() for entry in declared.routes),
    )


# ------------------------------------------------------------------ models and names
def _locate_files(document: Document) -> None:
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


def _check_names(document: Document, known: Collection[str]) -> None:
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
    names = {*specialists, *chains, *(key.partition(":")[0] for key in known), *keys, *known}
    for at, entry in document.entries("routes"):
        for place, target in (*_targets(at, entry), *_named(at, entry)):
            if target not in names:
                near = difflib.get_close_matches(target, names, 1, cutoff=0.5)
                document.refuse(place, f"nothing is named '{target}'" + did_you_mean(near))
        if circle := _circle(str(entry.get("name", "")), chains):
            document.refuse((*at, "chain"), f"goes in a circle: {' -> '.join(circle)}")


def _targets(at: Location, route: dict[str, Any]) -> Iterator[tuple[Location, str]]:
    """What a route's chain and its content lead to, as `name` or `name:version`, and where."""
    for index, entry in enumerate(_list(route.get("chain"))):
        link = _chain_entry(entry)
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


def _check_expressions(document: Document) -> None:
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


def _circle(start: str, chains: dict[str, list[str]]) -> list[str]:
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

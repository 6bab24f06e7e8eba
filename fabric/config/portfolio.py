"""The portfolio file: YAML in, the dataclasses of core out, and every mistake with its cure.

The dataclasses of `fabric.core` are the only definition of what may be said: pydantic reads their
types, and what their `__post_init__` refuses is an error of that place in the file.
"""

from __future__ import annotations

import difflib
import json
import re
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import BeforeValidator, ConfigDict, TypeAdapter, ValidationError
from pydantic.json_schema import GenerateJsonSchema

from fabric.config import pipelines as piped
from fabric.config.document import Document, Location, Mistake, PortfolioError
from fabric.config.names import (
    chain_entry,
    check_expressions,
    check_names,
    did_you_mean,
    locate_files,
)
from fabric.core.cards import Card, Hosting, Model, Specialist
from fabric.core.errors import InvalidRequest
from fabric.core.pipelines import Pipeline
from fabric.core.routes import ChainEntry, Route

if TYPE_CHECKING:
    from collections.abc import Collection

    from pydantic_core import ErrorDetails

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


_NAMED = re.compile(r"pipeline '(?P<pipeline>[^']+)'(?:[:,] step '(?P<step>[^']+)')?")
"""What a refusal begins with."""


@dataclass(frozen=True)
class Portfolio:
    specialists: tuple[Specialist, ...] = ()
    routes: tuple[Route, ...] = ()
    pipelines: tuple[Pipeline, ...] = ()
    lines: Mapping[str, Mapping[str, str]] = field(default_factory=dict, compare=False)
    """Of each pipeline, by name, the lines of its steps, by name, as `file:line`; its own one under
    an empty name."""

    @contextmanager
    def located(self) -> Iterator[None]:
        """A refusal of its pipelines inside says on which lines their steps are."""
        try:
            yield
        except InvalidRequest as error:
            raise InvalidRequest("\n".join(map(self._placed, error.message.split("\n")))) from error

    def _placed(self, text: str) -> str:
        named = _NAMED.match(text)
        lines = self.lines.get(named["pipeline"], {}) if named else {}
        line = lines.get(named["step"] or "") if named else None
        return f"{line}: {text}" if line else text


# ------------------------------------------------------------------ what may be written
def _model(value: object) -> object:
    return {"uri": value} if isinstance(value, str) else value


@dataclass(frozen=True, kw_only=True)
class SpecialistEntry(Hosting, Card):
    """A specialist: what it is good at and how it runs, side by side."""

    __pydantic_config__ = _STRICT
    model: Annotated[Model | None, BeforeValidator(_model, json_schema_input_type=str | Model)] = (
        None
    )
    """The model file: its URI, or `uri` and `sha256`. A relative path starts at this file."""

    def __post_init__(self) -> None:
        Card.__post_init__(self)
        Hosting.__post_init__(self)

    def specialist(self) -> Specialist:
        def part(cls: type[Any]) -> Any:
            return cls(**{field.name: getattr(self, field.name) for field in fields(cls)})

        return Specialist(card=part(Card), hosting=part(Hosting))


_ChainEntry = Annotated[
    ChainEntry, BeforeValidator(chain_entry, json_schema_input_type=str | ChainEntry)
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
    """The specialists, routes and pipelines of a fabric."""

    __pydantic_config__ = _STRICT
    specialists: tuple[SpecialistEntry, ...] = ()
    routes: tuple[RouteEntry, ...] = ()
    pipelines: tuple[Pipeline, ...] = ()


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
    piped.describe(made)
    return {"$schema": _Schema.schema_dialect, **made, "title": "fabric portfolio"}


# ------------------------------------------------------------------ reading
def load(file: str | Path, known: Collection[str] = ()) -> Portfolio:
    """The portfolio that *file* declares, with local model paths made absolute.

    Chains and calls may also name what *known* names: `name:version` of specialists, names of
    routes and pipelines.

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
    locate_files(document)
    lines = {**piped.lines(document), **piped.trace(document)}
    piped.complete(document)
    declared: PortfolioFile | None = None
    try:
        declared = _adapter().validate_python(document.value)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            if not piped.is_in_python(document, details["loc"]):
                _explain(document, details)
    check_names(document, known)
    check_expressions(document)
    if declared is not None:
        portfolio = Portfolio(
            specialists=tuple(entry.specialist() for entry in declared.specialists),
            routes=tuple(entry.route() for entry in declared.routes),
            pipelines=declared.pipelines,
            lines=lines,
        )
        piped.check(document, portfolio, known)
    if document.mistakes or declared is None:
        raise PortfolioError(file, document.mistakes)
    return portfolio


# ------------------------------------------------------------------ explaining
_WANTED = {
    "bool": "true or false",
    "float": "a number",
    "int": "a whole number",
    "finite_number": "a finite number",
    "string": "a text",
    "tuple": "a list",
    "mapping": "a mapping",
    "dict": "a mapping",
    "dataclass": "a mapping",
}


def _explain(document: Document, details: ErrorDetails) -> None:
    at: Location = details["loc"]
    kind = details["type"]
    if kind == "unexpected_keyword_argument":
        document.refuse(at, f"unknown key{_nearest(str(at[-1]), _keys_at(at[:-1]))}")
    elif kind.startswith("missing"):
        document.refuse(at, "is missing")
    elif kind == "value_error":
        message = str(details["ctx"]["error"])
        first = message.split(maxsplit=1)[0].strip("'")
        given = isinstance(details["input"], dict) and first in details["input"]
        document.refuse((*at, first) if given else at, message)
    else:
        wanted = next((text for name, text in _WANTED.items() if kind.startswith(name)), None)
        value = details["input"]
        named = "a mapping" if isinstance(value, dict) else "a list"
        shown = named if isinstance(value, dict | list) else json.dumps(value)
        document.refuse(at, f"must be {wanted}, not {shown}" if wanted else details["msg"])


def _keys_at(at: Location) -> tuple[str, ...]:
    """The keys that the mapping at *at* may have."""
    hint: Any = PortfolioFile
    for part in at:
        if is_dataclass(hint):
            hint = typing.get_type_hints(hint)[str(part)]
        else:  # an element of a list, or of a mapping, and not its keys
            hint = typing.get_args(hint)[0 if isinstance(part, int) else 1]
        while typing.get_origin(hint) in (Annotated, Union, UnionType):
            hint = typing.get_args(hint)[0]  # others are what it may be short for, or nothing
    return tuple(field.name for field in fields(hint)) if is_dataclass(hint) else ()


def _nearest(name: str, names: Collection[str]) -> str:
    near = difflib.get_close_matches(name, names, 1, cutoff=0.5)
    return did_you_mean(near) or f"; use one of {', '.join(names)}"
